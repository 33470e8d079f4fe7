"""An event is stored once, whoever tells of it and how often; what it starts, it starts once."""

import asyncio
from dataclasses import replace
from typing import Any

from aether.db import rows
from aether.engine.receive import receive, replay
from aether.engine.runtime import Runtime
from aether.events import Actor, Candidate, SourceEvent, Subject
from aether.models import (
    Delivery,
    Project,
    SourceEventMapping,
    TaskDefinition,
    TaskExecution,
    TriggerTaskMapping,
    WebhookMapping,
)
from aether.vocabulary import SourceName
from tests.fakes import RecordingQueue

OPENED = SourceEvent(
    source=SourceName.GITHUB,
    delivery_key="72d3162e-cc78-11e3-81ab-4c9367dc0958",
    change_key="issue:1:created",
    event_name="issues",
    action="opened",
    candidates=(Candidate(event_name="issues", action="opened"),),
    project_names=("acme/api", "186853002"),
    subject=Subject(kind="issue", project="acme/api", key="7", title="Boom"),
    actor=Actor(login="ann", association="MEMBER"),
    text="It breaks",
    payload={"action": "opened", "issue": {"number": 7}},
)


async def mapped(*task_ids: str, **gate: Any) -> None:
    await SourceEventMapping.create(
        source="github", event_name="issues", action="opened", canonical_trigger="issue.created"
    )
    for task_id in task_ids:
        await TaskDefinition.create(
            id=task_id, name=task_id, description="Look at it", actor_id="pm_sarah"
        )
        await TriggerTaskMapping.create(canonical_trigger="issue.created", task_id=task_id, **gate)


async def test_an_event_starts_every_task_of_its_trigger(
    runtime: Runtime, queue: RecordingQueue
) -> None:
    await mapped("triage", "discovery")

    receipt = await receive(runtime, OPENED, slug="github")

    assert (receipt.status, receipt.canonical_triggers) == ("accepted", ["issue.created"])
    started = await TaskExecution.all().order_by("id")
    assert [one.task_id for one in started] == ["triage", "discovery"]
    assert receipt.executions == [one.id for one in started] == queue.ids
    assert {(one.project_key, one.item_kind, one.item_key) for one in started} == {
        ("acme/api", "issue", "7")
    }
    queued = await rows("SELECT execution_id FROM audit_entry WHERE action = 'task.queued'")
    assert sorted(one["execution_id"] for one in queued) == receipt.executions


async def test_a_redelivery_is_stored_and_queued_once(
    runtime: Runtime, queue: RecordingQueue
) -> None:
    await mapped("triage")

    first = await receive(runtime, OPENED, slug="github")
    again = await receive(runtime, OPENED, slug="github")
    other_hook = await receive(runtime, replace(OPENED, delivery_key="another"), slug="github")
    other_body = await receive(runtime, replace(OPENED, change_key="another"), slug="github")

    for repeated in (again, other_hook, other_body):
        assert repeated.status == "duplicate"
        assert (repeated.delivery_id, repeated.executions) == (first.delivery_id, first.executions)
        assert repeated.canonical_trigger == "issue.created"
    assert await Delivery.all().count() == 1
    assert queue.ids == first.executions


async def test_twenty_copies_at_once_are_one_delivery_and_one_run(
    runtime: Runtime, queue: RecordingQueue
) -> None:
    await mapped("triage")

    receipts = await asyncio.gather(*(receive(runtime, OPENED, slug="github") for _ in range(20)))

    assert sorted(one.status for one in receipts) == ["accepted"] + ["duplicate"] * 19
    assert len({one.delivery_id for one in receipts}) == 1
    assert await TaskExecution.all().count() == 1
    assert len(queue.ids) == 1


async def test_the_same_delivery_key_of_two_sources_is_two_deliveries(runtime: Runtime) -> None:
    await receive(runtime, OPENED, slug="github")
    await receive(runtime, replace(OPENED, source=SourceName.GITLAB), slug="gitlab")

    assert await Delivery.all().count() == 2


async def test_what_had_no_mapping_is_routed_anew_when_it_comes_again(
    runtime: Runtime, queue: RecordingQueue
) -> None:
    ignored = await receive(runtime, OPENED, slug="github")
    await mapped("triage")
    again = await receive(runtime, OPENED, slug="github")
    third = await receive(runtime, OPENED, slug="github")

    assert (ignored.status, ignored.canonical_trigger, ignored.executions) == ("ignored", None, [])
    assert (again.status, again.canonical_trigger) == ("accepted", "issue.created")
    assert third.status == "duplicate"
    assert ignored.delivery_id == again.delivery_id == third.delivery_id
    stored = await Delivery.get(id=again.delivery_id)
    told = [stored.status.value, stored.canonical_triggers, stored.reason]
    assert told == ["routed", ["issue.created"], None]
    assert queue.ids == again.executions


