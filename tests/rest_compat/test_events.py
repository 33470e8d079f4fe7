import asyncio
import json
from collections.abc import AsyncGenerator, MutableMapping
from datetime import UTC, datetime
from typing import Any

import pytest

from rest_compat.events import Event, EventStream

SCOPE: dict[str, Any] = {"type": "http"}


class Client:
    """The far end of an ASGI response: keeps what it is sent, and leaves when told."""

    def __init__(self, *, stalls_after: int | None = None) -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        self.leaves = asyncio.Event()
        self._stalls_after = stalls_after

    async def receive(self) -> MutableMapping[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if self._stalls_after is not None and len(self.sent) > self._stalls_after:
            await asyncio.Event().wait()
        self.sent.append(message)

    @property
    def body(self) -> str:
        return b"".join(one["body"] for one in self.sent[1:]).decode()


class Source:
    """Events, and whether whoever read them has closed it."""

    def __init__(self, *events: Event | BaseException | asyncio.Event) -> None:
        self.events = events
        self.is_closed = False

    async def read(self) -> AsyncGenerator[Event, None]:
        try:
            for one in self.events:
                if isinstance(one, asyncio.Event):
                    await one.wait()
                elif isinstance(one, BaseException):
                    raise one
                else:
                    yield one
        finally:
            self.is_closed = True


async def test_events_are_sent_one_by_one_and_the_answer_is_ended() -> None:
    source = Source(
        Event("text", {"text": "a\nb\r\u2028"}),
        Event("done", {"at": datetime(2026, 2, 18, tzinfo=UTC)}),
    )
    client = Client()

    await EventStream(source.read())(SCOPE, client.receive, client.send)

    start, *parts = client.sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
    }
    assert [one.get("more_body", False) for one in parts] == [True, True, False]
    first, second = client.body.strip().split("\n\n")
    assert first.split("\n")[0] == "event: text"
    assert json.loads(first.split("\n", 1)[1].removeprefix("data: ")) == {"text": "a\nb\r\u2028"}
    assert second == 'event: done\ndata: {"at":"2026-02-18T00:00:00Z"}'
    assert source.is_closed


async def test_a_comment_comes_where_no_event_does_and_no_event_is_lost() -> None:
    gate = asyncio.Event()
    source = Source(gate, Event("done", 1))
    client = Client()
    response = EventStream(source.read(), heartbeat_seconds=0.01)

    sending = asyncio.create_task(response(SCOPE, client.receive, client.send))
    async with asyncio.timeout(10):
        while len(client.sent) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    gate.set()
    await sending

    *comments, last, _ = client.sent[1:]
    assert {one["body"] for one in comments} == {b": still there\n\n"}
    assert last["body"] == b"event: done\ndata: 1\n\n"


async def test_a_client_that_leaves_closes_the_source_at_once() -> None:
    source = Source(Event("text", 1), asyncio.Event())
    client = Client()
    sending = asyncio.create_task(EventStream(source.read())(SCOPE, client.receive, client.send))
    async with asyncio.timeout(10):
        while len(client.sent) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    client.leaves.set()
    await asyncio.wait_for(sending, 10)

    assert source.is_closed
    assert len(client.sent) == 2


async def test_a_client_that_does_not_read_is_dropped() -> None:
    source = Source(*(Event("text", number) for number in range(100)))
    client = Client(stalls_after=3)
    response = EventStream(source.read(), send_seconds=0.05)

    await asyncio.wait_for(response(SCOPE, client.receive, client.send), 10)

    assert source.is_closed
    assert len(client.sent) == 4


async def test_a_source_that_fails_is_the_servers_matter() -> None:
    source = Source(Event("text", 1), RuntimeError("a bug"))
    client = Client()

    with pytest.raises(RuntimeError, match="a bug"):
        await EventStream(source.read())(SCOPE, client.receive, client.send)

    assert source.is_closed
