"""Bounds at their very edges: just reached, raised, met by many at once, held by the dead."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from aether.db import rows
from aether.demo.model import Reply, by_turn
from aether.engine.execute import execute
from aether.engine.receive import replay
from aether.leases import claim
from aether.models import Agent, AuditEntry, Delivery, Project, TaskDefinition, TaskExecution
from tests.engine import test_execute as base
from tests.engine.test_limits import at_work, event, project, sarah, told

World = base.World
CALL = base.CALL
make = base.make
world = base.world


@pytest.mark.parametrize(("spent", "status"), [(99, "succeeded"), (100, "failed")])
async def test_what_is_used_up_to_the_last_token_stops_and_one_token_less_does_not(
    world: World, spent: int, status: str
) -> None:
    await sarah(max_tokens_per_day=100)
    await world.run(Reply.text("One.").using(spent, 0))

    second = await world.run(Reply.text("Two.").using(1, 0), number=8)

    assert second.status == status


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("agent", "max_cost_usd_per_day"),
        ("agent", "max_cost_usd_per_month"),
        ("project", "max_cost_usd_per_day"),
        ("task", "max_cost_usd_per_run"),
    ],
)
async def test_what_a_call_cost_stops_the_next_one_of_the_very_run(
    make: Any, owner: str, name: str
) -> None:
    world: World = make(MODEL_PRICES='{"scripted": {"prompt": 0, "completion": 0}}')
    await sarah()
    await project()
    owners = {"agent": Agent, "project": Project, "task": TaskDefinition}
    await owners[owner].all().update(**{name: 0.25})
    read = Reply.calls(CALL("get_issue", {}, "c1"))
    costly = replace(read, headers={"x-litellm-response-cost": "0.25"})

    done = await world.run(costly, Reply.text("Never asked."))

    assert (done.status, done.error_code, done.llm_calls) == ("failed", "RATE_LIMITED", 1)
    assert f"has used 0.25000000 of 0.25 US dollars ({name}); nothing" in str(done.error)
    assert await told() == [("limit.reached", name)]
    assert world.comments() == []


async def test_many_runs_at_a_bound_all_stop_and_it_is_told_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await sarah(max_tokens_per_day=10)
    world.model.say(by_turn([Reply.text("One.").using(10, 0)]))
    await execute(world.runtime, await world.opened(6))
    ids = [await world.opened(number) for number in range(10, 14)]

    with caplog.at_level(logging.WARNING):
        await asyncio.gather(*(execute(world.runtime, one) for one in ids))

    ended = await TaskExecution.filter(id__in=ids)
    reason = "agent pm_sarah has used 10 of 10 tokens (max_tokens_per_day); nothing more is spent"
    assert [(one.status, one.error, one.llm_calls) for one in ended] == [("failed", reason, 0)] * 4
    assert await told() == [("limit.reached", "max_tokens_per_day")]
    assert caplog.text.count("a limit is reached: agent pm_sarah has used 10 of 10") == 1
    assert caplog.text.count(f"failed: {reason}") == 4
    assert await AuditEntry.filter(action="task.failed").count() == 4
    assert len(world.model.calls) == 1


async def test_a_bound_that_is_raised_warns_again_before_it_stops_again(world: World) -> None:
    await sarah(max_tokens_per_day=100)
    await world.run(Reply.text("One.").using(80, 0))
    await world.run(Reply.text("Two.").using(20, 0), number=8)
    await world.run(Reply.text("Never."), number=9)

    await Agent.filter(id="pm_sarah").update(max_tokens_per_day=120)
    await world.run(Reply.text("Three.").using(20, 0), number=10)
    await world.run(Reply.text("Never."), number=11)

    name = "max_tokens_per_day"
    assert await told() == [
        ("limit.near", name), ("limit.reached", name), ("limit.near", name),
        ("limit.reached", name),
    ]  # fmt: skip
    warned = await AuditEntry.filter(action="limit.near").order_by("id")
    assert [one.detail["bound"] for one in warned] == [100, 120]


async def test_a_run_whose_worker_died_takes_nobody_s_turn(world: World) -> None:
    await sarah(max_concurrent_runs=1)
    world.model.say(by_turn([Reply.text("Fine.")]))
    dead, second = await world.opened(7), await world.opened(8)
    assert await claim(dead, seconds=60, grace_seconds=0) is not None
    await at_work(dead)
    await rows("UPDATE task_execution SET lease_until = now() - interval '1 second' WHERE id = $1",
               dead)  # fmt: skip

    await execute(world.runtime, second)

    assert (await TaskExecution.get(id=second)).status == "succeeded"


async def test_a_run_that_waits_for_a_person_takes_nobody_s_turn(world: World) -> None:
    await sarah(max_concurrent_runs=1)
    await TaskDefinition.filter(id="triage").update(approve_answer=True)
    waiting = await world.run(Reply.text("One."))

    second = await world.run(Reply.text("Two."), number=8)

    assert [waiting.status, second.status] == ["waiting_approval"] * 2


async def test_a_replay_is_started_beyond_the_rate_and_counts_for_what_comes_after(
    world: World,
) -> None:
    await TaskDefinition.filter(id="triage").update(max_runs_per_item_hour=2)
    await rows("UPDATE trigger_task_mapping SET canonical_trigger = 'issue.updated'")
    world.github.add_issue(base.REPO, 7, "Boom", "It breaks.")

    first = await event(world, "edited", key="1")
    again = await replay(world.runtime, first.delivery_id)
    third = await event(world, "edited", key="3")
    beyond = await replay(world.runtime, first.delivery_id)

    statuses = [one.status for one in (first, again, third, beyond)]
    assert statuses == ["accepted", "accepted", "ignored", "accepted"]
    assert "was started 2 times on this item" in str(
        (await Delivery.get(id=third.delivery_id)).reason
    )
