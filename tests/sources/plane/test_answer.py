"""Reading and writing work items and comments, with an installation of each age."""

from datetime import UTC, datetime, timedelta

import pytest

from aether.errors import InvalidInputError, NotConfiguredError, UpstreamError
from aether.events import Subject
from aether.renewing import RenewingConnection
from aether.sources.base import ItemChanges, NewItem
from aether.sources.plane import Plane
from aether.sources.plane.texts import to_wire
from tests.sources.plane.conftest import Connect, Serve
from tests.sources.plane.hooks import Age
from tests.sources.plane.stand_in import TOKEN, PlaneStandIn
from tests.sources.plane.state import (
    ANN,
    BO,
    CANCELLED,
    DONE,
    GUEST,
    HELPER,
    OTHER_PROJECT,
    PROJECT,
    SLUG,
    STARTED,
    TO_DO,
    Item,
    shown,
)

PLANE = Plane()
MARKER = f"<!-- aether:{'m' * 32} -->"
OTHER_MARKER = f"<!-- aether:{'n' * 32} -->"
SINCE = "2020-01-01T00:00:00Z"


def on(item: Item, **told: str) -> Subject:
    return Subject(**{"kind": "issue", "project": PROJECT, "key": item.id} | told)  # type: ignore[arg-type]


