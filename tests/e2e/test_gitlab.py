"""GitLab in, notes out: real processes, real database, real queue; GitLab and model stand in."""

import asyncio
import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from aether.demo.model import Reply, ToolCallScript, by_turn
from aether.demo.serving import serving
from aether.embedded.postgres import Postgres
from aether.embedded.valkey import Valkey
from tests.conftest import emptied, make_database
from tests.e2e.system import System, system, wait_for
from tests.fakes import Replaceable
from tests.sources.gitlab.hooks import delivery
from tests.sources.gitlab.stand_in import GitLabStandIn
from tests.sources.gitlab.state import Item

PROJECT: Final = "acme/backend/api"
TOKEN: Final = "glpat-a-token-of-the-tests-01"
SECRET: Final = "webhook-secret-of-the-tests"
SIGNING: Final = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass(frozen=True, kw_only=True)
class World:
    """Aether's processes and the GitLab that they speak to."""

    system: System
    gitlab: GitLabStandIn

    def deliver(self, told: tuple[str, Any], **signing: Any) -> httpx.Response:
        headers, body = delivery(*told, **(signing or {"token": SECRET}))
        return httpx.post(
            f"{self.system.url}/webhook/gitlab", headers=headers, content=body, timeout=15
        )


@pytest.fixture(scope="module")
def started(
    postgres: Postgres, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[System, Replaceable]]:
    """Web, worker and scheduler, started once, and where their GitLab stands."""
    database = asyncio.run(make_database(postgres, "gitlab"))
    door = Replaceable(GitLabStandIn(prefix="/gitlab").app)
    with (
        serving(door) as url,
        system(
            database,
            valkey.url,
            tmp_path_factory.mktemp("system"),
            GITLAB_URL=f"{url}/gitlab",
            GITLAB_TOKEN=TOKEN,
            GITLAB_WEBHOOK_SECRET=SECRET,
            GITLAB_SIGNING_TOKEN=SIGNING,
        ) as made,
    ):
        made.start("worker")
        made.start("scheduler")
        made.start_web()
        yield made, door


@pytest.fixture
def world(started: tuple[System, Replaceable]) -> World:
    """The same over an emptied database, with new stand-ins and one task on two triggers."""
    made, door = started
    gitlab = GitLabStandIn(prefix="/gitlab")
    gitlab.accept(TOKEN, "aether-person")
    asyncio.run(emptied(made.environment["DATABASE_URL"]))
    made.renew()
    door.app = gitlab.app
    made.one_task()
    told = {"canonical_trigger": "issue.commented", "task_id": "triage"}
    made.call("POST", "/api/tasks/triggers", json=told)
    return World(system=made, gitlab=gitlab)


def said(item: Item) -> list[str]:
    return [re.sub(r"\n\n<!-- aether:[\w-]{32} -->$", "", note.body) for note in item.notes]


@pytest.mark.slow
def test_a_delivery_becomes_one_note_and_our_own_note_becomes_nothing(world: World) -> None:
    system, gitlab = world.system, world.gitlab
    system.model.say(
        by_turn(
            [
                Reply.calls(ToolCallScript("add_labels", {"labels": ["bug"]}, "c1")),
                Reply.text("It is the parser."),
            ]
        )
    )
    issue = gitlab.add_issue(PROJECT, "It breaks", "On start.")
    gitlab.hook(f"{system.url}/webhook/gitlab", token=SECRET, signing_token=SIGNING)
    opened = gitlab.told(PROJECT, issue, "open")

    first = world.deliver(opened, signing_token=SIGNING, delivery_id="d-1")
    [execution_id] = first.json()["executions"]
    done = system.finished(execution_id)
    again = world.deliver(opened, signing_token=SIGNING, delivery_id="d-1")
    by_token = world.deliver(opened)
    echoes = wait_for(lambda: [one for one in gitlab.webhooks if one.done][1:] and gitlab.webhooks)

    assert first.json() == {
        "status": "accepted",
        "delivery_id": first.json()["delivery_id"],
        "canonical_trigger": "issue.created",
        "canonical_triggers": ["issue.created"],
        "executions": [execution_id],
    }
    assert (done["status"], done["answer"], done["error"]) == (
        "succeeded", "It is the parser.", None,
    )  # fmt: skip
    assert (said(issue), issue.labels) == (["It is the parser."], ["bug"])
    assert [one.json()["status"] for one in (again, by_token)] == ["duplicate"] * 2
    assert [(one.event, one.status, '"ignored"' in one.answer) for one in echoes] == [
        ("Issue Hook", 200, True),
        ("Note Hook", 200, True),
    ]
    ours = [one for one in system.call("GET", "/api/deliveries") if one["status"] == "ignored"]
    assert all(one["reason"].startswith("our own doing: ") for one in ours)
    assert all(one["is_verified"] for one in ours)
    assert system.call("GET", "/api/integrations/gitlab/test") == {
        "status": "ok",
        "source": "gitlab",
    }


def test_what_is_not_proven_is_refused_and_reserves_nothing(world: World) -> None:
    world.system.model.say(Reply.text("Then right."))
    issue = world.gitlab.add_issue(PROJECT, "It breaks")
    opened = world.gitlab.told(PROJECT, issue, "open")
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()
    wrong: list[dict[str, Any]] = [
        {"token": "another"},
        {"token": ""},
        {"token": SECRET, "signing_token": other},
        {"signing_token": other},
    ]

    refused = [world.deliver(opened, delivery_id="d-1", **one) for one in wrong]
    odd = httpx.post(
        f"{world.system.url}/webhook/gitlab",
        headers={b"X-Gitlab-Event": b"Issue Hook", b"X-Gitlab-Token": "tökén".encode()},
        content=b"{}",
    )
    stored = world.system.call("GET", "/api/deliveries")
    right = world.deliver(opened, delivery_id="d-1", token=SECRET)

    assert [one.status_code for one in (*refused, odd)] == [401] * 5
    assert stored == []
    assert right.json()["status"] == "accepted"
    world.system.finished(right.json()["executions"][0])
    assert said(issue) == ["Then right."]
