"""One change, one key; two changes, two keys."""

import json
from typing import Any

from aether.sources.gitlab.change_key import BODY, closing_key, comment_key, creation_key
from aether.sources.gitlab.extract import extract
from tests.sources.gitlab.test_extract import body


def key_of(payload: Any, event: str = "Issue Hook", **headers: str) -> str:
    return extract({"x-gitlab-event": event, **headers}, json.dumps(payload).encode()).change_key


def changed(name: str, **attributes: Any) -> Any:
    payload = body(name)
    payload["object_attributes"] |= attributes
    return payload


def test_hooks_of_project_group_and_system_tell_one_change() -> None:
    opened, pushed = body("merge_request_hook__open"), body("merge_request_hook__update_pushed")

    for payload in (opened, pushed):
        of_project = key_of(payload, "Merge Request Hook", **{"idempotency-key": "1"})
        of_group = key_of(payload, "Merge Request Hook", **{"idempotency-key": "2"})
        of_system = key_of({**payload, "event_type": "x"}, "System Hook")

        assert of_project == of_group == of_system


def test_a_creation_is_one_in_each_dialect_and_as_the_api_shows_it() -> None:
    told = {"id": 3000000501, "iid": 3, "created_at": "2026-02-18T10:00:00.700Z"}

    assert key_of(body("merge_request_hook__open")) == creation_key("pr", told)
    assert key_of(body("issue_hook__open")) == key_of(body("issue_hook__task"))
    assert key_of(body("issue_hook__open")) != key_of(changed("issue_hook__open", id=1))


def test_a_comment_is_known_by_its_id_whoever_tells_of_it() -> None:
    old, new = body("note_hook__of_old_on_an_issue"), body("note_hook__create_on_an_issue")
    told = {"id": 3000000901, "created_at": "2026-02-18T10:10:00.999Z"}

    assert key_of(old, "Note Hook") == key_of(new, "Note Hook") == comment_key(told)
    assert key_of(new, "Confidential Note Hook") == comment_key(told)


def test_each_edit_of_a_comment_is_a_change_of_its_own() -> None:
    first = body("note_hook__edited")
    later = changed("note_hook__edited", updated_at="2026-02-18 10:12:00 UTC")
    other = changed("note_hook__edited", note="Never mind.")

    assert len({key_of(one, "Note Hook") for one in (first, first, later, other)}) == 3


def test_a_close_is_known_by_its_moment_and_closing_again_is_another() -> None:
    told = {"id": 3000000301, "iid": 7, "closed_at": "2026-02-18T11:00:00.000Z"}
    again = changed("issue_hook__close", closed_at="2026-02-18T15:00:00.000Z")

    assert key_of(body("issue_hook__close")) == closing_key("issue", told)
    assert key_of(again) != key_of(body("issue_hook__close"))


def test_two_approvals_are_two_and_two_updates_of_one_second_are_two() -> None:
    by_eve = body("merge_request_hook__approved")
    by_bob = {**by_eve, "user": {"username": "bob"}}
    urgent = body("issue_hook__update_labels")
    titled = {**urgent, "changes": {"title": {"previous": "a", "current": "b"}}}

    assert key_of(by_eve) != key_of(by_bob)
    assert key_of(urgent) != key_of(titled)


def test_what_names_no_act_begins_so_that_a_poll_can_be_compared_with_it() -> None:
    for name in ("issue_hook__update_labels", "merge_request_hook__close", "issue_hook__reopen"):
        assert key_of(body(name)).startswith(BODY)


def test_a_deployment_reaches_a_state_once_in_each_project() -> None:
    done, other = body("deployment_hook__success"), body("deployment_hook__success")
    other["project"]["path_with_namespace"] = "acme/web"

    assert key_of(done) == key_of({**done, "status_changed_at": "2026-02-18 11:00:00 UTC"})
    assert len({key_of(done), key_of(body("deployment_hook__running")), key_of(other)}) == 3
