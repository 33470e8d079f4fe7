"""Tests of the deliveries: a webhook in, its record, its replay."""

import json

import pytest

from aether import redact
from aether.db import rows
from aether.engine import known_secrets
from aether.queue import Job
from tests.doors.calls import PM_ANALYZE, SECRET, Door, column, counts, issue_opened, without
from tests.schema.both import both_doors


async def configured(door: Door) -> None:
    await door.post("/api/tasks", PM_ANALYZE)
    await door.post("/api/tasks/triggers", TRIGGER)
    await door.post("/api/tasks/sources", SOURCE)


TRIGGER = {"canonical_trigger": "issue.created", "task_id": "pm_analyze"}
SOURCE = {
    "source": "github",
    "event_name": "issues",
    "action": "opened",
    "canonical_trigger": "issue.created",
}


async def test_what_is_configured_over_the_api_is_what_a_delivery_starts(door: Door) -> None:
    await configured(door)

    receipt = await door.deliver(issue_opened())

    [execution] = receipt["executions"]
    assert receipt == {
        "status": "accepted",
        "delivery_id": receipt["delivery_id"],
        "canonical_trigger": "issue.created",
        "canonical_triggers": ["issue.created"],
        "executions": [execution],
    }
    assert door.hints == [(Job.RUN_TASK_EXECUTION, [execution])]
    [listed] = await door.get(f"/api/task-executions?delivery_id={receipt['delivery_id']}")
    assert (listed["id"], listed["status"], listed["agent_id"]) == (execution, "queued", None)


async def test_every_change_of_the_configuration_counts_from_the_next_delivery_on(
    door: Door,
) -> None:
    await configured(door)
    await door.deliver(issue_opened(1))

    await door.put("/api/tasks/pm_analyze", {"enabled": False})
    second = await door.deliver(issue_opened(2))
    await door.put("/api/tasks/pm_analyze", {"enabled": True})
    third = await door.deliver(issue_opened(3))
    project = {"name": "N", "source": "github", "source_project_id": "myorg/api-service"}
    await door.post("/api/projects", project | {"enabled": False})
    fourth = await door.deliver(issue_opened(4))

    statuses = [one["status"] for one in (second, third, fourth)]
    assert statuses == ["ignored", "accepted", "ignored"]


async def test_a_delivery_is_listed_without_and_read_with_its_payload(door: Door) -> None:
    await configured(door)
    payload = issue_opened()
    receipt = await door.deliver(payload)

    [listed] = await door.get("/api/deliveries")

    assert without(listed, "delivery_key", "change_key") == {
        "id": receipt["delivery_id"],
        "source": "github",
        "slug": "github",
        "event_name": "issues",
        "action": "opened",
        "status": "routed",
        "reason": None,
        "canonical_triggers": ["issue.created"],
        "project_id": None,
        "project_key": "myorg/api-service",
        "item_kind": "issue",
        "item_key": "7",
        "title": "Login fails after the update",
        "actor": "octocat",
        "actor_is_bot": False,
        "is_verified": True,
        "replay_of": None,
    }
    whole = await door.get(f"/api/deliveries/{receipt['delivery_id']}")
    assert {name: whole[name] for name in listed} == listed
    assert whole["payload"] == payload
    assert whole["executions"] == receipt["executions"]
    assert (whole["event"]["action"], whole["extracted"]) == ("opened", {})


