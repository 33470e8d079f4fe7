"""Whose doing an event is, and values that are longer than we store."""

from dataclasses import replace
from typing import Any

import pytest

from aether.db import rows
from aether.engine.own_doing import why_ours
from aether.engine.receive import receive
from aether.engine.runtime import Runtime
from aether.events import Actor, Candidate, SourceEvent, Subject
from aether.models import Delivery, Effect, SourceEventMapping, TaskExecution
from tests.engine.test_receive import OPENED, mapped

MARKER = "m" * 32
MARKED = f"As said.\n\n<!-- aether:{MARKER} -->"
CREATED = Subject(kind="issue", project="acme/api", key="8", title="Split", body=MARKED)
ITEM = Subject(kind="issue", project="acme/api", key="7", title="Boom", body="It breaks")


async def intended(kind: str, **values: Any) -> Effect:
    told = {
        "execution_id": 1, "key": "k", "kind": kind, "source": "github",
        "project_key": "acme/api", "item_kind": "issue", "item_key": "7", "content": {},
        "content_hash": "", "marker": MARKER, "status": "sent", **values,
    }  # fmt: skip
    return await Effect.create(**told)


def event(action: str, subject: Subject, **values: Any) -> SourceEvent:
    told = {"text": subject.body, "actor": Actor(login="ann"), **values}
    return replace(OPENED, action=action, subject=subject, **told)


@pytest.mark.parametrize(
    ("action", "change"),
    [("closed", None), ("edited", None), ("assigned", "bob"), ("labeled", "urgent")],
)
async def test_what_a_person_does_to_an_issue_that_we_created_is_a_persons_doing(
    database: str, action: str, change: str | None
) -> None:
    await intended("create", platform_id="8", content={"title": "Split", "labels": ["debt"]})

    assert await why_ours(event(action, CREATED, change=change)) is None


@pytest.mark.parametrize(("action", "change"), [("opened", None), ("labeled", "debt")])
@pytest.mark.parametrize("platform_id", [None, "8"])
async def test_the_creation_of_our_issue_and_its_first_labels_are_ours(
    database: str, action: str, change: str | None, platform_id: str | None
) -> None:
    await intended("create", platform_id=platform_id, content={"labels": ["debt"]})

    why = await why_ours(event(action, CREATED, change=change))

    assert why == "our own doing: it carries our marker"


async def test_our_edit_of_our_comment_is_ours_also_when_a_persons_account_made_it(
    database: str,
) -> None:
    await intended("comment", platform_id="501")

    why = await why_ours(event("edited", ITEM, event_name="issue_comment", text=MARKED))

    assert why == "our own doing: it carries our marker"


async def test_a_copied_marker_makes_a_persons_comment_no_comment_of_ours(database: str) -> None:
    await intended("comment", platform_id="501")

    assert await why_ours(event("created", ITEM, text=MARKED, comment_id="777")) is None


async def test_an_edit_of_the_body_after_our_edit_of_the_title_is_a_persons_doing(
    database: str,
) -> None:
    await intended("update", content={"title": "Boom", "body": None})
    by_us = {"changes": {"title": {"from": "Bum"}}}
    by_ann = {"changes": {"body": {"from": "Old"}}}

    assert await why_ours(event("edited", ITEM, payload=by_us)) is not None
    assert await why_ours(event("edited", ITEM, payload=by_ann)) is None


async def test_an_edited_comment_is_no_echo_of_our_edit_of_the_item(database: str) -> None:
    await intended("update", content={"title": "Boom", "body": None})

    told = event("edited", ITEM, event_name="issue_comment", text="I meant this.")
    assert await why_ours(told) is None


async def test_our_own_doing_starts_nothing_when_it_comes_again_much_later(
    runtime: Runtime,
) -> None:
    await mapped("triage")
    await SourceEventMapping.create(
        source="github", event_name="issues", action="closed", canonical_trigger="issue.created"
    )
    effect = await intended("close")
    closed = event("closed", ITEM, candidates=(Candidate(event_name="issues", action="closed"),))
    first = await receive(runtime, closed, slug="github")
    await rows("UPDATE effect SET touched_at = now() - interval '2 hours' WHERE id = $1", effect.id)

    again = await receive(runtime, closed, slug="github")

    assert (first.status, again.status, again.executions) == ("ignored", "duplicate", [])
    assert await TaskExecution.all().count() == 0


async def test_keys_and_names_longer_than_their_columns_are_stored_once(runtime: Runtime) -> None:
    await mapped("triage")
    long = replace(
        OPENED,
        delivery_key="d" * 900,
        change_key="c" * 900,
        project_names=("p" * 900,),
        subject=replace(ITEM, project="p" * 900, key="9" * 300),
        actor=Actor(login="a" * 900),
    )
    other = replace(long, delivery_key="d" * 900 + "2", change_key="c" * 900 + "2")

    statuses = [(await receive(runtime, one, slug="github")).status for one in (long, long, other)]

    assert statuses == ["accepted", "duplicate", "accepted"]
    assert await Delivery.all().count() == 2


async def test_bots_have_their_bound_also_on_a_project_with_a_long_name(runtime: Runtime) -> None:
    await mapped("triage")
    statuses = []
    for number in range(6):
        told = replace(
            OPENED,
            delivery_key=f"d{number}",
            change_key=f"c{number}",
            project_names=("p" * 900,),
            actor=Actor(login="helper[bot]", is_bot=True),
        )
        statuses.append((await receive(runtime, told, slug="github")).status)

    assert statuses == ["accepted"] * 5 + ["ignored"]