async def test_a_ping_and_a_disabled_project_start_nothing_and_say_why(
    runtime: Runtime, queue: RecordingQueue
) -> None:
    await mapped("triage")
    await Project.create(name="Api", source="github", source_project_id="Acme/API", enabled=False)

    ping = await receive(
        runtime,
        replace(OPENED, is_ping=True, delivery_key="p", change_key="p", candidates=()),
        slug="github",
    )
    disabled = await receive(runtime, OPENED, slug="github")

    assert (ping.status, disabled.status) == ("ignored", "ignored")
    assert disabled.canonical_trigger == "issue.created"
    reasons = {one.id: one.reason for one in await Delivery.all()}
    assert reasons == {
        ping.delivery_id: "a ping",
        disabled.delivery_id: "its project is disabled",
    }
    assert queue.ids == []


async def test_a_known_project_gives_its_executions_their_scope(runtime: Runtime) -> None:
    await mapped("triage")
    project = await Project.create(name="Api", source="github", source_project_id="acme/api")

    await receive(runtime, OPENED, slug="github")

    assert (await TaskExecution.get()).project_id == project.id
    assert (await Delivery.get()).project_id == project.id


async def test_a_jq_rule_adds_its_trigger_and_extracts_for_the_prompt(runtime: Runtime) -> None:
    await mapped("triage")
    await WebhookMapping.create(
        source="github", event_type="issues", jq_filter=".issue.number == 7",
        canonical_trigger="issue.seventh", extract={"number": ".issue.number"},
    )  # fmt: skip
    await WebhookMapping.create(
        source="github", event_type="issues", jq_filter=".issue.number == 8",
        canonical_trigger="issue.eighth",
    )  # fmt: skip

    receipt = await receive(runtime, OPENED, slug="github")

    assert receipt.canonical_triggers == ["issue.created", "issue.seventh"]
    assert (await Delivery.get()).extracted == {"number": 7}


async def test_a_gate_reads_the_event_and_holds_back_what_it_refuses(
    runtime: Runtime, queue: RecordingQueue
) -> None:
    await mapped("triage", condition='$event.actor.login == "bob"')

    receipt = await receive(runtime, OPENED, slug="github")

    assert (receipt.status, receipt.executions) == ("ignored", [])
    assert (await Delivery.get()).reason == "task triage held back: its condition is false"
    assert queue.ids == []


async def test_bots_start_five_runs_an_hour_on_an_item_and_people_as_many_as_they_like(
    runtime: Runtime, queue: RecordingQueue
) -> None:
    await mapped("triage")

    def by(login: str, number: int, *, is_bot: bool, item: str = "7") -> SourceEvent:
        return replace(
            OPENED,
            delivery_key=f"{login}{item}{number}",
            change_key=f"{login}{item}{number}",
            actor=Actor(login=login, is_bot=is_bot),
            subject=Subject(kind="issue", project="acme/api", key=item),
        )

    bots = await asyncio.gather(
        *(
            receive(runtime, by("helper[bot]", number, is_bot=True), slug="github")
            for number in range(30)
        )
    )
    person = await receive(runtime, by("ann", 1, is_bot=False), slug="github")
    elsewhere = await receive(runtime, by("helper[bot]", 1, is_bot=True, item="8"), slug="github")

    assert sorted(one.status for one in bots) == ["accepted"] * 5 + ["ignored"] * 25
    assert (person.status, elsewhere.status) == ("accepted", "accepted")
    assert len(queue.ids) == 7


async def test_a_replay_is_a_new_delivery_that_names_the_old_one(
    runtime: Runtime, queue: RecordingQueue
) -> None:
    await mapped("triage")
    first = await receive(runtime, OPENED, slug="github")

    second = await replay(runtime, first.delivery_id)

    assert second.status == "accepted"
    made = await Delivery.get(id=second.delivery_id)
    assert (made.replay_of, made.payload) == (first.delivery_id, dict(OPENED.payload))
    assert queue.ids == [*first.executions, *second.executions]


async def test_a_change_of_the_configuration_counts_for_the_very_next_event(
    runtime: Runtime,
) -> None:
    await mapped("triage")
    await receive(runtime, OPENED, slug="github")
    await TaskDefinition.filter(id="triage").update(enabled=False)

    receipt = await receive(
        runtime, replace(OPENED, delivery_key="2", change_key="2"), slug="github"
    )

    assert receipt.status == "ignored"
    stored = await Delivery.get(id=receipt.delivery_id)
    assert stored.reason == "task triage is disabled"
