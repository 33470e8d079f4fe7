"""What is read from deliveries, and what of odd ones."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from aether.errors import InvalidInputError
from aether.events import Candidate, SourceEvent
from aether.sources.gitlab.extract import extract
from aether.sources.gitlab.told import is_bot, moment

FIXTURES: Final = Path(__file__).parent / "fixtures"


def body(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def read(payload: Any, event: str = "Issue Hook", **headers: str) -> SourceEvent:
    told = {
        "x-gitlab-event": event,
        **{name.replace("_", "-"): one for name, one in headers.items()},
    }
    return extract(told, json.dumps(payload).encode())


def test_the_idempotency_key_is_the_delivery_and_the_other_ids_are_not() -> None:
    payload = body("issue_hook__open")
    shared = {"x_gitlab_event_uuid": "same-for-two-events", "x_gitlab_webhook_uuid": "fresh"}

    first = read(payload, idempotency_key="A1", **shared)
    retried = read(payload, idempotency_key="A1", x_gitlab_webhook_uuid="fresher")
    other = read(payload, idempotency_key="A2", **shared)

    assert first.delivery_key == retried.delivery_key == "a1"
    assert other.delivery_key == "a2"


def test_the_signed_id_goes_before_one_that_anybody_could_change() -> None:
    signed = {"webhook_id": "S1", "webhook_signature": "v1,x", "idempotency_key": "A1"}

    assert read({}, **signed).delivery_key == "s1"
    assert read({}, **{**signed, "webhook_signature": ""}).delivery_key == "a1"


def test_before_17_4_a_delivery_is_known_by_its_body() -> None:
    payload = body("issue_hook__open")
    uuids = {"x_gitlab_event_uuid": "one", "x_gitlab_webhook_uuid": "two"}

    first, again = read(payload), read(payload, **uuids)
    other = read({**payload, "x": 1})

    assert first.delivery_key == again.delivery_key
    assert first.delivery_key.startswith("body:")
    assert other.delivery_key != first.delivery_key


@pytest.mark.parametrize("event", ["", " ", "\0"])
def test_a_delivery_without_its_event_is_refused_as_external_status_checks_are(event: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^X-Gitlab-Event: the header is missing"):
        extract({"x-gitlab-event": event, "x-gitlab-signature": "ab"}, b"{}")
    with pytest.raises(InvalidInputError, match=r"^X-Gitlab-Event: the header is missing"):
        extract({}, b"{}")


@pytest.mark.parametrize(
    "sent", [b"", b"[]", b"null", b'"x"', b"7", b"NaN", b"\xff", b"[" * 20_000]
)
def test_a_body_that_is_no_object_is_refused(sent: bytes) -> None:
    with pytest.raises(InvalidInputError, match=r"^body: "):
        extract({"x-gitlab-event": "Issue Hook"}, sent)


ODD: Final = [
    *({"object_kind": kind} for kind in ("issue", "work_item", "note", "merge_request")),
    {"object_kind": "deployment"},
    {"object_kind": ["issue"], "object_attributes": [], "project": "x", "user": 7, "labels": {}},
    {"object_kind": "issue", "object_attributes": {"iid": "7", "action": {"a": 1}, "labels": 3}},
    {"object_kind": "issue", "object_attributes": {"iid": True, "url": "https://[bad]/a/-/issues/1"}},
    {"object_kind": "note", "object_attributes": {"noteable_type": 3, "id": {}}, "issue": []},
    {"object_kind": "note", "object_attributes": {"noteable_type": "Issue"}, "issue": {"iid": {}}},
    {"object_kind": "merge_request", "object_attributes": None, "changes": {"labels": [1]}},
    {"object_kind": "issue", "changes": {"labels": {"previous": 1, "current": [None, {"a": 2}]}}},
    {"object_kind": "deployment", "environment": {"name": "x"}, "status": 3, "deployment_id": "y"},
    {"object_kind": "issue", "object_attributes": {"updated_at": "9999-99-99", "id": 2**70}},
    {"object_kind": "issue", "object_attributes": {"created_at": "0001-01-01 00:00:00 +1400"}},
]  # fmt: skip


@pytest.mark.parametrize("payload", ODD, ids=json.dumps)
@pytest.mark.parametrize("event", ["Issue Hook", "Note Hook", "System Hook", "Something New Hook"])
def test_an_odd_shape_is_read_as_far_as_it_goes(payload: Any, event: str) -> None:
    told = read(payload, event)

    assert told.change_key
    assert json.loads(json.dumps(told.summary()))["source"] == "gitlab"
    assert told.subject is None or told.subject.key.isdigit()


@pytest.mark.parametrize(
    "name", sorted(one.stem for one in FIXTURES.glob("*[!n].json") if "golden" not in one.name)
)
def test_whatever_is_missing_or_null_crashes_nothing(name: str) -> None:
    payload = body(name)
    for field in payload:
        odds: tuple[Any, ...] = (None, [], {}, "x", 7)
        for odd in odds:
            assert read({**payload, field: odd}).change_key
        left = {key: value for key, value in payload.items() if key != field}
        assert read(left).change_key


def test_the_body_decides_and_not_the_header() -> None:
    opened = body("merge_request_hook__open")

    for header in ("System Hook", "Merge Request Hook", "Issue Hook"):
        told = read(opened, header)

        assert told.candidates[-1] == Candidate(event_name="Merge Request Hook", action="open")
        assert (told.subject.kind if told.subject else None, told.event_name) == ("pr", header)


def test_a_name_of_its_own_goes_first_so_that_it_can_be_mapped() -> None:
    told = read(body("confidential_issue_hook__open"), "Confidential Issue Hook")

    assert told.candidates == (
        Candidate(event_name="Confidential Issue Hook", action="open"),
        Candidate(event_name="Issue Hook", action="open"),
    )


def test_a_project_is_found_in_addresses_where_its_path_is_not_told() -> None:
    payload = body("issue_hook__open")
    url = "https://code.example.com/gitlab/acme/api"
    payload["project"] = {"id": 5, "web_url": url}
    payload["object_attributes"]["url"] = f"{url}/-/issues/7"
    below = {"x_gitlab_instance": "https://code.example.com/gitlab"}

    assert read(payload, **below).project_names == ("acme/api", "5")
    payload["project"] = {"id": 5}
    assert read(payload, **below).project_names == ("acme/api", "5")
    assert read(payload).project_names == ("gitlab/acme/api", "5")
    payload["object_attributes"]["url"] = ""
    assert read(payload).project_names == ("5",)


def test_a_number_alone_names_a_project_only_where_there_is_an_item_in_it() -> None:
    job = {"object_kind": "build", "project_id": 5, "project_name": "Acme / api"}

    assert read(job, "Job Hook").project_names == ()


def test_the_items_author_is_named_where_that_person_is_told() -> None:
    payload = body("merge_request_hook__open")
    payload["object_attributes"]["author_id"] = 9000003  # the reviewer

    told = read(payload, "Merge Request Hook").subject

    assert told is not None
    assert told.author == "eve"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": {"previous": [], "current": [{"title": "b"}]}}, "b"),
        ({"labels": {"previous": [{"title": "a"}], "current": []}}, "a"),
        ({"assignees": {"previous": [], "current": [{"username": "bob"}]}}, "bob"),
        ({"reviewers": {"previous": [{"username": "eve"}], "current": []}}, "eve"),
        ({"title": {"previous": "a", "current": "b"}}, None),
        ({}, None),
        (None, None),
    ],
)  # fmt: skip
def test_the_value_that_changed_is_told(changes: Any, told: str | None) -> None:
    assert read({**body("issue_hook__update_labels"), "changes": changes}).change == told


@pytest.mark.parametrize(
    "name",
    [
        "project_123_bot_4ffca233d8298ea1", "group_99_bot_0a1b", "project_123_bot", "group_9_bot2",
        "support-bot", "alert-bot", "GitLab-Security-Bot", "service_account_group_9_0a1b2c3d",
        "service_account_0123456789abcdef", "support-bot1",
    ],
)  # fmt: skip
def test_names_that_gitlab_gives_to_programs_are_bots(name: str) -> None:
    assert is_bot(name)


@pytest.mark.parametrize(
    "name",
    [
        "ann", "robot", "my_bot_x", "project_bot", "service_account_fan", "ghost", "",
        "project_x_bot_1", "alert-bot-fan",
    ],
)  # fmt: skip
def test_names_that_people_choose_are_people(name: str) -> None:
    assert not is_bot(name)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("2026-05-28T06:14:44.830Z", "2026-05-28T06:14:44Z"),
        ("2015-05-17 17:06:40 UTC", "2015-05-17T17:06:40Z"),
        ("2025-05-02 11:55:16 +0200", "2025-05-02T09:55:16Z"),
        ("2014-02-27T10:06:20+02:00", "2014-02-27T08:06:20Z"),
        ("2026-08-02T10:41:35.000+00:00", "2026-08-02T10:41:35Z"),
        ("", None), (None, None), (7, None), ("soon", None), ("2026-13-01T00:00:00Z", None),
    ],
)  # fmt: skip
def test_a_moment_is_one_in_each_way_of_writing_it(sent: Any, told: str | None) -> None:
    assert moment(sent) == told
