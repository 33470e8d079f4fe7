"""Polls of a project: nothing lost, nothing twice, the same keys as the webhooks'."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aether.errors import InvalidInputError, UpstreamError
from aether.events import SourceEvent
from aether.renewing import RenewingConnection
from aether.sources import polled_names
from aether.sources.jira import Jira
from aether.sources.jira.poll import jql_time
from tests.sources.jira.conftest import Connect, Serve
from tests.sources.jira.site import ANN, BO, HELPER
from tests.sources.jira.site_state import DONE, IN_PROGRESS, TO_DO
from tests.sources.jira.stand_in import JiraStandIn

STARTED = datetime(2026, 3, 4, 8, 0, tzinfo=UTC)


class Poller:
    """Polls the site whenever it is told to, minute by minute on the site's clock."""

    def __init__(self, jira: JiraStandIn, client: RenewingConnection) -> None:
        self.jira = jira
        self.client = client
        self.cursor: Mapping[str, Any] = {}
        self.now = STARTED
        jira.clock = lambda: self.now

    def wait(self, **told: float) -> None:
        self.now += timedelta(**told)

    async def poll(self, project: str = "OPS") -> list[SourceEvent]:
        """All steps until there is no more; the cursor is kept after each."""
        found: list[SourceEvent] = []
        for _ in range(100):
            page = await Jira().poll(self.client, project, self.cursor, now=self.now, since=STARTED)
            self.cursor = page.cursor
            found += page.events
            if not page.has_more:
                return found
        raise AssertionError("the poll does not end")


@pytest.fixture
def poller(jira: JiraStandIn, client: RenewingConnection) -> Poller:
    return Poller(jira, client)


def told(events: list[SourceEvent]) -> list[tuple[str, str | None]]:
    return [(one.subject.key if one.subject else "", names(one)) for one in events]


def names(event: SourceEvent) -> str:
    sharpest = event.candidates[0]
    return f"{sharpest.event_name}/{sharpest.action}"


def text(jira: JiraStandIn, words: str) -> Any:
    if not jira.is_cloud:
        return words
    paragraph = {"type": "paragraph", "content": [{"type": "text", "text": words}]}
    return {"type": "doc", "version": 1, "content": [paragraph]}


async def test_a_poll_tells_what_the_webhooks_tell_under_the_same_keys(
    jira: JiraStandIn, poller: Poller
) -> None:
    issue = jira.open("Boom")
    poller.wait(seconds=20)
    jira.say(issue, text(jira, "Is it late?"), BO)
    poller.wait(seconds=20)
    jira.move(issue, IN_PROGRESS, BO)
    poller.wait(seconds=1)
    jira.move(issue, DONE, BO)
    poller.wait(seconds=20)
    jira.move(issue, TO_DO, ANN)
    jira.change(issue, ANN, "issue_assigned", assignee=BO)
    hooks = [Jira().extract(headers, body) for headers, body in jira.webhooks]
    poller.wait(seconds=20)

    events = await poller.poll()

    assert told(events) == [
        ("OPS-7", "jira:issue_created/issue_created"),
        ("OPS-7", "comment_created/None"),
        ("OPS-7", "jira:issue_updated/issue_generic"),
        ("OPS-7", "jira:issue_updated/closed"),
        ("OPS-7", "jira:issue_updated/issue_generic"),
        ("OPS-7", "jira:issue_updated/issue_assigned"),
    ]
    assert [one.change_key for one in events] == list(dict.fromkeys(h.change_key for h in hooks))
    assert {one.delivery_key == f"poll:{one.change_key}" for one in events} == {True}
    assert [one.told_by for one in events] == ["poll"] * 6
    assert events[1].happened_at == "2026-03-04T08:00:20Z"
    by_key = {one.change_key: one for one in hooks if one.subject and one.subject.key}
    for one in events:
        hook = by_key[one.change_key]
        assert one.actor == hook.actor
        assert one.text == hook.text
        assert one.comment_id == hook.comment_id
        assert (one.subject, hook.subject) != (None, None)
        if one.subject and hook.subject:
            told_of = (one.subject.key, one.subject.project, one.subject.title, one.subject.url)
            assert told_of == (
                hook.subject.key, hook.subject.project, hook.subject.title, hook.subject.url,
            )  # fmt: skip


