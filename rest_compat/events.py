"""Server-sent events out of a generator, for as long as the client is there and reads.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rest_compat.shapes import to_json

log = logging.getLogger(__name__)

T = TypeVar("T")

HEARTBEAT_SECONDS: Final = 15.0
SEND_SECONDS: Final = 30.0
"""How long one event may wait for a client that does not read."""


@dataclass(frozen=True)
class Event:
    """One event: its name, and its data as JSON."""

    name: str
    data: Any

    def encode(self) -> bytes:
        """As it goes over the wire; JSON has no line ends."""
        return b"event: %b\ndata: %b\n\n" % (self.name.encode(), to_json(self.data))


async def while_there(request: Request, work: Awaitable[T]) -> T:
    """``work``'s result; cancelled when the client leaves before.

    Raises:
        ClientDisconnect: it left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_gone(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


class EventStream(Response):
    """Sends events, and a comment where none comes for long; closes the source in every case.

    A client that leaves is noticed at once, one that stops reading after ``SEND_SECONDS``.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[Event, None],
        *,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self.events = events
        self.heartbeat_seconds = heartbeat_seconds
        self.send_seconds = send_seconds
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send_all(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.wait({sending, leaving})
        if not sending.cancelled():
            sending.result()

    async def _send_all(self, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        try:
            async with aclosing(self.events) as events:
                await self._pass_on(events, lambda body: self._send(send, body))
        except _StalledError:
            log.info("closed a stream of events: the client stopped reading")
            return
        await send({"type": "http.response.body", "body": b""})

    async def _pass_on(
        self, events: AsyncGenerator[Event, None], send: Callable[[bytes], Awaitable[None]]
    ) -> None:
        coming: asyncio.Task[Event] | None = None
        try:
            while True:
                coming = coming or asyncio.create_task(_next(events))
                done, _ = await asyncio.wait({coming}, timeout=self.heartbeat_seconds)
                if not done:
                    await send(b": still there\n\n")
                    continue
                try:
                    event = coming.result()
                except StopAsyncIteration:
                    return
                coming = None
                await send(event.encode())
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})

    async def _send(self, send: Send, body: bytes) -> None:
        try:
            async with asyncio.timeout(self.send_seconds):
                await send({"type": "http.response.body", "body": body, "more_body": True})
        except TimeoutError:
            raise _StalledError from None


class _StalledError(Exception):
    """The client stopped reading."""


async def _next(events: AsyncGenerator[Event, None]) -> Event:
    return await anext(events)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
