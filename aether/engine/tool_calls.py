"""One tool call of a model: read, checked, run, and told back, whatever the model sent."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from aether.checkpoints import reached
from aether.db import UNAVAILABLE
from aether.engine.arguments import BadArgumentsError, read_arguments
from aether.engine.conversation import ToolOutcome
from aether.errors import AetherError, CancelledRunError, LeaseLostError, UpstreamError
from aether.llm.prompts import tool_result_text
from aether.models import Agent, TaskDefinition, ToolDefinition
from aether.rendering import clean
from aether.tools import TOOLS, mcp_servers
from aether.tools.base import RefusedError, Tool, ToolContext
from aether.vocabulary import ToolEffect, ToolExecutionStatus

log = logging.getLogger(__name__)

MOST_OFFERED: Final = 128
"""https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools"""
RUN_ENDING = (LeaseLostError, CancelledRunError)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A tool that this run may use, as the model is shown it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Tool
    effect: ToolEffect
    is_foreign: bool = False  # its words and its schema are those of a server outside
    requires_approval: bool = False

    def to_model(self) -> dict[str, Any]:
        """OpenAI's form of a tool."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": dict(self.parameters) or {"type": "object", "properties": {}},
            },
        }


async def offers(agent: Agent | None, task: TaskDefinition) -> dict[str, Offer]:
    """The enabled tools that exist and that both the agent and the task allow, by name.

    At most 128, which is what a model's provider takes; the built-in ones first.
    """
    lists = [one for one in (agent.tools if agent else None, task.tools) if one is not None]
    names = [name for name in TOOLS if all(is_listed_in(one, name) for one in lists)]
    found = await ToolDefinition.filter(enabled=True, name__in=names).order_by("id")
    offered = [
        Offer(
            name=one.name,
            description=one.description,
            parameters=one.parameters,
            call=TOOLS[one.name],
            effect=one.effect,
            requires_approval=one.requires_approval,
        )
        for one in found
    ]
    for tool in await mcp_servers.offered(agent.id if agent else None):
        is_listed = any(is_listed_in(one, tool.name) for one in lists)
        may = tool.effect is ToolEffect.READS or tool.is_of_agent or is_listed
        if may and all(is_listed_in(one, tool.name) for one in lists):
            offered.append(
                Offer(
                    name=tool.name,
                    description=tool.description,
                    parameters=tool.parameters,
                    call=tool.call,
                    effect=tool.effect,
                    requires_approval=tool.requires_approval,
                    is_foreign=True,
                )
            )
    if len(offered) > MOST_OFFERED:
        log.warning("%s tools are too many; the last are not offered", len(offered))
    return {one.name: one for one in offered[:MOST_OFFERED]}


def is_listed_in(names: Sequence[str], name: str) -> bool:
    """Whether a list of tools has ``name``; ``mcp_docs_*`` has all that begin so."""
    return name in names or any(
        one.startswith("mcp_") and one.endswith("*") and name.startswith(one[:-1]) for one in names
    )


async def run_call(
    call: Mapping[str, Any], raw: Any, offered: Mapping[str, Offer], context: ToolContext
) -> ToolOutcome:
    """Run one call and say how it ended; a failure of the tool is a result, not an error.

    Raises:
        LeaseLostError, CancelledRunError: the run is over.
        UpstreamError: a write may have happened; the run must be tried again with this very call.
        OSError, asyncpg.PostgresError: the database is out of reach, likewise.
    """
    started = time.monotonic()
    name = str(call["function"].get("name") or "")
    outcome = ToolOutcome(
        call_id=str(call["id"]),
        tool=clean(name) or "(no name)",
        arguments=raw,
        status=ToolExecutionStatus.FAILED,
        text="",
        duration_ms=0,
    )
    try:
        offer = _known(name, offered)
        arguments = read_arguments(raw, offer.parameters, is_foreign=offer.is_foreign)
        outcome = replace(outcome, arguments=arguments)
        reached(f"tool {name}")
        text = await offer.call(context, arguments)
    except BadArgumentsError as error:
        outcome = _ended(outcome, ToolExecutionStatus.FAILED, f"Error: {error}", str(error))
    except RUN_ENDING:
        raise
    except RefusedError as error:
        outcome = _ended(outcome, ToolExecutionStatus.REFUSED, f"Refused: {error}", str(error))
    except UpstreamError as error:
        if error.may_have_happened:
            raise
        outcome = _ended(outcome, ToolExecutionStatus.FAILED, f"Error: {error}", str(error))
    except AetherError as error:
        outcome = _ended(outcome, ToolExecutionStatus.FAILED, f"Error: {error}", str(error))
    except UNAVAILABLE:
        raise  # what the tool wrote last may have happened, unrecorded
    except Exception:  # the tool loop's end: the model hears of it, the log has the trace
        log.exception("tool %s failed", name)
        told = "the tool failed for a reason of its own"
        outcome = _ended(outcome, ToolExecutionStatus.FAILED, f"Error: {told}", told)
    else:
        outcome = _ended(outcome, ToolExecutionStatus.SUCCEEDED, text, None)
    return replace(outcome, duration_ms=int((time.monotonic() - started) * 1000))


def refused_by_person(call: Mapping[str, Any], raw: Any, reason: str | None) -> ToolOutcome:
    """The result of a call that a person refused."""
    told = f"a person refused this call: {reason}" if reason else "a person refused this call"
    outcome = ToolOutcome(
        call_id=str(call["id"]),
        tool=clean(str(call["function"].get("name") or "")),
        arguments=raw,
        status=ToolExecutionStatus.REFUSED,
        text="",
        duration_ms=0,
    )
    return _ended(outcome, ToolExecutionStatus.REFUSED, f"Refused: {told}", told)


def changed_by_person(outcome: ToolOutcome, arguments: Mapping[str, Any]) -> ToolOutcome:
    """The result of a call that was run with other arguments than the model's; it is told so."""
    told = json.dumps(arguments, ensure_ascii=False)
    note = f"A person changed the arguments before the call was run, to: {told}\n\n"
    return replace(outcome, text=tool_result_text(note + outcome.text))


def _known(name: str, offered: Mapping[str, Offer]) -> Offer:
    if name not in offered:
        known = ", ".join(sorted(offered)) or "none"
        raise BadArgumentsError(f"there is no tool {name[:100]!r}; the tools are: {known}")
    return offered[name]


def _ended(
    outcome: ToolOutcome, status: ToolExecutionStatus, text: str, error: str | None
) -> ToolOutcome:
    return replace(
        outcome,
        status=status,
        text=tool_result_text(clean(text)),
        error=clean(error) if error else None,
    )
