# ruff: noqa: F401, F811 # fixtures of neighbours
"""Several calls in one reply: readers at once, writers alone, results in order and once each."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from aether.db import rows
from aether.demo.model import Reply, ToolCallScript
from aether.engine.execute import execute
from aether.engine.offering import Offer, only_reads
from aether.engine.restart import cancel
from aether.models import TaskExecution, ToolExecution
from aether.tools import TOOLS
from aether.tools.lookups import LOOKUPS
from aether.vocabulary import ToolEffect
from tests.engine.test_execute import World, make
from tests.engine.test_mcp_run import PUBLISH, SEARCH, found_in, registered, world
from tests.mcp.toolbox import READS, Toolbox

CALL = ToolCallScript


@dataclass
class Desk:
    """A server's ``search``, which returns when it is let, and ``publish``; both note times."""

    box: Toolbox
    log: list[str] = field(default_factory=list)
    inside: int = 0
    most: int = 0
    waits_for: dict[str, str] = field(default_factory=dict)  # a query until another has ended

    def __post_init__(self) -> None:
        async def search(query: str) -> str:
            self._enter(query)
            async with asyncio.timeout(20):
                while f"-{self.waits_for.get(query, '')}" not in [*self.log, "-"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            self._leave(query)
            return f"found: {query}"

        async def publish(text: str) -> str:
            self._enter(text)
            self._leave(text)
            return f"published: {text}"

        self.box.put("search", search, annotations=READS)
        self.box.put("publish", publish)

    def _enter(self, name: str) -> None:
        self.log.append(f"+{name}")
        self.inside += 1
        self.most = max(self.most, self.inside)

    def _leave(self, name: str) -> None:
        self.log.append(f"-{name}")
        self.inside -= 1


@pytest.fixture
def desk() -> Any:
    desk = Desk(Toolbox())
    with desk.box.served():
        yield desk


def searches(*queries: str) -> list[ToolCallScript]:
    return [CALL(SEARCH, {"query": one}, one) for one in queries]


async def results() -> list[tuple[str, str]]:
    """Each stored result's call and text, in the order in which they were stored."""
    return [(one.call_id, one.result or "") for one in await ToolExecution.all().order_by("id")]


async def test_reading_calls_run_at_once_and_are_stored_in_the_models_order(
    world: World, desk: Desk
) -> None:
    await registered(desk.box, headers={})
    desk.waits_for = {"a": "b", "b": "c"}

    done = await world.run(Reply.calls(*searches("a", "b", "c")), Reply.text("Known."))

    assert (done.status, done.tool_calls) == ("succeeded", 3)
    assert [entry for entry in desk.log if entry.startswith("-")] == ["-c", "-b", "-a"]
    assert await results() == [("a", "found: a"), ("b", "found: b"), ("c", "found: c")]
    told = [one for one in world.model.requests[1]["messages"] if one["role"] == "tool"]
    assert [(one["tool_call_id"], found_in(one["content"])) for one in told] == await results()


async def test_a_call_that_writes_comes_after_all_before_it_and_before_all_after_it(
    world: World, desk: Desk
) -> None:
    await registered(desk.box, headers={})

    await world.run(
        Reply.calls(*searches("a", "b"), CALL(PUBLISH, {"text": "w"}, "w"), *searches("c")),
        Reply.text("Done."),
    )

    assert sorted(desk.log[:4]) == ["+a", "+b", "-a", "-b"]
    assert desk.log[4:] == ["+w", "-w", "+c", "-c"]
    assert [call for call, _ in await results()] == ["a", "b", "w", "c"]


async def test_two_calls_that_write_never_run_at_once(world: World, desk: Desk) -> None:
    await registered(desk.box, headers={})

    await world.run(
        Reply.calls(*[CALL(PUBLISH, {"text": one}, one) for one in "abc"]), Reply.text("Done.")
    )

    assert desk.log == ["+a", "-a", "+b", "-b", "+c", "-c"]


async def test_no_more_than_four_reading_calls_are_under_way(world: World, desk: Desk) -> None:
    await registered(desk.box, headers={})
    names = list("abcdefghi")
    desk.waits_for = {"a": "d", "e": "h"}  # while they are under way, there is room for a fifth

    await world.run(Reply.calls(*searches(*names)), Reply.text("Done."))

    assert desk.most <= 4
    assert max(desk.log.index(f"-{one}") for one in "abcd") == 7
    assert max(desk.log.index(f"-{one}") for one in "efgh") == 15
    assert [call for call, _ in await results()] == names


async def test_one_that_fails_leaves_the_others_their_results(world: World, desk: Desk) -> None:
    await registered(desk.box, headers={})

    await world.run(
        Reply.calls(
            *searches("a"), CALL(SEARCH, {"question": "b"}, "b"), CALL("unheard_of", {}, "c"),
            *searches("d"),
        ),
        Reply.text("Done."),
    )  # fmt: skip

    ran = await ToolExecution.all().order_by("id")
    assert [(one.call_id, one.status) for one in ran] == [
        ("a", "succeeded"), ("b", "failed"), ("c", "failed"), ("d", "succeeded"),
    ]  # fmt: skip
    assert [entry for entry in desk.log if entry.startswith("+")] == ["+a", "+d"]


async def test_a_worker_that_stops_between_them_leaves_only_the_rest_to_do(
    world: World, desk: Desk
) -> None:
    await registered(desk.box, headers={})
    desk.waits_for = {"b": "never"}
    world.model.say(
        lambda asked: Reply.text("Known.") if asked.turn else Reply.calls(*searches("a", "b", "c"))
    )
    execution_id = await world.opened()

    working = asyncio.create_task(execute(world.runtime, execution_id))
    async with asyncio.timeout(20):
        while await results() == [] or "-c" not in desk.log:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await results() == [("a", "found: a")]
    desk.waits_for.clear()
    done = await world.again(execution_id)

    assert (done.status, done.answer) == ("succeeded", "Known.")
    assert await results() == [("a", "found: a"), ("b", "found: b"), ("c", "found: c")]
    assert len(world.model.requests) == 2
    begun = [entry for entry in desk.log if entry.startswith("+")]
    assert sorted(begun) == ["+a", "+b", "+b", "+c", "+c"]


async def test_a_run_cancelled_amid_them_stops_them_all(world: World, desk: Desk) -> None:
    await registered(desk.box, headers={})
    desk.waits_for = {"a": "never", "b": "never"}
    world.model.say(lambda _: Reply.calls(*searches("a", "b")))
    execution_id = await world.opened()
    told = {"lease_seconds": 3.0}  # a run sees that it is cancelled as it renews its lease
    world.runtime.settings = world.runtime.settings.model_copy(update=told)
    before = asyncio.all_tasks()

    working = asyncio.create_task(execute(world.runtime, execution_id))
    async with asyncio.timeout(20):
        while desk.inside < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await cancel(execution_id)
    async with asyncio.timeout(30):
        await working

    assert (await TaskExecution.get(id=execution_id)).status == "cancelled"
    assert await results() == []
    assert world.comments() == []
    assert asyncio.all_tasks() - before == set()


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_what_a_tool_of_ours_does_is_known_whatever_its_row_says(name: str) -> None:
    offer = Offer(
        name=name,
        description="",
        parameters={},
        call=TOOLS[name],
        look=LOOKUPS.get(name),
        effect=ToolEffect.READS,
    )

    assert only_reads(offer) is (name in {"get_issue", "list_comments", "recall"})


async def test_comments_asked_for_at_once_make_one_comment(world: World) -> None:
    await rows("UPDATE tool_definition SET effect = 'reads'")

    await world.run(
        Reply.calls(
            CALL("add_comment", {"body": "One."}, "a"), CALL("add_comment", {"body": "Two."}, "b")
        ),
        Reply.text("Done."),
    )

    assert world.comments() == ["One.\n\nTwo."]