async def test_an_item_is_read_with_names_in_place_of_ids(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    item = plane.open(
        "Boom", html="<p>It <strong>fails</strong>.</p>", labels=[plane.label("bug")],
        assignees=[HELPER.id], state=STARTED,
    )  # fmt: skip

    told = await PLANE.read_item(client, on(item))

    key = None if plane.age is Age.OLD else "PROJ-7"
    assert told == {
        "title": "Boom", "body": "It **fails**.", "state": "In Progress", "category": "started",
        "labels": ["bug"], "assignees": ["aether"], "author": "ann.t", "human_key": key,
        "url": f"{plane.url}/{SLUG}/projects/{PROJECT}/issues/{item.id}", "priority": "none",
    }  # fmt: skip


@pytest.mark.parametrize("project", [PROJECT, f"{SLUG}/{PROJECT}", "PROJ", f"{SLUG}/proj"])
async def test_a_project_and_an_item_may_be_named_as_people_do(
    plane: PlaneStandIn, client: RenewingConnection, project: str
) -> None:
    item = plane.open("Boom")

    for key in (item.id, item.id.upper(), "PROJ-7", "proj-7"):
        told = await PLANE.read_item(client, on(item, project=project, key=key))
        assert told["title"] == "Boom"


async def test_an_item_of_another_project_is_not_reached_by_its_human_key(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    item = plane.open("Boom", project=OTHER_PROJECT)

    with pytest.raises(UpstreamError, match="PROJ-7 is no work item of this project") as refused:
        await PLANE.post_comment(client, on(item, key="PROJ-7"), "hi", timeout=5)
    assert (refused.value.status, item.comments) == (404, [])


async def test_the_word_that_an_installation_knows_is_found_out_once(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    item = plane.open()
    await PLANE.post_comment(client, on(item), "one", timeout=5)
    first = len(plane.asked)
    await PLANE.post_comment(client, on(item), "two", timeout=5)

    word = "issues" if plane.age is Age.OLD else "work-items"
    path = f"POST /projects/{PROJECT}/{word}/{item.id}/comments/"
    assert plane.asked[first:] == [path]
    assert first == (2 if plane.age is Age.OLD else 1)


async def test_a_word_that_goes_away_in_an_upgrade_is_replaced(
    serve: Serve, connect: Connect
) -> None:
    plane = serve(PlaneStandIn(Age.OLD))
    item = plane.open()
    client = await connect(plane.environment())
    await PLANE.post_comment(client, on(item), "one", timeout=5)
    plane.know("work-items")

    await PLANE.post_comment(client, on(item), "two", timeout=5)

    assert [shown(one.html) for one in item.comments] == ["one", "two"]


async def test_comments_come_oldest_first_over_all_pages_and_since_a_moment(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    plane.page = 3
    item, start = plane.open(), datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
    for number in range(8):
        plane.clock = lambda number=number: start + timedelta(minutes=number)  # type: ignore[misc]
        plane.say(item, f"<p>c{number}</p>", BO if number % 2 else ANN)
    plane.people.append(BO)

    every = await PLANE.list_comments(client, on(item))
    late = await PLANE.list_comments(client, on(item), since="2026-03-04T09:06:00Z")

    assert [one.body for one in every] == [f"c{number}" for number in range(8)]
    assert [one.author for one in every[:2]] == ["ann.t", "bo.t"]
    assert [one.body for one in late] == ["c6", "c7"]
    assert every[0].url.endswith(f"/issues/{item.id}#comment-{item.comments[0].id}")


async def test_a_comment_is_html_whose_marker_nobody_sees(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    item = plane.open()
    text = "# Found\n\n- `a < b`\n\n```py\nList[str]\n```\n\n[x](javascript:x) <img src=x>"

    posted = await PLANE.post_comment(client, on(item), f"{text}\n\n{MARKER}", timeout=5)

    [comment] = item.comments
    assert posted.id == comment.id
    assert "<h1>Found</h1><ul><li><p><code>a &lt; b</code></p></li></ul><pre><code" in comment.html
    assert "List[str]" in comment.html
    assert "javascript:" not in comment.html
    assert "<img" not in comment.html
    assert "aether" not in shown(comment.html)
    external = ("aether", "m" * 32) if plane.age is not Age.OLD else (None, None)
    assert comment.external == external
    [found] = await PLANE.list_comments(client, on(item), since=SINCE)
    assert found.body.endswith(f"\n\n{MARKER}")


async def test_asked_twice_for_one_marker_there_is_one_comment_with_the_newer_text(
    serve: Serve, connect: Connect
) -> None:
    plane = serve(PlaneStandIn(Age.V1))
    item, client = plane.open(), await connect(plane.environment())

    first = await PLANE.post_comment(client, on(item), f"Once.\n\n{MARKER}", timeout=5)
    again = await PLANE.post_comment(client, on(item), f"Twice.\n\n{MARKER}", timeout=5)
    other = await PLANE.post_comment(client, on(item), f"Once.\n\n{OTHER_MARKER}", timeout=5)

    assert first.id == again.id != other.id
    assert [shown(one.html) for one in item.comments] == ["Twice.", "Once."]


async def test_a_name_taken_by_what_was_deleted_does_not_keep_a_comment_from_being_posted(
    serve: Serve, connect: Connect
) -> None:
    plane = serve(PlaneStandIn(Age.V1))
    item, client = plane.open(), await connect(plane.environment())
    elsewhere = plane.open("Another")
    plane.say(elsewhere, "<p>x</p>", HELPER, ("aether", "m" * 32))

    await PLANE.post_comment(client, on(item), f"Here.\n\n{MARKER}", timeout=5)

    assert [shown(one.html) for one in item.comments] == ["Here."]
    [found] = await PLANE.list_comments(client, on(item))
    assert MARKER in found.body


async def test_an_edit_replaces_the_text_and_one_of_a_comment_that_is_gone_says_so(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    item = plane.open()
    posted = await PLANE.post_comment(client, on(item), f"One.\n\n{MARKER}", timeout=5)

    edited = await PLANE.edit_comment(client, on(item), posted.id, f"Two.\n\n{MARKER}", timeout=5)

    assert edited == posted
    assert shown(item.comments[0].html) == "Two."
    item.comments.clear()
    for gone in (posted.id, "501"):
        with pytest.raises(UpstreamError) as refused:
            await PLANE.edit_comment(client, on(item), gone, "Three.", timeout=5)
        assert refused.value.status == 404


async def test_a_body_of_the_longest_is_taken_whole_and_a_monstrous_one_is_cut() -> None:
    fits, _ = to_wire("x" * PLANE.max_comment_characters)
    cut, marker = to_wire("&" * 500_000 + f"\n\n{MARKER}")

    assert fits == f"<p>{'x' * PLANE.max_comment_characters}</p>"
    assert len(cut) < 2_000_500
    assert "Shortened" in cut
    assert marker == "m" * 32


async def test_title_text_labels_and_people_go_in_one_call(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    plane.people += [BO]
    plane.page = 2
    known = [plane.label(f"l{number}") for number in range(5)]
    item = plane.open(labels=[known[0], known[4]], assignees=[ANN.id])
    changes = ItemChanges(
        title=" New\n title ", body="It is *late*.", add_labels=["L3", "fresh"],
        remove_labels=["l4", "unknown"], add_assignees=["Bo Tester", "aether@example.com"],
    )  # fmt: skip

    await PLANE.update_item(client, on(item), changes, timeout=5)
    calls = [one for one in plane.asked if one.startswith("PATCH")]
    await PLANE.update_item(client, on(item), changes, timeout=5)

    assert (item.name, item.html) == ("New title", "<p>It is <em>late</em>.</p>")
    assert [plane.labels[one] for one in item.labels] == ["l0", "l3", "fresh"]
    assert item.assignees == [ANN.id, BO.id, HELPER.id]
    assert len(calls) == 1
    assert list(plane.labels.values()).count("fresh") == 1


@pytest.mark.parametrize(
    ("reason", "state"),
    [(None, DONE), ("completed", DONE), ("not_planned", CANCELLED), ("duplicate", CANCELLED)],
)
async def test_an_item_is_closed_by_its_reason_once_and_reopened_into_the_default(
    plane: PlaneStandIn, client: RenewingConnection, reason: str | None, state: object
) -> None:
    item = plane.open(state=STARTED)
    close = ItemChanges(state="closed", state_reason=reason)

    await PLANE.update_item(client, on(item), close, timeout=5)
    await PLANE.update_item(client, on(item), ItemChanges(state="closed"), timeout=5)
    closed, patches = item.state, sum(one.startswith("PATCH") for one in plane.asked)
    await PLANE.update_item(client, on(item), ItemChanges(state="open"), timeout=5)
    await PLANE.update_item(client, on(item), ItemChanges(state="open"), timeout=5)

    assert (closed, patches) == (state, 1)
    assert item.state == TO_DO


async def test_who_is_not_there_is_named_with_those_who_are_and_nothing_is_changed(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    item = plane.open()
    changes = ItemChanges(title="New", add_assignees=["zoe"])

    with pytest.raises(UpstreamError) as refused:
        await PLANE.update_item(client, on(item), changes, timeout=5)

    assert str(refused.value) == (
        "Plane did not assign: nobody in the project is called 'zoe'; there are: "
        f"aether ({HELPER.id}), ann.t ({ANN.id})"
    )
    assert (refused.value.retryable, item.name) == (False, "Boom")


async def test_whom_plane_leaves_out_silently_is_told(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    plane.people.append(GUEST)
    item = plane.open()

    with pytest.raises(UpstreamError, match=r"did not assign 1 of gus: only active members"):
        await PLANE.update_item(client, on(item), ItemChanges(add_assignees=["gus"]), timeout=5)
    assert item.assignees == []


async def test_a_label_that_may_not_be_made_is_refused_with_those_that_are_there(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    plane.may_make_labels = False
    plane.label("bug")
    item = plane.open()

    with pytest.raises(UpstreamError, match=r"no label 'new', .* may not make it; there are: bug"):
        await PLANE.update_item(client, on(item), ItemChanges(add_labels=["new"]), timeout=5)
    assert item.labels == []


async def test_an_item_is_created_once_for_its_marker_and_found_by_it(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    new = NewItem(
        title="Part", body=f"Of **it**.\n\n{MARKER}", labels=["debt"], assignees=["ann.t"]
    )

    created = await PLANE.create_item(client, PROJECT, new, timeout=5)
    if plane.age is Age.V1:
        assert await PLANE.create_item(client, PROJECT, new, timeout=5) == created
    for number in range(3):
        plane.open(f"later {number}")
    plane.page = 2
    found = await PLANE.find_item(client, PROJECT, MARKER, since=SINCE)
    missing = await PLANE.find_item(client, PROJECT, OTHER_MARKER, since=SINCE)

    [item] = [one for one in plane.items.values() if one.name == "Part"]
    assert (created.id, found, missing) == (item.id, created, None)
    assert [plane.labels[one] for one in item.labels] == ["debt"]
    assert (item.assignees, shown(item.html)) == ([ANN.id], "Of it.")


async def test_the_search_for_a_marker_ends_at_the_moment_of_the_intent(
    serve: Serve, connect: Connect
) -> None:
    plane = serve(PlaneStandIn(Age.OLD))
    client = await connect(plane.environment())
    plane.page = 1
    plane.clock = lambda: datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
    for _ in range(5):
        plane.open()

    found = await PLANE.find_item(client, PROJECT, MARKER, since="2026-03-04T09:30:00Z")

    assert found is None
    assert len([one for one in plane.asked if "/issues/" in one]) == 2


@pytest.mark.parametrize(
    "key", ["", "7", "../x", "a/b", f"{PROJECT}/x", "PROJ-", "PROJ-7/comments", "PROJ-7\n"]
)
async def test_what_is_no_key_is_refused_before_anything_is_asked(
    plane: PlaneStandIn, client: RenewingConnection, key: str
) -> None:
    with pytest.raises(InvalidInputError, match=r"^key: "):
        await PLANE.post_comment(client, on(plane.open(), key=key), "hi", timeout=5)

    assert plane.asked == []


@pytest.mark.parametrize("slug", ["", "a b", "../x"])
async def test_without_a_workspace_it_says_where_to_find_it(
    plane: PlaneStandIn, connect: Connect, slug: str
) -> None:
    client = await connect(plane.environment() | {"PLANE_WORKSPACE": slug})

    with pytest.raises(NotConfiguredError, match=r"^PLANE_WORKSPACE: .*app\.plane\.so/<workspace>"):
        await PLANE.post_comment(client, on(plane.open()), "hi", timeout=5)
    assert plane.asked == []


async def test_an_address_copied_from_an_example_of_the_api_will_do(
    plane: PlaneStandIn, connect: Connect
) -> None:
    client = await connect(plane.environment() | {"PLANE_URL": f"{plane.url}/api/v1/"})
    item = plane.open()

    await PLANE.post_comment(client, on(item), "hi", timeout=5)

    assert len(item.comments) == 1


async def test_a_limit_is_waited_for_and_its_headers_are_read(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    item = plane.open()
    await PLANE.post_comment(client, on(item), "one", timeout=5)
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "4102444800"}
    plane.faults.fail_next("POST", status=429, headers=headers, body={"detail": "throttled"})

    with pytest.raises(UpstreamError) as refused:
        await PLANE.post_comment(client, on(item), "two", timeout=5)

    assert (refused.value.status, refused.value.retryable) == (429, True)
    assert refused.value.may_have_happened is False
    assert (refused.value.retry_after or 0) > 1_000
    assert len(item.comments) == 1


async def test_what_plane_refuses_is_told_in_its_words_without_the_key(
    plane: PlaneStandIn, client: RenewingConnection
) -> None:
    item = plane.open()
    body = {"error": f"no, {TOKEN}"}
    plane.faults.fail_next("POST", status=400, body=body)

    with pytest.raises(UpstreamError, match="answered 400, no, ") as refused:
        await PLANE.post_comment(client, on(item), "one", timeout=5)
    assert TOKEN not in str(refused.value)
