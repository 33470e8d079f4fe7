"""What is read out of a delivery, whatever its shape."""

import json
from typing import Any, Final
from urllib.parse import quote

import pytest

from aether.errors import InvalidInputError
from aether.events import Candidate, SourceEvent
from aether.sources.github.extract import extract

GUID: Final = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
ISSUE: Final[dict[str, Any]] = {
    "action": "opened",
    "issue": {"number": 7, "title": "T", "body": "B", "user": {"login": "ann", "type": "User"}},
    "repository": {"name": "api", "owner": {"login": "acme"}, "full_name": "acme/api"},
    "sender": {"login": "ann", "type": "User"},
}


def read(payload: Any, event: str = "issues", **more: str) -> SourceEvent:
    headers = {"x-github-event": event, "x-github-delivery": GUID, **more}
    return extract(headers, payload if isinstance(payload, bytes) else json.dumps(payload).encode())


def with_issue(**changes: Any) -> dict[str, Any]:
    return ISSUE | {"issue": ISSUE["issue"] | changes}


def test_escapes_spacing_and_order_do_not_matter() -> None:
    body = (
        rb'{"sender":  {"login":  "ann"}, "repository":  {"full_name":  "acme/api"},'
        rb' "issue":  {"title":  "caf\u00e9 \/ x", "number":  7}, "action":  "opened"}'
    )

    event = read(body)

    assert event.subject is not None
    assert (event.subject.project, event.subject.key) == ("acme/api", "7")
    assert event.subject.title == "café / x"


def test_a_title_is_kept_as_it_was_written() -> None:
    title = "naïve 😀 日本\u202ex"

    event = read(json.dumps(with_issue(title=title), ensure_ascii=False).encode())

    assert event.subject is not None
    assert event.subject.title == title


def test_a_form_is_read_like_json() -> None:
    form = "application/x-www-form-urlencoded; charset=utf-8"
    payload = with_issue(title="a+b & c%20d")
    body = b"payload=" + quote(json.dumps(payload), safe="").encode()

    event = read(body, **{"content-type": form})

    assert event == read(payload)
    assert event.subject is not None
    assert event.subject.title == "a+b & c%20d"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"other=1", "payload: the form has no such field; send JSON as Content-Type: "),
        (b"payload=", "payload: the form has no such field; "),
        (b"payload=7", "payload: must be a JSON object"),
        (b"payload=%ff", "body: is not a readable form"),
        (b"payload=\xff", "body: is not a readable form"),
        (b"a=1&" * 200, "body: is not a readable form"),
    ],
)
def test_a_form_without_a_readable_payload_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(body, **{"content-type": "application/x-www-form-urlencoded"})

    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize("headers", [{}, {"x-github-event": " "}])
def test_a_request_without_an_event_name_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError, match=r"^X-GitHub-Event: the header is missing$"):
        extract(headers, json.dumps(ISSUE).encode())


def test_an_event_name_of_any_length_is_not_taken() -> None:
    with pytest.raises(InvalidInputError, match=r"^X-GitHub-Event: longer than 100 characters$"):
        read(ISSUE, event="x" * 101)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        ISSUE | {"repository": []},
        ISSUE | {"repository": {"owner": "acme", "name": 7}},
        ISSUE | {"repository": None},
        ISSUE | {"issue": None},
        ISSUE | {"issue": [7]},
        with_issue(number=None),
        with_issue(number={"a": 1}),
        with_issue(number="../9"),
        with_issue(number=True),
    ],
)
def test_a_delivery_without_a_usable_item_has_no_subject(payload: dict[str, Any]) -> None:
    event = read(payload)

    assert event.subject is None
    assert event.candidates == (Candidate(event_name="issues", action=payload.get("action")),)


