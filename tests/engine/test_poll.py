"""A poll tells what happened once, whatever it overlaps with; finding nothing costs little."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from aether import sources
from aether.clock import to_wire
from aether.db import rows
from aether.demo.github_payloads import comment_payload, issue_payload, pull_request_payload
from aether.demo.github_shapes import GITHUB
from aether.demo.github_state import Account, Review, moment
from aether.engine.poll import poll_source
from aether.models import Delivery, Effect, PollSource, Project
from tests.polling import REPO, Rig, ago, count, deliveries, opened_at, rigged, written_at
from tests.schema.both import statements

OCTOCAT = Account("octocat")


@pytest.fixture
async def rig(database: str) -> AsyncIterator[Rig]:
    async with rigged(database) as made:
        yield made


async def test_a_new_issue_starts_its_task_as_if_a_webhook_had_told_it(rig: Rig) -> None:
    rig.github.add_issue(REPO, 7, "Boom", "It breaks", association="MEMBER")

    row = await rig.poll()

    assert await rig.started() == [("issue.created", "7")]
    [delivery] = await Delivery.all()
    assert (delivery.slug, delivery.source, delivery.is_verified) == ("github", "github", True)
    assert (delivery.event_name, delivery.action) == ("issues", "opened")
    assert (delivery.project_key, delivery.item_kind, delivery.title) == (REPO, "issue", "Boom")
    assert (delivery.actor, delivery.event["text"]) == ("octocat", "It breaks")
    assert delivery.event["actor"]["association"] == "MEMBER"  # type: ignore[index]
    assert delivery.event["told_by"] == "poll"
    assert delivery.payload["issue"]["number"] == 7  # type: ignore[index]
    assert delivery.payload["repository"]["full_name"] == REPO  # type: ignore[index]
    assert (row.failures, row.error, row.requested_at, row.lease_until) == (0, None, None, None)
    assert row.last_polled_at is not None


async def test_polling_again_tells_nothing_again(rig: Rig) -> None:
    rig.github.add_issue(REPO, 7, "Boom")
    await rig.poll()

    for _ in range(3):
        await rig.poll()

    assert await deliveries() == [("issues", "routed")]


@pytest.mark.parametrize("first", ["webhook", "poll"])
async def test_what_a_webhook_and_a_poll_tell_starts_one_run(rig: Rig, first: str) -> None:
    github = rig.github
    issue = opened_at(github.add_issue(REPO, 7, "Boom"), ago(minutes=3))
    comment = written_at(issue, github.add_comment(REPO, 7, "And here"), ago(minutes=2))
    pull = opened_at(github.add_pull(REPO, 8, "Fix"), ago(minutes=1))
    repository = github.repositories[REPO]
    hooks = [
        ("issues", issue_payload("opened", repository, issue, OCTOCAT, GITHUB)),
        ("issue_comment", comment_payload("created", repository, issue, comment, OCTOCAT, GITHUB)),
        ("pull_request", pull_request_payload("opened", repo=REPO, number=8, title="Fix")),
    ]
    hooks[2][1]["pull_request"]["created_at"] = to_wire(pull.created_at)

    for by in (first, "poll" if first == "webhook" else "webhook"):
        if by == "poll":
            await rig.poll()
        else:
            for event, payload in hooks:
                await rig.webhook(event, payload)

    assert await rig.started() == [
        ("issue.created", "7"),
        ("issue.commented", "7"),
        ("pr.opened", "8"),
    ]
    assert await count("delivery") == 3


async def test_a_close_told_twice_is_one(rig: Rig) -> None:
    issue = opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(days=2))
    await rig.poll()
    issue.state, issue.closed_at, issue.updated_at = "closed", ago(seconds=40), ago(seconds=40)
    payload = issue_payload("closed", rig.github.repositories[REPO], issue, OCTOCAT, GITHUB)

    await rig.poll()
    await rig.webhook("issues", payload)

    assert await rig.started() == [("issue.closed", "7")]


async def test_a_merge_is_a_merge_and_a_close_without_one_a_close(rig: Rig) -> None:
    for number in (8, 9):
        pull = opened_at(rig.github.add_pull(REPO, number, "Fix"), ago(days=2))
        pull.state, pull.closed_at = "closed", ago(minutes=10 - number)
        pull.updated_at = pull.closed_at
        if number == 8 and pull.pull is not None:
            pull.pull.merged_at = pull.closed_at

    await rig.poll()
    await rig.poll()

    assert await rig.started() == [("pr.merged", "8"), ("pr.closed", "9")]


async def test_a_review_is_told_and_explains_the_change(rig: Rig) -> None:
    opened_at(rig.github.add_pull(REPO, 8, "Fix"), ago(days=2))
    await rig.poll()
    _review(rig, 8, "APPROVED")
    _review(rig, 8, "PENDING")

    await rig.poll()
    _review(rig, 8, "CHANGES_REQUESTED")
    await rig.poll()

    assert await rig.started() == [("pr.reviewed", "8"), ("pr.reviewed", "8")]
    told = await Delivery.all().order_by("id")
    assert [one.event["outcome"] for one in told] == ["approved", "changes_requested"]


async def test_a_comment_is_told_once_and_the_item_it_touches_is_not_an_update(rig: Rig) -> None:
    issue = opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(days=2))
    pull = opened_at(rig.github.add_pull(REPO, 8, "Fix"), ago(days=2))
    await rig.poll()
    written_at(issue, rig.github.add_comment(REPO, 7, "Here too"), ago(seconds=50))
    written_at(pull, rig.github.add_comment(REPO, 8, "Why?"), ago(seconds=45))

    await rig.poll()
    comment = rig.github.comments(REPO, 7)[0]
    comment.body, comment.updated_at, issue.updated_at = "Edited", ago(), ago()
    await rig.poll()

    assert await rig.started() == [("issue.commented", "7"), ("pr.commented", "8")]
    assert await deliveries() == [("issue_comment", "routed"), ("issue_comment", "routed")]


async def test_a_comment_that_is_on_a_later_page_explains_its_item_all_the_same(rig: Rig) -> None:
    for number in (7, 8):
        opened_at(rig.github.add_issue(REPO, number, "Boom"), ago(days=2))
    await rig.poll()
    for number in range(110):
        comment = rig.github.add_comment(REPO, 7, "Much to say")
        written_at(rig.github.issue(REPO, 7), comment, ago(seconds=300 - number))
    last = rig.github.add_comment(REPO, 8, "And here")
    written_at(rig.github.issue(REPO, 8), last, ago(seconds=30))

    await rig.poll()

    triggers = Counter(await rig.started())
    assert triggers == {("issue.commented", "7"): 110, ("issue.commented", "8"): 1}


async def test_an_item_that_changed_in_an_unknown_way_is_an_update(rig: Rig) -> None:
    issue = opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(days=2))
    pull = opened_at(rig.github.add_pull(REPO, 8, "Fix"), ago(days=2))
    await rig.poll()
    issue.labels, issue.updated_at = ["bug"], ago(seconds=30)
    pull.title, pull.updated_at = "Fix it", ago(seconds=20)

    await rig.poll()
    await rig.poll()

    assert await rig.started() == [("issue.updated", "7"), ("pr.updated", "8")]
    told = await Delivery.all().order_by("id")
    assert {one.event["told_by"] for one in told} == {"state"}
    assert [one.actor for one in told] == [None, None]  # nobody says whose doing it was


@pytest.mark.parametrize("first", ["webhook", "poll"])
async def test_an_update_that_both_tell_starts_one_run(rig: Rig, first: str) -> None:
    issue = opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(days=2))
    await rig.poll()
    issue.labels, issue.updated_at = ["bug"], ago(seconds=30)
    payload = issue_payload("labeled", rig.github.repositories[REPO], issue, OCTOCAT, GITHUB)

    for by in (first, "poll" if first == "webhook" else "webhook"):
        if by == "poll":
            await rig.poll()
        else:
            await rig.webhook("issues", payload)

    assert await rig.started() == [("issue.updated", "7")]
    reasons = [one.reason for one in await Delivery.all().order_by("id")]
    assert reasons == [None, f"a {first} has told of this state already"]


async def test_a_webhook_of_another_change_is_not_taken_for_the_polled_one(rig: Rig) -> None:
    issue = opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(days=2))
    await rig.poll()
    issue.labels, issue.updated_at = ["bug"], ago(seconds=30)
    await rig.poll()

    issue.labels, issue.updated_at = [], ago(seconds=10)
    payload = issue_payload("unlabeled", rig.github.repositories[REPO], issue, OCTOCAT, GITHUB)
    await rig.webhook("issues", payload)
    comment = rig.github.add_comment(REPO, 7, "Old news")
    written_at(issue, comment, ago(seconds=60))
    repository = rig.github.repositories[REPO]
    told = comment_payload("created", repository, issue, comment, OCTOCAT, GITHUB)
    await rig.webhook("issue_comment", told)

    assert await rig.started() == [
        ("issue.updated", "7"),
        ("issue.updated", "7"),
        ("issue.commented", "7"),
    ]


async def test_our_own_answer_starts_nothing(rig: Rig) -> None:
    issue = opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(days=2))
    await rig.poll()
    comment = written_at(issue, rig.github.add_comment(REPO, 7, "Answer"), ago(seconds=30))
    await _effect("comment", platform_id=str(comment.id))

    await rig.poll()

    assert await rig.started() == []
    [delivery] = await Delivery.all()
    assert (delivery.status, delivery.reason) == (
        "ignored",
        "our own doing: we posted this comment",
    )


async def test_our_own_writing_hours_ago_is_known_by_the_time_at_which_it_happened(
    rig: Rig,
) -> None:
    labelled = opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(days=2))
    closed = opened_at(rig.github.add_issue(REPO, 8, "Bang"), ago(days=2))
    by_others = opened_at(rig.github.add_issue(REPO, 9, "Bump"), ago(days=2))
    await rows("UPDATE poll_source SET created_at = now() - interval '1 day'")
    await rig.poll()
    labelled.labels, labelled.updated_at = ["bug"], ago(hours=5)
    closed.state, closed.closed_at, closed.updated_at = "closed", ago(hours=5), ago(hours=5)
    by_others.state, by_others.closed_at, by_others.updated_at = "closed", ago(), ago()
    for number, kind in ((7, "label"), (8, "close"), (9, "close")):
        one = await _effect(kind, item_key=str(number))
        await rows(
            "UPDATE effect SET touched_at = now() - interval '5 hours' WHERE id = $1", one.id
        )

    await rig.poll()

    assert await rig.started() == [("issue.closed", "9")]
    reasons = [one.reason for one in await Delivery.filter(status="ignored").order_by("id")]
    assert reasons == [
        "our own doing: we wrote to this item at that time",
        "our own doing: we intended closed on this item",
    ]


async def test_a_first_poll_looks_back_an_hour_and_answers_no_history(rig: Rig) -> None:
    for number in range(1, 40):
        opened_at(rig.github.add_issue(REPO, number, "Old"), ago(days=number))
    fresh = opened_at(rig.github.add_issue(REPO, 40, "New"), ago(minutes=50))
    old = rig.github.issue(REPO, 1)
    written_at(old, rig.github.add_comment(REPO, 1, "Long ago"), ago(hours=30))
    written_at(old, rig.github.add_comment(REPO, 1, "Just now"), ago(minutes=5))

    await rig.poll()

    assert await rig.started() == [("issue.created", str(fresh.number)), ("issue.commented", "1")]


async def test_how_far_the_first_poll_looks_back_is_a_setting(database: str) -> None:
    async with rigged(database, POLL_LOOK_BACK_MINUTES="0") as rig:
        opened_at(rig.github.add_issue(REPO, 1, "Before"), ago(minutes=1))
        rig.github.add_issue(REPO, 2, "After").created_at += timedelta(seconds=2)
        rig.github.issue(REPO, 2).updated_at += timedelta(seconds=2)

        await rig.poll()

        assert await rig.started() == [("issue.created", "2")]


async def test_a_first_poll_that_failed_for_long_looks_back_from_when_it_was_wanted(
    rig: Rig,
) -> None:
    await rows("UPDATE poll_source SET created_at = now() - interval '6 hours'")
    opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(hours=5))

    await rig.poll()

    assert await rig.started() == [("issue.created", "7")]


async def test_items_of_one_second_are_all_told_also_when_one_appears_late(rig: Rig) -> None:
    at = ago(minutes=1)
    for number in (1, 2):
        opened_at(rig.github.add_issue(REPO, number, "Same second"), at)
    await rig.poll()

    opened_at(rig.github.add_issue(REPO, 3, "Same second, late"), at)
    await rig.poll()

    assert await rig.started() == [("issue.created", str(number)) for number in (1, 2, 3)]


async def test_an_item_that_closes_within_the_second_of_its_creation_is_told_closed(
    rig: Rig,
) -> None:
    at = ago(minutes=1)
    issue = opened_at(rig.github.add_issue(REPO, 1, "Brief"), at)
    await rig.poll()

    issue.state, issue.closed_at = "closed", at
    await rig.poll()

    assert await rig.started() == [("issue.created", "1"), ("issue.closed", "1")]


async def test_more_than_a_page_is_told_whole_also_when_a_page_fails(rig: Rig) -> None:
    await rig.poll()
    for number in range(1, 231):
        opened_at(rig.github.add_issue(REPO, number, "Many"), ago(seconds=1000 - number))
    for number in range(301, 451):
        opened_at(rig.github.add_pull(REPO, number, "Many"), ago(seconds=1000 - number))
    rig.github.fail_next("GET", r"/pulls$", status=404)

    failed = await rig.poll()
    await rig.poll()

    assert failed.failures == 1
    told = await rig.started()
    issues = [item for trigger, item in told if trigger == "issue.created"]
    assert issues == [str(number) for number in range(1, 231)]
    pulls = {item for trigger, item in told if trigger == "pr.opened"}
    assert pulls == {str(number) for number in range(301, 451)}
    assert len(told) == 380
    row = await rig.row()
    assert (row.failures, row.error, row.requested_at) == (0, None, None)


async def test_a_page_filled_by_one_second_is_passed(rig: Rig) -> None:
    await rig.poll()
    at = ago(minutes=1)
    for number in range(1, 251):
        opened_at(rig.github.add_issue(REPO, number, "Import"), at)
    opened_at(rig.github.add_issue(REPO, 300, "After"), ago(seconds=30))

    await rig.poll()

    assert len(await rig.started()) == 251
    with rig.calls() as calls:
        await rig.poll()
    assert len(calls) == 6  # three pages of issues, and the two other lists once each
    assert len(await rig.started()) == 251


async def test_an_item_that_moves_while_pages_are_read_takes_no_other_with_it(rig: Rig) -> None:
    await rig.poll()
    for number in range(1, 151):
        opened_at(rig.github.add_issue(REPO, number, "Many"), ago(seconds=1000 - number))
    github = sources.get_polled("github")
    assert github is not None
    client = await rig.runtime.credentials.outbound(github.name)
    cursor: dict[str, Any] = {}
    told: list[str | None] = []

    for page in range(2):
        step = await github.poll(client, REPO, cursor, now=ago(), since=ago(hours=1))
        cursor = json.loads(json.dumps(step.cursor))
        told += [event.subject.key for event in step.events if event.subject]
        assert step.has_more == (page == 0)
        rig.github.issue(REPO, 5).touch()  # it moves from the first page to the end

    assert set(told) == {str(number) for number in range(1, 151)}


async def test_nothing_is_told_anew_when_old_deliveries_have_been_pruned(rig: Rig) -> None:
    issue = opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(minutes=1))
    written_at(issue, rig.github.add_comment(REPO, 7, "More"), ago(seconds=50))
    pull = opened_at(rig.github.add_pull(REPO, 8, "Fix"), ago(seconds=45))
    _review(rig, 8, "APPROVED").submitted_at = pull.updated_at = ago(seconds=40)
    await rig.poll()
    await rows("DELETE FROM task_execution")
    await rows("DELETE FROM delivery")

    rig.github.add_issue(REPO, 9, "Next")
    rig.github.add_comment(REPO, 7, "Thanks")
    pull.title = "Fix it"
    pull.touch()
    await rig.poll()

    assert sorted(await rig.started()) == [
        ("issue.commented", "7"),
        ("issue.created", "9"),
        ("pr.updated", "8"),
    ]


async def test_a_poll_that_finds_nothing_is_answered_not_modified_and_writes_no_delivery(
    rig: Rig,
) -> None:
    opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(minutes=5))
    await rig.poll()
    await rig.poll()

    with rig.calls() as calls:
        row = await rig.poll()

    assert [one.status for one in calls] == [304, 304, 304]
    assert row.failures == 0
    assert await count("delivery") == 1


async def test_a_poll_that_finds_nothing_takes_three_statements(rig: Rig) -> None:
    opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(minutes=5))
    await rig.poll()
    await rig.poll()
    await rig.want()

    with statements() as told:
        await poll_source(rig.runtime, rig.id)

    verbs = [one.split()[0] for one in told]
    assert verbs == ["UPDATE", "SELECT", "UPDATE"]  # the claim, the credential, the end


async def test_a_disabled_project_s_events_are_stored_and_start_nothing(rig: Rig) -> None:
    await Project.create(name="API", source="github", source_project_id="Acme/API", enabled=False)
    rig.github.add_issue(REPO, 7, "Boom")

    await rig.poll()

    [delivery] = await Delivery.all()
    assert (delivery.status, delivery.reason) == ("ignored", "its project is disabled")
    assert await rig.started() == []


async def test_a_repository_without_issues_is_polled_for_its_pull_requests(rig: Rig) -> None:
    rig.github.fail_next("GET", r"/issues$", status=410)
    rig.github.add_pull(REPO, 8, "Fix")

    row = await rig.poll()

    assert await rig.started() == [("pr.opened", "8")]
    assert row.error is None


async def test_where_nobody_lists_a_repository_s_comments_each_item_s_are_read(rig: Rig) -> None:
    rig.github.fail_next("GET", r"/issues/comments$", status=404, times=9)
    issue = opened_at(rig.github.add_issue(REPO, 7, "Boom"), ago(days=2))
    await rig.poll()
    written_at(issue, rig.github.add_comment(REPO, 7, "First"), ago(seconds=50))
    written_at(issue, rig.github.add_comment(REPO, 7, "Second"), ago(seconds=40))

    await rig.poll()
    await rig.poll()
    written_at(issue, rig.github.add_comment(REPO, 7, "Third"), ago(seconds=30))
    await rig.poll()

    assert await rig.started() == [("issue.commented", "7")] * 3


async def test_an_item_that_cannot_be_stored_stops_no_other(rig: Rig) -> None:
    deep = "[" * 3
    rig.github.add_issue(REPO, 7, "Fine")
    rig.github.add_issue(REPO, 8, f"NUL \0 and {deep}")

    await rig.poll()

    assert await rig.started() == [("issue.created", "7"), ("issue.created", "8")]
    assert (await Delivery.get(item_key="8")).title == "NUL  and [[["


async def test_a_cursor_of_another_version_begins_anew_and_repeats_nothing(rig: Rig) -> None:
    rig.github.add_issue(REPO, 7, "Boom")
    await rig.poll()
    await PollSource.filter(id=rig.id).update(cursor={"v": 0, "issues": "?"})

    row = await rig.poll()

    assert (row.error, row.cursor["v"]) == (None, 1)
    assert await rig.started() == [("issue.created", "7")]


def _review(rig: Rig, number: int, state: str) -> Review:
    issue = rig.github.issue(REPO, number)
    assert issue.pull is not None
    review = Review(
        id=9_000_000 + len(issue.pull.reviews),
        author=OCTOCAT,
        body="Looked",
        state=state,
        commit_id="0" * 40,
        comments=[],
        submitted_at=None if state == "PENDING" else moment(),
    )
    issue.pull.reviews.append(review)
    issue.touch()
    return review


async def _effect(kind: str, **values: Any) -> Effect:
    told: dict[str, Any] = {
        "execution_id": 1, "key": f"k{values}", "kind": kind, "source": "github",
        "project_key": REPO, "item_kind": "issue", "item_key": "7", "content": {},
        "content_hash": "", "marker": f"{values}"[:64], "status": "sent", **values,
    }  # fmt: skip
    return await Effect.create(**told)
