"""Our calls against a Jira that others wrote, and against Atlassian's own document of them."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from aether.demo.faults import Call
from aether.demo.serving import serving
from aether.errors import UpstreamError
from aether.events import SourceEvent, Subject
from aether.http import Connection, HttpClients
from aether.markers import marker_comment, markers_in
from aether.sources.base import ItemChanges, NewItem
from aether.sources.jira import Jira
from tests.counterparts import install
from tests.counterparts.conftest import or_skip
from tests.counterparts.jira import NOW, jira820
from tests.counterparts.prism import prism
from tests.counterparts.programs import Program, Started
from tests.sources.jira.site_state import IN_PROGRESS, TO_DO
from tests.sources.jira.stand_in import JiraStandIn

pytestmark = pytest.mark.counterparts

JIRA = Jira()
PROJECT: Final = "JIRA820"
MARKER: Final = marker_comment("m" * 32)
NOT_IN_THE_DOCUMENT: Final = {"/rest/api/3/search/jql"}  # newer than it
RICH: Final = (
    "# Late\n\nIt is **on** and *off*, `x < y`, ~~gone~~:\n\n- one\n  - two\n\n1. a\n2. b\n\n"
    "> quoted\n\n```python\nprint('<b>')\n```\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n---\n\n"
    "[here](https://example.com/a_b)"
)


@pytest.fixture
def data_center(started: Started, tmp_path: Path) -> Iterator[Program]:
    with jira820(or_skip(install.jira820), started, tmp_path) as program:
        yield program


@pytest.fixture
def document(started: Started, tmp_path: Path) -> Iterator[Program]:
    programs = or_skip(install.prism)
    ready = "/rest/api/3/serverInfo"
    with prism(programs, programs.jira_document, started, tmp_path, ready=ready) as program:
        yield program


@pytest.fixture
async def clients() -> AsyncIterator[HttpClients]:
    async with HttpClients() as made:
        yield made


def connect(clients: HttpClients, url: str, authorization: str, *, is_cloud: bool) -> Connection:
    async def headers() -> dict[str, str]:
        return {"Authorization": authorization}

    made = clients.connection(url, headers)
    made.options = {"is_cloud": str(is_cloud).lower()}
    return made


async def test_a_data_center_takes_an_issue_from_its_creation_to_its_end(
    data_center: Program, clients: HttpClients
) -> None:
    client = connect(clients, data_center.url, "Bearer t", is_cloud=False)
    new = NewItem(title="Boom", body=f"It breaks.\n\n{MARKER}", labels=["a"])

    created = await JIRA.create_item(client, PROJECT, new, timeout=20)
    found = await JIRA.find_item(client, PROJECT, MARKER, since="2026-01-01T00:00:00Z")
    subject = Subject(kind="issue", project=PROJECT, key=created.id)
    posted = await JIRA.post_comment(client, subject, f"Late.\n\n{MARKER}", timeout=20)
    await JIRA.edit_comment(client, subject, posted.id, f"On time.\n\n{MARKER}", timeout=20)
    changes = ItemChanges(title="Bang", body="It broke.", add_assignees=["u03"])
    await JIRA.update_item(client, subject, changes, timeout=20)
    await JIRA.update_item(client, subject, ItemChanges(state="closed"), timeout=20)
    closed = await JIRA.read_item(client, subject)
    await JIRA.update_item(client, subject, ItemChanges(state="open"), timeout=20)
    reopened = await JIRA.read_item(client, subject)

    assert found == created
    assert created.url == f"{data_center.url}/browse/{created.id}"
    [comment] = await JIRA.list_comments(client, subject)
    assert (comment.id, markers_in(comment.body)) == (posted.id, ["m" * 32])
    assert comment.body.startswith("On time.")
    assert (closed["title"], closed["body"], closed["labels"]) == ("Bang", "It broke.", ["a"])
    assert (closed["category"], closed["resolution"]) == ("done", "Done")
    assert closed["assignees"] != []
    assert reopened["category"] == "new"


async def test_an_issue_that_is_not_there_is_told_in_jira_s_words(
    data_center: Program, clients: HttpClients
) -> None:
    client = connect(clients, data_center.url, "Bearer t", is_cloud=False)

    with pytest.raises(UpstreamError, match="answered 404") as caught:
        await JIRA.read_item(client, Subject(kind="issue", project=PROJECT, key=f"{PROJECT}-9999"))

    assert not caught.value.retryable


async def test_a_poll_of_the_data_center_tells_each_thing_under_one_key(
    data_center: Program, clients: HttpClients
) -> None:
    """It holds changes that lie later than the last one of their issue, which no Jira does; until
    that hour they are told again under the key that they had, which is stored once.
    """
    client = connect(clients, data_center.url, "Bearer t", is_cloud=False)
    since = NOW - timedelta(hours=9)
    cursor: Any = {}
    stored: set[str] = set()

    async def poll() -> list[SourceEvent]:
        """What is told for the first time."""
        nonlocal cursor
        events: list[SourceEvent] = []
        has_more = True
        while has_more:
            page = await JIRA.poll(client, PROJECT, cursor, now=NOW, since=since)
            cursor, has_more = json.loads(json.dumps(page.cursor)), page.has_more
            keys = [one.change_key for one in page.events]
            assert len(set(keys)) == len(keys)
            events += [one for one in page.events if one.change_key not in stored]
            stored.update(keys)
        return events

    first = await poll()
    created = await JIRA.create_item(client, PROJECT, NewItem(title="Boom"), timeout=20)
    subject = Subject(kind="issue", project=PROJECT, key=created.id)
    await JIRA.post_comment(client, subject, "Late.", timeout=20)
    second = await poll()
    third = await poll()

    assert first != []
    assert created.id not in {one.subject.key for one in first if one.subject}
    told = {one.candidates[0].event_name: one for one in second}
    assert {one.subject.key for one in second if one.subject} == {created.id}
    assert set(told) == {"jira:issue_created", "comment_created"}
    assert told["comment_created"].text == "Late."
    assert third == []


async def outgoing_calls(clients: HttpClients) -> list[Call]:
    """Every kind of call that we make to Cloud, as our own strict site has recorded it."""
    jira = JiraStandIn(is_cloud=True)
    with serving(jira.door) as jira.url:
        client = connect(clients, jira.url, jira.authorization, is_cloud=True)
        issue = jira.open(status=IN_PROGRESS)
        subject = Subject(kind="issue", project="OPS", key=issue.key)
        await JIRA.read_item(client, subject)
        posted = await JIRA.post_comment(client, subject, f"{RICH}\n\n{MARKER}", timeout=5)
        await JIRA.edit_comment(client, subject, posted.id, f"{RICH}\n\n{MARKER}", timeout=5)
        for restricted_to in (None, "role:Developers", "group-id:276f955c-63d7-42c8-9520"):
            few = replace(subject, visibility="internal", restricted_to=restricted_to)
            said = await JIRA.post_comment(client, few, "For few.", timeout=5)
            await JIRA.edit_comment(client, few, said.id, "For few.", timeout=5)
        await JIRA.list_comments(client, subject, since="2026-01-01T00:00:00Z")
        changes = ItemChanges(
            title="New", body=RICH, add_labels=["a"], remove_labels=["b"],
            add_assignees=["Bo Tester"], state="closed",
        )  # fmt: skip
        await JIRA.update_item(client, subject, changes, timeout=5)
        await JIRA.update_item(client, subject, ItemChanges(body="", state="open"), timeout=5)
        issue.security = "10021"
        new = NewItem(
            title="New", body=f"{RICH}\n\n{MARKER}", labels=["a"], assignees=["bo"],
            origin=subject,
        )  # fmt: skip
        await JIRA.create_item(client, "OPS", new, timeout=5)
        jira.page = 1
        jira.move(issue, IN_PROGRESS)
        jira.move(issue, TO_DO)
        await JIRA.find_item(client, "OPS", marker_comment("n" * 32), since="2026-01-01T00:00:00Z")
        now = datetime.now(UTC)
        await JIRA.poll(client, "OPS", {}, now=now, since=now.replace(hour=0, minute=0))
    return jira.door.calls


async def test_atlassian_s_own_document_allows_every_call_that_we_make_to_cloud(
    document: Program, clients: HttpClients
) -> None:
    calls = await outgoing_calls(clients)
    refused, asked = [], set()

    async with httpx.AsyncClient(base_url=document.url, timeout=20) as client:
        for call in calls:
            if call.path in NOT_IN_THE_DOCUMENT:
                continue
            asked.add((call.method, call.path.rpartition("/")[2]))
            answer = await client.request(
                call.method, call.path, params=call.query, json=call.json,
                headers={"Authorization": "Basic YTpi"},
            )  # fmt: skip
            if answer.status_code >= 300:
                refused.append((call.method, call.path, answer.status_code, answer.text[:400]))
        strict = await client.post(
            "/rest/api/3/issue/OPS-7/comment", json={"body": {}, "visibility": 7},
            headers={"Authorization": "Basic YTpi"},
        )  # fmt: skip

    assert refused == []
    assert strict.status_code == 400  # it does look at what it is sent
    assert {
        ("POST", "comment"), ("GET", "comment"), ("GET", "transitions"), ("POST", "transitions"),
        ("PUT", "assignee"), ("GET", "search"), ("POST", "issue"), ("GET", "OPS"),
        ("GET", "myself"), ("PUT", "OPS-7"), ("GET", "OPS-7"), ("GET", "changelog"),
    } <= asked  # fmt: skip
