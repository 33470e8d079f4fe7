"""A run of very many rounds with large results stays within the model's window, and ends."""

import json

from aether.demo.model import Reply
from aether.models import ExecutionMessage, TaskDefinition
from tests.engine import test_execute as base

World = base.World
CALL = base.CALL
make = base.make
world = base.world

ROUNDS = 40


async def test_forty_rounds_of_large_results_fit_into_a_small_window(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(max_tool_rounds=ROUNDS)
    world.model.context_tokens = 12_000
    rounds = [Reply.calls(CALL("get_issue", {}, f"c{turn}")) for turn in range(ROUNDS)]

    done = await world.run(*rounds, Reply.text("Enough."), body="long " * 7_000)

    assert (done.status, done.tool_calls, world.comments()) == ("succeeded", ROUNDS, ["Enough."])
    assert done.llm_calls == ROUNDS + 1
    refused = [one for one in world.model.calls if one.status == 400]
    assert len(refused) <= 4  # what was too long once is not sent in its length again
    longest = max(len(json.dumps(one["messages"])) for one in world.model.requests)
    assert longest < 100_000  # of 1.4 million that it has read
    assert len(world.model.problems) == len(refused)
    stored = await ExecutionMessage.filter(execution_id=done.id).order_by("position")
    assert len(stored) == 2 + 2 * ROUNDS + 1
    assert all("characters left out" not in json.dumps(one.message) for one in stored[4:])
