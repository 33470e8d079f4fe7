"""Bounds of spending, of runs at once and of runs on one item; and what ends older runs."""

import asyncio
import json
import re
from typing import Any

import pytest

from aether.db import rows, transaction
from aether.demo.model import Reply, by_turn
from aether.engine import limits
from aether.engine.execute import execute
from aether.engine.receive import Receipt, receive
from aether.leases import claim
from aether.models import (
    Agent,
    AuditEntry,
    Delivery,
    Project,
    TaskDefinition,
    TaskExecution,
    UsageDay,
)
from aether.sources import SOURCES
from tests.engine import test_execute as base
from tests.plans import kept, looked_at

World = base.World
CALL = base.CALL
make = base.make
world = base.world

READ = Reply.calls(CALL("get_issue", {}, "c1")).using(100, 20)


async def sarah(**bounds: Any) -> Agent:
    return await Agent.create(
        id="pm_sarah", name="Sarah", role="pm", prompt="You are Sarah.", **bounds
    )


async def project(**bounds: Any) -> int:
    [made] = await rows(
        """INSERT INTO project (name, source, source_project_id, enabled, created_at, updated_at)
           VALUES ('API', 'github', $1, true, now(), now()) RETURNING id""",
        base.REPO,
    )
    for name, value in bounds.items():
        await rows(f"UPDATE project SET {name} = $1 WHERE id = {made['id']}", value)  # noqa: S608
    return int(made["id"])


async def at_work(execution_id: int) -> None:
    """It has had its turn."""
    await rows(
        """UPDATE task_execution SET agent_id = 'pm_sarah', agent_reason = 'its actor'
           WHERE id = $1""",
        execution_id,
    )


async def told() -> list[tuple[str, Any]]:
    """What the audit log says of limits: the action, and the limit's name."""
    found = await AuditEntry.filter(action__startswith="limit.").order_by("id")
    return [(one.action, one.detail["limit"]) for one in found]


async def event(world: World, action: str, number: int = 7, key: str = "") -> Receipt:
    """Deliver what happened to an issue that is there."""
    payload = world.github.opened_payload(base.REPO, number)
    payload["action"] = action
    if action == "closed":
        payload["issue"]["state"] = "closed"
        payload["issue"]["closed_at"] = "2026-02-18T11:00:00Z"
    body = json.dumps(payload | {"key": key}).encode()
    headers = {"x-github-event": "issues", "x-github-delivery": f"{action}-{number}-{key}"}
    return await receive(world.runtime, SOURCES[0].extract(headers, body), slug="github")


async def test_what_is_spent_is_added_up_by_day_agent_task_project_and_model(
    world: World,
) -> None:
    await sarah()
    project_id = await project()

    await world.run(READ, Reply.text("Read.").using(50, 5))
    await world.run(Reply.text("Again.").using(1, 1), number=8)

    used = await UsageDay.get()
    assert (used.agent_id, used.task_id, used.project_id) == ("pm_sarah", "triage", project_id)
    assert (used.llm_calls, used.prompt_tokens, used.completion_tokens) == (3, 151, 26)