async def test_what_was_told_is_not_told_again_and_what_is_new_is(
    jira: JiraStandIn, poller: Poller
) -> None:
    first, second = jira.open(), jira.open()
    jira.say(first, text(jira, "one"))

    opening = await poller.poll()
    nothing = await poller.poll()
    jira.say(first, text(jira, "two"))  # within the very same millisecond
    one_more = await poller.poll()
    poller.wait(hours=5)
    jira.say(second, text(jira, "three"))
    later = await poller.poll()

    assert len(opening) == 3
    assert nothing == []
    assert [one.text for one in one_more] == ["two"]
    assert [one.text for one in later] == ["three"]


async def test_two_comments_of_one_second_are_both_told(jira: JiraStandIn, poller: Poller) -> None:
    issue = jira.open()
    await poller.poll()

    found = []
    for number in range(3):
        poller.wait(milliseconds=1)
        jira.say(issue, text(jira, f"c{number}"))
        found += [one.text for one in await poller.poll()]

    assert found == ["c0", "c1", "c2"]


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Kolkata", "Pacific/Kiritimati", "?"])
@pytest.mark.parametrize("is_cloud", [True, False])
async def test_times_are_asked_for_in_the_account_s_own_zone(
    serve: Serve, connect: Connect, zone: str, is_cloud: bool
) -> None:
    helper = replace(HELPER, zone="Etc/UTC" if zone == "?" else zone)
    jira = serve(JiraStandIn(is_cloud=is_cloud, helper=helper))
    poller = Poller(jira, await connect(jira.environment()))
    if zone == "?":
        jira.helper = replace(helper, zone="Etc/UTC")
        jira.told_zone = "Mars/Olympus"
    jira.open("old")
    poller.wait(hours=3)
    await poller.poll()

    poller.wait(minutes=1)
    jira.open("new")
    events = await poller.poll()

    assert [one.subject.title for one in events if one.subject] == ["new"]


async def test_an_index_that_is_minutes_late_loses_nothing(
    jira: JiraStandIn, poller: Poller
) -> None:
    jira.lag = timedelta(minutes=8)
    late = jira.open("late")
    poller.wait(minutes=1)
    jira.lag = timedelta(0)
    jira.open("at once")

    first = await poller.poll()
    poller.wait(minutes=8)
    second = await poller.poll()

    assert [one.subject.title for one in first if one.subject] == ["at once"]
    assert [one.subject.key for one in second if one.subject] == [late.key]


async def test_everything_is_told_over_many_pages_though_one_of_them_fails(
    jira: JiraStandIn, poller: Poller
) -> None:
    for _ in range(230):
        jira.open()
        poller.wait(milliseconds=1)
    found: list[SourceEvent] = []
    page = await Jira().poll(poller.client, "OPS", {}, now=poller.now, since=STARTED)
    found += page.events
    poller.cursor = page.cursor
    jira.faults.fail_next("GET", "search", status=400, body={"errorMessages": ["Odd."]})
    jira.faults.fail_next("GET", "search", status=500, times=3)

    with pytest.raises(UpstreamError):
        await poller.poll()
    found += await poller.poll()

    assert len({one.change_key for one in found}) == 230
    assert len(found) == 230
    poller.wait(minutes=30)
    assert await poller.poll() == []


async def test_issues_that_change_while_a_pass_goes_on_are_not_lost(
    jira: JiraStandIn, poller: Poller
) -> None:
    issues = [jira.open() for _ in range(60)]
    page = await Jira().poll(poller.client, "OPS", {}, now=poller.now, since=STARTED)
    poller.cursor = page.cursor
    poller.wait(minutes=30)
    for one in (issues[0], issues[-1]):
        jira.say(one, text(jira, f"on {one.key}"))
    poller.wait(minutes=30)

    found = [*await poller.poll(), *await poller.poll()]

    comments = [one.text for one in found if one.comment_id]
    assert set(comments) == {f"on {issues[0].key}", f"on {issues[-1].key}"}
    assert len(comments) == 2


async def test_more_comments_and_entries_than_a_search_holds_are_asked_for(
    jira: JiraStandIn, poller: Poller
) -> None:
    issue = jira.open()
    await poller.poll()
    jira.page = 4
    for number in range(9):
        poller.wait(milliseconds=1)
        jira.say(issue, text(jira, f"c{number}"))
        jira.change(issue, ANN, title=f"t{number}")

    events = await poller.poll()

    assert [one.text for one in events if one.comment_id] == [f"c{number}" for number in range(9)]
    assert [one.change for one in events if one.change] == [f"t{number}" for number in range(9)]


