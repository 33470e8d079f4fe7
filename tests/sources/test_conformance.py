"""What every source promises, tried with each: one set of cases, one kit a source."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from aether.effects import Effects
from aether.errors import InvalidInputError, SignatureError
from aether.events import SourceEvent, Subject, event_from_summary
from aether.http import Connection, HttpClients
from aether.leases import claim
from aether.models import Effect, TaskExecution
from aether.sources import SOURCES
from aether.sources.base import ItemChanges, NewItem, ReviewingSource, Source
from tests.sources.github.kit import KIT as GITHUB
from tests.sources.gitlab.kit import KIT as GITLAB
from tests.sources.jira.kit import KIT as JIRA
from tests.sources.kit import Kit, World
from tests.sources.plane.kit import KIT as PLANE
from tests.sources.seeded import seeded_trigger

KITS: Final = (GITHUB, GITLAB, JIRA, PLANE)
TRIGGERS: Final = ("issue.created", "issue.closed", "issue.commented")
MARKER: Final = f"<!-- aether:{'m' * 32} -->"
ODD: Final[tuple[Any, ...]] = (None, [], {}, "x", "None", 7, True, 2**70, [[]], [None], {"id": []})
NO_OBJECTS: Final = (
    *(b"", b"[]", b"null", b'"x"', b"7", b"NaN", b"\xff", b"[" * 20_000),
    b'{"id":' + b"9" * 5_000 + b"}",
)


def named(kit: Kit) -> str:
    return kit.source.name.value


every_kit: Final = pytest.mark.parametrize("kit", KITS, ids=named)
every_trigger: Final = pytest.mark.parametrize("trigger", TRIGGERS)


def read(kit: Kit, trigger: str, payload: Any) -> SourceEvent:
    return kit.source.extract(*kit.request(trigger, payload, kit.secret))


@asynccontextmanager
async def connected(world: World) -> AsyncIterator[Connection]:
    async def headers() -> Mapping[str, str]:
        return world.headers

    async with HttpClients() as clients:
        yield clients.connection(world.url, headers)


def test_every_source_is_tried() -> None:
    assert [named(kit) for kit in KITS] == [source.name.value for source in SOURCES]
    assert all(set(kit.payloads) == set(TRIGGERS) for kit in KITS)


def test_reviews_are_known_where_the_platform_has_them() -> None:
    knowing = [named(kit) for kit in KITS if isinstance(kit.source, ReviewingSource)]

    assert knowing == ["github", "gitlab"]


@every_kit
@every_trigger
def test_a_right_proof_is_taken_and_each_of_a_list_of_secrets_gives_one(
    kit: Kit, trigger: str
) -> None:
    headers, body = kit.request(trigger, kit.payloads[trigger], kit.secret)

    kit.source.verify(headers, body, kit.secret)
    kit.source.verify(headers, body, f"{kit.other_secret},{kit.secret}")


@every_kit
def test_a_wrong_or_missing_proof_is_refused_and_tells_no_secret(kit: Kit) -> None:
    headers, body = kit.request("issue.created", kit.payloads["issue.created"], kit.secret)
    proof = headers[kit.proof]
    wrong = [
        *({**headers, kit.proof: odd} for odd in ("", " ", "x", proof[:-2], f"{proof}0", "é\xff")),
        {name: value for name, value in headers.items() if name != kit.proof},
        {**headers, kit.proof: "日本\ud800"},
        {},
    ]
    tries = [(sent, body, kit.secret) for sent in wrong]
    tries += [(headers, body + b" ", kit.secret), (headers, body, kit.other_secret)]
    tries += [(headers, body, secret) for secret in ("", " ", ",", " , ")]

    for sent, content, secret in tries:
        with pytest.raises(SignatureError) as refused:
            kit.source.verify(sent, content, secret)
        assert kit.secret not in repr(refused.value)


@every_kit
@every_trigger
def test_the_seeded_mappings_know_what_the_platform_sends(kit: Kit, trigger: str) -> None:
    event = read(kit, trigger, kit.payloads[trigger])

    assert seeded_trigger(event) == trigger
    assert (event.source, event.is_ping) == (kit.source.name, False)
    assert event.subject is not None
    assert event.subject.kind == "issue"
    assert event.subject.project in event.project_names
    assert (event.subject.title, bool(event.subject.key)) == ("It breaks", True)
    assert event.actor is not None
    assert (bool(event.actor.login), event.actor.is_bot) == (True, False)
    assert (event.comment_id is not None) == (trigger == "issue.commented")
    assert event.payload == kit.payloads[trigger]


@every_kit
@every_trigger
def test_an_event_comes_back_from_its_row_as_it_was(kit: Kit, trigger: str) -> None:
    event = read(kit, trigger, kit.payloads[trigger])

    stored = json.loads(json.dumps(event.summary()))

    assert event_from_summary(stored, event.payload) == event


@every_kit
def test_a_redelivery_has_the_same_keys_and_another_change_has_others(kit: Kit) -> None:
    events = [read(kit, trigger, kit.payloads[trigger]) for trigger in TRIGGERS]
    again = [read(kit, trigger, kit.payloads[trigger]) for trigger in TRIGGERS]

    assert [(one.delivery_key, one.change_key) for one in events] == [
        (one.delivery_key, one.change_key) for one in again
    ]
    assert len({one.change_key for one in events}) == 3
    assert all(one.delivery_key and one.change_key for one in events)


@every_kit
def test_a_comments_text_is_read_with_the_marker_that_it_may_hold(kit: Kit) -> None:
    payload = kit.with_comment_text(kit.payloads["issue.commented"], f"As said.\n\n{MARKER}")

    assert MARKER in read(kit, "issue.commented", payload).text


@every_kit
@pytest.mark.parametrize("body", NO_OBJECTS)
def test_a_body_that_is_no_object_is_an_error_of_the_sender(kit: Kit, body: bytes) -> None:
    headers, _ = kit.request("issue.created", {}, kit.secret)

    with pytest.raises(InvalidInputError, match=r"^body: "):
        kit.source.extract(headers, body)


@every_kit
def test_headers_of_no_sense_crash_nothing(kit: Kit) -> None:
    headers, body = kit.request("issue.created", kit.payloads["issue.created"], kit.secret)
    for name in headers:
        for odd in ("", " ", "é\xff", "日本\ud800\0", "x" * 5_000, "{}"):
            with suppress(InvalidInputError):
                assert kit.source.extract({**headers, name: odd}, body).delivery_key
    with suppress(InvalidInputError):
        assert kit.source.extract({}, body).delivery_key


@every_kit
@every_trigger
def test_any_field_may_be_missing_or_odd(kit: Kit, trigger: str) -> None:
    payload = kit.payloads[trigger]
    headers, _ = kit.request(trigger, payload, kit.secret)
    for path in _paths(payload):
        for odd in (*ODD, _Missing):
            body = json.dumps(_with(payload, path, odd)).encode()
            if path == (kit.event_field,):
                with suppress(InvalidInputError):
                    kit.source.extract(headers, body)
                continue
            event = kit.source.extract(headers, body)

            assert event.change_key
            assert json.loads(json.dumps(event.summary()))


@every_kit
async def test_a_comment_is_posted_found_edited_and_listed(kit: Kit) -> None:
    source = kit.source
    with kit.world() as world:
        async with connected(world) as client:
            posted = await source.post_comment(
                client, world.subject, f"First.\n\n{MARKER}", timeout=5
            )
            stored = list(world.comments())
            found = await source.list_comments(client, world.subject, since="2020-01-01T00:00:00Z")
            edited = await source.edit_comment(
                client, world.subject, posted.id, f"Second.\n\n{MARKER}", timeout=5
            )
            every = await source.list_comments(client, world.subject)

    assert len(stored) == 1
    assert [(one.id, MARKER in one.body) for one in found] == [(posted.id, True)]
    assert edited.id == posted.id
    assert [one.body.startswith("Second.") for one in every] == [True]
    assert every[0].author


@every_kit
@pytest.mark.usefixtures("database")
async def test_a_later_run_of_a_task_edits_the_one_comment_of_the_task(kit: Kit) -> None:
    with kit.world() as world:
        async with connected(world) as client:
            for number, text in enumerate(("One.", "Two.", "Three."), start=1):
                execution = await TaskExecution.create(
                    delivery_id=number, task_id="triage", canonical_trigger="issue.created",
                    source=kit.source.name,
                )  # fmt: skip
                lease = await claim(execution.id, seconds=30, grace_seconds=0)
                assert lease is not None
                speaking = Effects(
                    Settings.from_environment({}), cast(Credentials, _Connected(client)),
                    kit.source, world.subject,
                    lease, agent_id=None, project_id=None, one_comment_of="triage",
                )  # fmt: skip
                said = await speaking.say("answer", text)
                assert said == await speaking.say("answer", text)
            listed = await kit.source.list_comments(client, world.subject)
        stored = list(world.comments())

    assert len(stored) == 1
    assert "Three." in stored[0]
    assert [one.body.startswith("Three.") for one in listed] == [True]
    assert len({one.platform_id for one in await Effect.all()}) == 1


class _Connected:
    """In place of the credentials: one connection for everybody."""

    def __init__(self, client: Connection) -> None:
        self._client = client

    async def outbound(self, *_: Any, **__: Any) -> Connection:
        return self._client


@every_kit
async def test_an_issue_is_read_changed_closed_and_reopened(kit: Kit) -> None:
    source = kit.source
    with kit.world() as world:
        async with connected(world) as client:
            before = await source.read_item(client, world.subject)
            for changes in (
                ItemChanges(title="It breaks often", body="Always."),
                ItemChanges(add_labels=["debt"]),
                ItemChanges(state="closed", state_reason="completed"),
            ):
                await source.update_item(client, world.subject, changes, timeout=5)
                await source.update_item(client, world.subject, changes, timeout=5)
            closed = await source.read_item(client, world.subject)
            for changes in (ItemChanges(state="open"), ItemChanges(remove_labels=["debt"])):
                await source.update_item(client, world.subject, changes, timeout=5)
            reopened = await source.read_item(client, world.subject)

    assert (before["title"], before["state"], before["labels"]) == ("It breaks", "open", [])
    assert (closed["title"], closed["state"]) == ("It breaks often", "closed")
    assert (closed["body"].strip(), closed["labels"]) == ("Always.", ["debt"])
    assert (reopened["state"], reopened["labels"]) == ("open", [])


@every_kit
async def test_a_new_issue_is_found_again_by_its_marker_and_by_no_other(kit: Kit) -> None:
    source: Source = kit.source
    with kit.world() as world:
        project, since = world.subject.project, "2020-01-01T00:00:00Z"
        async with connected(world) as client:
            new = NewItem(title="Part", body=f"Of it.\n\n{MARKER}", labels=["debt"])
            created = await source.create_item(client, project, new, timeout=5)
            found = await source.find_item(client, project, MARKER, since=since)
            other = await source.find_item(client, project, "<!-- none -->", since=since)
            titles = world.titles()

    assert found is not None
    assert (found.id, other) == (created.id, None)
    assert sorted(titles) == ["It breaks", "Part"]


@every_kit
@pytest.mark.parametrize("odd", ["../x", "a/../b", "a/b?c", "a/b#c", "", "a/b\n", "a\\b/c"])
async def test_nothing_is_sent_to_a_path_that_leads_elsewhere(kit: Kit, odd: str) -> None:
    with kit.world() as world:
        is_key = kit.addressed_by == "key"
        project, key = (world.subject.project, odd) if is_key else (odd, "7")
        target = Subject(kind="issue", project=project, key=key)
        async with connected(world) as client:
            with pytest.raises(InvalidInputError):
                await kit.source.post_comment(client, target, "hi", timeout=5)
            with pytest.raises(InvalidInputError):
                await kit.source.create_item(client, odd, NewItem(title="t"), timeout=5)
        assert (world.comments(), world.titles()) == ([], ["It breaks"])


class _Missing:
    """In place of a value: the field is not there."""


def _paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where each field of objects within objects lies."""
    if not isinstance(value, dict):
        return []
    return [
        found
        for name, one in value.items()
        for found in ((*path, name), *_paths(one, (*path, name)))
    ]


def _with(payload: Any, path: tuple[str, ...], odd: Any) -> Any:
    name, *rest = path
    if rest:
        return {**payload, name: _with(payload[name], tuple(rest), odd)}
    left = {key: value for key, value in payload.items() if key != name}
    return left if odd is _Missing else {**left, name: odd}
