"""Statements that wait for each other: none of them ends in a deadlock, or in nobody's turn."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from aether.db import row, rows, transaction
from aether.engine import bounds, complete, configuration, limits
from aether.engine import receive as receiving
from aether.engine import sweep as stage
from aether.engine.plan import Plan, make_plan
from aether.engine.route import Routing
from aether.engine.runtime import Runtime
from aether.events import SourceEvent, Subject
from aether.leases import claim
from aether.models import Agent, Delivery, Project, TaskExecution
from aether.vocabulary import SourceName
from tests.engine.test_receive import OPENED, mapped

SUBJECT = Subject(kind="issue", project="API", key="API-7", title="Boom")
EVENT = SourceEvent(
    source=SourceName.JIRA, event_name="comment_created", delivery_key="d", change_key="c",
    subject=SUBJECT, project_names=("API",),
)  # fmt: skip


async def waiting(**changed: Any) -> TaskExecution:
    values: dict[str, Any] = {
        "delivery_id": 1, "task_id": "triage", "canonical_trigger": "issue.created",
        "source": "jira", "project_key": "API", "item_key": "API-7", "item_kind": "issue",
    }  # fmt: skip
    return await TaskExecution.create(**(values | changed))


async def delivered(**changed: Any) -> Delivery:
    values: dict[str, Any] = {
        "source": "jira", "slug": "jira", "delivery_key": "d", "change_key": "c",
        "event_name": "comment_created", "status": "routed", "item_kind": "issue",
        "event": EVENT.summary(), "payload": {},
    }  # fmt: skip
    return await Delivery.create(**(values | changed))


async def until_blocked(n: int) -> None:
    """Return once ``n`` sessions wait for a lock."""
    async with asyncio.timeout(10):
        while True:
            await rows("SELECT pg_stat_clear_snapshot()")
            found = await row(
                """SELECT count(*) AS n FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND datname = current_database()"""
            )
            if found is not None and found["n"] >= n:
                return
            await asyncio.sleep(0.02)


def plan(closes: bool = False, **tasks: list[str]) -> Plan:
    return Plan(
        event=EVENT, slug="jira", is_verified=True, version=1, project_id=None,
        routing=Routing(canonical_triggers=("issue.closed",) if closes else ("issue.updated",)),
        verdicts={}, extracted={}, why_nothing=None, replay_of=None, rates={},
        cancel_on_close=frozenset(tasks.get("close", ())),
        cancel_on_newer=frozenset(tasks.get("newer", ())),
    )  # fmt: skip


@pytest.mark.usefixtures("database")
async def test_a_worker_and_a_redelivery_that_both_name_an_item_do_not_lock_each_other_out() -> (
    None
):
    delivery = await delivered()
    execution = await waiting(delivery_id=delivery.id, item_key=None)
    lease = await claim(execution.id, seconds=60, grace_seconds=0)
    assert lease is not None
    asked = asyncio.Event()

    async def redelivered() -> None:
        async with transaction():
            await rows("SELECT 1 FROM delivery WHERE id = $1 FOR UPDATE", delivery.id)
            asked.set()
            await until_blocked(1)
            await complete.fill_in(delivery.id, EVENT, project_id=None)

    async def completing() -> None:
        await asked.wait()
        await complete.store(lease, delivery.id, EVENT, project_id=None)

    await asyncio.gather(redelivered(), completing())

    assert (await Delivery.get()).item_key == "API-7"
    assert (await TaskExecution.get()).item_key == "API-7"


@pytest.mark.usefixtures("database")
async def test_two_events_that_cancel_what_is_older_do_not_lock_each_other_out() -> None:
    first = await waiting(task_id="a")
    second = await waiting(task_id="b")
    both = ["a", "b"]
    one, other = plan(True, close=both, newer=both), plan(True, close=both, newer=both)
    met = asyncio.Barrier(2)

    async def cancels(these: Plan, started: str, delivery_id: int) -> None:
        async with transaction():
            await rows("SELECT 1")
            await met.wait()
            await bounds.cancel_older(these, delivery_id, [started])

    for _ in range(10):
        await rows("UPDATE task_execution SET status = 'queued', cancel_requested = false")
        await asyncio.gather(cancels(one, "a", 10), cancels(other, "b", 11))
        found = await TaskExecution.filter(id__in=[first.id, second.id])
        assert {one.status for one in found} == {"cancelled"}


@pytest.mark.usefixtures("database")
async def test_runs_that_only_ask_for_their_turn_do_not_keep_each_other_from_it() -> None:
    agent = await Agent.create(
        id="pm_sarah", name="S", role="pm", prompt="x", max_concurrent_runs=1
    )
    project = await Project.create(
        name="API", source="jira", source_project_id="API", max_concurrent_runs=1
    )
    # one that was at work before still names its agent, and all are claimed, none has its turn
    ids = [
        (await waiting(delivery_id=n, project_id=project.id, agent_id=agent.id)).id
        for n in range(3)
    ]
    leases = [await claim(one, seconds=60, grace_seconds=0) for one in ids]

    for lease, may in zip(leases, (True, False, False), strict=True):
        assert lease is not None
        async with transaction():
            await rows(
                "UPDATE task_execution SET agent_id = $2, agent_reason = 'its actor' WHERE id = $1",
                lease.execution_id, agent.id,
            )  # fmt: skip
            assert await limits.take_turn(lease, agent, project) is may


@pytest.mark.usefixtures("database")
async def test_the_longer_a_run_has_waited_for_its_turn_the_less_often_it_asks() -> None:
    project = await Project.create(
        name="API", source="jira", source_project_id="API", max_concurrent_runs=1
    )
    await waiting(delivery_id=99, project_id=project.id, status="running", agent_reason="its actor")
    await rows("UPDATE task_execution SET lease_until = now() + interval '1 hour'")
    waits = []
    for minutes in (0, 1, 60):
        execution = await waiting(delivery_id=minutes, project_id=project.id)
        await rows(
            """UPDATE task_execution SET created_at = now() - make_interval(mins => $2)
               WHERE id = $1""",
            execution.id, minutes,
        )  # fmt: skip
        lease = await claim(execution.id, seconds=60, grace_seconds=0)
        assert lease is not None
        assert await limits.take_turn(lease, None, project) is False
        found = await row(
            """SELECT round(extract(epoch FROM run_after - now()) / 2) * 2 AS wait
               FROM task_execution WHERE id = $1""",
            execution.id,
        )
        assert found is not None
        waits.append(int(found["wait"]))

    assert waits == [2, 6, 30]


@pytest.mark.usefixtures("database")
async def test_the_sweep_sends_what_has_been_due_longest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage, "BATCH", 2)
    for n in range(4):  # runs that wait for a turn are due every other second
        execution = await waiting(delivery_id=n)
        await rows(
            "UPDATE task_execution SET run_after = now() - interval '1 second' WHERE id = $1",
            execution.id,
        )
    retrying = await waiting(delivery_id=9, status="retrying")
    await rows(
        "UPDATE task_execution SET run_after = now() - interval '9 seconds' WHERE id = $1",
        retrying.id,
    )

    due = await rows(stage.DUE, 10.0, 45.0, 10.0, 2)

    assert retrying.id in {one["id"] for one in due}


@pytest.mark.parametrize("first", ["webhook", "state"])
async def test_a_poll_and_a_webhook_of_one_state_that_come_together_start_one_run(
    runtime: Runtime, first: str
) -> None:
    await mapped("triage")
    told = replace(OPENED, happened_at="2026-03-04T09:15:00Z", told_by="state")
    state = replace(told, delivery_key="poll:7", change_key="poll:7")
    webhook = replace(told, told_by="webhook", delivery_key="w", change_key="body:abc")
    runtime.configuration = await configuration.load()
    # both are decided about before either is stored
    plans = [await make_plan(runtime, one, slug="github") for one in (webhook, state)]
    if first == "state":
        plans.reverse()

    receipts = await asyncio.gather(*map(receiving.store, plans))

    assert sorted(one.status for one in receipts) == ["accepted", "ignored"]
    assert await TaskExecution.all().count() == 1
