"""What changes while an execution waits: for a person, for its turn, for its next try."""

import asyncio
from typing import Any

import pytest

from aether.db import rows
from aether.demo.model import Reply
from aether.engine import approvals
from aether.engine.execute import execute
from aether.engine.restart import cancel, restart
from aether.errors import ConflictError
from aether.leases import claim
from aether.models import (
    Agent,
    AgentCapability,
    Approval,
    AuditEntry,
    TaskDefinition,
    TaskExecution,
    ToolDefinition,
    ToolExecution,
)
from aether.vocabulary import ApprovalStatus
from tests.engine import test_execute as base
from tests.engine.test_limits import event

World = base.World
CALL = base.CALL
make = base.make
world = base.world

LABEL = Reply.calls(CALL("add_labels", {"labels": ["bug"]}, "c1"))


async def waiting(world: World, *replies: Reply, **changes: Any) -> TaskExecution:
    """An execution that waits for a person."""
    await TaskDefinition.filter(id="triage").update(**{"approve_tools": ["*"], **changes})
    found = await world.run(*(replies or (LABEL, Reply.text("Labelled."))))
    assert found.status == "waiting_approval"
    return found


async def pending() -> list[Approval]:
    return await Approval.filter(status="pending").order_by("id")


async def approve(world: World, *asked: Approval) -> TaskExecution:
    """A person approves all of them, and a worker goes on."""
    for one in asked:
        await approvals.decide(world.runtime, one.id, ApprovalStatus.APPROVED)
    return await world.again(asked[0].execution_id)


async def persona(agent_id: str, **told: Any) -> Agent:
    made = await Agent.create(
        id=agent_id, name=agent_id, role="pm", prompt=f"You are {agent_id}.", **told
    )
    await AgentCapability.create(agent_id=agent_id, capability="triage")
    return made


def spoke(world: World) -> list[str]:
    """Who each request of the model spoke as."""
    return [one["messages"][0]["content"].split("\n")[0] for one in world.model.requests]


async def test_of_two_people_who_decide_at_once_one_is_told_that_it_is_late(world: World) -> None:
    execution = await waiting(world)
    [asked] = await pending()

    told = await asyncio.gather(
        approvals.decide(world.runtime, asked.id, ApprovalStatus.APPROVED),
        approvals.decide(world.runtime, asked.id, ApprovalStatus.REFUSED),
        approvals.decide(world.runtime, asked.id, ApprovalStatus.CHANGED, arguments={}),
        return_exceptions=True,
    )

    assert [type(one) for one in told if one is not None] == [ConflictError, ConflictError]
    decided = await Approval.get(id=asked.id)
    entries = await AuditEntry.filter(execution_id=execution.id, action__startswith="approval.")
    assert [one.action for one in entries if one.action != "approval.requested"] == [
        f"approval.{decided.status}"
    ]


async def test_a_decision_at_the_moment_of_its_expiry_counts_or_fails_but_not_both(
    world: World,
) -> None:
    execution = await waiting(world)
    [asked] = await pending()
    await rows("UPDATE approval SET expires_at = now() + interval '50 milliseconds'")

    async def decide() -> bool:
        try:
            await approvals.decide(world.runtime, asked.id, ApprovalStatus.APPROVED)
        except ConflictError:
            return False
        return True

    async def expire() -> bool:
        async with asyncio.timeout(20):
            while not (is_late := await approvals.expire()):
                found = await TaskExecution.get(id=execution.id)
                if found.status == "queued":
                    return False
        return bool(is_late)

    is_decided, is_expired = await asyncio.gather(decide(), expire())

    found = await TaskExecution.get(id=execution.id)
    status = (await Approval.get(id=asked.id)).status
    assert is_decided is not is_expired
    assert (found.status, status) == (
        ("queued", "approved") if is_decided else ("failed", "expired")
    )


async def test_what_waits_for_a_person_is_not_restarted(world: World) -> None:
    execution = await waiting(world)

    with pytest.raises(ConflictError, match="is waiting_approval, only a failed one restarts"):
        await restart(world.runtime, execution.id)

    [asked] = await pending()
    assert (await approve(world, asked)).status == "succeeded"
    assert world.labels() == ["bug"]


