"""The closed sets as GraphQL enums; GraphQL speaks their names: ``PM``.

Import them from here, not from ``aether.vocabulary``, so that they are registered before use.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, cast

import strawberry
from graphql import GraphQLEnumType, GraphQLSchema

from aether.engine.simulate import AnswerPlace, JqVerdict
from aether.proofs import WebhookAlgorithm, WebhookEncoding
from aether.vocabulary import (
    AgentRole,
    AnswerMode,
    ApprovalKind,
    ApprovalStatus,
    Association,
    DeliveryStatus,
    ExecutionStatus,
    McpTransport,
    MemoryScope,
    PollStatus,
    SourceName,
    ToolEffect,
    ToolExecutionStatus,
    ToolReach,
    WatchdogLevel,
)
from resolvers.llm import ChatRole
from resolvers.memory import MemorySearchMode
from resolvers.simulations import SignatureVerdict, SimulatedStatus
from resolvers.usage_report import UsageBy

__all__ = [
    "AgentRole",
    "AnswerMode",
    "AnswerPlace",
    "ApprovalKind",
    "ApprovalStatus",
    "Association",
    "ChatRole",
    "DeliveryStatus",
    "ExecutionStatus",
    "JqVerdict",
    "McpTransport",
    "MemoryScope",
    "MemorySearchMode",
    "PollStatus",
    "SeedName",
    "SignatureVerdict",
    "SimulatedStatus",
    "SourceName",
    "ToolEffect",
    "ToolExecutionStatus",
    "ToolReach",
    "UsageBy",
    "WatchdogLevel",
    "WebhookAlgorithm",
    "WebhookEncoding",
    "describe",
]


class SeedName(StrEnum):
    """What ``seed`` can create; a test holds it to the files."""

    AGENTS = "agents"
    CAPABILITIES = "capabilities"
    TASKS = "tasks"
    TRIGGER_TASK_MAPPINGS = "trigger_task_mappings"
    SOURCE_EVENT_MAPPINGS = "source_event_mappings"
    WEBHOOK_MAPPINGS = "webhook_mappings"
    TOOLS = "tools"


_TEXTS: Final[Mapping[type[StrEnum], tuple[str, Mapping[StrEnum, str]]]] = {
    SourceName: (
        "A platform that deliveries come from.",
        {
            SourceName.GITHUB: "GitHub.",
            SourceName.GITLAB: "GitLab.",
            SourceName.JIRA: "Jira.",
            SourceName.PLANE: "Plane.",
        },
    ),
    AgentRole: (
        "What an agent is in a team.",
        {
            AgentRole.PM: "Product Manager.",
            AgentRole.TA: "Technical Analyst.",
            AgentRole.QA: "Quality Assurance.",
            AgentRole.DEV: "Developer.",
            AgentRole.HUB: "Orchestration.",
        },
    ),
    AnswerMode: (
        "What an answer does where the task has answered on the item before.",
        {
            AnswerMode.ADD: "Each execution adds a comment of its own.",
            AnswerMode.UPDATE: "One comment for an item and task, whose text the newest answer "
            "replaces.",
        },
    ),
    ApprovalKind: (
        "What a person is asked about.",
        {
            ApprovalKind.TOOL: "A tool call, with its arguments.",
            ApprovalKind.ANSWER: "The closing answer, before it is posted.",
        },
    ),
    ApprovalStatus: (
        "What a person has said to a tool call or an answer.",
        {
            ApprovalStatus.PENDING: "Nothing yet.",
            ApprovalStatus.APPROVED: "It is done as the agent wanted it.",
            ApprovalStatus.CHANGED: "It is done as the person changed it.",
            ApprovalStatus.REFUSED: "It is not done; the agent is told, and goes on.",
            ApprovalStatus.EXPIRED: "Nothing in time; the execution failed.",
            ApprovalStatus.WITHDRAWN: "Nothing before its execution was cancelled.",
        },
    ),
    UsageBy: (
        "What usage is told apart by.",
        {
            UsageBy.AGENT: "The agent.",
            UsageBy.TASK: "The task.",
            UsageBy.PROJECT: "Our project.",
            UsageBy.MODEL: "The language model.",
            UsageBy.DAY: "The day, in UTC.",
        },
    ),
    MemoryScope: (
        "Who may recall a memory.",
        {
            MemoryScope.TASK: "One task execution.",
            MemoryScope.AGENT: "One agent, in all its tasks.",
            MemoryScope.PROJECT: "All agents of one project.",
            MemoryScope.ORGANIZATIONAL: "All agents, all projects.",
        },
    ),
    ChatRole: (
        "Who says a message of a chat.",
        {
            ChatRole.SYSTEM: "Instructions; they follow the agent's own.",
            ChatRole.USER: "The person who asks.",
            ChatRole.ASSISTANT: "The model, earlier.",
        },
    ),
    MemorySearchMode: (
        "How memories are looked for.",
        {
            MemorySearchMode.HYBRID: "By meaning and by words, the two rankings merged.",
            MemorySearchMode.SEMANTIC: "By meaning alone.",
            MemorySearchMode.KEYWORD: "By words alone.",
        },
    ),
    PollStatus: (
        "Where a poll source stands.",
        {
            PollStatus.IDLE: "Waits for its next moment.",
            PollStatus.QUEUED: "A poll is wanted, and waits for a worker.",
            PollStatus.POLLING: "A worker is asking the platform.",
        },
    ),
    WatchdogLevel: (
        "How bad a watchdog entry is.",
        {
            WatchdogLevel.INFO: "For information.",
            WatchdogLevel.WARN: "Something did not go as it should.",
            WatchdogLevel.ERROR: "Something failed.",
        },
    ),
    WebhookAlgorithm: (
        "How a delivery to a slug of its own is proven.",
        {
            WebhookAlgorithm.SHA256: "An HMAC with SHA-256.",
            WebhookAlgorithm.SHA512: "An HMAC with SHA-512.",
            WebhookAlgorithm.SHA1: "An HMAC with SHA-1.",
            WebhookAlgorithm.BEARER: "The secret itself.",
        },
    ),
    WebhookEncoding: (
        "How an HMAC is written.",
        {
            WebhookEncoding.HEX: "In hexadecimal, lower case.",
            WebhookEncoding.BASE64: "In base64.",
        },
    ),
    DeliveryStatus: (
        "What became of a delivery.",
        {
            DeliveryStatus.ROUTED: "At least one task execution was started.",
            DeliveryStatus.IGNORED: "Nothing was started; `reason` says why. Not a failure.",
        },
    ),
    SimulatedStatus: (
        "What a delivery would be answered.",
        {
            SimulatedStatus.ACCEPTED: "It would be stored and start tasks.",
            SimulatedStatus.IGNORED: "It would be stored and start nothing.",
            SimulatedStatus.DUPLICATE: "It is stored already; nothing would come of it.",
            SimulatedStatus.REFUSED: "Nothing proves it: 401.",
            SimulatedStatus.UNREADABLE: "It is proven, and is no event of its source: 400.",
        },
    ),
    SignatureVerdict: (
        "What a delivery's signature is worth.",
        {
            SignatureVerdict.VERIFIED: "It proves the delivery.",
            SignatureVerdict.UNSIGNED: "No secret is set, and ALLOW_UNSIGNED names the source.",
            SignatureVerdict.REFUSED: "It proves nothing, or is missing.",
        },
    ),
    JqVerdict: (
        "What a jq program said of an event.",
        {
            JqVerdict.TRUE: "Its first output is neither false nor null.",
            JqVerdict.FALSE: "Its first output is false or null.",
            JqVerdict.FAILED: "It gave no output, failed, or took too long.",
        },
    ),
    AnswerPlace: (
        "Where a run's closing text goes.",
        {
            AnswerPlace.ITEM: "It becomes a comment on the item.",
            AnswerPlace.RECORD: "It is kept in Aether's record, and goes nowhere else.",
        },
    ),
    ExecutionStatus: (
        "Where a task execution stands.",
        {
            ExecutionStatus.QUEUED: "Waits for a worker.",
            ExecutionStatus.RUNNING: "A worker is at it.",
            ExecutionStatus.RETRYING: "Failed in a way that may pass; tried again at `runAfter`.",
            ExecutionStatus.WAITING_APPROVAL: "Asks a person.",
            ExecutionStatus.SUCCEEDED: "Answered. Final.",
            ExecutionStatus.FAILED: "Will not pass by itself; a restart queues it again.",
            ExecutionStatus.CANCELLED: "Stopped on request. Final.",
        },
    ),
    ToolExecutionStatus: (
        "What became of one tool call.",
        {
            ToolExecutionStatus.SUCCEEDED: "The tool ran; the model was given its result.",
            ToolExecutionStatus.FAILED: "The tool ran, or its arguments were read, and that "
            "failed.",
            ToolExecutionStatus.REFUSED: "The agent may not use this tool, or not on this target.",
        },
    ),
    ToolEffect: (
        "What a tool does to the world.",
        {
            ToolEffect.READS: "It only looks.",
            ToolEffect.WRITES: "It changes something, such as an issue.",
        },
    ),
    McpTransport: (
        "How an MCP server is spoken to.",
        {
            McpTransport.STREAMABLE_HTTP: "The protocol's own: streamable HTTP.",
            McpTransport.SSE: "The older one: server-sent events, and messages by POST.",
        },
    ),
    ToolReach: (
        "What the tools of a task may act on.",
        {
            ToolReach.ITEM: "The item that woke the agent, and nothing else.",
            ToolReach.PROJECT: "Every item of that item's project.",
        },
    ),
    Association: (
        "How close an author stands to a project, in GitHub's words, closest first.",
        {
            Association.OWNER: "Owns the repository.",
            Association.MEMBER: "Belongs to the organization that owns it.",
            Association.COLLABORATOR: "Was invited to it.",
            Association.CONTRIBUTOR: "Has committed to it before.",
            Association.FIRST_TIME_CONTRIBUTOR: "Has not committed to it before.",
            Association.FIRST_TIMER: "Has not committed to anything on GitHub before.",
            Association.NONE: "None of these.",
        },
    ),
    SeedName: (
        "What a fresh installation starts with; what a row refers to comes in an earlier seed.",
        {
            SeedName.AGENTS: "The default agents.",
            SeedName.CAPABILITIES: "What those agents can do.",
            SeedName.TASKS: "The default task definitions.",
            SeedName.TRIGGER_TASK_MAPPINGS: "Which trigger starts which of those tasks.",
            SeedName.SOURCE_EVENT_MAPPINGS: "Which event of a source is which trigger.",
            SeedName.WEBHOOK_MAPPINGS: "The default jq rules.",
            SeedName.TOOLS: "The default tool definitions.",
        },
    ),
}

for _one in _TEXTS:
    strawberry.enum(_one)


def describe(schema: GraphQLSchema) -> None:
    """Write the texts above into a made schema: the vocabulary itself knows no GraphQL."""
    for enum, (text, texts) in _TEXTS.items():
        kind = schema.type_map.get(enum.__name__)
        if kind is None:
            continue
        kind.description = text
        for name, value in cast("GraphQLEnumType", kind).values.items():
            value.description = texts[enum[name]]
