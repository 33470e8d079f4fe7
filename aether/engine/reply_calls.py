"""The calls of one reply: those that only read side by side, every other in its turn."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, TypeVar

from aether.engine.approvals import Verdict
from aether.engine.conversation import ToolOutcome
from aether.engine.offering import Toolbox, only_reads
from aether.engine.tool_calls import changed_by_person, refused_by_person, run_call
from aether.tools.base import ToolContext
from aether.vocabulary import ApprovalStatus

T = TypeVar("T")

MOST_AT_ONCE: Final = 4
"""Calls of a run or a chat under way; its process has others, and a pool of few connections."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A call that the model wants; ``verdict``: what a person said of it, None if nobody did."""

    call: Mapping[str, Any]
    raw: Any
    context: ToolContext
    verdict: Verdict | None


async def outcomes(asked: Sequence[Asked], tools: Toolbox) -> AsyncGenerator[ToolOutcome, None]:
    """How each call ended, in the order of the calls, so that each can be stored before the next.

    Calls that only read and follow one another run at once, at most four. A call that may write
    begins when all before it have ended and been taken, and is the only one then. Close it
    (``aclosing``): what is still under way is cut off.

    Raises:
        As ``run_call``.
    """
    for batch in _batches(asked, tools):
        async with aclosing(side_by_side([_outcome(one, tools) for one in batch])) as ended:
            async for outcome in ended:
                yield outcome


async def side_by_side(calls: Sequence[Coroutine[Any, Any, T]]) -> AsyncGenerator[T, None]:
    """What each gives, in their order, while all of them run; the first error is raised.

    Close it (``aclosing``): what is still under way is cut off.
    """
    running = [asyncio.create_task(one) for one in calls]
    try:
        for one in running:
            yield await one
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _batches(asked: Sequence[Asked], tools: Toolbox) -> Iterator[Sequence[Asked]]:
    for is_reading, group in groupby(asked, lambda one: _is_reading(one, tools)):
        calls, size = list(group), MOST_AT_ONCE if is_reading else 1
        for start in range(0, len(calls), size):
            yield calls[start : start + size]


def _is_reading(asked: Asked, tools: Toolbox) -> bool:
    offer = tools.offered.get(str(asked.call["function"].get("name") or ""))
    return offer is not None and only_reads(offer)


async def _outcome(asked: Asked, tools: Toolbox) -> ToolOutcome:
    call, verdict = asked.call, asked.verdict
    if verdict is None or verdict.status is ApprovalStatus.APPROVED:
        return await run_call(call, asked.raw, tools, asked.context)
    if verdict.arguments is None or verdict.is_refused:
        wanted = asked.raw if verdict.arguments is None else verdict.arguments
        return refused_by_person(call, wanted, verdict.reason)
    outcome = await run_call(call, verdict.arguments, tools, asked.context)
    return changed_by_person(outcome, verdict.arguments)
