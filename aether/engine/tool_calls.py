"""One tool call of a model: read, checked, run, and told back, whatever the model sent."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from aether.checkpoints import reached
from aether.db import UNAVAILABLE
from aether.engine.conversation import ToolOutcome
from aether.errors import (
    AetherError,
    CancelledRunError,
    InvalidInputError,
    LeaseLostError,
    UpstreamError,
)
from aether.llm.prompts import tool_result_text
from aether.models import Agent, TaskDefinition, ToolDefinition
from aether.rendering import clean
from aether.sources.reading import decode_json
from aether.tools import TOOLS
from aether.tools.base import RefusedError, ToolContext
from aether.vocabulary import ToolEffect, ToolExecutionStatus

log = logging.getLogger(__name__)

RUN_ENDING = (LeaseLostError, CancelledRunError)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A tool that this run may use, as the model is shown it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    effect: ToolEffect
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


class BadArgumentsError(Exception):
    """The arguments are not what the tool takes; the text is for the model."""


async def offers(agent: Agent | None, task: TaskDefinition) -> dict[str, Offer]:
    """The enabled tools that exist and that both the agent and the task allow, by name."""
    allowed = set(TOOLS)
    for names in (agent.tools if agent else None, task.tools):
        if names is not None:
            allowed &= set(names)
    found = await ToolDefinition.filter(enabled=True, name__in=sorted(allowed)).order_by("id")
    return {
        one.name: Offer(
            name=one.name,
            description=one.description,
            parameters=one.parameters,
            effect=one.effect,
            requires_approval=one.requires_approval,
        )
        for one in found
    }


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
        arguments = read_arguments(raw, _known(name, offered).parameters)
        outcome = replace(outcome, arguments=arguments)
        reached(f"tool {name}")
        text = await TOOLS[name](context, arguments)
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


def read_arguments(raw: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the schema wants them; empty text, null and nothing mean ``{}``.

    Raises:
        BadArgumentsError: it is not JSON, not an object, or not what the schema says.
    """
    import jsonschema

    if raw is None or (isinstance(raw, str) and not raw.strip()):
        values: dict[str, Any] = {}
    else:
        text = raw if isinstance(raw, str) else json.dumps(raw)
        try:
            values = decode_json(text.encode(errors="replace"), field="arguments")
        except InvalidInputError as error:
            raise BadArgumentsError(f"{error}. The tool was not run.") from error
    checker = jsonschema.Draft202012Validator(dict(schema) or {"type": "object"})
    problems = sorted(checker.iter_errors(values), key=lambda one: list(map(str, one.path)))
    if problems:
        told = "; ".join(_problem(one) for one in problems[:5])
        raise BadArgumentsError(f"{told}. The tool was not run.")
    return values


def _problem(error: Any) -> str:
    where = ".".join(map(str, error.path)) or "arguments"
    return f"{where}: {error.message[:300]}"


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