@pytest.mark.parametrize("thing", [None, True, 7, 1.5, "x", [], [1], {}, {"a": 1}, [[{}]]])
def test_a_field_of_another_shape_never_crashes(thing: Any) -> None:
    names = [*ISSUE, "comment", "review", "pull_request", "deployment", "deployment_status"]
    names += ["label", "assignee", "milestone", "requested_team", "type"]
    inner = ["number", "id", "title", "body", "user", "labels", "state", "pull_request"]

    for event in ("issues", "issue_comment", "pull_request", "pull_request_review", "ping"):
        for name in names:
            read(ISSUE | {name: thing}, event)
        for name in inner:
            read(with_issue(**{name: thing}), event)
    for name in ("id", "state", "environment", "description", "creator", "target_url"):
        status = {"deployment": {"id": 5, name: thing}, "deployment_status": {name: thing}}
        read(ISSUE | status, "deployment_status")


def test_an_action_that_is_not_text_is_none() -> None:
    assert read(ISSUE | {"action": {"a": 1}}).action is None


def test_a_number_sent_as_text_is_the_same_item() -> None:
    assert read(with_issue(number="7")).subject == read(ISSUE).subject


def test_null_text_is_empty_and_a_deleted_account_is_nobody() -> None:
    payload = with_issue(body=None, user=None)
    del payload["sender"]

    event = read(payload)

    assert event.subject is not None
    assert (event.subject.body, event.text, event.subject.author) == ("", "", None)
    assert event.actor is None


def test_nul_and_lone_surrogates_do_not_get_through() -> None:
    body = json.dumps(with_issue(title="a\0b\ud800")).encode()

    event = read(body)

    assert event.subject is not None
    assert event.subject.title == "ab\ufffd"
    assert event.payload["issue"]["title"] == "ab\ufffd"


def test_the_project_is_found_without_its_full_name() -> None:
    by_login = ISSUE | {"repository": {"name": "api", "owner": {"login": "acme"}, "id": 5}}
    by_name = ISSUE | {"repository": {"name": "api", "owner": {"name": "acme"}, "id": "5"}}

    assert read(by_login).project_names == read(by_name).project_names == ("acme/api", "5")


def test_a_guid_is_the_delivery_key_whatever_its_case() -> None:
    assert read(ISSUE, **{"x-github-delivery": GUID.upper()}).delivery_key == GUID


def test_a_counter_that_starts_over_is_told_apart_by_hook_and_body() -> None:
    def delivery_key(payload: Any, hook: str) -> str:
        numbered = {"x-github-delivery": "1", "x-github-hook-id": hook}
        return read(payload, **numbered).delivery_key

    first = delivery_key(ISSUE, "41")

    assert first == delivery_key(ISSUE, "41")
    assert first.startswith("41:")
    assert len({first, delivery_key(ISSUE, "42"), delivery_key(with_issue(number=8), "41")}) == 3


def test_without_a_delivery_id_the_body_is_the_key() -> None:
    none = {"x-github-delivery": ""}

    key = read(ISSUE, **none).delivery_key

    assert key.startswith("body:")
    assert key == read(ISSUE, **none).delivery_key
    assert key != read(with_issue(number=8), **none).delivery_key
    assert key != read(ISSUE, "watch", **none).delivery_key


def test_a_long_delivery_id_does_not_make_a_long_key() -> None:
    hostile = {"x-github-delivery": "9" * 5_000, "x-github-hook-id": "é" * 5_000}

    assert len(read(ISSUE, **hostile).delivery_key) == 122


def test_a_merge_is_asked_first_and_then_the_close() -> None:
    pull = {"number": 8, "merged": True, "state": "closed"}
    payload = ISSUE | {"action": "closed", "pull_request": pull}

    event = read(payload, "pull_request")

    assert (event.event_name, event.action) == ("pull_request", "closed")
    assert event.candidates == (
        Candidate(event_name="pull_request", action="merged"),
        Candidate(event_name="pull_request", action="closed"),
    )
    assert not event.stops


def test_an_issues_event_about_a_merged_pull_request_is_a_merge() -> None:
    merged = with_issue(pull_request={"merged_at": "2026-02-18T10:00:00Z"})

    event = read(merged | {"action": "closed"})

    assert event.candidates[0] == Candidate(event_name="pull_request", action="merged")
    assert event.subject is not None
    assert event.subject.kind == "pr"


