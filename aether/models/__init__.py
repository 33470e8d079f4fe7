"""Tables: columns, relations, constraints; no rule. Names every model once."""

from aether.models.agents import Agent, AgentCapability
from aether.models.approvals import Approval
from aether.models.audit import AuditEntry
from aether.models.deliveries import Delivery
from aether.models.integrations import Integration
from aether.models.llm import LlmCall
from aether.models.mappings import (
    ConfigurationVersion,
    SourceEventMapping,
    TriggerTaskMapping,
    WebhookMapping,
)
from aether.models.mcp import McpCall, McpServer
from aether.models.memory import Memory, MemoryChunk
from aether.models.polling import PollSource, ScheduleTick
from aether.models.projects import Project
from aether.models.tasks import ExecutionMessage, TaskDefinition, TaskExecution
from aether.models.tools import Effect, StandingAnswer, ToolDefinition, ToolExecution
from aether.models.usage import LimitNotice, UsageDay
from aether.models.watchdog import WatchdogEntry

__all__ = [
    "Agent",
    "AgentCapability",
    "Approval",
    "AuditEntry",
    "ConfigurationVersion",
    "Delivery",
    "Effect",
    "ExecutionMessage",
    "Integration",
    "LimitNotice",
    "LlmCall",
    "McpCall",
    "McpServer",
    "Memory",
    "MemoryChunk",
    "PollSource",
    "Project",
    "ScheduleTick",
    "SourceEventMapping",
    "StandingAnswer",
    "TaskDefinition",
    "TaskExecution",
    "ToolDefinition",
    "ToolExecution",
    "TriggerTaskMapping",
    "UsageDay",
    "WatchdogEntry",
    "WebhookMapping",
]
