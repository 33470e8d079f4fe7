"""A summary of each run, kept as a memory of its project where the task wants one."""

import asyncio
import threading
from typing import Any

from aether.db import rows
from aether.demo.model import Reply, by_turn
from aether.engine import summary
from aether.engine.execute import execute
from aether.engine.sweep import sweep
from aether.models import AuditEntry, Memory, TaskDefinition, TaskExecution, UsageDay
from aether.queue import Job
from tests.engine import test_execute as base
from tests.engine.test_limits import project, sarah, told
from tests.llm.conftest import until

World = base.World
make = base.make
world = base.world


async def ran(world: World, *replies: Any, number: int = 7) -> TaskExecution:
    """A run of a task that wants a summary."""
    await TaskDefinition.filter(id="triage").update(summarize=True)
    world.model.say(list(replies))
    execution_id = await world.opened(number)
    await execute(world.runtime, execution_id)
    return await TaskExecution.get(id=execution_id)


def hints(world: World) -> list[list[int]]:
    found = world.runtime.queue.hints  # type: ignore[attr-defined]
    return [ids for job, ids in found if job is Job.SUMMARIZE_RUN]


async def test_a_run_is_summarized_after_its_answer_and_remembered_for_the_project(
    world: World,
) -> None:
    await sarah()
    project_id = await project()

    done = await ran(
        world,
        Reply.text("It is the parser.").using(100, 10),
        Reply.text("The parser breaks on empty input; nothing is open.").using(50, 5),
    )
    assert (done.status, done.summary_tries, hints(world)) == ("succeeded", 0, [[done.id]])
    assert await Memory.all().count() == 0

    await summary.summarize(world.runtime, done.id)

    kept = await Memory.get()
    assert (kept.key, kept.content) == (
        "summary-github-issue-7-triage", "The parser breaks on empty input; nothing is open.",
    )  # fmt: skip
    assert (kept.scope, kept.agent_id, kept.project_id) == ("project", "pm_sarah", project_id)
    system, said = world.model.requests[1]["messages"]
    assert "You are Sarah" not in system["content"]
    assert "It breaks." in said["content"]
    assert "] what was answered:\n\nIt is the parser.\n\n[" in said["content"]
    after = await TaskExecution.get(id=done.id)
    assert (after.summary_tries, after.llm_calls, after.prompt_tokens) == (None, 2, 150)
    assert (await UsageDay.get()).prompt_tokens == 150
    assert await AuditEntry.filter(action="memory.summarized").count() == 1
    await summary.summarize(world.runtime, done.id)  # a doubled hint
    assert len(world.model.requests) == 2


async def test_the_next_run_on_the_item_replaces_the_summary(world: World) -> None:
    await project()
    first = await ran(world, Reply.text("One."), Reply.text("First summary."))
    await summary.summarize(world.runtime, first.id)
    await rows("UPDATE task_execution SET status = 'queued', run = 2, answer = NULL")
    world.model.say([Reply.text("Two."), Reply.text("Second summary.")])
    await execute(world.runtime, first.id)

    await summary.summarize(world.runtime, first.id)

    assert [one.content for one in await Memory.all()] == ["Second summary."]


async def test_a_summary_that_fails_costs_no_answer_and_is_tried_three_times(
    world: World,
) -> None:
    await project()
    done = await ran(world, Reply.text("It is the parser."), *[Reply.error(500)] * 5)

    for _ in range(5):
        await summary.summarize(world.runtime, done.id)

    after = await TaskExecution.get(id=done.id)
    assert (after.status, after.summary_tries) == ("succeeded", 3)
    assert world.comments() == ["It is the parser."]
    assert len(world.model.calls) == 4
    assert await Memory.all().count() == 0


async def test_no_other_model_is_asked_once_a_limit_is_reached_meanwhile(world: World) -> None:
    world.model.models.append("another")
    await sarah(max_tokens_per_day=100, fallback_models=["another"])
    await project()
    go_on = threading.Event()
    failing = Reply.error(500).after(go_on)
    done = await ran(world, Reply.text("Fine.").using(10, 0), failing, Reply.text("Summary."))

    async def spend() -> None:
        await until(lambda: len(world.model.requests) == 2)
        await rows("UPDATE usage_day SET prompt_tokens = 100")
        go_on.set()

    await asyncio.gather(summary.summarize(world.runtime, done.id), spend())

    assert [one["model"] for one in world.model.requests] == ["scripted", "scripted"]
    assert await told() == [("limit.reached", "max_tokens_per_day")]
    assert await Memory.all().count() == 0
    assert (await TaskExecution.get(id=done.id)).summary_tries == 1


async def test_a_lost_hint_is_sent_again(world: World) -> None:
    await project()
    done = await ran(world, Reply.text("It is the parser."))
    assert await summary.wanted() == []
    await rows("UPDATE task_execution SET finished_at = now() - interval '11 minutes'")

    await sweep(world.runtime.settings, world.runtime.queue)

    sent = world.runtime.queue._broker.queues["summarize_run"]
    assert sent.qsize() == 1
    assert b'"args":[%d]' % done.id in sent.get_nowait()
    assert await summary.wanted() == []


async def test_without_a_project_or_a_wish_nothing_is_summarized(world: World) -> None:
    world.model.say(by_turn([Reply.text("Fine.")]))
    plain = await world.run(Reply.text("Fine."))
    assert (plain.summary_tries, hints(world)) == (None, [])

    done = await ran(world, Reply.text("Fine."), Reply.text("Never."), number=8)
    await summary.summarize(world.runtime, done.id)

    assert (await TaskExecution.get(id=done.id)).summary_tries is None
    assert await Memory.all().count() == 0
    assert len(world.model.calls) == 2


async def test_a_doubled_hint_at_the_same_moment_asks_the_model_once(world: World) -> None:
    await project()
    done = await ran(world, Reply.text("One."), Reply.text("Summary."), Reply.text("Again."))

    await asyncio.gather(*(summary.summarize(world.runtime, done.id) for _ in range(3)))

    assert len(world.model.requests) == 2
    after = await TaskExecution.get(id=done.id)
    assert (after.summary_tries, after.run_after) == (None, None)
