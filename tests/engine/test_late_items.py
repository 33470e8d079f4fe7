"""What came without its item is held to the item's bounds as soon as that is known."""

from typing import Any

import pytest

from aether.db import rows, transaction
from aether.engine import bounds, complete
from aether.leases import claim
from aether.models import AuditEntry, TaskDefinition, TaskExecution
from tests.engine.test_review_races import EVENT, delivered, waiting

pytestmark = pytest.mark.usefixtures("database")


async def late(**changed: Any) -> TaskExecution:
    """An execution whose delivery does not name its item."""
    delivery = await delivered()
    values = {"delivery_id": delivery.id, "item_key": None, "project_key": ""}
    return await waiting(**(values | changed))


async def task(**bounds: Any) -> None:
    await TaskDefinition.create(
        id="triage", name="Triage", description="Say.", actor_id="pm_sarah", **bounds
    )


async def filled_in(one: TaskExecution) -> TaskExecution:
    """It, once its item is known."""
    async with transaction():
        await rows("SELECT 1 FROM delivery WHERE id = $1 FOR UPDATE", one.delivery_id)
        await complete.fill_in(one.delivery_id, EVENT, project_id=None)
    return await TaskExecution.get(id=one.id)


@pytest.mark.parametrize("others", [bounds.BOT_RUNS_AN_HOUR - 1, bounds.BOT_RUNS_AN_HOUR])
async def test_bots_start_no_more_than_their_share_by_what_names_no_item(others: int) -> None:
    await task()
    for number in range(others):
        await waiting(delivery_id=1000 + number, by_bot=True, status="succeeded")
    bots = await late(by_bot=True)

    found = await filled_in(bots)

    assert found.item_key == "API-7"
    if others < bounds.BOT_RUNS_AN_HOUR:
        assert [found.status, found.error] == ["queued", None]
        assert await AuditEntry.all().count() == 0
    else:
        assert (found.status, found.error, found.finished_at is not None) == (
            "cancelled", bounds.BOTS_HAD_THEIR_SHARE, True,
        )  # fmt: skip
        [entry] = await AuditEntry.all()
        assert (entry.action, entry.execution_id) == ("task.held_back", bots.id)


async def test_a_person_s_comment_is_not_held_back_by_what_bots_started() -> None:
    await task()
    for number in range(bounds.BOT_RUNS_AN_HOUR):
        await waiting(delivery_id=1000 + number, by_bot=True, status="succeeded")

    assert (await filled_in(await late())).status == "queued"


async def test_a_claimed_one_ends_at_its_next_step_and_does_not_count_as_started() -> None:
    await task(max_runs_per_item_hour=1)
    await waiting(delivery_id=1000, status="succeeded")
    held = await late()
    assert await claim(held.id, seconds=60, grace_seconds=0) is not None

    found = await filled_in(held)

    assert (found.status, found.cancel_requested, found.error_code) == (
        "running", True, "RATE_LIMITED",
    )  # fmt: skip
    await rows("UPDATE task_execution SET created_at = now() - interval '2 hours' WHERE id <> $1",
               held.id)  # fmt: skip
    item = ("jira", "", "API", "API-7")
    assert await bounds._started_of(item, ["triage"]) == {}


async def test_what_a_delivery_started_by_itself_counts_once_its_item_is_known() -> None:
    await task(max_runs_per_item_hour=1)

    first = await filled_in(await late())

    assert first.status == "queued"
    assert await bounds._started_of(("jira", "", "API", "API-7"), ["triage"]) == {"triage": 1}
    again = await filled_in(first)  # another that names the item changes nothing
    assert (again.status, again.cancel_requested) == ("queued", False)


async def test_a_replay_is_asked_for_by_a_person_and_not_held_back() -> None:
    await task(max_runs_per_item_hour=1)
    await waiting(delivery_id=1000, status="succeeded")
    replayed = await late()
    await rows("UPDATE delivery SET replay_of = 7")

    assert (await filled_in(replayed)).status == "queued"


@pytest.mark.parametrize(
    ("closing", "status"),
    [
        ({"canonical_triggers": ["issue.closed"]}, "cancelled"),
        ({"canonical_triggers": ["issue.updated"]}, "queued"),
        ({"canonical_triggers": ["issue.closed"], "item_key": "API-8"}, "queued"),
        (
            {"canonical_triggers": ["issue.closed"], "reason": "our own doing: an effect of ours"},
            "queued",
        ),
    ],
)
async def test_an_item_that_was_closed_since_ends_what_came_without_it_where_the_task_says_so(
    closing: dict[str, Any], status: str
) -> None:
    await task(cancel_on_close=True)
    comment = await late()
    await delivered(
        **{"delivery_key": "e", "change_key": "e", "project_key": "API", "item_key": "API-7"}
        | closing
    )

    found = await filled_in(comment)

    assert [found.status, found.error] == [
        status, "its item was closed" if status == "cancelled" else None,
    ]  # fmt: skip


async def test_what_was_closed_before_the_comment_came_is_answered() -> None:
    await task(cancel_on_close=True)
    await delivered(delivery_key="e", change_key="e", project_key="API", item_key="API-7",
                    canonical_triggers=["issue.closed"])  # fmt: skip

    assert (await filled_in(await late())).status == "queued"
