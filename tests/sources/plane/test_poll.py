"""Polls of a project: nothing lost, nothing twice, the same keys as the webhooks'."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aether.errors import InvalidInputError, UpstreamError
from aether.events import SourceEvent
from aether.renewing import RenewingConnection
from aether.sources import polled_names
from aether.sources.plane import Plane
from tests.sources.plane.conftest import Connect, Serve
from tests.sources.plane.hooks import Age
from tests.sources.plane.stand_in import PlaneStandIn
from tests.sources.plane.state import (
    ANN,
    BO,
    CANCELLED,
    DONE,
    OTHER_PROJECT,
    PROJECT,
    SLUG,
    STARTED,
    TO_DO,
)

STARTS = datetime(2026, 3, 4, 8, 0, tzinfo=UTC)


class Poller:
    """Polls whenever it is told to, on the stand-in's clock."""

    def __init__(self, plane: PlaneStandIn, client: RenewingConnection) -> None:
        self.plane = plane
        self.client = client
        self.cursor: Mapping[str, Any] = {}
        self.now = STARTS
        plane.people.append(BO)
        plane.clock = lambda: self.now

    def wait(self, **told: float) -> None:
        self.now += timedelta(**told)

    async def step(self, project: str = PROJECT) -> tuple[list[SourceEvent], bool]:
        page = await Plane().poll(self.client, project, self.cursor, now=self.now, since=STARTS)
        self.cursor = page.cursor
        return list(page.events), page.has_more

    async def poll(self, project: str = PROJECT) -> list[SourceEvent]:
        """All steps until there is no more; the cursor is kept after each."""
        found: list[SourceEvent] = []
        for _ in range(100):
            events, has_more = await self.step(project)
            found += events
            if not has_more:
                return found
        raise AssertionError("the poll does not end")


@pytest.fixture
def poller(plane: PlaneStandIn, client: RenewingConnection) -> Poller:
    return Poller(plane, client)


def told(events: list[SourceEvent]) -> list[tuple[str, str]]:
    return [
        (one.subject.title if one.subject else "", one.candidates[0].event_name) for one in events
    ]


async def test_a_poll_tells_what_the_webhooks_tell_under_the_same_keys(
    serve: Serve, connect: Connect
) -> None:
    plane = serve(PlaneStandIn(Age.V1))
    poller = Poller(plane, await connect(plane.environment()))
    item = plane.open("Boom", html="<p>It <em>fails</em>.</p>")
    other = plane.open("Gone")
    poller.wait(seconds=20)
    plane.say(item, "<p>Is it late?</p>", BO)
    poller.wait(seconds=20)
    plane.move(item, DONE, BO)
    hooks = [Plane().extract(*one) for one in plane.webhooks]

    events = await poller.poll()

    assert told(events) == [
        ("Boom", "issue.created"), ("Gone", "issue.created"), ("Boom", "issue.commented"),
        ("Boom", "issue.closed"),
    ]  # fmt: skip
    assert [one.change_key for one in events] == [one.change_key for one in hooks]
    assert [one.told_by for one in events] == ["poll", "poll", "poll", "state"]
    assert {one.delivery_key == f"poll:{one.change_key}" for one in events} == {True}
    assert [one.actor for one in events] == [one.actor for one in hooks]
    assert [one.text for one in events[:3]] == [one.text for one in hooks[:3]]
    assert [one.comment_id for one in events] == [one.comment_id for one in hooks]
    assert events[2].happened_at == "2026-03-04T08:00:20Z"
    for one in events:
        assert one.subject is not None
        assert one.subject.project == PROJECT
        assert one.subject.key in {item.id, other.id}
        assert one.project_names == (PROJECT, f"{SLUG}/{PROJECT}")


async def test_every_age_is_polled_and_what_was_told_is_not_told_again(
    plane: PlaneStandIn, poller: Poller
) -> None:
    first, second = plane.open("one"), plane.open("two")
    plane.say(first, "<p>a</p>")

    opening = await poller.poll()
    nothing = await poller.poll()
    poller.wait(seconds=1)
    plane.say(first, "<p>b</p>", BO)
    more = await poller.poll()
    poller.wait(hours=5)
    plane.say(second, "<p>c</p>", BO)
    later = await poller.poll()

    assert sorted(told(opening)) == [
        ("one", "issue.commented"), ("one", "issue.created"), ("two", "issue.created"),
    ]  # fmt: skip
    assert nothing == []
    assert [(one.text, one.subject and one.subject.title) for one in more] == [("b", "one")]
    assert [one.text for one in later] == ["c"]
    assert later[0].actor is not None
    assert later[0].actor.login == "bo.t"


