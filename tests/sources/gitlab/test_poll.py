"""What a poll tells: under the keys of the webhooks, once each, nothing lost between pages."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aether.errors import InvalidInputError, UpstreamError
from aether.events import SourceEvent
from aether.sources.gitlab import GitLab
from aether.sources.gitlab.extract import extract
from aether.sources.gitlab.polled import PAGE
from tests.sources.gitlab import state
from tests.sources.gitlab.conftest import PROJECT
from tests.sources.gitlab.stand_in import GitLabStandIn
from tests.sources.gitlab.state import Item

START = datetime(2026, 1, 1, tzinfo=UTC)


async def polled(
    client: Any, cursor: Mapping[str, Any], *, project: str = PROJECT, since: datetime = START
) -> tuple[list[SourceEvent], Mapping[str, Any]]:
    """All steps of one poll, the cursor as it is stored in between."""
    events: list[SourceEvent] = []
    for _ in range(200):
        page = await GitLab().poll(client, project, cursor, now=datetime.now(UTC), since=since)
        assert not page.has_more or page.cursor != cursor
        cursor = json.loads(json.dumps(page.cursor))
        events += page.events
        if not page.has_more:
            return events, cursor
    raise AssertionError("the poll does not end")


def told(events: Sequence[SourceEvent]) -> list[tuple[str, str | None, str]]:
    return [
        (one.candidates[-1].event_name, one.candidates[-1].action,
         one.subject.key if one.subject else "")
        for one in events
    ]  # fmt: skip


def webhook(name_and_body: tuple[str, Any]) -> SourceEvent:
    name, payload = name_and_body
    return extract({"x-gitlab-event": name}, json.dumps(payload).encode())


async def test_what_a_poll_sees_has_the_keys_of_the_webhooks(
    gitlab: GitLabStandIn, client: Any
) -> None:
    ann, project = gitlab.add_user("ann"), gitlab.project(PROJECT)
    issue = gitlab.add_issue(PROJECT, "It breaks", "On start.", labels=["bug"])
    request = gitlab.add_merge_request(PROJECT, "Mend it")
    note = gitlab.add_note(issue, "And now?", "bob")
    on_request = gitlab.add_note(request, "Nearly.", "bob")
    done = gitlab.add_deployment(PROJECT, "success")
    gitlab.add_deployment(PROJECT, "running")

    events, _ = await polled(client, {})

    hooks = [
        webhook(state.item_body(project, issue, ann, "open")),
        webhook(gitlab.told_note(PROJECT, issue, note)),
        webhook(state.item_body(project, request, ann, "open")),
        webhook(gitlab.told_note(PROJECT, request, on_request)),
        webhook(state.deployment_body(project, done)),
    ]
    assert [one.change_key for one in events] == [one.change_key for one in hooks]
    assert [one.delivery_key for one in events] == [f"poll:{one.change_key}" for one in hooks]
    assert {one.told_by for one in events} == {"poll"}
    for seen, hook in zip(events, hooks, strict=True):
        assert (seen.candidates, seen.comment_id, seen.project_names) == (
            hook.candidates, hook.comment_id, hook.project_names,
        )  # fmt: skip
        assert (seen.subject, seen.text, seen.outcome) == (hook.subject, hook.text, hook.outcome)
        assert (seen.actor.login if seen.actor else "") == (hook.actor.login if hook.actor else "")


async def test_a_close_and_a_merge_are_told_and_not_as_changes(
    gitlab: GitLabStandIn, client: Any
) -> None:
    issue = gitlab.add_issue(PROJECT, "It breaks")
    merged, closed = (gitlab.add_merge_request(PROJECT, title) for title in ("Mend", "Drop"))
    _, cursor = await polled(client, {})
    for item, word in ((issue, "closed"), (closed, "closed"), (merged, "merged")):
        touch(gitlab, item)
        item.state = word
        moment = item.updated_at
        item.closed_at, item.merged_at = (moment, None) if word == "closed" else (None, moment)

    events, cursor = await polled(client, cursor)
    again, _ = await polled(client, cursor)

    assert sorted(told(events)) == [
        ("Issue Hook", "close", "1"),
        ("Merge Request Hook", "close", "2"),
        ("Merge Request Hook", "merge", "1"),
    ]
    keys = {one.candidates[-1].action: one for one in events if one.subject}
    project, ann = gitlab.project(PROJECT), gitlab.add_user("ann")
    for item, word in ((issue, "close"), (merged, "merge")):
        hook = webhook(state.item_body(project, item, ann, word))
        assert hook.change_key in {one.change_key for one in events}
    assert {one.told_by for one in events if one.subject and one.subject.kind == "issue"} == {
        "poll"
    }
    assert keys["merge"].told_by == "poll"
    assert again == []


def touch(gitlab: GitLabStandIn, item: Item) -> None:
    """Something about it changes, long after everything that was before."""
    item.updated_at = gitlab.tick() + timedelta(minutes=5)


async def test_a_change_that_nothing_explains_is_told_as_a_state(
    gitlab: GitLabStandIn, client: Any
) -> None:
    issue = gitlab.add_issue(PROJECT, "It breaks")
    _, cursor = await polled(client, {})
    touch(gitlab, issue)
    issue.title = "It breaks often"

    [event], cursor = await polled(client, cursor)
    again, _ = await polled(client, cursor)

    at = issue.updated_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (event.told_by, event.happened_at) == ("state", at)
    assert event.change_key == f"issue:{issue.id}.1:updated:{at}"
    assert told([event]) == [("Issue Hook", "update", "1")]
    assert (event.subject.title if event.subject else "", event.actor) == ("It breaks often", None)
    assert again == []


async def test_an_edited_note_and_gitlabs_own_note_are_nothing(
    gitlab: GitLabStandIn, client: Any
) -> None:
    issue = gitlab.add_issue(PROJECT, "It breaks")
    note = gitlab.add_note(issue, "And now?")
    _, cursor = await polled(client, {})
    touch(gitlab, issue)
    note.body, note.updated_at = "And then?", issue.updated_at

    events, _ = await polled(client, cursor)

    assert events == []


async def test_what_was_before_the_poll_began_is_never_told(
    gitlab: GitLabStandIn, client: Any
) -> None:
    issue = gitlab.add_issue(PROJECT, "Old")
    gitlab.add_note(issue, "old")
    since = gitlab.tick() + timedelta(minutes=2)
    _, cursor = await polled(client, {}, since=since)
    issue.updated_at = since + timedelta(minutes=1)
    later = gitlab.add_note(issue, "new")
    later.created_at = later.updated_at = issue.updated_at = since + timedelta(minutes=1)

    events, _ = await polled(client, cursor, since=since)

    assert [(one.text, one.comment_id) for one in events] == [("new", str(later.id))]


async def test_items_of_one_moment_are_all_told_and_none_twice(
    gitlab: GitLabStandIn, client: Any
) -> None:
    moment = gitlab.tick()
    for number in range(2 * PAGE + 3):
        issue = gitlab.add_issue(PROJECT, f"Issue {number}")
        issue.created_at = issue.updated_at = moment

    first, cursor = await polled(client, {})
    late = gitlab.add_issue(PROJECT, "Late")
    late.created_at = late.updated_at = moment
    second, _ = await polled(client, cursor)

    assert [one.subject.key for one in first if one.subject] == [
        str(number) for number in range(1, 2 * PAGE + 4)
    ]
    assert told(second) == [("Issue Hook", "open", str(late.iid))]


async def test_more_than_a_page_is_told_also_when_one_page_fails_once(
    gitlab: GitLabStandIn, client: Any
) -> None:
    for number in range(230):
        gitlab.add_issue(PROJECT, f"Issue {number}")
    page = await GitLab().poll(client, PROJECT, {}, now=START, since=START)
    gitlab.faults.fail_next("GET", "issues", status=502, times=3)

    with pytest.raises(UpstreamError):
        await GitLab().poll(client, PROJECT, page.cursor, now=START, since=START)
    rest, _ = await polled(client, page.cursor)

    keys = [one.change_key for one in (*page.events, *rest)]
    assert (len(keys), len(set(keys))) == (230, 230)


async def test_an_item_that_moves_while_it_is_read_hides_no_other(
    gitlab: GitLabStandIn, client: Any
) -> None:
    made = [gitlab.add_issue(PROJECT, f"Issue {number}") for number in range(PAGE + 5)]
    page = await GitLab().poll(client, PROJECT, {}, now=START, since=START)
    touch(gitlab, made[0])

    rest, _ = await polled(client, page.cursor)

    opened = [key for _, action, key in told([*page.events, *rest]) if action == "open"]
    assert sorted(map(int, opened)) == list(range(1, PAGE + 6))


async def test_a_project_is_polled_by_its_number_and_told_by_its_path(
    gitlab: GitLabStandIn, client: Any
) -> None:
    gitlab.add_issue(PROJECT, "It breaks", confidential=True)
    number = str(gitlab.project(PROJECT).id)

    [event], _ = await polled(client, {}, project=number)

    assert event.project_names == (PROJECT, number)
    assert event.event_name == "Confidential Issue Hook"
    assert event.subject is not None
    assert event.subject.visibility == "confidential"


async def test_deployments_that_are_kept_from_us_stop_nothing_else(
    gitlab: GitLabStandIn, client: Any
) -> None:
    gitlab.add_issue(PROJECT, "It breaks")
    gitlab.faults.fail_next("GET", "deployments", status=403, body={"message": "403 Forbidden"})

    events, _ = await polled(client, {})

    assert told(events) == [("Issue Hook", "open", "1")]


async def test_what_cannot_be_a_project_is_said_so_and_nothing_is_asked(
    gitlab: GitLabStandIn, client: Any
) -> None:
    with pytest.raises(InvalidInputError, match=r"^project: 'nothing' is no group/project"):
        await polled(client, {}, project="nothing")

    assert gitlab.calls == []


@pytest.mark.parametrize("labels", [None, True, 7, {"title": "bug"}, "bug"])
async def test_labels_of_an_odd_shape_do_not_stop_a_poll(
    gitlab: GitLabStandIn, client: Any, labels: Any
) -> None:
    gitlab.add_issue(PROJECT, "It breaks", labels=["bug"])

    class Odd:
        """The same GitLab, whose issues have labels of another shape."""

        async def request(self, method: str, path: str, **more: Any) -> Any:
            answer = await client.request(method, path, **more)
            if not path.endswith("/issues"):
                return answer
            return [{**one, "labels": labels} for one in answer]

    events, _ = await polled(Odd(), {})

    assert told(events) == [("Issue Hook", "open", "1")]
