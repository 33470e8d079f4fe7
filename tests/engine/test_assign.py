"""Which agent does a task, and that the reason says why it and no other."""

from typing import Any

import pytest

from aether.demo.model import Reply
from aether.engine.assign import Assignment, assign
from aether.errors import NotConfiguredError
from aether.models import Agent, AgentCapability, AuditEntry, TaskDefinition
from tests.doors.calls import execution
from tests.engine import test_approvals as approving
from tests.engine import test_execute as base

World = base.World
make = base.make
world = base.world

pytestmark = pytest.mark.usefixtures("database")


async def agent(id: str, *capabilities: str, role: str = "dev", enabled: bool = True) -> None:
    await Agent.create(id=id, name=id, role=role, prompt="P", enabled=enabled)
    for one in capabilities:
        await AgentCapability.create(agent_id=id, capability=one)


async def chosen(*required: str, **changes: Any) -> tuple[str | None, str]:
    """Whom a task of pm_sarah's goes to that wants these capabilities, and why."""
    values: dict[str, Any] = {
        "id": "triage", "name": "T", "description": "D", "actor_id": "pm_sarah",
        "required_capabilities": list(required),
    }  # fmt: skip
    found: Assignment = await assign(TaskDefinition(**{**values, **changes}))
    return (found.agent.id if found.agent else None), found.reason


async def test_the_actor_does_a_task_that_requires_nothing() -> None:
    await agent("pm_sarah", role="pm")
    await agent("dev_alex", "python")

    assert await chosen() == ("pm_sarah", "pm_sarah is the task's actor")


async def test_the_actor_who_has_all_that_is_required_does_it_whoever_else_has() -> None:
    await agent("pm_sarah", "python", "security", role="pm")
    await agent("dev_alex", "python", "security", "more")

    assert await chosen("security", "python") == (
        "pm_sarah", "pm_sarah is the task's actor and has python, security",
    )  # fmt: skip


async def test_where_the_actor_lacks_one_whoever_has_most_does_it_and_the_reason_says_both() -> (
    None
):
    await agent("pm_sarah", "python", role="pm")
    await agent("dev_alex", "python", "security")
    await agent("qa_quinn", "review")

    assert await chosen("python", "security", "review") == (
        "dev_alex",
        "dev_alex has 2 of 3 required: python, security; "
        "the task's actor pm_sarah lacks review, security",
    )


async def test_the_actor_may_be_the_one_who_has_most() -> None:
    await agent("pm_sarah", "python", "security", role="pm")
    await agent("dev_alex", "python")

    assert await chosen("python", "security", "review") == (
        "pm_sarah", "pm_sarah has 2 of 3 required: python, security",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("role", "running", "expected", "decided_by"),
    [
        ("qa", {"qa_quinn": 5}, "qa_quinn", "the actor's role"),
        ("hub", {"dev_alex": 1, "qa_quinn": 2}, "ta_leo", "who has fewest running"),
        ("hub", {}, "dev_alex", "the order of ids"),
    ],
)
async def test_a_tie_is_decided_by_role_then_by_load_then_by_id_and_says_which(
    role: str, running: dict[str, int], expected: str, decided_by: str
) -> None:
    await agent("pm_sarah", role=role)
    for one, own in (("qa_quinn", "qa"), ("ta_leo", "ta"), ("dev_alex", "dev")):
        await agent(one, "python", role=own)
    for one, many in running.items():
        for _ in range(many):
            await execution(agent_id=one, status="running")

    found, reason = await chosen("python")

    assert found == expected
    assert f"{expected} has 1 of 1 required: python; so have " in reason
    assert reason.endswith(f": decided by {decided_by}; the task's actor pm_sarah lacks python")


async def test_a_run_that_is_tried_again_is_no_load_of_the_agent_that_it_had_before() -> None:
    for one in ("dev_alex", "dev_bea"):
        await agent(one, "python")
    tried = await execution(agent_id="dev_alex", status="running")
    task = TaskDefinition(
        id="triage", name="T", description="D", actor_id="pm_sarah",
        required_capabilities=["python"],
    )  # fmt: skip

    again = await assign(task, execution_id=tried)
    another = await assign(task)

    assert again.agent is not None
    assert another.agent is not None
    assert (again.agent.id, another.agent.id) == ("dev_alex", "dev_bea")
    assert "decided by the order of ids" in again.reason
    assert "decided by who has fewest running" in another.reason


async def test_of_many_who_tie_only_some_are_named() -> None:
    await agent("pm_sarah", role="pm")
    for number in range(6):
        await agent(f"dev_{number}", "python")

    _, reason = await chosen("python")

    assert "so have dev_1, dev_2, dev_3 and 2 more: decided by the order of ids" in reason


async def test_a_disabled_agent_does_nothing_whatever_it_has() -> None:
    await agent("pm_sarah", role="pm", enabled=False)
    await agent("dev_alex", "python", enabled=False)
    await agent("ta_leo", "python")

    assert await chosen("python") == (
        "ta_leo",
        "ta_leo has 1 of 1 required: python; the task's actor pm_sarah is disabled",
    )


async def test_where_nobody_has_any_the_actor_does_it() -> None:
    await agent("pm_sarah", "writing", role="pm")

    assert await chosen("python", "security") == (
        "pm_sarah", "pm_sarah is the task's actor; nobody has python, security",
    )  # fmt: skip


async def test_without_anybody_the_fallback_prompt_speaks_or_the_task_says_that_it_cannot() -> None:
    assert await chosen("python", fallback_prompt="You are a PM.") == (
        None, "pm_sarah does not exist: the fallback prompt speaks",
    )  # fmt: skip
    await agent("pm_sarah", role="pm", enabled=False)

    with pytest.raises(NotConfiguredError, match="agent 'pm_sarah' of task 'triage' is disabled"):
        await chosen()


async def test_a_run_goes_on_with_the_agent_that_began_it_whoever_would_be_chosen_now(
    world: World,
) -> None:
    for one in ("dev_alex", "dev_bea"):
        await agent(one, "python")
    await approving.want(approve_tools=["*"], required_capabilities=["python"])
    waiting = await world.run(approving.LABEL, Reply.text("Labelled."))
    await execution(agent_id="dev_alex", status="running")

    [asked] = await approving.pending()
    done = await approving.decide(world, asked, "approved")

    assert (waiting.agent_id, done.agent_id, done.status) == ("dev_alex", "dev_alex", "succeeded")
    assert (
        waiting.agent_reason
        == done.agent_reason
        == (
            "dev_alex has 1 of 1 required: python; so have dev_bea: decided by the order of ids; "
            "the task's actor pm_sarah does not exist"
        )
    )
    told = await AuditEntry.filter(action__in=["item.label", "comment.posted"])
    assert [one.agent_id for one in told] == ["dev_alex", "dev_alex"]


async def test_an_agent_that_was_disabled_meanwhile_does_not_go_on_and_nobody_in_its_stead(
    world: World,
) -> None:
    for one in ("dev_alex", "dev_bea"):
        await agent(one, "python")
    await approving.want(approve_tools=["*"], required_capabilities=["python"])
    await world.run(approving.LABEL, Reply.text("Labelled."))
    await Agent.filter(id="dev_alex").update(enabled=False)

    [asked] = await approving.pending()
    done = await approving.decide(world, asked, "approved")

    assert (done.agent_id, done.status) == ("dev_alex", "failed")
    assert done.error == (
        "agent 'dev_alex', which began this run, is disabled; a restart begins anew"
    )
    assert (world.labels(), world.comments()) == ([], [])
