"""Stand-ins for what is outside of us, each of which records what it was told."""

from collections.abc import Sequence

from dramatiq.brokers.stub import StubBroker
from starlette.types import ASGIApp, Receive, Scope, Send

from aether.queue import Job, Queue


class RecordingQueue(Queue):
    """A queue that nobody reads: ``hints`` are the (job, ids) it was given, in order."""

    def __init__(self) -> None:
        super().__init__(StubBroker(middleware=[]))
        self.hints: list[tuple[Job, list[int]]] = []

    def hint(self, job: Job, ids: Sequence[int]) -> None:
        self.hints.append((job, list(ids)))

    @property
    def ids(self) -> list[int]:
        """Every id that was hinted, in order."""
        return [one for _, ids in self.hints for one in ids]


class Replaceable:
    """Whatever stands in at one address just now: each test of many gets a new one there."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)
