"""What each of Plane's three ages says, read alike."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from aether.errors import InvalidInputError
from aether.events import Actor, Candidate, SourceEvent
from aether.sources.plane import Plane
from tests.sources.plane.hooks import Age, Board, signed
from tests.sources.plane.state import (
    ANN,
    BO,
    CANCELLED,
    DONE,
    GUEST,
    PROJECT,
    STARTED,
    TO_DO,
    Item,
)
from tests.sources.seeded import seeded_trigger

MARKER = "m" * 32


def read(told: tuple[Mapping[str, str], bytes]) -> SourceEvent:
    return Plane().extract(*told)


def reads(payload: Mapping[str, Any], event: str = "issue") -> SourceEvent:
    return read(signed(json.dumps(payload).encode(), event))


def last(board: Board) -> SourceEvent:
    return read(board.webhooks[-1])


def every(board: Board) -> list[str | None]:
    return [seeded_trigger(read(one)) for one in board.webhooks]


@pytest.fixture(params=list(Age), ids=lambda age: age.value)
def board(request: pytest.FixtureRequest) -> Board:
    return Board(request.param)


def test_a_new_item_is_created_in_every_age(board: Board) -> None:
    item = board.open("Boom", html="<p>It <strong>fails</strong>:</p><ul><li><p>a</p></li></ul>")

    event = last(board)

    assert seeded_trigger(event) == "issue.created"
    assert event.candidates[0] == Candidate(event_name="issue.created")
    assert event.subject is not None
    assert (event.subject.project, event.subject.key) == (PROJECT, item.id)
    assert (event.subject.title, event.subject.author) == ("Boom", ANN.id)
    assert event.project_names == (PROJECT,)
    assert event.actor is not None
    assert event.actor.id == ANN.id
    assert event.actor.login == (ANN.display if board.age is Age.V1 else ANN.id)
    assert event.change_key == f"issue:{item.id}:created"
    body = "" if board.age is Age.V2 else "It **fails**:\n\n- a"
    assert (event.subject.body, event.text) == (body, body)


def test_a_comment_is_commented_in_every_age(board: Board) -> None:
    item = board.open()
    comment = board.say(item, "<p>Is it <em>late</em>?</p>", BO)

    event = last(board)

    assert seeded_trigger(event) == "issue.commented"
    assert (event.comment_id, event.change_key) == (comment.id, f"comment:{comment.id}:created")
    assert event.text == "Is it *late*?"
    assert event.subject is not None
    assert event.subject.key == item.id
    assert event.subject.project == ("" if board.age is Age.V2 else PROJECT)
    assert event.actor is not None
    assert event.actor.id == BO.id


def test_an_edited_comment_and_one_of_two_others_stop(board: Board) -> None:
    item = board.open()
    comment = board.say(item, "<p>a</p>")
    board.edit(item, comment, "<p>b</p>", ANN)

    event = last(board)

    assert (seeded_trigger(event), event.stops, event.comment_id) == (None, True, None)


def test_a_deleted_item_is_none_and_still_named(board: Board) -> None:
    item = board.open("Gone")
    board.delete(item)

    event = last(board)

    assert (seeded_trigger(event), event.stops) == (None, True)
    assert event.subject is not None
    assert event.subject.key == item.id
    assert event.change_key == f"issue:{item.id}:deleted"


def moved(board: Board) -> Item:
    board.people.append(BO)
    item = board.open()
    board.move(item, STARTED)
    board.move(item, DONE)
    board.change(item, priority="high")
    board.move(item, TO_DO)
    return item


def test_only_the_move_into_a_closed_state_closes() -> None:
    board = Board(Age.V1)
    moved(board)

    assert every(board) == [
        "issue.created", "issue.updated", "issue.closed", "issue.updated", "issue.updated",
    ]  # fmt: skip


def test_v2_closes_by_the_time_of_completion() -> None:
    board = Board(Age.V2)
    moved(board)

    assert every(board) == [
        "issue.created", "issue.updated", "issue.closed", "issue.updated", "issue.updated",
    ]  # fmt: skip


def test_without_an_activity_no_move_can_be_told() -> None:
    board = Board(Age.OLD)
    moved(board)

    assert every(board) == ["issue.created", *["issue.updated"] * 4]


def test_cancelled_is_closed_too_and_so_is_what_the_api_calls_state() -> None:
    board = Board(Age.V1)
    item = board.open()
    board.change(item, api=True, state=CANCELLED)

    event = last(board)

    assert json.loads(board.webhooks[-1][1])["activity"]["field"] == "state"
    assert (seeded_trigger(event), event.change) == ("issue.closed", "Won't do")
    assert event.candidates[:2] == (
        Candidate(event_name="issue.closed"), Candidate(event_name="issue.updated"),
    )  # fmt: skip


def test_the_sibling_deliveries_of_one_edit_are_an_update_beside_the_close() -> None:
    board = Board(Age.V1)
    item = board.open()
    board.change(item, state=DONE, priority="high")

    assert every(board) == ["issue.created", "issue.closed", "issue.updated"]
    keys = {read(one).change_key for one in board.webhooks}
    assert len(keys) == 3


def told(board: Board, **activity: Any) -> dict[str, Any]:
    """The last delivery of v1 with another activity."""
    payload: dict[str, Any] = json.loads(board.webhooks[-1][1])
    return payload | {"activity": payload["activity"] | activity}


def test_names_in_place_of_ids_tell_a_move_too() -> None:
    board = Board(Age.V1)
    item = board.open()
    board.move(item, DONE)
    names = {"field": "state", "old_value": "open", "new_value": "closed",
             "old_identifier": TO_DO.id, "new_identifier": DONE.id}  # fmt: skip

    assert seeded_trigger(reads(told(board, **names))) == "issue.closed"
    no_ids = names | {"old_identifier": None, "new_identifier": None}
    assert seeded_trigger(reads(told(board, **no_ids))) == "issue.closed"


def test_a_move_told_late_of_an_item_that_was_closed_meanwhile_is_an_update() -> None:
    board = Board(Age.V1)
    item = board.open()
    board.move(item, DONE)

    late = reads(told(board, new_value=STARTED.id))
    named = reads(told(board, field="state", new_value="In Progress"))

    assert (seeded_trigger(late), seeded_trigger(named)) == ("issue.updated", "issue.updated")


@pytest.mark.parametrize("field", ["link", "attachment", "reaction", "modules", "cycles"])
def test_what_hangs_on_an_item_is_no_new_item_and_its_end_no_deletion(field: str) -> None:
    board = Board(Age.V1)
    item = board.open()
    added = reads(told(board, field=field, new_value="x"))
    gone = reads(told(board, field=field, old_value="x") | {"action": "deleted"})

    assert (seeded_trigger(added), added.change_key.startswith("body:")) == ("issue.updated", True)
    assert seeded_trigger(gone) is None
    assert gone.change_key != f"issue:{item.id}:deleted"


@pytest.mark.parametrize(
    ("event", "action"),
    [
        ("project", "created"), ("cycle", "updated"), ("module", "deleted"), ("cycle_issue", "x"),
        ("module_issue", "create"), ("intake_issue", 1), ("intake_issue", "created"),
        ("inbox_issue", "created"), ("workitem.archived", None), ("workitem.link.created", None),
        ("workitem.vote.created", None), ("workitem.attachment.created", None),
        ("workitem.relation.created", None), ("workitem.page_link.created", None),
        ("workitem.comment.updated", None), ("workitem.comment.deleted", None),
        ("project.created", None), ("cycle.updated", None), ("milestone.created", None),
        ("page.created", None), ("page.comment.created", None), ("something.new", None),
    ],
)  # fmt: skip
def test_what_is_not_about_the_item_itself_stops(event: str, action: Any) -> None:
    data = {"id": PROJECT, "name": "x", "issue": BO.id, "project": PROJECT}
    payload = {"event": event, "action": action, "data": data}

    found = reads({name: one for name, one in payload.items() if one is not None}, event)

    assert (seeded_trigger(found), found.stops) == (None, True)
    assert found.comment_id is None


@pytest.mark.parametrize(
    ("event", "header", "trigger"),
    [
        ("WebhookScope.ScopeChoices.WORK_ITEM_UPDATED", "workitem.updated", "issue.updated"),
        ("WebhookScope.ScopeChoices.WORK_ITEM_CREATED", "", "issue.created"),
        ("WebhookScope.ScopeChoices.WORK_ITEM_COMMENT_CREATED", "", "issue.commented"),
        ("", "workitem.created", "issue.created"),
        ("issue.created", "", "issue.created"),
        ("issue.updated", "", "issue.updated"),
    ],
)
def test_an_event_by_another_name_is_known(event: str, header: str, trigger: str) -> None:
    board = Board(Age.V2)
    board.open()
    payload = json.loads(board.webhooks[-1][1]) | {"event": event}

    assert seeded_trigger(reads(payload, header)) == trigger


def test_none_in_words_is_nothing() -> None:
    board = Board(Age.V2)
    board.open("None")
    payload = json.loads(board.webhooks[-1][1])
    assert payload["data"]["parent_id"] == payload["data"]["updated_by_id"] == "None"
    payload["data"] |= {"description_html": "None", "created_by_id": "None", "project_id": "None"}

    event = reads(payload, "workitem.created")

    assert event.subject is not None
    assert (event.subject.title, event.subject.body, event.subject.author) == ("None", "", None)
    assert (event.actor, event.project_names, event.subject.project) == (None, (), "")


def test_v2_gives_words_where_it_gives_no_html() -> None:
    board = Board(Age.V2)
    board.say(board.open(), "<p>Is it?</p>")
    payload = json.loads(board.webhooks[-1][1])
    del payload["data"]["comment"]["comment_html"]

    assert reads(payload, "workitem.comment.created").text == "Is it?"


def test_a_project_is_known_by_its_id_and_by_its_workspace_where_that_is_told() -> None:
    board = Board(Age.V1)
    board.open()
    payload = json.loads(board.webhooks[-1][1])
    payload["data"] |= {
        "workspace_detail": {"slug": "acme"}, "project_detail": {"identifier": "PROJ"},
    }  # fmt: skip

    assert reads(payload).project_names == (PROJECT, f"acme/{PROJECT}", "acme/PROJ")


def test_the_key_that_people_see_is_taken_only_where_there_is_no_id() -> None:
    board = Board(Age.V1)
    item = board.open()
    payload = json.loads(board.webhooks[-1][1])
    payload["data"]["project_detail"] = {"identifier": "PROJ"}
    with_id = reads(payload)
    del payload["data"]["id"]
    without = reads(payload)

    assert with_id.subject is not None
    assert without.subject is not None
    assert (with_id.subject.key, without.subject.key) == (item.id, "PROJ-7")


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        ({"id": "7", "display_name": "helper", "is_bot": True},
         Actor(login="helper", is_bot=True, id="7")),
        ({"id": "7", "display_name": "Plane", "email": f"bot_user_{BO.id}@plane.so"},
         Actor(login="Plane", is_bot=True, id="7")),
        ({"id": "7", "display_name": "", "first_name": "Bo", "last_name": "T"},
         Actor(login="Bo T", id="7")),
        ({"id": "7"}, Actor(login="7", id="7")),
        (BO.id, Actor(login=BO.id, id=BO.id)),
        (None, Actor(login=ANN.id, id=ANN.id)),
    ],
)  # fmt: skip
def test_the_actor_is_told_by_name_by_id_or_by_who_made_it(actor: Any, expected: Actor) -> None:
    board = Board(Age.V1)
    board.open()

    assert reads(told(board, actor=actor)).actor == expected


def test_our_marker_is_read_from_the_link_and_from_the_external_id_but_not_from_a_quotation() -> (
    None
):
    board = Board(Age.V1)
    item = board.open()
    link = f'<a href="https://aether.invalid/#aether:{MARKER}" rel="noopener">\u200b</a>'
    marked = f"<!-- aether:{MARKER} -->"

    board.say(item, f"<p>Done.{link}</p>")
    by_link = last(board).text
    board.say(item, "<p>Done.</p>", external=("aether", MARKER))
    by_id = last(board).text
    board.say(item, f"<blockquote><p>Done.{link}</p></blockquote><p>No.</p>")
    quoted = last(board).text
    board.say(item, "<p>Hm.</p>", external=("github", MARKER))
    foreign = last(board).text

    assert by_link == by_id == f"Done.\n\n{marked}"
    assert quoted == "> Done.\n\nNo."
    assert foreign == "Hm."


@pytest.mark.parametrize("action", ["ping", "test"])
def test_a_ping_is_a_ping(action: str) -> None:
    assert reads({"event": action}).is_ping


def test_what_names_no_event_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^event: is missing: this is no webhook of Plane"):
        Plane().extract({}, b'{"action": "created", "data": {}}')


def test_a_retry_under_a_fresh_delivery_id_and_another_hook_have_the_keys_they_should(
    board: Board,
) -> None:
    item = board.open()
    board.move(item, STARTED)
    acts: list[Callable[[], object]] = [
        lambda: board.open("Two"),
        lambda: board.say(item, "<p>a</p>"),
        lambda: board.change(item, name="New"),
        lambda: board.move(item, DONE),
    ]
    for act in acts:
        act()
        told, again, other = (
            read(one) for one in (board.webhooks[-1], board.again(), board.of_other_hook())
        )

        assert (told.delivery_key, told.change_key) == (again.delivery_key, again.change_key)
        assert told.delivery_key != other.delivery_key
        assert told.change_key == other.change_key


def test_the_forms_of_one_description_are_one_change_and_two_fields_are_two() -> None:
    board = Board(Age.V1)
    item = board.open()
    board.change(item, html="<p>New</p>")
    forms = [
        reads(told(board, field=name, old_value="x", new_value=name)).change_key
        for name in ("description_html", "description_json", "description_binary", "description")
    ]
    board.change(item, priority="high", name="Other")
    fields = [read(one).change_key for one in board.webhooks[-2:]]

    assert len(set(forms)) == 1
    assert len({*forms, *fields}) == 3
    assert all(one.startswith("body:") for one in (*forms, *fields))


def test_names_of_labels_and_people_are_told_as_what_changed() -> None:
    board = Board(Age.V1)
    board.people.append(GUEST)
    item = board.open()
    board.change(item, labels=[board.label("urgent")])
    label = last(board)
    board.change(item, assignees=[GUEST.id])
    person = last(board)

    assert (label.change, person.change) == ("urgent", "gus")
    assert label.subject is not None
    assert label.subject.labels == ("urgent",)
