"""One process's ear for live events: it listens while anybody follows, and hands events on.

Everyone who follows shares one connection of its own and one read of the table a wake-up. A
follower is taken in between two batches, at a snapshot: what that snapshot sees is for the table,
all else comes by itself, so nothing is missed between the two and nothing comes twice. A lost
connection is opened anew, and reading goes on from the last snapshot.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

import asyncpg
from pydantic import SecretStr

from aether.db import UNAVAILABLE, connect, rows
from aether.errors import RateLimitedError, UnavailableError
from aether.live.cursors import Position, Snapshot
from aether.live.events import (
    Interest,
    LiveEvent,
    LiveKind,
    Page,
    prepare,
    read,
    read_cursor,
)

log = logging.getLogger(__name__)

CHANNEL: Final = "aether_live"
NAME: Final = "aether live"  # in pg_stat_activity
MOST_WAITING: Final = 5_000  # events of one follower that it has not taken yet
MOST_FOLLOWERS: Final = 10_000
POLL_SECONDS: Final = 1.0
"""Read at least so often while anybody follows: it finds a connection that is dead and silent, and
what was written before the writers knew that somebody listens."""
LISTENED_SECONDS: Final = 60.0  # how long writers notify after they were last told to
LINGER_SECONDS: Final = 10.0  # how long the connection is kept once nobody follows
LEAST_PAUSE_SECONDS: Final = 0.01  # between two reads, so that a storm of writes is read in batches
READ_SECONDS: Final = 10.0
ATTACH_SECONDS: Final = 15.0
FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 5.0

LOST: Final = (*UNAVAILABLE, OSError, asyncpg.PostgresError)


class Follower:
    """Events that one reader has yet to take; bounded."""

    def __init__(self, interest: Interest, most: int) -> None:
        self.interest = interest
        self.snapshot: Snapshot | None = None  # of what it sees nothing comes
        self._most = most
        self._waiting: deque[LiveEvent] = deque()
        self._wake = asyncio.Event()
        self._is_dropped = False

    @property
    def keys(self) -> list[tuple[LiveKind, int | None]]:
        """What the hub finds it by."""
        return [(kind, self.interest.execution_id) for kind in self.interest.kinds]

    def put(self, event: LiveEvent) -> bool:
        """Give it one event; False: it reads too slowly, and is now told so instead."""
        if len(self._waiting) >= self._most:
            self._waiting.clear()
            self._is_dropped = True
        else:
            self._waiting.append(event)
        self._wake.set()
        return not self._is_dropped

    async def next(self) -> LiveEvent:
        """The next event, once there is one.

        Raises:
            RateLimitedError: too many waited for this reader.
        """
        while not self._waiting:
            if self._is_dropped:
                raise RateLimitedError(
                    f"too slow: more than {self._most} events waited to be read; subscribe again "
                    "with the last cursor as `after`, and nothing is missed"
                )
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()


class Hub:
    """See the module. Use it in one event loop; ``close`` it there."""

    def __init__(
        self,
        url: SecretStr | str,
        *,
        most_waiting: int = MOST_WAITING,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._url = url
        self._most_waiting = most_waiting
        self._linger_seconds = linger_seconds
        self._followers: dict[tuple[LiveKind, int | None], set[Follower]] = {}
        self._count = 0
        self._asking: list[tuple[Follower, asyncio.Future[None]]] = []
        self._position: Position | None = None
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def count(self) -> int:
        """How many follow just now."""
        return self._count

    @property
    def is_listening(self) -> bool:
        """Whether a connection is open, or is being opened."""
        return self._running is not None and not self._running.done()

    async def attach(self, interest: Interest) -> tuple[Follower, Snapshot]:
        """Follow from a snapshot that is later than this call; ``detach`` it in any case.

        Raises:
            UnavailableError: the database is out of reach, or this process is stopping.
            RateLimitedError: too many follow already.
        """
        if self._is_closed:
            raise UnavailableError("this server is stopping; try again")
        if self._count + len(self._asking) >= MOST_FOLLOWERS:
            raise RateLimitedError(f"{MOST_FOLLOWERS} subscriptions are open already; try later")
        follower = Follower(interest, self._most_waiting)
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asked = (follower, taken)
        self._asking.append(asked)
        if not self.is_listening:
            self._running = asyncio.create_task(self._run(), name="live events")
        self._wake.set()
        try:
            async with asyncio.timeout(ATTACH_SECONDS):
                await taken
        except TimeoutError:
            self.detach(follower)
            raise UnavailableError("live events are out of reach; try again") from None
        except BaseException:
            self.detach(follower)
            raise
        assert follower.snapshot is not None  # noqa: S101 - set where ``taken`` was
        return follower, follower.snapshot

    def detach(self, follower: Follower) -> None:
        """Follow no more; may be called twice."""
        self._asking = [one for one in self._asking if one[0] is not follower]
        for key in follower.keys:
            known = self._followers.get(key, set())
            if follower in known:
                known.discard(follower)
                if key == follower.keys[0]:
                    self._count -= 1
            if not known:
                self._followers.pop(key, None)
        if self._count == 0:
            self._wake.set()

    async def follow(
        self, interest: Interest, *, after: str | None
    ) -> AsyncGenerator[LiveEvent, None]:
        """Events from now on, or all that follow the cursor ``after``; without end.

        Close it (``aclosing``): it is then forgotten at once.

        Raises:
            InvalidInputError: ``after`` is no cursor, too old, or of another database.
            RateLimitedError, UnavailableError: as ``attach``; the reader is too slow.
        """
        epoch, position = read_cursor(after) if after is not None else (None, None)
        if position is not None:  # what is long ago is read without being followed meanwhile
            async with aclosing(self.pages(interest, position, epoch=epoch)) as old:
                async for page in old:
                    position = page.position
                    for event in page.events:
                        yield event
        follower, snapshot = await self.attach(interest)
        try:
            if position is not None:
                rest = self.pages(interest, position, epoch=epoch, upto=snapshot)
                async with aclosing(rest) as missed:
                    async for page in missed:
                        for event in page.events:
                            yield event
            while True:
                yield await follower.next()
        finally:
            self.detach(follower)

    async def pages(
        self,
        interest: Interest,
        position: Position,
        *,
        epoch: str | None,
        upto: Snapshot | None = None,
    ) -> AsyncGenerator[Page, None]:
        """What the table holds for ``interest`` between ``position`` and ``upto`` (None: now).

        Only the events that ``interest`` accepts stand in the pages.
        """
        while True:
            page = await read(rows, position, upto=upto, interest=interest, is_told=epoch)
            page.events = [one for one in page.events if interest.accepts(one)]
            for event in page.events:
                event.is_wanted = True
            yield page
            if not page.has_more:
                return
            position = page.position

    async def close(self) -> None:
        """Stop listening; whoever waits to be taken in is told that this process is stopping."""
        self._is_closed = True
        for _, taken in self._asking:
            if not taken.done():
                taken.set_exception(UnavailableError("this server is stopping; try again"))
        self._asking = []
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    # --- listening ----------------------------------------------------------------------

    async def _run(self) -> None:
        """Listen until nobody has followed for a while; whatever is lost meanwhile is made up."""
        wait = FIRST_WAIT_SECONDS
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._listen()
            except LOST as error:
                log.warning("live events: the connection is lost (%s)", type(error).__name__)
            except Exception:  # without an ear everyone would wait for ever
                log.exception("live events: listening failed")
            if not self._count and not self._asking:
                self._position = None
                self._running = None  # the next to follow starts another
                return
            if asyncio.get_running_loop().time() - began > LONGEST_WAIT_SECONDS:
                wait = FIRST_WAIT_SECONDS
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    async def _listen(self) -> None:
        connection = await connect(self._url, name=NAME)
        try:
            connection.add_termination_listener(lambda _: self._wake.set())
            await connection.add_listener(CHANNEL, lambda *_: self._wake.set())

            async def fetch(sql: str, *parameters: Any) -> Sequence[Mapping[str, Any]]:
                found: list[Mapping[str, Any]] = await connection.fetch(
                    sql, *parameters, timeout=READ_SECONDS
                )
                return found

            await prepare(fetch)
            await self._hear(fetch)
        finally:
            connection.terminate()  # at once, whatever state it is in; nothing of ours is lost

    async def _hear(self, fetch: Any) -> None:
        """Read at each wake-up, and once a second; returns when nobody has followed for a while."""
        loop = asyncio.get_running_loop()
        listened_at, left_at = float("-inf"), loop.time()
        while True:
            if loop.time() - listened_at > LISTENED_SECONDS / 3:
                listened_at = loop.time()
                await fetch(
                    "UPDATE live_state SET listened_until = clock_timestamp()"
                    " + make_interval(secs => $1) WHERE id = 1",
                    LISTENED_SECONDS,
                )
            self._wake.clear()
            await self._catch_up(fetch)
            if self._count or self._asking:
                left_at = loop.time()
            elif loop.time() - left_at >= self._linger_seconds:
                return
            await asyncio.sleep(LEAST_PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(POLL_SECONDS, max(self._linger_seconds, 0.01))):
                    await self._wake.wait()

    async def _catch_up(self, fetch: Any) -> None:
        """Hand on all that has committed since the last read, then take in who asked before it."""
        asking = list(self._asking)
        if self._position is None:
            [found] = await fetch("SELECT pg_current_snapshot()::text AS now")
            self._position = Position.at(Snapshot.read(found["now"]))
        else:
            followed = Interest(frozenset(kind for kind, _ in self._followers))
            while True:
                page = await read(fetch, self._position, interest=followed)
                self._position = page.position
                self._hand_on(page)
                if not page.has_more:
                    break
        self._take_in(asking, self._position.batch)

    def _hand_on(self, page: Page) -> None:
        for event in page.events:
            followers = [*self._followers.get((event.kind, None), ())]
            if event.execution_id is not None:
                followers += self._followers.get((event.kind, event.execution_id), ())
            for one in followers:
                if one.interest.accepts(event):
                    event.is_wanted = True
                    if not one.put(event):
                        self.detach(one)
        page.events = [one for one in page.events if one.is_wanted]  # the rest is kept by nobody

    def _take_in(
        self, asking: list[tuple[Follower, asyncio.Future[None]]], snapshot: Snapshot
    ) -> None:
        for asked in asking:
            follower, taken = asked
            if asked not in self._asking or taken.done():
                continue  # it left meanwhile
            self._asking.remove(asked)
            follower.snapshot = snapshot
            for key in follower.keys:
                self._followers.setdefault(key, set()).add(follower)
            self._count += 1
            taken.set_result(None)