async def test_tools_that_went_meanwhile_are_not_run_though_they_were_approved(
    world: World,
) -> None:
    both = Reply.calls(CALL("add_labels", {"labels": ["bug"]}, "c1"), CALL("close_issue", {}, "c2"))
    await waiting(world, both, Reply.text("Then not."))
    await ToolDefinition.filter(name="add_labels").delete()
    await ToolDefinition.filter(name="close_issue").update(enabled=False)

    done = await approve(world, *await pending())

    assert (done.status, world.labels()) == ("succeeded", [])
    assert world.github.issue(base.REPO, 7).state == "open"
    label, close = await ToolExecution.all().order_by("id")
    assert (label.status, close.status) == ("failed", "refused")
    assert str(label.error).startswith("there is no tool 'add_labels'; the tools are: ")
    assert close.error == "close_issue is withheld from this run: it is switched off"


async def test_an_approved_call_is_run_though_the_task_has_fewer_rounds_now(
    world: World,
) -> None:
    read = Reply.calls(CALL("get_issue", {}, "c0"))
    await waiting(world, read, LABEL, Reply.text("Labelled."))
    await TaskDefinition.filter(id="triage").update(max_tool_rounds=1)

    done = await approve(world, *await pending())

    assert (done.status, world.labels(), world.comments()) == (
        "succeeded", ["bug"], ["Labelled."],
    )  # fmt: skip
    assert "tools" not in world.model.requests[-1]


async def test_a_person_s_change_reaches_no_farther_than_the_agent_may(world: World) -> None:
    world.github.add_issue(base.REPO, 99, "Other", "It is fine.")
    await waiting(world)
    [asked] = await pending()
    reaching = {"labels": ["bug"], "issue": 99}

    await approvals.decide(world.runtime, asked.id, ApprovalStatus.CHANGED, arguments=reaching)
    done = await world.again(asked.execution_id)

    assert (done.status, world.labels(99), world.labels(7)) == ("succeeded", [], [])
    tool = await ToolExecution.get()
    assert (tool.status, tool.arguments) == ("refused", reaching)
    assert await AuditEntry.filter(action="tool.refused").count() == 1


async def test_a_refused_call_is_recorded_with_its_arguments_as_they_were_read(
    world: World,
) -> None:
    await waiting(world)
    [asked] = await pending()

    await approvals.decide(world.runtime, asked.id, ApprovalStatus.REFUSED)
    await world.again(asked.execution_id)

    assert (await ToolExecution.get()).arguments == {"labels": ["bug"]}


async def test_refused_calls_are_no_refused_answers_whatever_their_ids(world: World) -> None:
    calls = [CALL("add_labels", {"labels": ["bug"]}, f"c:answer:{turn}") for turn in range(3)]
    await waiting(world, Reply.calls(*calls), Reply.text("Then not."), approve_answer=True)
    for asked in await pending():
        await approvals.decide(world.runtime, asked.id, ApprovalStatus.REFUSED)

    found = await world.again(asked.execution_id)

    assert found.status == "waiting_approval"
    assert [one.kind for one in await pending()] == ["answer"]


@pytest.mark.parametrize("what", ["closed", "newer", "cancelled"])
async def test_what_ends_an_execution_that_waits_for_a_person_withdraws_what_it_asked(
    world: World, what: str
) -> None:
    await rows(
        """INSERT INTO trigger_task_mapping (canonical_trigger, task_id)
           VALUES ('issue.updated', 'triage')"""
    )
    execution = await waiting(world, cancel_on_close=True, cancel_on_newer=True)
    [asked] = await pending()

    if what == "cancelled":
        await cancel(execution.id)
    else:
        await event(world, "closed" if what == "closed" else "edited")

    assert (await TaskExecution.get(id=execution.id)).status == "cancelled"
    assert (await Approval.get(id=asked.id)).status == "withdrawn"
    with pytest.raises(ConflictError, match="withdrawn already"):
        await approvals.decide(world.runtime, asked.id, ApprovalStatus.APPROVED)
    await execute(world.runtime, execution.id)
    assert (world.labels(), world.comments()) == ([], [])


async def test_what_waits_for_its_turn_ends_when_its_item_is_closed(world: World) -> None:
    await Agent.create(
        id="pm_sarah", name="Sarah", role="pm", prompt="You are Sarah.", max_concurrent_runs=1
    )
    await TaskDefinition.filter(id="triage").update(cancel_on_close=True)
    first, second = await world.opened(7), await world.opened(8)
    assert await claim(first, seconds=60, grace_seconds=0) is not None
    await rows("UPDATE task_execution SET agent_id = 'pm_sarah', agent_reason = 'x' WHERE id = $1",
               first)  # fmt: skip
    await execute(world.runtime, second)

    await event(world, "closed", number=8)

    found = await TaskExecution.get(id=second)
    assert (found.status, found.error) == ("cancelled", "its item was closed")
    assert (await world.again(second)).status == "cancelled"
    assert world.model.calls == []


