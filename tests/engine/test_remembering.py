"""What runs remember and recall: their project's, of their platform and site, and what they may."""

import json
from typing import Any

import pytest

from aether.db import rows
from aether.demo.model import Reply, by_turn
from aether.engine import summary
from aether.engine.execute import execute
from aether.engine.receive import receive
from aether.memory import store
from aether.models import AuditEntry, Memory, TaskDefinition, TaskExecution, ToolExecution
from aether.vocabulary import MemoryScope
from tests.engine import test_execute as base
from tests.engine.test_limits import project, sarah
from tests.engine.test_outsiders import opened_by

World = base.World
CALL = base.CALL
make = base.make
world = base.world

FACT = "The parser is generated from grammar.lark; edit that."
BODY = "The generated parser breaks. Where is its grammar?"


def remembering(content: str = FACT, **more: Any) -> tuple[Any, Any]:
    arguments = {"key": "parser", "content": content, **more}
    return Reply.calls(CALL("remember", arguments)), Reply.text("Noted.")


async def ran(
    world: World, *replies: Any, number: int, source: str = "github", site: str = ""
) -> list[str]:
    """A run of an issue, as if it had come from there; what its model was told of memories."""
    world.model.say(by_turn(list(replies)))
    execution_id = await world.opened(number, BODY)
    await rows(
        "UPDATE task_execution SET source = $2, site = $3 WHERE id = $1",
        execution_id, source, site,
    )  # fmt: skip
    before = len(world.model.requests)
    await execute(world.runtime, execution_id)
    assert (await TaskExecution.get(id=execution_id)).status == "succeeded"
    messages = world.model.requests[before]["messages"]
    return [one["content"] for one in messages if "Memories that may bear" in one["content"]]


async def test_what_a_run_remembers_the_next_one_is_reminded_of_and_can_look_up(
    world: World,
) -> None:
    await sarah()
    project_id = await project()
    assert await ran(world, *remembering(), number=7) == []

    [told] = await ran(
        world,
        Reply.calls(CALL("recall", {"query": "generated parser"})),
        Reply.text("Edit grammar.lark."),
        number=8,
    )

    kept = await Memory.get()
    assert (kept.key_space, kept.project_id) == ("agent:pm_sarah:github:acme/api", project_id)
    assert f'"parser", project memory, stored by "pm_sarah" on {kept.created_at:%Y-%m-%d}' in told
    assert FACT in told
    [ran_] = await ToolExecution.filter(tool="recall")
    assert json.loads(ran_.result or "") == [
        {"key": "parser", "content": FACT, "scope": "project", "by": "pm_sarah",
         "on": f"{kept.updated_at:%Y-%m-%d}"}
    ]  # fmt: skip


async def test_of_a_long_memory_the_part_that_fits_is_looked_up(world: World) -> None:
    await sarah()
    project_id = await project()
    filler = "The weekly meeting was about furniture and plants.\n\n" * 1_500
    await store.remember(
        world.runtime.settings, key="minutes", content=filler + FACT, scope=MemoryScope.PROJECT,
        project_id=project_id,
    )  # fmt: skip

    await ran(
        world,
        Reply.calls(CALL("recall", {"query": "which grammar is the parser generated from"})),
        Reply.text("Done."),
        number=7,
    )

    [found] = json.loads((await ToolExecution.get(tool="recall")).result or "")
    assert found["content"].endswith(FACT)
    assert (len(found["content"]) < 1_000, found["part_of"]) == (True, "78,053 characters")


OTHERS = [("gitlab", ""), ("github", "https://ghe.example")]


@pytest.mark.parametrize(("source", "site"), OTHERS)
async def test_a_project_of_one_name_elsewhere_shares_no_memory(
    world: World, source: str, site: str
) -> None:
    await sarah()
    await ran(world, *remembering(), number=7)

    told = await ran(world, *remembering("It is written by hand."), number=8, source="github",
                     site="https://other.example")  # fmt: skip
    own = await ran(world, Reply.text("Edit grammar.lark."), number=9)

    assert told == []
    assert sorted(one.content for one in await Memory.all()) == ["It is written by hand.", FACT]
    assert FACT in own[0]
    assert "by hand" not in own[0]
    stored = await rows("UPDATE memory SET key_space = $1 WHERE content = $2 RETURNING id",
                        f"agent:pm_sarah:{':'.join(filter(None, (source, site)))}:acme/api",
                        "It is written by hand.")  # fmt: skip
    assert len(stored) == 1
    [anew] = await ran(world, Reply.text("Done."), number=10)
    assert "by hand" not in anew


async def test_a_project_that_gets_a_row_keeps_what_was_remembered_before(world: World) -> None:
    await sarah()
    await ran(world, *remembering(), number=7)
    project_id = await project()

    [told] = await ran(world, *remembering("Edit grammar.lark, then run make."), number=8)

    assert FACT in told
    kept = await Memory.get()
    assert (kept.content, kept.project_id) == ("Edit grammar.lark, then run make.", project_id)


@pytest.mark.parametrize(
    ("association", "may_act", "summaries"),
    [("NONE", False, 0), ("NONE", True, 1), ("MEMBER", False, 1)],
)
async def test_a_run_that_a_stranger_woke_leaves_no_summary_unless_they_may_act(
    world: World, association: str, *, may_act: bool, summaries: int
) -> None:
    await sarah()
    await project()
    await TaskDefinition.filter(id="triage").update(summarize=True, outsiders_may_act=may_act)
    world.model.say(by_turn([Reply.text("It is the parser."), Reply.text("A summary.")]))
    event = opened_by(world, association)
    [execution_id] = (await receive(world.runtime, event, slug="github")).executions

    await execute(world.runtime, execution_id)
    await summary.summarize(world.runtime, execution_id)

    assert await Memory.all().count() == summaries
    assert world.comments() == ["It is the parser."]
    [entry] = await AuditEntry.filter(action="task.completed")
    assert ("outsider" in str(entry.detail.get("no_summary"))) == (summaries == 0)