async def test_a_replay_is_a_new_delivery_that_names_the_old_one(door: Door) -> None:
    ignored = await door.deliver(issue_opened())
    assert ignored["status"] == "ignored"
    await configured(door)

    told = await door.post(f"/api/deliveries/{ignored['delivery_id']}/replay", status=200)

    assert list(told) == ["delivery_id", "executions"]
    new, old = await door.get("/api/deliveries")
    assert (new["id"], new["replay_of"]) == (told["delivery_id"], ignored["delivery_id"])
    assert (old["id"], old["replay_of"]) == (ignored["delivery_id"], None)
    assert column(await door.get("/api/task-executions"), "id") == told["executions"]
    assert door.hints == [(Job.RUN_TASK_EXECUTION, told["executions"])]


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("", [2, 1, 0]),
        ("status=routed", [2]),
        ("status=ignored", [1, 0]),
        ("project_id={project}", [2, 1]),
        ("source=github&limit=1&offset=1", [1]),
        ("source=jira", []),
    ],
)
async def test_deliveries_are_listed_newest_first_and_filtered(
    door: Door, query: str, places: list[int]
) -> None:
    ids = [(await door.deliver(issue_opened(1)))["delivery_id"]]
    sent = {"name": "N", "source": "github", "source_project_id": "MyOrg/API-service"}
    project = (await door.post("/api/projects", sent))["id"]
    ids.append((await door.deliver(issue_opened(2)))["delivery_id"])
    await configured(door)
    ids.append((await door.deliver(issue_opened(3)))["delivery_id"])

    told = await door.get(f"/api/deliveries?{query.format(project=project)}")

    assert column(told, "id") == [ids[place] for place in places]


@pytest.mark.parametrize("id", ["1", "x", "0", "9223372036854775807", "9" * 40])
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("POST", "/replay")])
async def test_a_delivery_that_is_not_there_is_a_404(
    door: Door, method: str, rest: str, id: str
) -> None:
    text = await door.refused(method, f"/api/deliveries/{id}{rest}", None, 404)

    assert text in {f"delivery {id} not found", f"delivery '{id}' not found"}
    assert await counts("delivery", "task_execution") == [0, 0]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("status=lost", "status: one of routed, ignored"),
        ("source=svn", "source: one of github, gitlab, jira, plane"),
        ("project_id=x", "project_id: must be a whole number"),
    ],
)
async def test_a_filter_that_is_not_valid_is_refused(door: Door, query: str, text: str) -> None:
    assert await door.refused("GET", f"/api/deliveries?{query}", None, 400) == text


TOKEN = 'glpat/"kept&hidden"+0123456789'


async def test_a_secret_that_somebody_wrote_into_an_item_is_shown_at_neither_door(
    database: str,
) -> None:
    payload = issue_opened()
    payload["issue"]["title"] = f"Why is {TOKEN} refused?"
    payload["issue"]["body"] = f"It is {TOKEN}, and {SECRET}."
    payload["issue"]["labels"] = [{"name": TOKEN, TOKEN: [9007199254740993]}]
    async with both_doors(ENCRYPTION_KEY="a key of the tests; it is long enough") as doors:
        await configured(doors)
        await doors.post(
            "/api/integrations",
            {"source": "gitlab", "name": "G", "credentials": {"token": TOKEN}},
        )
        receipt = await doors.deliver(payload)
        known_secrets.forget()
        redact.forget()  # as a web process that has just started

        number = receipt["delivery_id"]
        listed = await doors.get("/api/deliveries")
        known_secrets.forget()
        redact.forget()
        read = await doors.get(f"/api/deliveries/{number}")
        known_secrets.forget()
        redact.forget()
        told = await doors.ask(
            f'{{ delivery(id: "{number}") {{ title payload event }} deliveries {{ title }}'
            " deliveriesConnection(first: 1) { nodes { title } } }"
        )
        [kept] = await rows("SELECT title, payload FROM delivery WHERE id = $1", number)
        again = await doors.post(f"/api/deliveries/{number}/replay", None, 200)
        [replayed] = await rows("SELECT payload FROM delivery WHERE id = $1", again["delivery_id"])

    assert [one["title"] for one in listed] == ["Why is *** refused?"]
    assert read["title"] == told["delivery"]["title"] == "Why is *** refused?"
    for issue in (read["payload"]["issue"], told["delivery"]["payload"]["issue"]):
        assert issue["body"] == "It is ***, and ***."
        assert issue["labels"] == [{"name": "***", "***": [9007199254740993]}]
    shown = json.dumps([listed, read, told])
    assert "hidden" not in shown
    assert SECRET not in shown
    assert kept["title"] == f"Why is {TOKEN} refused?"
    assert json.loads(kept["payload"])["issue"]["body"] == f"It is {TOKEN}, and {SECRET}."
    assert replayed["payload"] == kept["payload"]