async def test_two_comments_of_one_moment_are_both_told(
    plane: PlaneStandIn, poller: Poller
) -> None:
    item = plane.open()
    await poller.poll()
    found = []
    for number in range(3):
        poller.wait(milliseconds=1)
        plane.say(item, f"<p>c{number}</p>")
        found += [one.text for one in await poller.poll()]

    assert found == ["c0", "c1", "c2"]


async def test_an_edit_is_told_as_a_state_and_an_edited_comment_is_nothing(
    plane: PlaneStandIn, poller: Poller
) -> None:
    item = plane.open()
    comment = plane.say(item, "<p>a</p>")
    await poller.poll()
    poller.wait(minutes=3)
    plane.edit(item, comment, "<p>b</p>", ANN)
    nothing = await poller.poll()
    poller.wait(minutes=3)
    plane.change(item, name="New")
    [event] = await poller.poll()

    assert nothing == []
    assert (event.told_by, event.candidates[0].event_name) == ("state", "issue.updated")
    assert event.change_key == f"issue:{item.id}:updated:2026-03-04T08:06:00Z"
    assert (event.happened_at, event.actor and event.actor.id) == (
        "2026-03-04T08:06:00Z", ANN.id,
    )  # fmt: skip


async def test_a_close_is_told_once_and_a_later_edit_of_a_closed_item_is_an_update(
    plane: PlaneStandIn, poller: Poller
) -> None:
    item = plane.open()
    await poller.poll()
    found = []
    for fields in (
        {"state": STARTED}, {"state": CANCELLED}, {"priority": "high"}, {"state": TO_DO},
        {"state": DONE},
    ):  # fmt: skip
        poller.wait(minutes=2)
        plane.change(item, BO, **fields)
        found += [name for _, name in told(await poller.poll())]

    assert found == [
        "issue.updated", "issue.closed", "issue.updated", "issue.updated", "issue.closed",
    ]  # fmt: skip


async def test_an_item_that_was_closed_before_we_looked_is_not_told_as_closed_now(
    plane: PlaneStandIn, poller: Poller
) -> None:
    poller.now = STARTS - timedelta(days=3)
    old = plane.open("old")
    plane.move(old, DONE)
    recent = plane.open("recent")
    poller.now = STARTS + timedelta(minutes=1)
    plane.change(old, priority="high")  # which moves its completed_at too
    plane.move(recent, DONE, BO)

    events = await poller.poll()

    assert sorted(told(events)) == [("old", "issue.updated"), ("recent", "issue.closed")]
    by_title = {one.subject.title: one for one in events if one.subject}
    assert by_title["recent"].actor is not None
    assert by_title["recent"].actor.login == "bo.t"


async def test_an_installation_without_history_tells_such_a_close_as_an_update(
    plane: PlaneStandIn, poller: Poller
) -> None:
    plane.has_activities = False
    poller.now = STARTS - timedelta(days=3)
    item = plane.open("old")
    poller.now = STARTS + timedelta(minutes=1)
    plane.move(item, DONE)

    assert told(await poller.poll()) == [("old", "issue.updated")]


async def test_what_happened_before_the_beginning_is_never_told(
    plane: PlaneStandIn, poller: Poller
) -> None:
    poller.now = STARTS - timedelta(minutes=5)
    item = plane.open()
    plane.say(item, "<p>before</p>")
    poller.now = STARTS + timedelta(minutes=1)
    plane.say(item, "<p>after</p>")

    assert [one.text for one in await poller.poll()] == ["after"]


async def test_only_the_pages_down_to_the_mark_are_read(
    plane: PlaneStandIn, poller: Poller
) -> None:
    for number in range(60):
        plane.open(f"i{number}")
        poller.wait(seconds=10)
    events = await poller.poll()
    await poller.poll()
    before = len(plane.asked)
    poller.wait(minutes=10)
    plane.open("new")

    assert [title for title, _ in told(await poller.poll())] == ["new"]
    assert len({one.change_key for one in events}) == len(events) == 60
    lists = [one for one in plane.asked[before:] if one.endswith(("/issues/", "/work-items/"))]
    assert len(lists) == 1
    assert plane.ignored == set()  # no filter by time is relied on


