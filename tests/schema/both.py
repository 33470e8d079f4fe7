"""Both doors of one application over a test's database: REST's client, and GraphQL's."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any, Final

import httpx
from starlette.applications import Starlette
from starlette.routing import Route

from aether.config import Settings
from aether.credentials import Credentials
from aether.db import UNAVAILABLE
from aether.engine.filters import FilterPool
from aether.engine.runtime import Runtime, install
from aether.http import HttpClients
from rest_compat import exception_handlers, middleware, rest_routes
from schema import build_schema
from schema.core import Schema
from schema.view import MOUNT_PATH, View
from tests.doors.calls import SECRET, Door
from tests.fakes import RecordingQueue

STATEMENTS: Final = logging.getLogger("tortoise.db_client")
"""Where Tortoise tells each statement: https://tortoise.github.io/logging.html"""


@cache
def whole_schema() -> Schema:
    return build_schema()


class Doors(Door):
    """REST as ``Door`` has it, and ``ask`` and ``refused_by_graphql`` for GraphQL."""

    async def ask(self, query: str, **variables: Any) -> Any:
        """The data of an answer without errors."""
        answer = await self.graphql(query, variables)
        assert list(answer) == ["data"], answer
        return answer["data"]

    async def refused_by_graphql(self, query: str, **variables: Any) -> tuple[str, str]:
        """Text and code of an answer's only error; what failed is null."""
        answer = await self.graphql(query, variables)
        [error] = answer["errors"]
        assert answer["data"] is None or set(answer["data"].values()) == {None}, answer
        return error["message"], error["extensions"]["code"]

    async def graphql(self, query: str, variables: Any) -> Any:
        body = {"query": query, "variables": variables}
        answer = await self.client.post(MOUNT_PATH, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def both_doors(**environment: str) -> AsyncIterator[Doors]:
    """The application as the composition root builds it; its queue only records."""
    settings = Settings.from_environment({"GITHUB_WEBHOOK_SECRET": SECRET, **environment})
    filters = FilterPool(children=1)
    app = Starlette(
        routes=[*rest_routes(), Route(MOUNT_PATH, View(whole_schema()))],
        middleware=middleware(settings),
        exception_handlers=exception_handlers(UNAVAILABLE),
    )
    app.router.redirect_slashes = False
    transport = httpx.ASGITransport(app)
    async with (
        HttpClients() as clients,
        httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client,
    ):
        runtime = Runtime(
            settings=settings,
            queue=RecordingQueue(),
            filters=filters,
            credentials=Credentials(settings, clients),
        )
        install(runtime)
        yield Doors(client, runtime)
        install(None)
        await filters.close()


class _Listening(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "%s: %s":  # a statement and its values, not the pool's comings and goings
            self.heard.append(record.getMessage())


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL statements that are sent within the block."""
    ear, level = _Listening(), STATEMENTS.level
    STATEMENTS.addHandler(ear)
    STATEMENTS.setLevel(logging.DEBUG)
    try:
        yield ear.heard
    finally:
        STATEMENTS.setLevel(level)
        STATEMENTS.removeHandler(ear)