async def test_an_edited_comment_is_no_event(jira: JiraStandIn, poller: Poller) -> None:
    issue = jira.open()
    comment = jira.say(issue, text(jira, "one"))
    await poller.poll()
    poller.wait(minutes=3)
    comment.body, comment.updated = text(jira, "two"), poller.now
    issue.updated = issue.indexed_at = poller.now

    assert await poller.poll() == []


async def test_a_changelog_that_no_search_holds_is_asked_for(
    jira: JiraStandIn, poller: Poller
) -> None:
    jira.searches_hold_changelogs = False
    issue = jira.open()
    await poller.poll()
    poller.wait(minutes=3)
    jira.move(issue, DONE, BO)

    events = await poller.poll()

    assert told(events) == [("OPS-7", "jira:issue_updated/closed")]
    assert events[0].change_key == f"changelog:{issue.id}:{issue.history[0]['id']}"


async def test_a_site_without_changelogs_tells_states(jira: JiraStandIn, poller: Poller) -> None:
    jira.has_changelogs = False
    issue, other = jira.open(), jira.open()
    await poller.poll()
    poller.wait(minutes=3)
    jira.change(issue, ANN, title="New")
    jira.move(other, DONE, ANN)

    events = await poller.poll()
    again = await poller.poll()

    assert told(events) == [
        ("OPS-7", "jira:issue_updated/issue_updated"),
        ("OPS-8", "jira:issue_updated/closed"),
    ]
    assert [one.told_by for one in events] == ["state", "state"]
    assert events[0].change_key == f"issue:{issue.id}:updated:1772611380000"
    assert again == []


async def test_what_happened_before_the_beginning_is_never_told(
    jira: JiraStandIn, poller: Poller
) -> None:
    poller.now = STARTED - timedelta(minutes=5)
    issue = jira.open()
    jira.say(issue, text(jira, "before"))
    jira.move(issue, DONE, ANN)
    poller.now = STARTED + timedelta(minutes=1)
    jira.say(issue, text(jira, "after"))

    events = await poller.poll()

    assert [(names(one), one.text) for one in events] == [("comment_created/None", "after")]


@pytest.mark.parametrize("project", ["", "A B", 'OPS" OR project = "X', "../x", "O-P"])
async def test_what_can_be_no_project_is_refused_before_anything_is_asked(
    jira: JiraStandIn, poller: Poller, project: str
) -> None:
    with pytest.raises(InvalidInputError):
        await poller.poll(project)

    assert jira.asked == []


async def test_a_project_may_be_named_by_its_number(jira: JiraStandIn, poller: Poller) -> None:
    jira.open()

    assert len(await poller.poll("10077")) == 1
    assert "jira" in polled_names()


@pytest.mark.parametrize(
    ("moment", "zone", "expected"),
    [
        ("2026-03-04T08:05:59+00:00", "Etc/UTC", "2026-03-04 08:05"),
        ("2026-03-04T08:05:59+00:00", "America/Los_Angeles", "2026-03-04 00:05"),
        ("2026-03-04T08:05:59+00:00", "Asia/Kolkata", "2026-03-04 13:35"),
        ("2026-03-04T08:05:59+00:00", "", "2026-03-03 18:05"),
        ("2026-03-04T08:05:59+00:00", "../etc/passwd", "2026-03-03 18:05"),
        # 02:30 comes twice on this day; what is asked for comes before both
        ("2026-10-25T00:30:00+00:00", "Europe/Copenhagen", "2026-10-25 00:30"),
        ("2026-10-25T01:30:00+00:00", "Europe/Copenhagen", "2026-10-25 01:30"),
        ("2026-03-29T01:30:00+00:00", "Europe/Copenhagen", "2026-03-29 00:30"),
    ],
)
def test_a_time_of_jql_is_never_after_what_is_meant(moment: str, zone: str, expected: str) -> None:
    assert jql_time(datetime.fromisoformat(moment), zone) == expected


async def test_a_change_whose_id_is_no_number_is_told_and_stops_nothing(
    jira: JiraStandIn, poller: Poller
) -> None:
    issue = jira.open("Boom")
    jira.move(issue, IN_PROGRESS, BO)
    poller.wait(seconds=1)
    jira.move(issue, DONE, BO)
    for place, one in enumerate(issue.history):
        one["id"] = f"entry-{place}"
    poller.wait(seconds=20)

    events = await poller.poll()

    assert [one.change_key.rpartition(":")[2] for one in events] == [
        "created", "entry-0", "entry-1",
    ]  # fmt: skip
