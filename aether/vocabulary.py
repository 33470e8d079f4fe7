"""The closed sets and the built-in triggers: one spelling for each word that is stored."""

from enum import StrEnum
from typing import Final


class SourceName(StrEnum):
    """A platform as our code knows it."""

    GITHUB = "github"
    GITLAB = "gitlab"
    JIRA = "jira"
    PLANE = "plane"


class AgentRole(StrEnum):
    """What an agent is in a team; on the wire it is ``role_id``."""

    PM = "pm"  #: Product Manager.
    TA = "ta"  #: Technical Analyst.
    QA = "qa"  #: Quality Assurance.
    DEV = "dev"  #: Developer.
    HUB = "hub"  #: Orchestration.


class MemoryScope(StrEnum):
    """Who may recall a memory."""

    TASK = "task"  #: One task execution.
    AGENT = "agent"  #: One agent, in all its tasks.
    PROJECT = "project"  #: All agents of one project.
    ORGANIZATIONAL = "organizational"  #: All agents, all projects.


class DeliveryStatus(StrEnum):
    """What became of a verified delivery."""

    ROUTED = "routed"  #: At least one task execution was started.
    IGNORED = "ignored"  #: Nothing was started; ``reason`` says why. Not a failure.


class PollStatus(StrEnum):
    """Where a poll source stands."""

    IDLE = "idle"  #: Waits for its next moment.
    QUEUED = "queued"  #: A poll is wanted, and waits for a worker.
    POLLING = "polling"  #: A worker is asking the platform.


class ExecutionStatus(StrEnum):
    """Where a task execution stands; the arrows are drawn in GLOSSARY.md."""

    QUEUED = "queued"  #: Waits for a worker.
    RUNNING = "running"  #: A worker holds its lease.
    RETRYING = "retrying"  #: Failed in a way that may pass; tried again at ``run_after``.
    WAITING_APPROVAL = "waiting_approval"  #: Asks a person.
    SUCCEEDED = "succeeded"  #: Answered. Final.
    FAILED = "failed"  #: Will not pass by itself; ``restart`` queues it again.
    CANCELLED = "cancelled"  #: Stopped on request. Final.


class ApprovalKind(StrEnum):
    """What a person is asked about."""

    TOOL = "tool"  #: A tool call, with its arguments.
    ANSWER = "answer"  #: The closing answer, before it is posted.


class ApprovalStatus(StrEnum):
    """What a person has said to a tool call or an answer."""

    PENDING = "pending"  #: Waits for a person.
    APPROVED = "approved"  #: It is done as the agent wanted it.
    CHANGED = "changed"  #: It is done as the person changed it.
    REFUSED = "refused"  #: It is not done; the agent is told, and goes on.
    EXPIRED = "expired"  #: Nobody decided in time; the execution failed.
    WITHDRAWN = "withdrawn"  #: Its execution was cancelled meanwhile.


class ToolExecutionStatus(StrEnum):
    """What became of one tool call."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  #: The tool ran, or its arguments were read, and that failed.
    REFUSED = "refused"  #: The agent may not use this tool, or not on this target.


class ToolEffect(StrEnum):
    """What a tool does to the world."""

    READS = "reads"
    WRITES = "writes"


class McpTransport(StrEnum):
    """How an MCP server is spoken to."""

    STREAMABLE_HTTP = "streamable_http"
    SSE = "sse"  #: The older one: https://modelcontextprotocol.io/specification/2024-11-05/basic/transports


class LlmCallKind(StrEnum):
    """What a call of the model was for that no message of a run tells of."""

    CHAT = "chat"  #: A direct line to the model: ``/api/llm/chat``.
    BROKEN_OFF = "broken_off"  #: A run's or a chat's call whose reply did not come to its end.


class EffectStatus(StrEnum):
    """What became of one intended write to a platform."""

    INTENDED = "intended"  #: Stored before the call; may or may not have happened.
    SENT = "sent"  #: The platform confirmed it.
    NOT_SENT = "not_sent"  #: TRACKER_UPDATES_ENABLED is false, or a newer answer stands.
    FAILED = "failed"  #: The platform refused it; it did not happen.


class OutputAct(StrEnum):
    """What a generated text may do at a platform, where ALLOW_OUTPUT lets it."""

    MENTIONS = "mentions"  #: Notify people and teams.
    CLOSING_WORDS = "closing_words"  #: Close an item: ``fixes #12``.
    QUICK_ACTIONS = "quick_actions"  #: Be a command: ``/close``.
    IMAGES = "images"  #: Have pictures loaded from anywhere.


class ToolReach(StrEnum):
    """What the tools of a task may act on."""

    ITEM = "item"  #: The item that woke the agent, and nothing else.
    PROJECT = "project"  #: Every item of that item's project.


class AnswerMode(StrEnum):
    """What an answer does where the task has answered on the item before."""

    ADD = "add"  #: Each execution adds a comment of its own.
    UPDATE = "update"  #: One comment for an item and task; the newest answer replaces its text.


class Association(StrEnum):
    """How close an author stands to a project, in GitHub's words, closest first."""

    OWNER = "OWNER"
    MEMBER = "MEMBER"
    COLLABORATOR = "COLLABORATOR"
    CONTRIBUTOR = "CONTRIBUTOR"
    FIRST_TIME_CONTRIBUTOR = "FIRST_TIME_CONTRIBUTOR"
    FIRST_TIMER = "FIRST_TIMER"
    NONE = "NONE"


INSIDERS: Final = frozenset(
    {
        Association.OWNER,
        Association.MEMBER,
        Association.COLLABORATOR,
        Association.CONTRIBUTOR,
    }
)
"""Who may give orders; a word that we do not know is not among them."""


class WatchdogLevel(StrEnum):
    """How bad a watchdog entry is."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"


BUILT_IN_TRIGGERS: Final[dict[str, str]] = {
    "issue.created": "A new issue was created",
    "issue.updated": "An issue was modified",
    "issue.closed": "An issue was closed",
    "issue.commented": "A comment was added to an issue",
    "pr.opened": "A pull request was opened",
    "pr.updated": "A pull request was modified",
    "pr.closed": "A pull request was closed",
    "pr.merged": "A pull request was merged",
    "pr.reviewed": "A review was submitted",
    "pr.commented": "A comment was added to a pull request",
    "deployment.completed": "A deployment finished",
}
"""The reference's ten, and ``pr.commented``, which is ours."""