async def test_a_page_that_fails_loses_nothing(plane: PlaneStandIn, poller: Poller) -> None:
    for number in range(40):
        plane.open(f"i{number}")
        poller.wait(milliseconds=1)
    found, _ = await poller.step()
    plane.faults.fail_next("GET", "(issues|work-items)/$", status=500, times=6)
    with pytest.raises(UpstreamError):
        await poller.poll()
    plane.faults.clear()
    found += await poller.poll()

    assert len({one.change_key for one in found}) == len(found) == 40


async def test_what_moves_while_pages_are_read_is_neither_lost_nor_told_twice(
    plane: PlaneStandIn, poller: Poller
) -> None:
    items = []
    for number in range(40):
        items.append(plane.open(f"i{number}"))
        poller.wait(seconds=1)
    found, has_more = await poller.step()
    for item in (items[0], items[5]):  # not read yet; they go to the front and push the rest on
        plane.say(item, f"<p>on {item.name}</p>")
        poller.wait(seconds=1)
    plane.open("new")
    found += [*await poller.poll(), *await poller.poll()]

    assert has_more
    assert len({one.change_key for one in found}) == len(found)
    created = [title for title, name in told(found) if name == "issue.created"]
    assert sorted(created) == sorted([*(one.name for one in items), "new"])
    assert sorted(one.text for one in found if one.comment_id) == ["on i0", "on i5"]


async def test_a_deletion_while_pages_are_read_loses_nothing(
    plane: PlaneStandIn, poller: Poller
) -> None:
    items = []
    for number in range(40):
        items.append(plane.open(f"i{number}"))
        poller.wait(seconds=1)
    found, _ = await poller.step()
    for item in items[-4:]:  # of the page that was read: four rows move up, past the next page
        plane.delete(item)
    found += await poller.poll()

    assert {title for title, _ in told(found)} == {one.name for one in items}
    assert len({one.change_key for one in found}) == len(found)


async def test_an_item_that_goes_while_it_is_read_stops_no_other(
    plane: PlaneStandIn, poller: Poller
) -> None:
    bad, good = plane.open("bad"), plane.open("good")
    poller.wait(minutes=1)
    plane.say(bad, "<p>a</p>")
    plane.say(good, "<p>b</p>")
    for _ in range(2):
        plane.faults.fail_next("GET", f"{bad.id}/comments", status=404, body={"error": "Gone."})

    events = await poller.poll()

    assert sorted(told(events)) == [("good", "issue.commented"), ("good", "issue.created")]


@pytest.mark.parametrize("project", ["", "A B", "../x", "a/b/c", "acme/", "/x"])
async def test_what_can_be_no_project_is_refused_before_anything_is_asked(
    plane: PlaneStandIn, poller: Poller, project: str
) -> None:
    with pytest.raises(InvalidInputError, match=r"^project: "):
        await poller.poll(project)

    assert plane.asked == []


@pytest.mark.parametrize("project", ["PROJ", "proj", f"{SLUG}/PROJ", f"{SLUG}/{PROJECT}"])
async def test_a_project_may_be_named_in_each_of_its_ways(
    plane: PlaneStandIn, poller: Poller, project: str
) -> None:
    plane.open("ours")
    plane.open("another's", project=OTHER_PROJECT)

    assert told(await poller.poll(project)) == [("ours", "issue.created")]
    assert "plane" in polled_names()


async def test_a_project_that_the_key_does_not_see_is_named(
    plane: PlaneStandIn, poller: Poller
) -> None:
    with pytest.raises(UpstreamError, match="the workspace acme shows no project NONE") as refused:
        await poller.poll("NONE")
    assert refused.value.status == 404


async def test_a_workspace_that_is_not_the_credential_s_own_stays_with_the_item(
    plane: PlaneStandIn, connect: Connect
) -> None:
    told_own = await connect(plane.environment() | {"PLANE_WORKSPACE": "elsewhere"})
    poller = Poller(plane, told_own)
    plane.open("ours")

    [event] = await poller.poll(f"{SLUG}/{PROJECT}")

    assert event.subject is not None
    assert event.subject.project == f"{SLUG}/{PROJECT}"
    posted = await Plane().post_comment(told_own, event.subject, "hi", timeout=5)
    assert posted.id
