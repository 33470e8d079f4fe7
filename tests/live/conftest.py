"""A hub over the test's database, and writers of rows that are told."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import asyncpg
import pytest

from aether.live.events import Interest, LiveEvent, LiveKind
from aether.live.hub import Hub

Hubs = Callable[..., Hub]

DELIVERY = """
INSERT INTO delivery (source, slug, delivery_key, change_key, event_name, status, event, payload,
  canonical_triggers, project_id)
VALUES ($1, 'github', $2, $2, 'issues', $3, '{}', '{}', $4, $5) RETURNING id
"""
EXECUTION = """
INSERT INTO task_execution (delivery_id, task_id, canonical_trigger, source, status, agent_id,
  project_id)
VALUES ($1, $2, 'issue.created', 'github', $3, $4, $5) RETURNING id
"""

_numbers = count(1)

DELIVERIES = Interest(frozenset({LiveKind.DELIVERY}))


async def deliver(
    connection: Any,
    *,
    source: str = "github",
    status: str = "routed",
    triggers: tuple[str, ...] = ("issue.created",),
    project_id: int | None = None,
) -> int:
    """Store one delivery as the engine does; its id."""
    key = f"d-{next(_numbers)}"
    row_id: int = await connection.fetchval(
        DELIVERY, source, key, status, json.dumps(triggers), project_id
    )
    return row_id


async def start(
    connection: Any,
    *,
    task_id: str = "triage",
    status: str = "queued",
    agent_id: str | None = None,
    project_id: int | None = None,
) -> int:
    """Store one task execution; its id."""
    delivery_id = next(_numbers)
    row_id: int = await connection.fetchval(
        EXECUTION, delivery_id, task_id, status, agent_id, project_id
    )
    return row_id


@asynccontextmanager
async def following(
    hub: Hub, interest: Interest = DELIVERIES, after: str | None = None
) -> AsyncIterator["Reader"]:
    """A reader that is taken in by the hub."""
    events = hub.follow(interest, after=after)
    reader = Reader(events)
    before = hub.count
    reader.begin()
    try:
        if after is None:
            await until(lambda: hub.count > before)
        yield reader
    finally:
        await reader.close()


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 # what is waited for has no event of its own
            await asyncio.sleep(0.005)


class Reader:
    """Takes events as a client does, one after another."""

    def __init__(self, events: AsyncGenerator[LiveEvent, None]) -> None:
        self._events = events
        self._next: asyncio.Task[LiveEvent] | None = None

    def begin(self) -> None:
        """Ask for the next event."""
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._events))

    async def take(self, count: int = 1, seconds: float = 20) -> list[LiveEvent]:
        """The next ``count`` events."""
        taken = []
        async with asyncio.timeout(seconds):
            for _ in range(count):
                self.begin()
                assert self._next is not None
                taken.append(await self._next)
                self._next = None
        return taken

    async def close(self) -> None:
        """Leave."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._events.aclose()


@pytest.fixture
async def hubs(database: str) -> AsyncIterator[Hubs]:
    """Makes hubs, each as of a process of its own."""
    made: list[Hub] = []

    def make(**told: Any) -> Hub:
        hub = Hub(database, **told)
        made.append(hub)
        return hub

    yield make
    for hub in made:
        await hub.close()


@pytest.fixture
async def hub(hubs: Hubs) -> Hub:
    """One hub."""
    return hubs()


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that writes."""
    opened = await asyncpg.connect(database)
    yield opened
    await opened.close()
