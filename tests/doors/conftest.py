"""The REST door as the composition root builds it, over a real database."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette

from aether.config import Settings
from aether.credentials import Credentials
from aether.db import UNAVAILABLE
from aether.engine.filters import FilterPool
from aether.engine.runtime import Runtime, install
from aether.http import HttpClients
from rest_compat import exception_handlers, middleware, rest_routes
from tests.doors.calls import SECRET, Door
from tests.fakes import RecordingQueue


@pytest.fixture
async def runtime(database: str) -> AsyncIterator[Runtime]:
    """This process's runtime, on the test's database; its queue only records."""
    settings = Settings.from_environment({"GITHUB_WEBHOOK_SECRET": SECRET})
    filters = FilterPool(children=1)
    async with HttpClients() as clients:
        ours = Runtime(
            settings=settings,
            queue=RecordingQueue(),
            filters=filters,
            credentials=Credentials(settings, clients),
        )
        install(ours)
        yield ours
        install(None)
        await filters.close()


@pytest.fixture
async def door(runtime: Runtime) -> AsyncIterator[Door]:
    """A client of every REST route."""
    app = Starlette(
        routes=rest_routes(),
        middleware=middleware(runtime.settings),
        exception_handlers=exception_handlers(UNAVAILABLE),
    )
    app.router.redirect_slashes = False
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        yield Door(client, runtime)
