"""Live events: deliveries, task executions, the watchdog log, each as it happens.

Each is an async generator: close it (``aclosing``) when its reader is gone. ``after`` is the cursor
of the last event that the reader had; what follows it comes first, nothing is missed and nothing
comes twice.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import StringConstraints
from pydantic.types import Strict

from aether.engine.runtime import runtime
from aether.live.events import Interest, LiveEvent, LiveKind, cursor_of_now
from aether.live.hub import Hub
from aether.models import Approval, Delivery, TaskExecution, WatchdogEntry
from aether.vocabulary import ApprovalStatus, DeliveryStatus, ExecutionStatus, WatchdogLevel
from resolvers.deliveries import deliveries_of
from resolvers.executions import executions_of
from resolvers.fields import Input, Positive, Reference, RowId, Source
from resolvers.rows import each
from resolvers.watchdog import WatchdogOffError

T = TypeVar("T")


class DeliveryInterest(Input):
    """Which deliveries."""

    source: Source | None = None
    status: Annotated[DeliveryStatus, Strict(strict=False)] | None = None
    project_id: Positive | None = None
    canonical_trigger: Reference | None = None


class ExecutionInterest(Input):
    """Which task executions; ``status`` and ``agent_id`` as they were at the event's moment."""

    id: RowId | None = None
    task_id: Reference | None = None
    agent_id: Reference | None = None
    project_id: Positive | None = None
    status: Annotated[ExecutionStatus, Strict(strict=False)] | None = None


class ApprovalInterest(Input):
    """Which approvals; ``status`` as it was at the event's moment."""

    status: Annotated[ApprovalStatus, Strict(strict=False)] | None = None
    execution_id: RowId | None = None
    task_id: Reference | None = None
    agent_id: Reference | None = None
    project_id: Positive | None = None


class WatchdogInterest(Input):
    """Which entries of the watchdog log."""

    level: Annotated[WatchdogLevel, Strict(strict=False)] | None = None
    component: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveryEvent:
    """A delivery was stored, or a redelivery has routed it."""

    cursor: str
    delivery: Delivery


@dataclass(frozen=True, kw_only=True)
class TaskExecutionChange:
    """A task execution was started or changed; ``execution`` is it as it is by now."""

    cursor: str
    status: ExecutionStatus
    run: int
    tries: int
    agent_id: str | None
    execution: TaskExecution


@dataclass(frozen=True, kw_only=True)
class ApprovalChange:
    """A person was asked, or what they were asked is decided."""

    cursor: str
    status: ApprovalStatus
    approval: Approval


@dataclass(frozen=True, kw_only=True)
class WatchdogEvent:
    """An entry of the watchdog log was stored for the first time."""

    cursor: str
    entry: WatchdogEntry


def hub_of_process() -> Hub:
    """This process's hub."""
    hub = runtime().live
    if hub is None:
        raise RuntimeError("this process has no hub of live events")
    return hub


async def present_cursor() -> str:
    """A cursor after everything that has been committed: read a state next, then follow."""
    return await cursor_of_now()


async def follow_deliveries(
    wanted: DeliveryInterest, after: str | None
) -> AsyncGenerator[DeliveryEvent, None]:
    """Deliveries as they come in.

    Raises:
        InvalidInputError: ``after`` is no cursor, too old, or of another database.
        RateLimitedError: the reader is too slow, or too many follow.
        UnavailableError: the database is out of reach.
    """

    def accepts(event: LiveEvent) -> bool:
        about = event.about
        return (
            wanted.source in (None, about["source"])
            and wanted.status in (None, about["status"])
            and wanted.project_id in (None, about["project_id"])
            and (
                wanted.canonical_trigger is None
                or wanted.canonical_trigger in about["canonical_triggers"]
            )
        )

    interest = Interest(frozenset({LiveKind.DELIVERY}), accepts)
    async with aclosing(_with_rows(interest, after, deliveries_of)) as found:
        async for event, delivery in found:
            yield DeliveryEvent(cursor=event.cursor, delivery=delivery)


async def follow_executions(
    wanted: ExecutionInterest, after: str | None
) -> AsyncGenerator[TaskExecutionChange, None]:
    """Task executions as they are started and change. Raises as ``follow_deliveries``."""

    def accepts(event: LiveEvent) -> bool:
        about = event.about
        return (
            wanted.task_id in (None, about["task_id"])
            and wanted.agent_id in (None, about["agent_id"])
            and wanted.project_id in (None, about["project_id"])
            and wanted.status in (None, about["status"])
        )

    interest = Interest(frozenset({LiveKind.EXECUTION}), accepts, wanted.id)
    async with aclosing(_with_rows(interest, after, executions_of)) as found:
        async for event, execution in found:
            yield TaskExecutionChange(
                cursor=event.cursor,
                status=ExecutionStatus(event.about["status"]),
                run=event.about["run"],
                tries=event.about["tries"],
                agent_id=event.about["agent_id"],
                execution=execution,
            )


async def follow_approvals(
    wanted: ApprovalInterest, after: str | None
) -> AsyncGenerator[ApprovalChange, None]:
    """Approvals as they are asked for and decided. Raises as ``follow_deliveries``."""

    def accepts(event: LiveEvent) -> bool:
        about = event.about
        return (
            wanted.status in (None, about["status"])
            and wanted.task_id in (None, about["task_id"])
            and wanted.agent_id in (None, about["agent_id"])
            and wanted.project_id in (None, about["project_id"])
        )

    interest = Interest(frozenset({LiveKind.APPROVAL}), accepts, wanted.execution_id)
    async with aclosing(_with_rows(interest, after, _approvals_of)) as found:
        async for event, approval in found:
            status = ApprovalStatus(event.about["status"])
            yield ApprovalChange(cursor=event.cursor, status=status, approval=approval)


async def _approvals_of(ids: list[int]) -> list[Approval | None]:
    return await each(Approval, ids)


async def follow_watchdog(
    wanted: WatchdogInterest, after: str | None
) -> AsyncGenerator[WatchdogEvent, None]:
    """Warnings and errors as they are stored. Raises as ``follow_deliveries``, and:

    Raises:
        WatchdogOffError: WATCHDOG_ENABLED is off.
    """
    if not runtime().settings.watchdog_enabled:
        raise WatchdogOffError

    def accepts(event: LiveEvent) -> bool:
        about = event.about
        return wanted.level in (None, about["level"]) and wanted.component in (
            None,
            about["component"],
        )

    interest = Interest(frozenset({LiveKind.WATCHDOG}), accepts)
    async with aclosing(_with_rows(interest, after, _watchdog_entries_of)) as found:
        async for event, entry in found:
            yield WatchdogEvent(cursor=event.cursor, entry=entry)


async def _watchdog_entries_of(ids: list[int]) -> list[WatchdogEntry | None]:
    return await each(WatchdogEntry, ids)


async def _with_rows(
    interest: Interest,
    after: str | None,
    load: Callable[[list[int]], Awaitable[Sequence[T | None]]],
) -> AsyncGenerator[tuple[LiveEvent, T], None]:
    """Each event with its row; one whose row is gone is left out."""
    async with aclosing(hub_of_process().follow(interest, after=after)) as events:
        async for event in events:
            found = await event.row(load)
            if found is not None:
                yield event, found