def test_a_deployment_status_is_asked_by_its_state_alone() -> None:
    status = {"id": 3, "state": "failure", "description": "2 of 3 hosts"}
    payload = {
        "action": "created",
        "deployment_status": status,
        "deployment": {"id": 5, "environment": "production"},
        "repository": ISSUE["repository"],
    }

    event = read(payload, "deployment_status")

    assert event.candidates == (Candidate(event_name="deployment_status", action="failure"),)
    assert event.stops
    assert (event.outcome, event.text) == ("failure", "2 of 3 hosts")
    assert event.subject is not None
    assert (event.subject.kind, event.subject.key) == ("deployment", "5")
    assert event.subject.title == "production"


def test_an_edit_of_a_comment_on_a_pull_request_is_not_a_new_comment() -> None:
    comment = {"id": 501, "body": "b", "updated_at": "2026-02-18T10:00:00Z"}
    payload = with_issue(pull_request={}) | {"comment": comment}

    created = read(payload | {"action": "created"}, "issue_comment")
    edited = read(payload | {"action": "edited"}, "issue_comment")

    assert created.candidates == (Candidate(event_name="pull_request_comment", action="created"),)
    assert (created.stops, created.comment_id) == (True, "501")
    assert edited.candidates == (Candidate(event_name="issue_comment", action="edited"),)
    assert (edited.stops, edited.comment_id) == (False, None)


def test_the_association_is_the_one_of_the_text_at_hand() -> None:
    payload = with_issue(author_association="OWNER")
    stranger = {"sender": {"login": "bob", "id": 5, "type": "User"}}
    comment = {"comment": {"id": 1, "body": "c", "author_association": "NONE"}}

    mine = read(payload)
    labelled = read(payload | stranger | {"action": "labeled"})
    commented = read(payload | stranger | comment | {"action": "created"}, "issue_comment")

    assert mine.actor is not None
    assert mine.actor.association == "OWNER"
    assert labelled.actor is not None
    assert labelled.actor.association is None
    assert commented.actor is not None
    assert commented.actor.association == "NONE"


@pytest.mark.parametrize(
    ("action", "head", "author", "expected"),
    [
        ("synchronize", {"repo": {"id": 2}}, "NONE", "NONE"),
        ("synchronize", {"repo": None}, "FIRST_TIMER", "FIRST_TIMER"),  # the fork was deleted
        ("synchronize", {"repo": {"id": 1}}, "NONE", None),  # who pushes here may
        ("synchronize", {"repo": {"id": 2}}, "MEMBER", None),
        ("closed", {"repo": {"id": 2}}, "NONE", None),
    ],
)
def test_whoever_pushes_to_a_strangers_fork_stands_as_far_off_as_the_stranger(
    action: str, head: dict[str, Any], author: str, expected: str | None
) -> None:
    pull = ISSUE["issue"] | {
        "author_association": author, "base": {"repo": {"id": 1}}, "head": head,
    }  # fmt: skip
    payload = {
        "action": action, "pull_request": pull, "repository": ISSUE["repository"],
        "sender": {"login": "ben", "type": "User"},
    }  # fmt: skip

    actor = read(payload, "pull_request").actor

    assert actor is not None
    assert (actor.login, actor.association) == ("ben", expected)


def test_whoever_opens_a_discussion_is_told_of_and_whoever_labels_it_is_not() -> None:
    discussion = {"number": 3, "user": {"login": "ann"}, "author_association": "NONE"}
    payload = {"discussion": discussion, "repository": ISSUE["repository"]}

    by_author = read(payload | {"sender": {"login": "ann"}}, "discussion").actor
    by_another = read(payload | {"sender": {"login": "mia"}}, "discussion").actor

    assert by_author is not None
    assert by_another is not None
    assert (by_author.association, by_another.association) == ("NONE", None)


def test_only_the_type_tells_a_bot() -> None:
    bot = ISSUE | {"sender": {"login": "renovate[bot]", "id": 9, "type": "Bot"}}

    event = read(bot)

    assert event.actor is not None
    assert (event.actor.login, event.actor.is_bot, event.actor.id) == ("renovate[bot]", True, "9")
