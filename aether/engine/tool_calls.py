"""One tool call of a model: read, checked, run, and told back, whatever the model sent."""

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from aether.checkpoints import reached
from aether.config import Settings
from aether.db import UNAVAILABLE
from aether.engine.arguments import BadArgumentsError, read_arguments
from aether.engine.conversation import ToolOutcome
from aether.engine.offering import Offer, Toolbox
from aether.errors import AetherError, CancelledRunError, LeaseLostError, UpstreamError
from aether.llm.prompts import tool_result_text
from aether.redact import Mask, redact
from aether.rendering import clean
from aether.tools.base import RefusedError, ToolContext
from aether.vocabulary import ToolEffect, ToolExecutionStatus

log = logging.getLogger(__name__)

RUN_ENDING = (LeaseLostError, CancelledRunError)


async def run_call(
    call: Mapping[str, Any], raw: Any, tools: Toolbox, context: ToolContext
) -> ToolOutcome:
    """``outcome_of`` for a tool of a run."""

    async def do(offer: Offer, arguments: dict[str, Any]) -> str:
        return await offer.call(context, arguments)

    return await outcome_of(call, raw, tools, do, context.settings)


async def outcome_of(
    call: Mapping[str, Any],
    raw: Any,
    tools: Toolbox,
    do: Callable[[Offer, dict[str, Any]], Awaitable[str]],
    settings: Settings,
) -> ToolOutcome:
    """``do`` one call and say how it ended; a failure of the tool is a result, not an error.

    A tool that is withheld is refused, and the model is told why.

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
        offer = _known(name, tools)
        arguments = read_arguments(raw, offer.parameters, is_foreign=offer.is_foreign)
        outcome = replace(outcome, arguments=arguments, is_data=offer.is_foreign)
        reached(f"tool {name}")
        text = await do(offer, arguments)
    except BadArgumentsError as error:
        outcome = _ended(outcome, ToolExecutionStatus.FAILED, f"Error: {error}", str(error))
    except RUN_ENDING:
        raise
    except RefusedError as error:
        outcome = replace(outcome, is_data=False)
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
        is_data = offer.is_foreign or offer.effect is ToolEffect.READS
        outcome = replace(outcome, is_data=is_data)
        outcome = _ended(outcome, ToolExecutionStatus.SUCCEEDED, text, None)
    mask = Mask(settings)
    return replace(
        outcome,
        text=tool_result_text(mask.whole(outcome.text)),  # half a secret would not be known
        error=redact(outcome.error, settings) if outcome.error else None,
        duration_ms=int((time.monotonic() - started) * 1000),
    )


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
    return _ended(outcome, ToolExecutionStatus.REFUSED, tool_result_text(f"Refused: {told}"), told)


def changed_by_person(outcome: ToolOutcome, arguments: Mapping[str, Any]) -> ToolOutcome:
    """The result of a call that was run with other arguments than the model's; it is told so."""
    told = json.dumps(arguments, ensure_ascii=False)
    note = f"A person changed the arguments before the call was run, to: {told}\n\n"
    return replace(outcome, note=tool_result_text(note))


def _known(name: str, tools: Toolbox) -> Offer:
    if name in tools.offered:
        return tools.offered[name]
    if name in tools.withheld:
        raise RefusedError(
            f"{name} is withheld from this {tools.of}: {tools.withheld[name].reason}"
        )
    known = ", ".join(sorted(tools.offered)) or "none"
    raise BadArgumentsError(f"there is no tool {name[:100]!r}; the tools are: {known}")


def _ended(
    outcome: ToolOutcome, status: ToolExecutionStatus, text: str, error: str | None
) -> ToolOutcome:
    return replace(
        outcome,
        status=status,
        text=clean(text),
        error=clean(error) if error else None,
    )