async def test_a_run_keeps_the_agent_that_began_it_though_another_would_be_chosen(
    world: World,
) -> None:
    await persona("a_one")
    await persona("a_two")
    await waiting(world, required_capabilities=["triage"])
    busy = await world.opened(9)
    await rows(
        """UPDATE task_execution SET status = 'running', agent_id = 'a_one', agent_reason = 'x',
             lease_until = now() + interval '1 hour' WHERE id = $1""",
        busy,
    )

    done = await approve(world, *await pending())

    assert (done.status, done.agent_id, done.agent_reason) == (
        "succeeded",
        "a_one",
        "a_one has 1 of 1 required: triage; so have a_two: decided by the order of ids; "
        "the task's actor pm_sarah does not exist",
    )
    assert spoke(world) == ["You are a_one."] * 2
    assert {one.agent_id for one in await ToolExecution.all()} == {"a_one"}


@pytest.mark.parametrize("how", ["was deleted", "is disabled"])
async def test_a_run_whose_agent_went_fails_and_a_restart_begins_with_another(
    world: World, how: str
) -> None:
    await persona("pm_sarah")
    await waiting(world)
    if how == "was deleted":
        await Agent.filter(id="pm_sarah").delete()
    else:
        await Agent.filter(id="pm_sarah").update(enabled=False)

    failed = await approve(world, *await pending())

    assert (failed.status, failed.error_code, failed.tries) == ("failed", "NOT_CONFIGURED", 1)
    assert failed.error == f"agent 'pm_sarah', which began this run, {how}; a restart begins anew"
    assert world.labels() == []
    await restart(world.runtime, failed.id)
    again = await world.again(failed.id)
    assert (again.status, again.agent_id) == ("waiting_approval", None)
    assert spoke(world) == ["You are pm_sarah.", "You are a PM."]


async def test_a_run_that_the_fallback_prompt_began_goes_on_with_it(world: World) -> None:
    await waiting(world)
    await persona("pm_sarah")

    done = await approve(world, *await pending())

    assert (done.status, done.agent_id, done.agent_reason) == (
        "succeeded", None, "pm_sarah does not exist: the fallback prompt speaks",
    )  # fmt: skip
    assert spoke(world) == ["You are a PM."] * 2


async def test_a_begun_run_that_waits_for_its_turn_keeps_its_agent(world: World) -> None:
    await persona("pm_sarah", max_concurrent_runs=1)
    execution = await waiting(world)
    other = await world.opened(9)
    assert await claim(other, seconds=60, grace_seconds=0) is not None
    await rows("UPDATE task_execution SET agent_id = 'pm_sarah', agent_reason = 'x' WHERE id = $1",
               other)  # fmt: skip

    waits = await approve(world, *await pending())

    assert (waits.status, waits.agent_id) == ("queued", "pm_sarah")
    assert waits.agent_reason == "waits: agent pm_sarah has 1 runs at work"
    await rows("UPDATE task_execution SET status = 'succeeded' WHERE id = $1", other)
    done = await world.again(execution.id)
    assert (done.status, done.agent_id) == ("succeeded", "pm_sarah")
    assert done.agent_reason == "pm_sarah is the task's actor"


@pytest.mark.parametrize("failing", [Reply.error(400), Reply.error(500)])
async def test_a_run_that_is_to_be_cancelled_does_not_end_as_failed(
    world: World, failing: Reply
) -> None:
    world.model.say(failing.after(1))
    execution_id = await world.opened()

    async def stop() -> None:
        await base.asked(world)
        await cancel(execution_id)

    await asyncio.gather(execute(world.runtime, execution_id), stop())

    assert (await TaskExecution.get(id=execution_id)).status == "cancelled"
    assert await AuditEntry.filter(action="task.failed").count() == 0


async def test_a_run_whose_workers_died_is_cancelled_where_that_was_asked_for(
    world: World,
) -> None:
    execution_id = await world.opened()
    await rows(
        """UPDATE task_execution SET status = 'running', tries = 9, cancel_requested = true,
             lease_until = now() - interval '1 hour' WHERE id = $1""",
        execution_id,
    )

    await execute(world.runtime, execution_id)

    assert (await TaskExecution.get(id=execution_id)).status == "cancelled"
