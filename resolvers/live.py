"""Live events: deliveries, task executions, what a run says and does, the watchdog log.

Each is an async generator: close it (``aclosing``) when its reader is gone. ``after`` is the cursor
of the last event that the reader had; what follows it comes first, nothing is missed and nothing
comes twice.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

from pydantic import StringConstraints
from pydantic.types import Strict

from aether.db import row, rows, transaction
from aether.engine.runtime import runtime
from aether.errors import NotFoundError
from aether.live.cursors import Position, Snapshot
from aether.live.events import Interest, LiveEvent, LiveKind, Page, cursor_of_now, read_cursor
from aether.live.hub import Hub
from aether.models import (
    Delivery,
    ExecutionMessage,
    TaskExecution,
    ToolExecution,
    WatchdogEntry,
)
from aether.vocabulary import DeliveryStatus, ExecutionStatus, WatchdogLevel
from resolvers.deliveries import deliveries_of
from resolvers.executions import executions_of, get_execution
from resolvers.fields import Input, Positive, Reference, RowId, Source
from resolvers.rows import each
from resolvers.watchdog import WatchdogOffError

T = TypeVar("T")

ENDED: Final = frozenset(
    {ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}
)
MOST_TOOL_EXECUTIONS: Final = 500


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
class WatchdogEvent:
    """An entry of the watchdog log was stored for the first time."""

    cursor: str
    entry: WatchdogEntry


@dataclass(frozen=True, kw_only=True)
class StreamEvent:
    """Something in one task execution's work."""

    cursor: str
    execution_id: int
    run: int


@dataclass(frozen=True, kw_only=True)
class SoFar(StreamEvent):
    """All that is stored of the present run; ``text`` of a reply that is still being written."""

    execution: TaskExecution
    messages: list[ExecutionMessage]
    tool_executions: list[ToolExecution]
    text: str

    @property
    def status(self) -> ExecutionStatus:
        """Where it stands."""
        return self.execution.status


@dataclass(frozen=True, kw_only=True)
class StatusChange(StreamEvent):
    """Its status, try, agent or wish to be cancelled has changed."""

    status: ExecutionStatus
    tries: int
    agent_id: str | None
    cancel_requested: bool
    error: str | None
    error_code: str | None


@dataclass(frozen=True, kw_only=True)
class Text(StreamEvent):
    """A piece of the reply that will stand at ``position``; ``offset`` in characters."""

    position: int
    round: int
    offset: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Reply(StreamEvent):
    """A whole reply of the model, stored."""

    position: int
    message: ExecutionMessage


@dataclass(frozen=True, kw_only=True)
class ToolResult(StreamEvent):
    """A tool call was run."""

    call_id: str
    tool_execution: ToolExecution


@dataclass(frozen=True, kw_only=True)
class End(StreamEvent):
    """The run has ended."""

    status: ExecutionStatus
    answer: str | None
    answer_url: str | None
    error: str | None
    error_code: str | None


def _hub() -> Hub:
    hub = runtime().live
    if hub is None:
        raise RuntimeError("this process has no hub of live events")
    return hub


async def present_cursor() -> str:
    """A cursor after everything that has been committed: read a state next, then follow."""
    return await cursor_of_now()


async def follow_deliveries(
    wanted: DeliveryInterest, after: str | None
) -> AsyncIterator[DeliveryEvent]:
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
) -> AsyncIterator[TaskExecutionChange]:
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


async def follow_watchdog(
    wanted: WatchdogInterest, after: str | None
) -> AsyncIterator[WatchdogEvent]:
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


async def _messages_of(ids: list[int]) -> list[ExecutionMessage | None]:
    return await each(ExecutionMessage, ids)


async def _tool_executions_of(ids: list[int]) -> list[ToolExecution | None]:
    return await each(ToolExecution, ids)


async def _with_rows(
    interest: Interest,
    after: str | None,
    load: Callable[[list[int]], Awaitable[Sequence[T | None]]],
) -> AsyncIterator[tuple[LiveEvent, T]]:
    """Each event with its row; one whose row is gone is left out."""
    async with aclosing(_hub().follow(interest, after=after)) as events:
        async for event in events:
            found = await event.row(load)
            if found is not None:
                yield event, found


async def follow_execution(id: int, after: str | None) -> AsyncIterator[StreamEvent]:
    """What one task execution does, as it does it, until it has ended.

    Without ``after`` the first event is all that is stored of the present run.

    Raises:
        NotFoundError: no execution has this id.
    """
    await get_execution(id)
    epoch, position = read_cursor(after) if after is not None else (None, None)
    hub = _hub()
    kinds = frozenset({LiveKind.EXECUTION, LiveKind.MESSAGE, LiveKind.TOOL, LiveKind.TEXT})
    interest = Interest(kinds, execution_id=id)
    sieve = _Sieve()
    if position is not None:
        async for page in hub.pages(interest, position, epoch=epoch):
            position = page.position
            async for told in sieve.told(page.events):
                yield told
    follower, _ = await hub.attach(interest)
    try:
        so_far, snapshot = await _so_far(id)
        if position is None:
            yield so_far
            if so_far.status in ENDED:
                yield _end_of(so_far)
        else:
            async for page in hub.pages(interest, position, epoch=epoch, upto=snapshot):
                async for told in sieve.told(page.events):
                    yield told
        if so_far.status in ENDED:
            return
        sieve.begin(so_far)
        async for event in follower.events():
            if snapshot.sees(event.position.tx):
                continue  # told already
            async for told in sieve.told([event]):
                yield told
                if isinstance(told, End):
                    return
    finally:
        hub.detach(follower)


