"""What the tests of the core share: a clock that passes by itself, a platform of a few lines."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aether.demo.faults import Door, Faults
from aether.demo.serving import serving
from aether.http import Connection, HttpClients

Handler = Callable[[Request], Awaitable[Response]]
STARTED = datetime(2026, 2, 18, 10, 0, tzinfo=UTC)


class FakeTime:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def clock(self) -> datetime:
        return STARTED + timedelta(seconds=self.seconds - 1000.0)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.seconds += seconds
        await asyncio.sleep(0)

    def clients(self, **told: Any) -> HttpClients:
        return HttpClients(sleep=self.sleep, monotonic=self.monotonic, clock=self.clock, **told)


class Platform:
    """A served application that records its calls and suffers ``faults``."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        methods = ["GET", "POST", "PATCH", "DELETE"]
        routes = [Route(path, one, methods=methods) for path, one in handlers.items()]
        self.faults = Faults()
        self.door = Door(Starlette(routes=routes), self.faults)
        self.url = ""

    @property
    def asked(self) -> list[str]:
        return [f"{call.method} {call.path}" for call in self.door.calls]

    @contextmanager
    def served(self) -> Iterator["Platform"]:
        with serving(self.door) as self.url:
            yield self


def connect(clients: HttpClients, url: str, **headers: str) -> Connection:
    """A connection that sends ``headers``; an underscore stands for a dash."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}

    async def factory() -> Mapping[str, str]:
        return told

    return clients.connection(url, factory)
