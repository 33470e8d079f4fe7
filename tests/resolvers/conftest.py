"""What the tests of use cases share."""

from collections.abc import AsyncIterator

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from aether.engine.filters import FilterPool
from aether.engine.runtime import Runtime, install
from aether.http import HttpClients
from tests.fakes import RecordingQueue


@pytest.fixture
async def at_work(database: str) -> AsyncIterator[None]:
    """A runtime whose watchdog is on."""
    settings = Settings.from_environment({"WATCHDOG_ENABLED": "true"})
    async with HttpClients() as clients:
        filters = FilterPool(children=1)
        install(
            Runtime(
                settings=settings, queue=RecordingQueue(), filters=filters,
                credentials=Credentials(settings, clients),
            )
        )  # fmt: skip
        yield
        install(None)
        await filters.close()
