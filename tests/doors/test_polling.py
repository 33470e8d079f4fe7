"""Tests of /api/poll-sources, and of the same over GraphQL."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from aether import sources
from aether.config import Settings
from aether.db import rows
from aether.engine.due import send_due_polls
from aether.models import PollSource
from aether.queue import Job
from aether.sources.github import GitHub
from aether.vocabulary import SourceName
from tests.doors.calls import Door, actions, count, counts, details, without
from tests.schema.both import Doors, both_doors

SENT: Final = {
    "source": "github",
    "project_id": "myorg/api-service",
    "interval_minutes": 5,
    "enabled": True,
}
KEY: Final = "key-key-key-key-key-key-key-key-key-key"
PATH: Final = "/api/poll-sources"
FIELDS: Final = """id source sourceProjectId intervalMinutes enabled integrationId status
  lastPolledAt nextPollAt failures error integration { name } project { name }"""


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        ours.runtime.settings = Settings.from_environment({"ENCRYPTION_KEY": KEY})
        yield ours


async def test_a_poll_source_is_created_read_listed_and_deleted(door: Door) -> None:
    created = await door.post(PATH, SENT)

    assert without(created, "id", "next_poll_at", "last_polled_at") == SENT | {
        "integration_id": None,
        "status": "idle",
        "failures": 0,
        "error": None,
    }
    assert created["last_polled_at"] is None
    assert list(created) == [
        "id", "source", "project_id", "interval_minutes", "enabled", "integration_id", "status",
        "last_polled_at", "next_poll_at", "failures", "error", "created_at", "updated_at",
    ]  # fmt: skip
    assert await door.get(f"{PATH}/{created['id']}") == created
    assert await door.get(PATH) == [created]
    assert await door.get(f"{PATH}?source=jira") == []
    assert await door.delete(f"{PATH}/{created['id']}") == {"deleted": created["id"]}
    assert await count("poll_source") == 0
    assert await actions() == ["poll_source.created", "poll_source.deleted"]
    [detail] = await details("poll_source.created")
    assert detail == {
        "poll_source_id": created["id"],
        "source": "github",
        "project_id": "myorg/api-service",
        "after": SENT,
    }


async def test_the_references_poll_source_of_jira_is_taken_once_jira_can_be_polled(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Jira(GitHub):
        name = SourceName.JIRA

    monkeypatch.setattr(sources, "SOURCES", (*sources.SOURCES, Jira()))

    created = await door.post(PATH, SENT | {"source": "jira", "project_id": "PROJ"})

    assert (created["source"], created["project_id"]) == ("jira", "PROJ")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"project_id": " "}, "project_id: must not be empty"),
        ({"project_id": 42}, "project_id: must be text"),
        ({"interval_minutes": 0}, "interval_minutes: must be at least 1"),
        ({"interval_minutes": 10_081}, "interval_minutes: must be at most 10080"),
        ({"interval_minutes": "5"}, "interval_minutes: must be a whole number"),
        ({"enabled": "yes"}, "enabled: must be true or false"),
        ({"integration_id": 7}, "integration_id: integration 7 does not exist"),
        ({"source": "bitbucket"}, "source: one of github, gitlab, jira, plane"),
        ({"source_project_id": "a/b"}, "source_project_id: unknown field"),
        ({"cursor": {}}, "cursor: unknown field"),
    ],
)
async def test_a_poll_source_that_is_not_valid_is_refused(
    door: Door, change: dict[str, Any], text: str
) -> None:
    assert await door.refused("POST", PATH, SENT | change, 400) == text
    assert await counts("poll_source", "audit_entry") == [0, 0]


@pytest.mark.parametrize("name", ["source", "project_id"])
async def test_source_and_project_are_required(door: Door, name: str) -> None:
    sent = {key: value for key, value in SENT.items() if key != name}

    assert await door.refused("POST", PATH, sent, 400) == f"{name}: required"


async def test_a_source_that_cannot_be_polled_is_refused_by_name(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "polled_names", lambda: ["github"])
    created = await door.post(PATH, SENT)
    text = "source: plane cannot be polled; one of github"

    assert await door.refused("POST", PATH, SENT | {"source": "plane"}, 400) == text
    path = f"{PATH}/{created['id']}"
    assert await door.refused("PUT", path, {"source": "plane"}, 400) == text
    assert await door.get(PATH) == [created]


async def test_of_ten_who_create_one_poll_source_at_once_one_succeeds(door: Door) -> None:
    answers = await asyncio.gather(*(door.client.post(PATH, json=SENT) for _ in range(10)))

    assert Counter(one.status_code for one in answers) == {201: 1, 409: 9}
    [text] = {one.json()["error"] for one in answers if one.status_code == 409}
    assert text == "github project 'myorg/api-service' already has a poll source"


async def test_another_poll_source_s_project_cannot_be_taken(door: Door) -> None:
    await door.post(PATH, SENT)
    other = await door.post(PATH, SENT | {"project_id": "myorg/web"})

    text = await door.refused(
        "PUT", f"{PATH}/{other['id']}", {"project_id": "myorg/api-service"}, 409
    )

    assert text == "another poll source already has this source and project_id"


async def test_put_keeps_where_the_poll_stands_and_what_was_read_can_be_put_back(
    door: Door,
) -> None:
    created = await door.post(PATH, SENT)
    path = f"{PATH}/{created['id']}"
    cursor = {"v": 1, "issues": {"begins": "2026-02-18T10:00:00Z"}}
    await PollSource.filter(id=created["id"]).update(cursor=cursor)

    assert await door.put(path, created) == created
    await door.put(path, {"interval_minutes": 10})
    await door.put(path, {"enabled": False})
    put = await door.put(path, {"enabled": True})

    assert (put["interval_minutes"], put["enabled"]) == (10, True)
    assert (await PollSource.get(id=created["id"])).cursor == cursor
    changed = [one["changed"] for one in await details("poll_source.updated")]
    assert changed == [["interval_minutes"], ["enabled"], ["enabled"]]


async def test_with_another_project_it_begins_anew_and_says_so(door: Door) -> None:
    created = await door.post(PATH, SENT)
    await rows(
        """UPDATE poll_source SET cursor = '{"v": 1}', begins_at = now() - interval '9 days',
             failures = 3, error = 'no such project', last_polled_at = now(), lease_token = 4,
             lease_until = now() + interval '1 minute', requested_at = now()"""
    )

    put = await door.put(f"{PATH}/{created['id']}", {"project_id": "myorg/web"})

    assert (put["failures"], put["error"], put["last_polled_at"]) == (0, None, None)
    assert put["status"] == "idle"
    [row] = await rows(
        """SELECT cursor, lease_token, begins_at > now() - interval '1 minute' AS is_new
           FROM poll_source"""
    )
    assert (row["cursor"], row["lease_token"], row["is_new"]) == ("{}", 5, True)
    [detail] = await details("poll_source.updated")
    assert (detail["changed"], detail["begins_anew"]) == (["project_id"], True)


async def test_a_shorter_interval_and_a_repaired_source_are_polled_sooner(door: Door) -> None:
    created = await door.post(PATH, SENT | {"interval_minutes": 1440})
    path = f"{PATH}/{created['id']}"
    await rows("UPDATE poll_source SET next_poll_at = now() + interval '20 hours'")

    await door.put(path, {"interval_minutes": 2})
    [sooner] = await rows(
        "SELECT next_poll_at <= now() + interval '2 minutes' AS is_soon FROM poll_source"
    )
    await door.put(path, {"enabled": False})
    await rows("UPDATE poll_source SET failures = 4")
    again = await door.put(path, {"enabled": True})
    [now] = await rows("SELECT next_poll_at <= now() AS is_due FROM poll_source")

    assert (sooner["is_soon"], now["is_due"], again["failures"]) == (True, True, 0)


async def test_a_poll_by_hand_is_queued_once_and_refused_while_it_is_in_flight(door: Door) -> None:
    created = await door.post(PATH, SENT | {"enabled": False})
    path = f"{PATH}/{created['id']}"

    answers = await asyncio.gather(*(door.client.post(f"{path}/poll") for _ in range(5)))
    queued = await door.get(path)
    await rows(
        "UPDATE poll_source SET lease_until = now() + interval '1 minute', requested_at = NULL"
    )
    under_way = await door.refused("POST", f"{path}/poll", None, 409)

    assert Counter(one.status_code for one in answers) == {200: 1, 409: 4}
    [told] = [one.json() for one in answers if one.status_code == 200]
    assert told == {"poll_source_id": created["id"], "status": "queued"}
    [text] = {one.json()["error"] for one in answers if one.status_code == 409}
    assert text == "poll source 1 is being polled (it is queued)"
    assert under_way == "poll source 1 is being polled (it is polling)"
    assert (queued["status"], queued["next_poll_at"]) == ("queued", created["next_poll_at"])
    assert (await door.get(path))["status"] == "polling"
    assert door.hints == [(Job.POLL_SOURCE, [created["id"]])]
    assert await actions() == ["poll_source.created", "poll_source.polled"]


async def test_switching_off_takes_back_a_poll_that_nobody_has_begun(door: Door) -> None:
    created = await door.post(PATH, SENT)
    path = f"{PATH}/{created['id']}"
    await door.post(f"{path}/poll", None, 200)

    put = await door.put(path, {"enabled": False})

    assert put["status"] == "idle"
    assert await send_due_polls(door.runtime.queue) == 0


@pytest.mark.parametrize("id", ["7", "0", "x", "99999999999999999999"])
async def test_an_id_that_nothing_has_is_not_found(door: Door, id: str) -> None:
    for method, path, body in (
        ("GET", f"{PATH}/{id}", None),
        ("PUT", f"{PATH}/{id}", {"enabled": False}),
        ("DELETE", f"{PATH}/{id}", None),
        ("POST", f"{PATH}/{id}/poll", None),
    ):
        assert "not found" in await door.refused(method, path, body, 404)
    assert await count("audit_entry") == 0


async def test_an_integration_must_be_of_the_source(doors: Doors) -> None:
    made = await doors.post(
        "/api/integrations", {"source": "jira", "name": "J", "credentials": {"token": "t" * 20}}
    )
    ours = await doors.post(
        "/api/integrations", {"source": "github", "name": "G", "credentials": {"token": "t" * 20}}
    )
    text = f"integration_id: integration {made['id']} is for jira"

    sent = SENT | {"integration_id": made["id"]}
    assert await doors.refused("POST", PATH, sent, 400) == text
    created = await doors.post(PATH, SENT | {"integration_id": ours["id"]})
    path = f"{PATH}/{created['id']}"
    assert await doors.refused("PUT", path, {"integration_id": made["id"]}, 400) == text
    assert (await doors.get(path))["integration_id"] == ours["id"]


async def test_graphql_says_and_does_the_same(doors: Doors) -> None:
    project = {"name": "API", "source": "github", "source_project_id": "MyOrg/API-service"}
    await doors.post("/api/projects", project)
    ours = await doors.post(
        "/api/integrations", {"source": "github", "name": "G", "credentials": {"token": "t" * 20}}
    )
    create = f"mutation ($i: PollSourceInput!) {{ pollSourceCreate(input: $i) {{ {FIELDS} }} }}"
    sent = {"source": "GITHUB", "sourceProjectId": "myorg/api-service", "integrationId": ours["id"]}

    made = (await doors.ask(create, i=sent))["pollSourceCreate"]
    number = made["id"]
    changed = await doors.ask(
        "mutation ($id: ID!, $c: PollSourceChangesInput!) {"
        f" pollSourceUpdate(id: $id, changes: $c) {{ {FIELDS} }} }}",
        id=number,
        c={"intervalMinutes": 7},
    )
    polled = await doors.ask(
        f'mutation {{ pollSourcePoll(id: "{number}") {{ pollSourceId status }} }}'
    )
    listed = (await doors.ask(f"{{ pollSources(source: GITHUB) {{ {FIELDS} }} }}"))["pollSources"]
    one = (await doors.ask(f'{{ pollSource(id: "{number}") {{ {FIELDS} }} }}'))["pollSource"]
    [by_rest] = await doors.get(PATH)
    deleted = await doors.ask(f'mutation {{ pollSourceDelete(id: "{number}") }}')

    assert (made["status"], made["intervalMinutes"], made["enabled"]) == ("IDLE", 5, True)
    assert (made["integration"], made["project"]) == ({"name": "G"}, {"name": "API"})
    assert changed["pollSourceUpdate"]["intervalMinutes"] == 7
    assert polled["pollSourcePoll"] == {"pollSourceId": number, "status": "QUEUED"}
    assert listed == [one]
    assert one["status"] == "QUEUED"
    assert (by_rest["interval_minutes"], by_rest["status"]) == (7, "queued")
    assert deleted == {"pollSourceDelete": number}
    assert await counts("poll_source") == [0]


async def test_graphql_refuses_in_the_same_words(doors: Doors) -> None:
    create = "mutation ($i: PollSourceInput!) { pollSourceCreate(input: $i) { id } }"
    sent = {"source": "GITHUB", "sourceProjectId": "myorg/api-service"}
    await doors.ask(create, i=sent)
    await doors.ask('mutation { pollSourcePoll(id: "1") { status } }')

    for query, code, text, values in (
        (create, "CONFLICT", "github project 'myorg/api-service' already has a poll source", sent),
        (create, "INVALID_INPUT", "sourceProjectId: must not be empty",
         sent | {"sourceProjectId": " "}),
        (create, "INVALID_INPUT", "intervalMinutes: must be at least 1",
         sent | {"intervalMinutes": 0}),
    ):  # fmt: skip
        assert await doors.refused_by_graphql(query, i=values) == (text, code)
    again = await doors.refused_by_graphql('mutation { pollSourcePoll(id: "1") { status } }')
    assert again == ("poll source 1 is being polled (it is queued)", "CONFLICT")
    none = await doors.refused_by_graphql('{ pollSource(id: "9") { id } }')
    assert none == ("poll source 9 not found", "NOT_FOUND")
