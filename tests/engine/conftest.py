"""A runtime over a real database, with a queue that records what it is asked to send."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from aether.engine.filters import FilterPool
from aether.engine.runtime import Runtime
from aether.queue import Job, Queue


@dataclass
class RecordingQueue:
    """Keeps the ids that hints were asked for; sends nothing."""

    hinted: list[int] = field(default_factory=list)

    def hint(self, _job: Job, ids: Sequence[int]) -> None:
        self.hinted.extend(ids)


@pytest.fixture
def queue() -> RecordingQueue:
    return RecordingQueue()


@pytest.fixture
async def runtime(database: str, queue: RecordingQueue) -> AsyncIterator[Runtime]:
    settings = Settings.from_environment({"DATABASE_URL": database})
    made = Runtime(
        settings=settings,
        queue=cast("Queue", queue),
        filters=FilterPool(),
        credentials=Credentials(settings),
    )
    yield made
    await made.filters.close()
    await made.credentials.close()
