"""One task execution at work, as it happens: text, whole replies, tool results, the end."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from aether.db import row, rows, transaction
from aether.errors import NotFoundError
from aether.live.cursors import Position, Snapshot
from aether.live.events import Interest, LiveEvent, LiveKind, read_cursor
from aether.live.hub import Follower, Hub
from aether.models import ExecutionMessage, TaskExecution, ToolExecution
from aether.vocabulary import ExecutionStatus
from resolvers.executions import executions_of, get_execution
from resolvers.live import hub_of_process
from resolvers.rows import each

KINDS: Final = frozenset({LiveKind.EXECUTION, LiveKind.MESSAGE, LiveKind.TOOL, LiveKind.TEXT})
ENDED: Final = frozenset(
    {ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}
)
MOST_TOOL_EXECUTIONS: Final = 500


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


async def follow_execution(id: int, after: str | None) -> AsyncGenerator[StreamEvent, None]:
    """What one task execution does, as it does it, until it has ended; close it (``aclosing``).

    Without ``after`` the first event is all that is stored of the present run.

    Raises:
        NotFoundError: no execution has this id.
        InvalidInputError, RateLimitedError, UnavailableError: as ``live.follow_deliveries``.
    """
    await get_execution(id)
    stream = _Stream(hub_of_process(), id)
    if after is not None:
        async with aclosing(stream.stored(*read_cursor(after))) as old:
            async for event in old:
                yield event
    follower, _ = await stream.hub.attach(stream.interest)
    try:
        so_far, snapshot = await _so_far(id)
        known = stream.rest(snapshot) if after is not None else _opening(so_far)
        async with aclosing(known):
            async for event in known:
                yield event
        if so_far.status not in ENDED:
            stream.begin(so_far)
            async with aclosing(stream.coming(follower, snapshot)) as coming:
                async for event in coming:
                    yield event
    finally:
        stream.hub.detach(follower)


class _Stream:
    """The events of one execution's rows; text that a reply or a new try overtook is kept back."""

    def __init__(self, hub: Hub, id: int) -> None:
        self.hub = hub
        self.interest = Interest(KINDS, execution_id=id)
        self._reached: tuple[str, Position] | None = None
        self._run = 0
        self._token = 0
        self._position = -1  # of the last stored reply

    async def stored(
        self, epoch: str, position: Position, upto: Snapshot | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        """What the table holds after ``position``."""
        found = self.hub.pages(self.interest, position, epoch=epoch, upto=upto)
        async with aclosing(found) as pages:
            async for page in pages:
                self._reached = epoch, page.position
                for event in page.events:
                    made = await self._made(event)
                    if made is not None:
                        yield made

    async def rest(self, upto: Snapshot) -> AsyncGenerator[StreamEvent, None]:
        """What has come since ``stored`` ended, as far as ``upto`` sees."""
        if self._reached is not None:
            async with aclosing(self.stored(*self._reached, upto)) as missed:
                async for event in missed:
                    yield event

    def begin(self, so_far: SoFar) -> None:
        """Know what a reader has been told at once."""
        self._run = so_far.run
        self._token = so_far.execution.lease_token
        self._position = max((one.position for one in so_far.messages), default=-1)

    async def coming(
        self, follower: Follower, known: Snapshot
    ) -> AsyncGenerator[StreamEvent, None]:
        """What comes now, up to the end of the run; what ``known`` sees has been told."""
        while True:
            event = await follower.next()
            made = None if known.sees(event.position.tx) else await self._made(event)
            if made is not None:
                yield made
            if isinstance(made, End):
                return

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
            if message is None:
                return None
            return Reply(**place, position=message.position, message=message)
        tool = await event.row(_tool_executions_of)
        if tool is None:
            return None
        return ToolResult(**place, call_id=tool.call_id, tool_execution=tool)

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


async def _messages_of(ids: list[int]) -> list[ExecutionMessage | None]:
    return await each(ExecutionMessage, ids)


async def _tool_executions_of(ids: list[int]) -> list[ToolExecution | None]:
    return await each(ToolExecution, ids)


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


async def _opening(so_far: SoFar) -> AsyncGenerator[StreamEvent, None]:
    """The first event, and the last where there is no more to come."""
    yield so_far
    execution = so_far.execution
    if execution.status in ENDED:
        yield End(
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
