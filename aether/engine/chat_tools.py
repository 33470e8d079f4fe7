"""What an agent may look up in a chat, what is withheld from it, and the record of each call."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from aether import audit
from aether.db import rows, transaction
from aether.engine.conversation import ToolOutcome
from aether.engine.offering import Offer, Toolbox, candidates, sort_out, writes
from aether.engine.tool_calls import outcome_of
from aether.errors import UpstreamError
from aether.llm.chat import ToolCall, Usage
from aether.models import Agent, Project
from aether.tools.lookups import OF_PROJECT, Looker, naming_its_item
from aether.vocabulary import ToolEffect, ToolExecutionStatus

WRITES: Final = "it writes, and a chat only reads"
ASKS: Final = "a person has to approve each call of it, and a chat asks nobody"
NEEDS_A_RUN: Final = "it acts on the item that woke an agent, and a chat has none"
NEEDS_A_PROJECT: Final = "the chat names no project (project_id) whose items it could read"


@dataclass(frozen=True, kw_only=True)
class CalledTool:
    """One tool call of a chat, for its caller.

    ``tool_execution_id`` is None where it could not be stored.
    """

    tool_execution_id: int | None
    tool: str
    arguments: Any
    status: ToolExecutionStatus
    error: str | None
    duration_ms: int

    def to_json(self) -> dict[str, Any]:
        """For the way out of the aside."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """What ``to_json`` made."""
        return cls(**{**told, "status": ToolExecutionStatus(told["status"])})


async def lookups(looker: Looker, agent: Agent | None, project_id: int | None) -> Toolbox:
    """Every tool that there is for this agent: those that only read are offered, as far as its
    list allows and as they need no run; the others are withheld with the reason.
    """
    project = looker.project
    found = []
    for offer, why_not in await candidates(agent, None):
        fits = offer
        if offer.name in OF_PROJECT and not offer.is_foreign and project is not None:
            fits = replace(offer, parameters=naming_its_item(offer.parameters, project))
        found.append((fits, _why_not(offer, project, project_id) or why_not))
    return sort_out(found, of="chat")


async def look(call: ToolCall, tools: Toolbox, looker: Looker) -> ToolOutcome:
    """Do one call of a reply and say how it ended; whatever fails is told to the model.

    Raises:
        OSError, asyncpg.PostgresError: the database is out of reach.
    """

    async def do(offer: Offer, arguments: dict[str, Any]) -> str:
        if offer.look is None:
            raise TypeError(f"{offer.name} is no lookup")
        try:
            return await offer.look(looker, arguments)
        except UpstreamError as error:
            error.may_have_happened = False  # it only read: the chat goes on
            raise

    named = {"id": call.id, "function": {"name": call.name}}
    return await outcome_of(named, call.arguments, tools, do, looker.settings)


async def record(
    outcome: ToolOutcome, *, agent_id: str | None, project_id: int | None, round: int, usage: Usage
) -> int:
    """Store a tool execution of a chat and its audit entry; the former's id.

    Args:
        usage: of the reply that asked for it.
    """
    async with transaction():
        [stored] = await rows(
            """INSERT INTO tool_execution (run, round, call_id, tool, agent_id, arguments, result,
                 status, error, duration_ms, prompt_tokens, completion_tokens)
               VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id""",
            round, outcome.call_id[:200], outcome.tool[:200], agent_id,
            json.dumps(outcome.arguments), outcome.text, outcome.status, outcome.error,
            outcome.duration_ms, usage.prompt_tokens, usage.completion_tokens,
        )  # fmt: skip
        refused = outcome.status is ToolExecutionStatus.REFUSED
        await audit.record(
            "tool.refused" if refused else "tool.called",
            agent_id=agent_id,
            caller="api",
            detail={
                "tool": outcome.tool,
                "status": outcome.status,
                "tool_execution_id": stored["id"],
                "project_id": project_id,
                **({"error": outcome.error} if outcome.error else {}),
            },
        )
    return int(stored["id"])


def called(outcome: ToolOutcome, tool_execution_id: int | None) -> CalledTool:
    """What the caller of a chat is told of a call."""
    return CalledTool(
        tool_execution_id=tool_execution_id,
        tool=outcome.tool[:200],
        arguments=outcome.arguments,
        status=outcome.status,
        error=outcome.error,
        duration_ms=outcome.duration_ms,
    )


def _why_not(offer: Offer, project: Project | None, project_id: int | None) -> str | None:
    """What of a chat's own is in the way."""
    if offer.effect is ToolEffect.WRITES or writes(offer):
        return WRITES
    if offer.requires_approval:
        return ASKS
    if offer.look is None:
        return NEEDS_A_RUN
    if offer.name in OF_PROJECT and not offer.is_foreign:
        if project_id is None:
            return NEEDS_A_PROJECT
        if project is None:
            return f"project {project_id} does not exist, so there are no items to read"
        if not project.enabled:
            return f"project {project_id} is switched off"
    return None
