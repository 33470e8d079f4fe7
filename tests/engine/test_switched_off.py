"""What is disabled while its executions wait begins none of them; what has begun goes on."""

from typing import Any

import pytest

from aether.db import rows
from aether.demo.model import Reply
from aether.engine.execute import execute
from aether.engine.restart import restart
from aether.errors import ConflictError
from aether.models import AuditEntry, ExecutionMessage, Project, TaskDefinition, TaskExecution
from tests.engine import test_execute as base
from tests.engine.test_limits import at_work, project, sarah

World = base.World
CALL = base.CALL
make = base.make
world = base.world

WHY = {"task": "task triage is disabled", "project": "its project is disabled"}


@pytest.fixture(params=["task", "project"])
async def owner(request: pytest.FixtureRequest, world: World) -> str:
    """Which of the two is switched off; both are there."""
    await project()
    return str(request.param)


async def switch(owner: str, *, on: bool) -> None:
    rows_of: Any = TaskDefinition if owner == "task" else Project
    await rows_of.all().update(enabled=on)


async def test_an_execution_that_waits_is_cancelled_and_says_why(world: World, owner: str) -> None:
    execution_id = await world.opened()
    await switch(owner, on=False)

    await execute(world.runtime, execution_id)

    ended = await TaskExecution.get(id=execution_id)
    assert (ended.status, ended.error, ended.error_code) == ("cancelled", WHY[owner], None)
    assert (ended.tries, ended.lease_until) == (0, None)
    assert ended.finished_at is not None
    entry = await AuditEntry.get(action="task.cancelled")
    assert (entry.execution_id, entry.caller, entry.detail) == (
        execution_id, None, {"why": WHY[owner]},
    )  # fmt: skip
    assert await AuditEntry.filter(action="task.started").count() == 0
    assert await ExecutionMessage.all().count() == 0
    assert (world.model.calls, world.comments()) == ([], [])


async def test_switched_on_again_nothing_begins_by_itself_and_the_next_event_does(
    world: World, owner: str
) -> None:
    execution_id = await world.opened()
    await switch(owner, on=False)
    await execute(world.runtime, execution_id)
    await switch(owner, on=True)

    await execute(world.runtime, execution_id)
    done = await world.run(Reply.text("Eight."), number=8)

    assert (await TaskExecution.get(id=execution_id)).status == "cancelled"
    assert done.status == "succeeded"
    assert world.comments() == []


async def test_what_was_switched_on_again_in_time_begins(world: World, owner: str) -> None:
    execution_id = await world.opened()
    await switch(owner, on=False)
    await switch(owner, on=True)
    world.model.say(Reply.text("Fine."))

    await execute(world.runtime, execution_id)

    assert (await TaskExecution.get(id=execution_id)).status == "succeeded"


async def test_what_has_begun_is_tried_again_and_goes_to_its_end(world: World, owner: str) -> None:
    world.model.say([Reply.error(500), Reply.text("Fine.")])
    execution_id = await world.opened()
    await execute(world.runtime, execution_id)
    await switch(owner, on=False)

    done = await world.again(execution_id)

    assert (done.status, world.comments()) == ("succeeded", ["Fine."])


async def test_one_that_waits_for_its_turn_waits_no_longer(world: World, owner: str) -> None:
    await sarah(max_concurrent_runs=1)
    first, second = await world.opened(7), await world.opened(8)
    await rows(
        """UPDATE task_execution SET status = 'running', lease_until = now() + interval '1 hour'
           WHERE id = $1""",
        first,
    )
    await at_work(first)
    await execute(world.runtime, second)
    waiting = await TaskExecution.get(id=second)
    assert (waiting.status, str(waiting.agent_reason)[:6]) == ("queued", "waits:")
    await switch(owner, on=False)

    await rows("UPDATE task_execution SET run_after = NULL")
    await execute(world.runtime, second)

    ended = await TaskExecution.get(id=second)
    assert (ended.status, ended.error) == ("cancelled", WHY[owner])
    assert world.model.calls == []


async def test_a_failed_one_is_not_restarted_while_it_is_off_and_can_be_later(
    world: World, owner: str
) -> None:
    failed = await world.run(Reply.error(401))
    await switch(owner, on=False)

    with pytest.raises(ConflictError) as refused:
        await restart(world.runtime, failed.id)

    assert str(refused.value) == (
        f"task execution {failed.id} does not restart: {WHY[owner]}; it stays failed"
    )
    after = await TaskExecution.get(id=failed.id)
    assert (after.status, after.run, after.error) == ("failed", 1, failed.error)
    assert await AuditEntry.filter(action="task.restarted").count() == 0
    await switch(owner, on=True)
    world.model.say(Reply.text("Fine."))
    await restart(world.runtime, failed.id)
    assert (await world.again(failed.id)).status == "succeeded"


async def test_a_restarted_one_that_waits_is_cancelled_too(world: World, owner: str) -> None:
    failed = await world.run(Reply.error(401))
    await restart(world.runtime, failed.id)
    await switch(owner, on=False)

    ended = await world.again(failed.id)

    assert (ended.status, ended.run, ended.error) == ("cancelled", 2, WHY[owner])
    assert len(world.model.calls) == 1
