"""GitLab polled by the engine: with webhooks or without them, each act starts one run."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from aether.db import rows
from aether.engine.filters import FilterPool
from aether.engine.receive import receive
from aether.engine.runtime import Runtime
from aether.models import Agent, Delivery, PollSource, TaskDefinition, TriggerTaskMapping
from aether.sources.gitlab import GitLab
from resolvers.seeding import seed
from tests.fakes import RecordingQueue
from tests.sources.gitlab import state
from tests.sources.gitlab.conftest import PROJECT, TOKEN
from tests.sources.gitlab.hooks import delivery
from tests.sources.gitlab.stand_in import GitLabStandIn

engine: Final = pytest.importorskip("aether.engine.poll", reason="the engine does not poll yet")
TRIGGERS: Final = ("issue.created", "issue.updated", "issue.closed", "issue.commented", "pr.opened",
            "pr.merged", "pr.closed", "pr.commented", "deployment.completed")  # fmt: skip


@dataclass
class Rig:
    runtime: Runtime
    gitlab: GitLabStandIn

    async def webhook(self, told: tuple[str, Any]) -> str:
        headers, body = delivery(*told, token="t")
        read = GitLab().extract({name.lower(): one for name, one in headers.items()}, body)
        return (await receive(self.runtime, read, slug="gitlab")).status

    async def poll(self) -> PollSource:
        await rows("UPDATE poll_source SET requested_at = now(), lease_until = NULL")
        await engine.poll_source(self.runtime, 1)
        row = await PollSource.get()
        assert not row.error
        assert row.failures == 0
        return row

    async def started(self) -> list[str]:
        found = await rows("SELECT canonical_trigger AS it FROM task_execution ORDER BY id")
        return [one["it"] for one in found]


@pytest.fixture
async def rig(database: str, gitlab: GitLabStandIn, gitlab_url: str) -> AsyncIterator[Rig]:
    settings = Settings.from_environment(
        {"DATABASE_URL": database, "GITLAB_URL": gitlab_url, "GITLAB_TOKEN": TOKEN}
    )
    await seed("source_event_mappings")
    await Agent.create(id="pm_sarah", name="Sarah", role="pm", prompt="You are Sarah.")
    await TaskDefinition.create(id="triage", name="T", description="Say.", actor_id="pm_sarah")
    for trigger in TRIGGERS:
        await TriggerTaskMapping.create(canonical_trigger=trigger, task_id="triage")
    await PollSource.create(source="gitlab", source_project_id=PROJECT, interval_minutes=5)
    await rows("UPDATE poll_source SET begins_at = now() - interval '1 day'")
    gitlab.project(PROJECT)
    made = Runtime(settings=settings, queue=RecordingQueue(), filters=FilterPool(),
                   credentials=Credentials(settings))  # fmt: skip
    yield Rig(made, gitlab)
    await made.filters.close()
    await made.credentials.close()


def at(minutes: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=123_000) - timedelta(minutes=minutes)


@pytest.mark.parametrize("first", ["webhook", "poll"])
async def test_what_a_webhook_and_a_poll_tell_starts_one_run(rig: Rig, first: str) -> None:
    gitlab, project = rig.gitlab, rig.gitlab.project(PROJECT)
    ann = gitlab.add_user("ann")
    issue = gitlab.add_issue(PROJECT, "It breaks")
    issue.created_at = issue.updated_at = at(30)
    request = gitlab.add_merge_request(PROJECT, "Mend")
    request.created_at = request.updated_at = at(29)
    closed = gitlab.add_merge_request(PROJECT, "Drop")
    closed.created_at = closed.updated_at = at(28)
    hooks = [state.item_body(project, one, ann, "open") for one in (issue, request, closed)]
    await both(rig, hooks, first)
    note = gitlab.add_note(issue, "And now?")
    note.created_at = note.updated_at = issue.updated_at = at(20)
    request.state, request.merged_at = "merged", at(19)
    request.updated_at = request.merged_at
    closed.state, closed.closed_at, closed.updated_at = "closed", at(18), at(18)
    done = gitlab.add_deployment(PROJECT, "success")
    done.updated_at = at(17)
    hooks = [
        gitlab.told_note(PROJECT, issue, note), state.item_body(project, request, ann, "merge"),
        state.item_body(project, closed, ann, "close"), state.deployment_body(project, done),
    ]  # fmt: skip
    await both(rig, hooks, first)
    issue.title, issue.updated_at = "Often", at(10)
    changes = {"title": {"previous": "It breaks", "current": "Often"}}
    await both(rig, [state.item_body(project, issue, ann, "update", changes)], first)
    issue.state, issue.closed_at, issue.updated_at = "closed", at(5), at(5)
    await both(rig, [state.item_body(project, issue, ann, "close")], first)

    assert sorted(await rig.started()) == sorted([
        "issue.created", "pr.opened", "pr.opened", "issue.commented", "pr.merged", "pr.closed",
        "deployment.completed", "issue.updated", "issue.closed",
    ])  # fmt: skip


async def both(rig: Rig, hooks: list[tuple[str, Any]], first: str) -> None:
    for by in (first, "poll" if first == "webhook" else "webhook"):
        if by == "poll":
            await rig.poll()
        else:
            for one in hooks:
                await rig.webhook(one)


async def test_polling_again_tells_nothing_again(rig: Rig) -> None:
    issue = rig.gitlab.add_issue(PROJECT, "It breaks")
    rig.gitlab.add_note(issue, "And now?")

    for _ in range(3):
        await rig.poll()
    await rows("DELETE FROM delivery")
    await rig.poll()

    assert await rig.started() == ["issue.created", "issue.commented"]
    assert await Delivery.all().count() == 0
