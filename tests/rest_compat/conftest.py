"""A client of the test table."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import ASGIApp

from tests.rest_compat import table


def client_of(app: ASGIApp, host: str = "localhost:8000") -> httpx.AsyncClient:
    """Addressed to ``host``; a bug in the application reaches the test as it does the server."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    table.ROWS.clear()
    table.SEEN.clear()
    async with client_of(table.application()) as ours:
        yield ours