async def test_a_run_stops_before_the_call_after_its_tokens_are_used_up(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(max_tokens_per_run=120)

    done = await world.run(READ, Reply.text("Never asked."))

    assert (done.status, done.error_code, done.llm_calls) == ("failed", "RATE_LIMITED", 1)
    assert done.error == (
        "this run of task triage has used 120 of 120 tokens (max_tokens_per_run); nothing more "
        "is spent"
    )
    assert world.comments() == []
    assert await told() == [("limit.reached", "max_tokens_per_run")]


async def test_near_a_bound_it_is_warned_about_once_and_the_run_goes_on(world: World) -> None:
    await sarah(max_tokens_per_day=1000)
    await world.run(Reply.text("One.").using(780, 20))

    second = await world.run(Reply.text("Two.").using(10, 10), number=8)
    third = await world.run(Reply.text("Three.").using(10, 10), number=9)

    assert (second.status, third.status) == ("succeeded", "succeeded")
    assert await told() == [("limit.near", "max_tokens_per_day")]


@pytest.mark.parametrize(
    "bound",
    [
        {"max_tokens_per_day": 800},
        {"max_tokens_per_month": 800},
        {"max_tokens_per_day": 0},
    ],
)
async def test_an_agent_that_has_used_up_its_tokens_asks_no_model(
    world: World, bound: dict[str, int]
) -> None:
    await sarah(**bound)
    [(name, most)] = bound.items()
    if most:
        await world.run(Reply.text("One.").using(780, 20))
    asked = len(world.model.calls)

    stopped = await world.run(Reply.text("Two."), number=8)

    assert (stopped.status, stopped.tries) == ("failed", 1)
    assert stopped.error == (
        f"agent pm_sarah has used {most:,} of {most:,} tokens ({name}); nothing more is spent"
    )
    assert len(world.model.calls) == asked
    assert world.comments(8) == []


async def test_a_project_is_stopped_by_what_it_cost_whoever_spent_it(world: World) -> None:
    project_id = await project(max_cost_usd_per_month=0.5)
    await rows(
        """INSERT INTO usage_day (day, agent_id, task_id, project_id, model, llm_calls,
             prompt_tokens, completion_tokens, cost_usd)
           VALUES ((now() AT TIME ZONE 'UTC')::date, 'ta_leo', 'other', $1, 'gpt-4o', 1, 1, 1,
             0.625)""",
        project_id,
    )

    stopped = await world.run(Reply.text("Never asked."))

    assert stopped.status == "failed"
    assert stopped.error == (
        f"project {project_id} has used 0.62500000 of 0.5 US dollars (max_cost_usd_per_month); "
        "nothing more is spent"
    )
    assert world.model.calls == []


async def test_last_months_spending_does_not_count(world: World) -> None:
    await sarah(max_tokens_per_month=10)
    await rows(
        """INSERT INTO usage_day (day, agent_id, task_id, project_id, model, llm_calls,
             prompt_tokens, completion_tokens, cost_usd)
           VALUES ((date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 day')::date,
             'pm_sarah', 'triage', null, 'gpt-4o', 1, 1000, 0, 1)"""
    )

    assert (await world.run(Reply.text("Fine."))).status == "succeeded"


async def test_a_run_waits_while_its_agent_has_as_many_at_work_as_it_may(world: World) -> None:
    await sarah(max_concurrent_runs=1)
    world.model.say(by_turn([Reply.text("Fine.")]))
    first, second = await world.opened(7), await world.opened(8)
    held = await claim(first, seconds=60, grace_seconds=0)
    assert held is not None
    await at_work(first)

    await execute(world.runtime, second)

    waits = await TaskExecution.get(id=second)
    assert (waits.status, waits.agent_id, waits.tries) == ("queued", None, 0)
    assert waits.agent_reason == "waits: agent pm_sarah has 1 runs at work"
    assert waits.run_after is not None
    assert waits.enqueued_at is None
    assert world.model.calls == []
    await rows("UPDATE task_execution SET status = 'succeeded' WHERE id = $1", first)
    assert (await world.again(second)).status == "succeeded"


async def status_told(execution_id: int) -> list[tuple[Any, ...]]:
    """What followers of an execution were told of it: status and agent, in order."""
    found = await rows(
        """SELECT about->>'status' AS status, about->>'agent_id' AS agent_id FROM live_event
           WHERE kind = 'execution' AND row_id = $1 ORDER BY tx, id""",
        execution_id,
    )
    return [(one["status"], one["agent_id"]) for one in found]


async def test_a_run_that_waits_for_its_turn_is_told_of_once_and_once_when_it_begins(
    world: World,
) -> None:
    await sarah(max_concurrent_runs=1)
    world.model.say(by_turn([Reply.text("Fine.")]))
    first, second = await world.opened(7), await world.opened(8)
    assert await claim(first, seconds=60, grace_seconds=0) is not None
    await at_work(first)
    waits = [("queued", None), ("running", None), ("running", "pm_sarah"), ("queued", None)]

    for _ in range(3):
        found = await world.again(second)
        assert (found.status, found.started_at, found.agent_id) == ("queued", None, None)
        assert found.agent_reason == "waits: agent pm_sarah has 1 runs at work"
        assert found.run_after is not None
        assert await status_told(second) == waits

    assert await AuditEntry.filter(action="task.started").count() == 0
    await rows("UPDATE task_execution SET status = 'succeeded' WHERE id = $1", first)
    done = await world.again(second)
    assert (done.status, done.agent_id) == ("succeeded", "pm_sarah")
    assert done.started_at is not None
    assert done.agent_reason == "pm_sarah is the task's actor"
    assert await status_told(second) == [
        *waits, ("running", None), ("running", "pm_sarah"), ("succeeded", "pm_sarah"),
    ]  # fmt: skip
    assert await AuditEntry.filter(action="task.started").count() == 1


async def test_of_many_that_wait_one_begins_and_nobody_is_told_of_the_others(
    world: World,
) -> None:
    await sarah(max_concurrent_runs=1)
    world.model.say(Reply.text("Fine.").after(1))
    ids = [await world.opened(number) for number in range(10, 14)]
    assert await claim(ids[0], seconds=60, grace_seconds=0) is not None
    await at_work(ids[0])
    for one in ids[1:]:
        await execute(world.runtime, one)
    before = {one: await status_told(one) for one in ids[1:]}
    await rows("UPDATE task_execution SET status = 'succeeded' WHERE id = $1", ids[0])
    await rows("UPDATE task_execution SET run_after = NULL")

    await asyncio.gather(*(execute(world.runtime, one) for one in ids[1:]))

    ended = [one for one in ids[1:] if (await TaskExecution.get(id=one)).status == "succeeded"]
    assert len(ended) == 1
    assert [one for one in ids[1:] if await status_told(one) != before[one]] == ended
    assert len(world.model.calls) == 1


async def test_what_waits_for_its_turn_and_has_no_agent_any_more_fails_and_says_so(
    world: World,
) -> None:
    await sarah(max_concurrent_runs=1)
    await TaskDefinition.filter(id="triage").update(fallback_prompt=None)
    first, second = await world.opened(7), await world.opened(8)
    assert await claim(first, seconds=60, grace_seconds=0) is not None
    await at_work(first)
    await execute(world.runtime, second)
    await Agent.filter(id="pm_sarah").delete()

    failed = await world.again(second)

    assert (failed.status, failed.error_code) == ("failed", "NOT_CONFIGURED")
    assert "pm_sarah" in (failed.error or "")


async def test_of_many_that_ask_at_once_no_more_get_a_turn_than_may(world: World) -> None:
    agent = await sarah(max_concurrent_runs=2)
    ids = [await world.opened(number) for number in range(10, 16)]
    leases = [await claim(one, seconds=60, grace_seconds=0) for one in ids]

    async def ask(lease: Any) -> bool:
        async with transaction():
            await rows(
                """UPDATE task_execution SET agent_id = 'pm_sarah', agent_reason = 'its actor'
                   WHERE id = $1""",
                lease.execution_id,
            )
            return await limits.take_turn(lease, agent, None)

    turns = await asyncio.gather(*map(ask, leases))

    assert sorted(turns) == [False, False, False, False, True, True]
    queued = await TaskExecution.filter(status="queued", agent_id=None).count()
    assert (queued, await TaskExecution.filter(status="running").count()) == (4, 2)


async def test_a_project_bounds_its_runs_at_once_too(world: World) -> None:
    await project(max_concurrent_runs=1)
    world.model.say(by_turn([Reply.text("Fine.")]))
    first, second = await world.opened(7), await world.opened(8)
    assert await claim(first, seconds=60, grace_seconds=0) is not None
    await at_work(first)

    await execute(world.runtime, second)

    assert "has 1 runs at work" in ((await TaskExecution.get(id=second)).agent_reason or "")


async def test_a_task_is_started_on_one_item_as_often_as_it_may_and_then_held_back(
    world: World,
) -> None:
    await TaskDefinition.filter(id="triage").update(max_runs_per_item_hour=2)
    await rows("UPDATE trigger_task_mapping SET canonical_trigger = 'issue.updated'")
    world.github.add_issue(base.REPO, 7, "Boom", "It breaks.")
    world.github.add_issue(base.REPO, 8, "Other", "It breaks.")

    receipts = [await event(world, "edited", key=str(turn)) for turn in range(3)]
    other = await event(world, "edited", number=8)

    assert [one.status for one in receipts] == ["accepted", "accepted", "ignored"]
    assert receipts[2].executions == []
    assert receipts[2].canonical_trigger == "issue.updated"
    delivery = await Delivery.get(id=receipts[2].delivery_id)
    assert (delivery.status, delivery.reason) == (
        "ignored",
        "task triage held back: it was started 2 times on this item within the hour "
        "(max_runs_per_item_hour)",
    )
    assert other.status == "accepted"
    await rows("UPDATE task_execution SET created_at = now() - interval '61 minutes'")
    assert (await event(world, "edited", key="later")).status == "accepted"


async def test_events_of_one_item_at_once_start_no_more_than_may(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(max_runs_per_item_hour=2)
    await rows("UPDATE trigger_task_mapping SET canonical_trigger = 'issue.updated'")
    world.github.add_issue(base.REPO, 7, "Boom", "It breaks.")

    receipts = await asyncio.gather(*(event(world, "edited", key=str(n)) for n in range(6)))

    assert sorted(one.status for one in receipts) == ["accepted"] * 2 + ["ignored"] * 4


async def test_a_closed_item_cancels_what_is_under_way_where_the_task_says_so(
    world: World,
) -> None:
    await TaskDefinition.filter(id="triage").update(cancel_on_close=True)
    first, other = await world.opened(7), await world.opened(8)

    await event(world, "closed", number=7)

    cancelled = await TaskExecution.get(id=first)
    assert (cancelled.status, cancelled.error) == ("cancelled", "its item was closed")
    assert (await TaskExecution.get(id=other)).status == "queued"
    [entry] = await AuditEntry.filter(action="task.cancel_requested")
    assert (entry.execution_id, entry.detail) == (first, {"why": "its item was closed"})


async def test_a_run_at_work_ends_at_its_next_step_when_its_item_is_closed(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(cancel_on_close=True)
    world.model.say(by_turn([Reply.text("Too late.").after(2)]))
    execution_id = await world.opened()

    async def close() -> None:
        await base.asked(world)
        await event(world, "closed")

    await asyncio.gather(execute(world.runtime, execution_id), close())

    done = await TaskExecution.get(id=execution_id)
    assert (done.status, done.error, world.comments()) == (
        "cancelled", "its item was closed", [],
    )  # fmt: skip


async def test_without_being_told_so_a_run_survives_that_its_item_is_closed(world: World) -> None:
    execution_id = await world.opened()

    await event(world, "closed")

    assert (await TaskExecution.get(id=execution_id)).status == "queued"


async def test_a_newer_event_replaces_the_older_run_of_the_same_task_and_item(
    world: World,
) -> None:
    await TaskDefinition.filter(id="triage").update(cancel_on_newer=True)
    await rows(
        """INSERT INTO trigger_task_mapping (canonical_trigger, task_id)
           VALUES ('issue.updated', 'triage')"""
    )
    older, other = await world.opened(7), await world.opened(8)

    newer = await event(world, "edited")

    cancelled = await TaskExecution.get(id=older)
    assert (cancelled.status, cancelled.error) == (
        "cancelled", "a newer event started it again",
    )  # fmt: skip
    assert (await TaskExecution.get(id=newer.executions[0])).status == "queued"
    assert (await TaskExecution.get(id=other)).status == "queued"
    assert (await event(world, "edited")).status == "duplicate"
    assert (await TaskExecution.get(id=newer.executions[0])).status == "queued"


async def test_a_bot_that_had_its_share_still_ends_what_its_closing_makes_pointless(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await TaskDefinition.filter(id="triage").update(cancel_on_close=True)
    older = await world.opened(7)
    await rows(
        "INSERT INTO trigger_task_mapping (canonical_trigger, task_id)"
        " VALUES ('issue.closed', 'triage')"
    )
    monkeypatch.setattr("aether.engine.bounds.BOT_RUNS_AN_HOUR", 0)
    payload = world.github.opened_payload(base.REPO, 7) | {"action": "closed"}
    payload["sender"] = {"login": "helper[bot]", "type": "Bot", "id": 9}
    headers = {"x-github-event": "issues", "x-github-delivery": "closed-by-a-bot"}
    told = SOURCES[0].extract(headers, json.dumps(payload).encode())

    receipt = await receive(world.runtime, told, slug="github")

    assert (receipt.status, receipt.executions) == ("ignored", [])
    assert (await TaskExecution.get(id=older)).status == "cancelled"


async def test_what_was_spent_is_read_by_an_index_however_long_the_history(world: World) -> None:
    agent = await sarah(max_tokens_per_month=10**9)
    project_id = await project(max_tokens_per_day=10**9)
    await rows(
        """INSERT INTO usage_day (day, agent_id, task_id, project_id, model, llm_calls,
             prompt_tokens, completion_tokens, cost_usd)
           SELECT (now() AT TIME ZONE 'UTC')::date - day, 'pm_sarah', 'task_' || task, $1,
             'gpt-4o', 1, 1, 1, 1
           FROM generate_series(0, 999) AS day, generate_series(1, 20) AS task""",
        project_id,
    )
    await rows("VACUUM ANALYZE usage_day")

    with kept() as sent:
        await limits.check(
            world.runtime.settings,
            [None],
            task=None,
            agent=agent,
            project=await Project.get(id=project_id),
            lease=None,
        )

    sums = [one for one in sent if "FROM usage_day" in one[0]]
    looked = [(await looked_at(*one))["usage_day"] for one in sums]
    assert len(looked) == 2
    assert max(looked) <= 31 * 20


async def test_how_often_a_task_was_started_on_an_item_is_read_by_the_item(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(max_runs_per_item_hour=2, cancel_on_newer=True)
    await rows("UPDATE trigger_task_mapping SET canonical_trigger = 'issue.updated'")
    world.github.add_issue(base.REPO, 7, "Boom", "It breaks.")
    await rows(
        """INSERT INTO task_execution (delivery_id, task_id, canonical_trigger, source,
             project_key, item_key, by_bot)
           SELECT n + 1000, 'triage', 'issue.updated', 'github', $1, n % 2000 + 8, n % 2 = 0
           FROM generate_series(1, 10000) AS n""",
        base.REPO,
    )
    await rows("VACUUM ANALYZE task_execution")

    with kept() as sent:
        started = await event(world, "edited")

    asked = [one for one in sent if re.search("count|WITH older", one[0])]
    looked = [(await looked_at(*one))["task_execution"] for one in asked]
    assert started.status == "accepted"
    assert len(looked) == 2
    assert max(looked) <= 2
