"""One change, one key; two changes, two keys."""

import json
from typing import Any, Final

from aether.sources.github.change_key import comment_key, creation_key
from aether.sources.github.extract import extract

REPOSITORY: Final = {"id": 1296269, "full_name": "octo-org/hello-world"}
T1: Final = "2026-02-18T10:00:00Z"
T2: Final = "2026-02-18T11:00:00Z"


def change_key(event: str, action: str | None, **payload: Any) -> str:
    body = json.dumps({"action": action, "repository": REPOSITORY, **payload}).encode()
    return extract({"x-github-event": event}, body).change_key


def test_several_hooks_and_a_replay_tell_one_change() -> None:
    issue = {"number": 7, "title": "T", "updated_at": T1}

    of_repository = change_key("issues", "labeled", issue=issue, label={"name": "bug"})
    of_organisation = change_key(
        "issues", "labeled", issue=issue, label={"name": "bug"}, organization={"login": "octo-org"}
    )
    of_app = change_key(
        "issues", "labeled", label={"name": "bug"}, issue=issue, installation={"id": 3}
    )

    assert of_repository == of_organisation == of_app
    assert of_repository.startswith("body:")
    assert of_repository != change_key("issues", "labeled", issue=issue, label={"name": "ui"})


def test_the_same_words_under_another_event_are_another_change() -> None:
    assert change_key("star", "created") != change_key("fork", "created")


def test_a_creation_is_known_by_the_id_as_a_poll_sees_it() -> None:
    issue = {"id": 444500041, "number": 7, "created_at": T1}

    assert change_key("issues", "opened", issue=issue) == f"issue:444500041:created:{T1}"
    assert creation_key("issue", issue | {"title": "later"}) == f"issue:444500041:created:{T1}"
    assert creation_key("issue", {"number": 7}) is None
    assert change_key("issues", "opened", issue={"number": 7}).startswith("body:")


def test_a_pull_request_is_not_an_issue_of_the_same_id() -> None:
    thing = {"id": 5, "number": 7, "created_at": T1}

    assert change_key("issues", "opened", issue=thing) == f"issue:5:created:{T1}"
    assert change_key("pull_request", "opened", pull_request=thing) == f"pr:5:created:{T1}"


def test_an_id_that_is_given_again_after_a_restart_is_another_item() -> None:
    first = change_key("issues", "opened", issue={"id": 1, "number": 1, "created_at": T1})
    again = change_key("issues", "opened", issue={"id": 1, "number": 1, "created_at": T2})

    assert first != again


def test_a_comment_is_known_by_its_id() -> None:
    comment = {"id": 900, "created_at": T1, "updated_at": T1}
    issue = {"id": 5, "number": 7}

    created = change_key("issue_comment", "created", issue=issue, comment=comment)
    moved = change_key("issue_comment", "created", issue=issue | {"title": "t"}, comment=comment)

    assert created == moved == comment_key(comment) == f"comment:900:created:{T1}"
    assert change_key("issue_comment", "created", comment={"id": 501}) == "comment:501:created"


def test_two_edits_of_a_comment_are_two_changes() -> None:
    issue = {"id": 5, "number": 7}

    def edited(body: str, **more: str) -> str:
        comment = {"id": 900, "body": body, **more}
        return change_key("issue_comment", "edited", issue=issue, comment=comment)

    assert edited("a", updated_at=T1) == f"comment:900:edited:{T1}"
    assert edited("b", updated_at=T2) == f"comment:900:edited:{T2}"
    assert edited("a") != edited("b")
    assert edited("a").startswith("body:")


def test_comments_on_lines_and_on_the_conversation_do_not_share_ids() -> None:
    comment = {"id": 900}

    line = change_key("pull_request_review_comment", "created", comment=comment)

    assert line == "pull_request_review_comment:900:created"


def test_a_review_is_known_by_its_id() -> None:
    review = {"id": 31, "submitted_at": T1, "state": "approved"}

    submitted = change_key("pull_request_review", "submitted", review=review)
    dismissed = change_key("pull_request_review", "dismissed", review=review)

    assert submitted == f"review:31:{T1}"
    assert dismissed.startswith("body:")


def test_each_state_of_a_deployment_is_a_change() -> None:
    status = {"id": 44, "state": "success"}

    assert change_key("deployment_status", "created", deployment_status=status) == (
        "deployment_status:44:success"
    )


def test_closing_merging_and_reopening_are_known_by_their_moment() -> None:
    pull = {"id": 5, "number": 8, "closed_at": T1, "updated_at": T2}

    assert change_key("pull_request", "closed", pull_request=pull) == f"pr:5:closed:{T1}"
    assert change_key("pull_request", "closed", pull_request=pull | {"merged": True}) == (
        f"pr:5:merged:{T1}"
    )
    assert change_key("pull_request", "reopened", pull_request=pull | {"closed_at": None}) == (
        f"pr:5:reopened:{T2}"
    )
    assert change_key("issues", "closed", issue={"id": 5, "number": 7}).startswith("body:")


def test_a_milestone_on_a_pull_request_is_told_twice_and_counted_once() -> None:
    milestone = {"id": 12, "title": "v1"}
    shared = {"number": 8, "node_id": "PR_8", "updated_at": T1}
    as_issue = shared | {"id": 1, "pull_request": {"merged_at": None}}

    told_as_issue = change_key("issues", "milestoned", issue=as_issue, milestone=milestone)
    told_as_pull = change_key(
        "pull_request", "milestoned", pull_request=shared | {"id": 2}, milestone=milestone
    )

    assert told_as_issue == told_as_pull == f"pr:PR_8:milestoned:12:{T1}"