class _Sieve:
    """Makes events of a run's rows, and keeps back text that its reply or a new try has overtaken."""

    def __init__(self) -> None:
        self._run = 0
        self._token = 0
        self._position = -1  # of the last stored reply

    def begin(self, so_far: SoFar) -> None:
        """Know what a reader has been told at once."""
        self._run = so_far.run
        self._token = so_far.execution.lease_token
        self._position = max((one.position for one in so_far.messages), default=-1)

    async def told(self, events: Sequence[LiveEvent]) -> AsyncIterator[StreamEvent]:
        """What is told of ``events``, in their order."""
        for event in events:
            made = await self._made(event)
            if made is not None:
                yield made

    async def _made(self, event: LiveEvent) -> StreamEvent | None:
        about = event.about
        place: dict[str, Any] = {
            "cursor": event.cursor,
            "execution_id": event.execution_id,
            "run": about["run"],
        }
        if event.kind is LiveKind.EXECUTION:
            self._token = max(self._token, about["token"])
            return await _change(event, place)
        if event.kind is LiveKind.TEXT:
            return self._text(about, place)
        if event.kind is LiveKind.MESSAGE:
            self._run, self._position = about["run"], about["position"]
            message = await event.row(_messages_of)
            return message and Reply(**place, position=message.position, message=message)
        tool = await event.row(_tool_executions_of)
        return tool and ToolResult(**place, call_id=tool.call_id, tool_execution=tool)

    def _text(self, about: Any, place: dict[str, Any]) -> Text | None:
        is_stored = (about["run"], about["position"]) <= (self._run, self._position)
        if is_stored or about["token"] < self._token:
            return None
        return Text(
            **place,
            position=about["position"],
            round=about["round"],
            offset=about["offset"],
            text=about["text"],
        )


async def _change(event: LiveEvent, place: dict[str, Any]) -> StreamEvent:
    about = event.about
    status = ExecutionStatus(about["status"])
    told = {"status": status, "error": about["error"], "error_code": about["error_code"]}
    if status in ENDED:
        now = await event.row(executions_of)
        is_answered = now is not None and status is ExecutionStatus.SUCCEEDED
        return End(
            **place,
            **told,
            answer=now.answer if is_answered and now else None,
            answer_url=now.answer_url if is_answered and now else None,
        )
    return StatusChange(
        **place,
        **told,
        tries=about["tries"],
        agent_id=about["agent_id"],
        cancel_requested=about["cancel_requested"],
    )


def _end_of(so_far: SoFar) -> End:
    execution = so_far.execution
    return End(
        cursor=so_far.cursor,
        execution_id=execution.id,
        run=execution.run,
        status=execution.status,
        answer=execution.answer,
        answer_url=execution.answer_url,
        error=execution.error,
        error_code=execution.error_code,
    )


_TEXT: Final = """
SELECT about->>'text' AS text, (about->>'offset')::int AS "offset" FROM live_event
WHERE execution_id = $1 AND kind = 'text' AND (about->>'run')::int = $2
  AND (about->>'position')::int > $3 AND (about->>'token')::bigint = $4
ORDER BY tx, id
"""


async def _so_far(id: int) -> tuple[SoFar, Snapshot]:
    """All of one moment, and that moment's snapshot."""
    async with transaction():
        await rows("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        now = await row("SELECT pg_current_snapshot()::text AS now, epoch FROM live_state")
        execution = await TaskExecution.get_or_none(id=id)
        if execution is None or now is None:
            raise NotFoundError("task execution", id)
        messages = await ExecutionMessage.filter(execution_id=id, run=execution.run).order_by(
            "position"
        )
        run = ToolExecution.filter(execution_id=id, run=execution.run)
        tools = await run.order_by("id").limit(MOST_TOOL_EXECUTIONS)
        pieces = []
        if execution.status is ExecutionStatus.RUNNING:
            stored = max((one.position for one in messages), default=-1)
            pieces = await rows(_TEXT, id, execution.run, stored, execution.lease_token)
    text = ""
    for piece in pieces:
        text = piece["text"] if piece["offset"] == 0 else text + piece["text"]
    snapshot = Snapshot.read(now["now"])
    so_far = SoFar(
        cursor=Position.at(snapshot).encode(now["epoch"]),
        execution_id=id,
        run=execution.run,
        execution=execution,
        messages=messages,
        tool_executions=tools,
        text=text,
    )
    return so_far, snapshot
