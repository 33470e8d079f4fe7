"""A stand-in GitHub, a runtime over a real database, and a poll source between them."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from aether import sources
from aether.config import Settings
from aether.credentials import Credentials
from aether.db import row, rows
from aether.demo.github import Call, Comment, GitHubStandIn, Issue, signed_delivery
from aether.demo.github_state import moment
from aether.demo.serving import serving
from aether.engine.filters import FilterPool
from aether.engine.poll import poll_source
from aether.engine.receive import Receipt, receive
from aether.engine.runtime import Runtime
from aether.models import PollSource, TaskDefinition, TaskExecution, TriggerTaskMapping
from aether.queue import Job
from aether.vocabulary import BUILT_IN_TRIGGERS
from resolvers.seeding import seed
from tests.fakes import RecordingQueue

TOKEN: Final = "ghp_a_token_of_the_tests_0001"
REPO: Final = "acme/api"


class SentQueue(RecordingQueue):
    """Also ``sent``: what was sent, not only hinted."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[Job, list[int]]] = []

    async def send(self, job: Job, ids: Sequence[int]) -> None:
        self.sent.append((job, list(ids)))


@dataclass(kw_only=True)
class Rig:
    """``id`` is the poll source's; every trigger starts the task ``note``."""

    github: GitHubStandIn
    url: str
    runtime: Runtime
    queue: "SentQueue"
    id: int = 0

    async def want(self) -> None:
        """Ask for a poll, as the API or the scheduler does."""
        await rows("UPDATE poll_source SET requested_at = now() WHERE id = $1", self.id)

    async def poll(self) -> Any:
        """One turn of a poll; the row afterwards."""
        await self.want()
        await poll_source(self.runtime, self.id)
        return await self.row()

    async def row(self) -> Any:
        """The poll source as it is now."""
        return await PollSource.get(id=self.id)

    async def webhook(self, event: str, payload: Mapping[str, Any]) -> Receipt:
        """What the web process does with an authentic delivery."""
        headers, body = signed_delivery(event, payload, None)
        source = sources.get("github")
        assert source is not None
        told = source.extract({name.lower(): value for name, value in headers.items()}, body)
        return await receive(self.runtime, told, slug="github")

    async def started(self) -> list[tuple[str, str | None]]:
        """Trigger and item of every execution, in the order of their creation."""
        found = await TaskExecution.all().order_by("id")
        return [(one.canonical_trigger, one.item_key) for one in found]

    @contextmanager
    def calls(self) -> Iterator[list[Call]]:
        """The API's requests within the block, once it is over."""
        told: list[Call] = []
        before = len(self.github.calls)
        yield told
        told += self.github.calls[before:]


@asynccontextmanager
async def rigged(database: str, **settings: str) -> AsyncIterator[Rig]:
    """A rig whose repository is empty and whose poll source has never been polled."""
    github = GitHubStandIn({TOKEN: "aether-person"})
    github.add_repository(REPO)
    queue = SentQueue()
    await seed("source_event_mappings")
    await TaskDefinition.create(id="note", name="Note", description="Note", actor_id="pm_sarah")
    for trigger in BUILT_IN_TRIGGERS:
        await TriggerTaskMapping.create(canonical_trigger=trigger, task_id="note")
    with serving(github.app) as url:
        told = Settings.from_environment(
            {
                "DATABASE_URL": database,
                "GITHUB_API_URL": url,
                "GITHUB_TOKEN": TOKEN,
                **settings,
            }
        )
        runtime = Runtime(
            settings=told, queue=queue, filters=FilterPool(), credentials=Credentials(told)
        )
        rig = Rig(github=github, url=url, runtime=runtime, queue=queue)
        one = await PollSource.create(source="github", source_project_id=REPO)
        rig.id = one.id
        yield rig
        await runtime.filters.close()
        await runtime.credentials.close()


def ago(**of: float) -> datetime:
    """A moment before now, in whole seconds."""
    return moment() - timedelta(**of)


def opened_at(issue: Issue, at: datetime) -> Issue:
    """As if it had been opened then and not been touched since."""
    issue.created_at = issue.updated_at = at
    return issue


def written_at(issue: Issue, comment: Comment, at: datetime) -> Comment:
    """As if the comment had been written then, as the last thing on its issue."""
    comment.created_at = comment.updated_at = issue.updated_at = at
    return comment


async def deliveries() -> list[tuple[str, str]]:
    """Event name and status of every delivery, oldest first."""
    found = await rows("SELECT event_name, status FROM delivery ORDER BY id")
    return [(one["event_name"], one["status"]) for one in found]


async def count(table: str) -> int:
    found = await row(f"SELECT count(*) AS n FROM {table}")  # noqa: S608 # a name of the tests
    assert found is not None
    return int(found["n"])
