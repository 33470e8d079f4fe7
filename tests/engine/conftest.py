"""A runtime over a real database, with a queue that records what it is asked to send."""

from collections.abc import AsyncIterator

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from aether.engine.filters import FilterPool
from aether.engine.runtime import Runtime
from tests.fakes import RecordingQueue


@pytest.fixture
def queue() -> RecordingQueue:
    return RecordingQueue()


@pytest.fixture
async def runtime(database: str, queue: RecordingQueue) -> AsyncIterator[Runtime]:
    settings = Settings.from_environment({"DATABASE_URL": database})
    made = Runtime(
        settings=settings,
        queue=queue,
        filters=FilterPool(),
        credentials=Credentials(settings),
    )
    yield made
    await made.filters.close()
    await made.credentials.close()
