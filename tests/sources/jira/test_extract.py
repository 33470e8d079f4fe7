"""What a delivery says, whichever Jira tells it and however little it tells."""

import json
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import pytest

from aether.errors import InvalidInputError
from aether.events import SourceEvent
from aether.sources.jira import Jira

UPDATED = "jira:issue_updated"
DONE = {"name": "Erledigt", "statusCategory": {"key": "done"}}
OPEN = {"name": "Offen", "statusCategory": {"key": "new"}}
TO_DONE = {"field": "status", "fieldtype": "jira", "fieldId": "status", "from": "1", "to": "2"}


def read(payload: dict[str, Any], **headers: str) -> SourceEvent:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Jira().extract(told, json.dumps(payload).encode())


def update(**more: Any) -> dict[str, Any]:
    issue = {"id": "10207", "key": "OPS-7", "fields": {"status": more.pop("status", OPEN)}}
    return {"webhookEvent": UPDATED, "issue": issue, **more}


def names(event: SourceEvent) -> list[tuple[str, str | None]]:
    return [(one.event_name, one.action) for one in event.candidates]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "body: is empty"),
        (b"[]", "body: must be a JSON object"),
        (b"{}", "webhookEvent: is missing: this is no webhook of Jira, nor a post of a workflow"),
        (b'{"webhookEvent":{"a":1}}', "webhookEvent: is missing"),
        (b'{"webhookEvent":" "}', "webhookEvent: is missing"),
        (b'{"issue":{"key":"P-1"},"transition":"21"}', "webhookEvent: is missing"),
    ],
)
def test_what_says_nothing_is_refused_by_name(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Jira().extract({}, body)

    assert str(caught.value).startswith(problem)


def test_the_post_of_a_transition_is_read_though_it_names_no_event() -> None:
    event = read(
        {"transition": {"transitionId": 1}, "comment": "", "issue": {"key": "P-1"}, "timestamp": 7}
    )

    assert names(event) == [("transition", None)]
    assert event.subject is not None
    assert (event.subject.project, event.subject.key, event.comment_id) == ("P", "P-1", None)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (update(status=DONE, changelog={"id": "1", "items": [TO_DONE]}), "closed"),
        # renamed and translated statuses close all the same; resolving is not closing
        (update(status=OPEN, changelog={"id": "1", "items": [TO_DONE]}), None),
        (update(status=DONE, changelog={"items": [{"field": "resolution", "to": "1"}]}), None),
        (update(status=DONE, changelog={"items": [TO_DONE | {"to": "1"}]}), None),
        (update(status=DONE, changelog={"items": [TO_DONE | {"fieldtype": "custom"}]}), None),
        (update(status=DONE, changelog={"items": []}), None),
        (update(status=DONE, issue_event_type_name="issue_updated"), "issue_updated"),
        (update(status=DONE, issue_event_type_name="issue_closed"), "closed"),
        (update(status={"name": "Resolved"}, issue_event_type_name="issue_resolved"), "closed"),
        (update(status=OPEN, issue_event_type_name="issue_closed"), "issue_closed"),
        (update(changelog=[], issue_event_type_name="issue_moved"), "issue_moved"),
        (update(changelog={"items": [None, 7, "x"]}), None),
    ],
)
def test_a_close_is_a_change_into_the_category_done_in_this_delivery(
    payload: dict[str, Any], expected: str | None
) -> None:
    event = read(payload)

    assert names(event)[0] == (UPDATED, expected)
    assert names(event)[-1] == (UPDATED, payload.get("issue_event_type_name"))
    assert not event.stops


COMMENT = {"id": "900", "body": "hi", "author": {"name": "bo"}, "created": "2026-03-04T08:19:05Z"}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (update(issue_event_type_name="issue_commented", comment=COMMENT), True),
        (update(comment=COMMENT | {"updated": COMMENT["created"]}), True),
        (update(comment=COMMENT | {"updated": "2026-03-04T10:19:05+0200"}), True),
        (update(comment=COMMENT | {"updated": "2026-03-04T08:20:00Z"}), False),
        (update(comment=COMMENT), False),
        (update(issue_event_type_name="issue_comment_edited", comment=COMMENT), False),
        (update(issue_event_type_name="issue_comment_deleted"), False),
        (update(), False),
    ],
)
def test_a_comment_told_by_an_update_is_a_comment_and_an_edited_one_is_nothing(
    payload: dict[str, Any], expected: bool
) -> None:
    event = read(payload)

    own = (UPDATED, payload.get("issue_event_type_name"))
    assert names(event) == ([("comment_created", None)] if expected else []) + [own]
    assert event.stops
    assert (event.comment_id == "900") is expected
    assert (event.change_key == "comment:900:created") is expected


def test_a_comment_beside_a_change_of_fields_is_an_update() -> None:
    summary = {"id": "1", "items": [{"field": "summary", "toString": "New"}]}

    event = read(update(issue_event_type_name="issue_updated", comment=COMMENT, changelog=summary))

    assert names(event) == [(UPDATED, "issue_updated")]
    assert (event.stops, event.comment_id, event.change) == (False, None, "New")


