"""Whoever is refused a run is told of in the audit log; what merely does not apply is not."""

from dataclasses import replace
from typing import Any

import pytest

from aether.engine.bounds import BOT_RUNS_AN_HOUR, BOTS_HAD_THEIR_SHARE
from aether.engine.receive import receive
from aether.engine.runtime import Runtime
from aether.events import Actor
from aether.models import AuditEntry, Delivery, TaskDefinition, TriggerTaskMapping, WebhookMapping
from tests.engine.test_receive import OPENED, mapped

STRANGER = replace(OPENED, actor=Actor(login="mallory", association="NONE"))


async def held() -> list[tuple[int | None, Any]]:
    """What the audit log tells of tasks that were held back, oldest first."""
    found = await AuditEntry.filter(action="task.held_back").order_by("id")
    return [(one.delivery_id, one.detail) for one in found]


@pytest.mark.parametrize("association", ["NONE", "FIRST_TIMER", "MANNEQUIN", None])
async def test_an_author_who_stands_too_far_is_refused_and_both_are_told(
    runtime: Runtime, association: str | None
) -> None:
    await mapped("triage", min_association="COLLABORATOR")
    event = replace(OPENED, actor=Actor(login="mallory", association=association))

    receipt = await receive(runtime, event, slug="github")

    reason = (
        f"task triage held back: its author's association is {association or 'not told'}, "
        "COLLABORATOR or closer is needed"
    )
    assert (receipt.status, receipt.executions) == ("ignored", [])
    assert (await Delivery.get(id=receipt.delivery_id)).reason == reason
    detail = {
        "task_id": "triage", "reason": reason, "actor": "mallory", "association": association,
    }  # fmt: skip
    assert await held() == [(receipt.delivery_id, detail)]


async def test_a_condition_that_cannot_be_asked_refuses_and_is_told(runtime: Runtime) -> None:
    await mapped("triage", condition='error("no")')

    receipt = await receive(runtime, OPENED, slug="github")

    [(delivery_id, detail)] = await held()
    assert (delivery_id, receipt.status) == (receipt.delivery_id, "ignored")
    assert detail["reason"] == "task triage held back: its condition failed or took too long"


async def test_what_merely_does_not_apply_refuses_nobody(runtime: Runtime) -> None:
    await mapped("triage", condition="false")
    await TaskDefinition.create(id="off", name="T", description="D", actor_id="a", enabled=False)
    await TriggerTaskMapping.create(canonical_trigger="issue.created", task_id="off")

    receipt = await receive(runtime, OPENED, slug="github")
    ping = await receive(
        runtime, replace(STRANGER, is_ping=True, delivery_key="p", change_key="p"), slug="github"
    )

    assert (receipt.status, ping.status) == ("ignored", "ignored")
    assert (await Delivery.get(id=receipt.delivery_id)).reason == (
        "task triage held back: its condition is false; task off is disabled"
    )
    assert await held() == []


async def test_a_task_that_another_trigger_starts_was_not_refused(runtime: Runtime) -> None:
    await mapped("triage", min_association="OWNER")
    await mapped_too("issue.seen", "triage")

    receipt = await receive(runtime, OPENED, slug="github")

    assert receipt.status == "accepted"
    assert "OWNER or closer is needed" in ((await Delivery.get()).reason or "")
    assert await held() == []


async def mapped_too(trigger: str, task_id: str) -> None:
    """The same event gives this trigger, too, which starts the task without a gate."""
    await WebhookMapping.create(
        source="github", event_type="issues", jq_filter="true", canonical_trigger=trigger
    )
    await TriggerTaskMapping.create(canonical_trigger=trigger, task_id=task_id)


async def test_it_is_told_beside_what_starts_and_once_however_often_it_comes(
    runtime: Runtime,
) -> None:
    await mapped("triage")
    await TaskDefinition.create(id="fix", name="T", description="D", actor_id="a")
    await TriggerTaskMapping.create(
        canonical_trigger="issue.created", task_id="fix", min_association="MEMBER"
    )

    first = await receive(runtime, STRANGER, slug="github")
    again = await receive(runtime, STRANGER, slug="github")

    assert (first.status, again.status, len(first.executions)) == ("accepted", "duplicate", 1)
    assert [(of, detail["task_id"]) for of, detail in await held()] == [(first.delivery_id, "fix")]


async def test_a_task_that_was_started_as_often_as_it_may_is_refused_and_told(
    runtime: Runtime,
) -> None:
    await mapped("triage")
    await TaskDefinition.filter(id="triage").update(max_runs_per_item_hour=1)

    receipts = [
        await receive(runtime, replace(OPENED, delivery_key=key, change_key=key), slug="github")
        for key in "ab"
    ]

    assert [one.status for one in receipts] == ["accepted", "ignored"]
    [(delivery_id, detail)] = await held()
    assert delivery_id == receipts[1].delivery_id
    assert detail["reason"].endswith(
        "started 1 times on this item within the hour (max_runs_per_item_hour)"
    )


async def test_bots_that_had_their_share_are_refused_and_told(runtime: Runtime) -> None:
    await mapped("triage", "fix")
    bot = replace(OPENED, actor=Actor(login="robo[bot]", is_bot=True, association="NONE"))
    for number in range(BOT_RUNS_AN_HOUR):
        key = str(number)
        await receive(runtime, replace(bot, delivery_key=key, change_key=key), slug="github")

    last = await receive(runtime, bot, slug="github")

    assert (last.status, (await Delivery.get(id=last.delivery_id)).reason) == (
        "ignored", BOTS_HAD_THEIR_SHARE,
    )  # fmt: skip
    assert [(of, detail["task_id"], detail["reason"]) for of, detail in await held()] == [
        (last.delivery_id, "triage", BOTS_HAD_THEIR_SHARE),
        (last.delivery_id, "fix", BOTS_HAD_THEIR_SHARE),
    ]