def test_both_events_of_a_server_s_comment_have_one_change_key_and_two_delivery_keys() -> None:
    address = "https://jira.example.com/rest/api/2/issue/10207/comment/900"
    stripped = {"webhookEvent": "comment_created", "comment": COMMENT | {"self": address}}

    first = read(stripped)
    second = read(update(issue_event_type_name="issue_commented", comment=COMMENT))

    assert first.change_key == second.change_key == "comment:900:created"
    assert first.delivery_key != second.delivery_key
    assert first.subject is not None
    assert (first.subject.kind, first.subject.project, first.subject.key) == ("issue", "", "")
    assert Jira().is_incomplete(first)
    assert not Jira().is_incomplete(second)


def test_retries_share_the_identifier_and_bodies_stand_in_for_one() -> None:
    payload = update(changelog={"id": "1", "items": [TO_DONE]})

    first = read(payload, x_atlassian_webhook_identifier="2f1f3ca7-f21b-59a4-9bc9-797377c50351")
    again = read(
        payload | {"timestamp": 8},
        x_atlassian_webhook_identifier="2f1f3ca7-f21b-59a4-9bc9-797377c50351",
        x_atlassian_webhook_retry="1",
    )
    odd = [read(payload, x_atlassian_webhook_identifier=one) for one in ("", "é", "x" * 999, "a")]

    assert first.delivery_key == again.delivery_key == "2f1f3ca7-f21b-59a4-9bc9-797377c50351"
    assert {one.delivery_key[:5] for one in odd} == {"body:"}


def test_several_hooks_tell_one_change_under_one_key() -> None:
    for payload, key in [
        (update(changelog={"id": 20501, "items": [TO_DONE]}), "changelog:10207:20501"),
        (update() | {"webhookEvent": "jira:issue_created"}, "issue:10207:created"),
        (update() | {"webhookEvent": "comment_deleted", "comment": COMMENT}, "comment:900:deleted"),
    ]:
        assert read(payload).change_key == key
        assert read(payload | {"timestamp": 1, "matchedWebhookIds": [2]}).change_key == key

    same = [read(update(matchedWebhookIds=[number])).change_key for number in (1, 2)]
    assert same[0] == same[1] != read(update(timestamp=7)).change_key


def test_each_edit_of_a_comment_is_a_change_of_its_own() -> None:
    edits = [
        read({"webhookEvent": "comment_updated", "comment": COMMENT | {"updated": moment}})
        for moment in ("2026-03-04T08:20:00Z", "2026-03-04T08:21:00Z", "2026-03-04T09:21:00+0100")
    ]

    keys = [one.change_key for one in edits]
    assert keys == [
        "comment:900:updated:1772612400000",
        "comment:900:updated:1772612460000",
        "comment:900:updated:1772612460000",
    ]


@pytest.mark.parametrize(
    ("user", "login", "is_bot"),
    [
        ({"name": "bo", "accountId": "5f1", "displayName": "Bo"}, "bo", False),
        ({"accountId": "5f1", "displayName": "Bo", "accountType": "atlassian"}, "5f1", False),
        ({"accountId": "557058:1", "accountType": "app"}, "557058:1", True),
        ({"key": "JIRAUSER1"}, "JIRAUSER1", False),
        ({"displayName": "Former user"}, "Former user", False),
    ],
)
def test_people_are_known_by_name_or_account_and_apps_are_bots(
    user: dict[str, str], login: str, is_bot: bool
) -> None:
    event = read(update(user=user))

    assert event.actor is not None
    assert (event.actor.login, event.actor.is_bot) == (login, is_bot)


def test_the_actor_of_a_comment_is_its_author_and_of_an_edit_its_editor() -> None:
    comment = COMMENT | {"updateAuthor": {"name": "ann"}}

    actors = {
        name: read({"webhookEvent": name, "comment": comment}).actor
        for name in ("comment_created", "comment_updated", "comment_deleted")
    }

    logins = {name: actor.login if actor else None for name, actor in actors.items()}
    assert logins == {"comment_created": "bo", "comment_updated": "ann", "comment_deleted": "bo"}


def test_an_address_keeps_its_context_path_and_the_api_gateway_has_no_pages() -> None:
    def url(own: str) -> str:
        payload = update()
        payload["issue"]["self"] = own
        subject = read(payload).subject
        return subject.url if subject else "none"

    assert url("https://t.example.com/jira/rest/api/2/issue/1") == (
        "https://t.example.com/jira/browse/OPS-7"
    )
    assert url("https://api.atlassian.com/ex/jira/1/rest/api/3/issue/1") == ""
    assert url("javascript:x/rest/api/2/") == url("") == ""


FIXTURES: Final = [
    one
    for one in sorted((Path(__file__).parent / "fixtures").glob("*.json"))
    if not one.name.endswith(".golden.json")
]
ODD: Final = cycle([None, [], {}, "", "x", 7, True, [None], {"content": [None]}])


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_a_delivery_is_read_whichever_of_its_parts_is_missing_or_of_another_type(
    fixture: Path,
) -> None:
    payload = json.loads(fixture.read_text())

    for path in paths(payload, 4):
        if path in {("webhookEvent",), ("transition",)}:
            continue
        for value in (next(ODD), next(ODD), next(ODD)):
            broken = json.loads(json.dumps(payload))
            holder = broken
            for name in path[:-1]:
                holder = holder[name]
            holder[path[-1]] = value
            assert read(broken).payload == broken


def paths(value: dict[str, Any], depth: int) -> list[tuple[str, ...]]:
    """The way to each part, down to this depth."""
    found: list[tuple[str, ...]] = []
    for name, inner in value.items():
        found.append((name,))
        if isinstance(inner, dict) and depth > 1:
            found += [(name, *rest) for rest in paths(inner, depth - 1)]
    return found
