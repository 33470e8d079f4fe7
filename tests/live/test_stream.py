"""A run followed over GraphQL: from its beginning, from its middle, after it, and again."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aether.config import Settings
from aether.db import rows
from aether.demo.model import Reply, by_turn
from aether.engine.execute import execute
from aether.engine.restart import cancel, restart
from aether.engine.runtime import install
from aether.leases import Lease
from aether.live.events import cursor_of_now
from aether.live.hub import Hub
from aether.live.speech import Speech
from resolvers import streams
from schema.context import Context
from tests.engine import test_execute as base
from tests.live.conftest import until
from tests.schema.both import whole_schema

make = base.make
world = base.world
World = base.World
CALL = base.CALL

EVERY = 100  # more words than any reply here has
STREAM = """subscription ($id: ID!, $after: String) { taskExecutionStream(id: $id, after: $after) {
  __typename cursor executionId run
  ... on ExecutionSoFar { status text messages { position } toolExecutions { tool }
    execution { status } }
  ... on ExecutionStatusChange { status tries agentId error errorCode cancelRequested }
  ... on ExecutionText { position round offset text }
  ... on ExecutionReply { position text toolCalls { id tool arguments } model promptTokens }
  ... on ExecutionToolResult { callId toolExecution { tool status result round } }
  ... on ExecutionEnd { status answer answerUrl error errorCode } } }"""


@pytest.fixture
async def live(world: World, database: str) -> AsyncIterator[World]:
    """A world whose runs can be followed."""
    hub = Hub(database)
    world.runtime.live = hub
    install(world.runtime)
    yield world
    install(None)
    await hub.close()


class Watcher:
    """A subscription, read to where the test wants it."""

    def __init__(self, results: Any) -> None:
        self._results = results

    async def take(self, *, seconds: float = 60) -> dict[str, Any]:
        """The next event."""
        async with asyncio.timeout(seconds):
            result = await anext(self._results)
        assert result.errors is None, result.errors
        event: dict[str, Any] = result.data["taskExecutionStream"]
        return event

    async def until(self, kind: str, **told: Any) -> list[dict[str, Any]]:
        """All events up to the first of this kind that tells this."""
        taken = [await self.take()]
        while taken[-1]["__typename"] != kind or told.items() - taken[-1].items():
            taken.append(await self.take())
        return taken

    async def rest(self) -> list[dict[str, Any]]:
        """Everything that is left; the subscription completes."""
        taken = []
        async with asyncio.timeout(60):
            async for result in self._results:
                assert result.errors is None, result.errors
                taken.append(result.data["taskExecutionStream"])
        return taken


@asynccontextmanager
async def watching(execution_id: int, after: str | None = None) -> AsyncIterator[Watcher]:
    variables = {"id": str(execution_id), "after": after}
    results = await whole_schema().stream(STREAM, variables, context_value=Context())
    try:
        yield Watcher(results)
    finally:
        await results.aclose()


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [one["__typename"].removeprefix("Execution") for one in events]


def without_cursors(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name != "cursor"} for one in events]


async def test_a_run_is_followed_from_its_beginning_to_its_answer(live: World) -> None:
    live.model.say(
        by_turn(
            [
                Reply.calls(CALL("add_labels", {"labels": ["bug"]}, "c1"), content="Labels first."),
                Reply.text("It is the parser."),
            ]
        )
    )
    execution_id = await live.opened()

    async with watching(execution_id) as watcher:
        first = await watcher.take()
        await execute(live.runtime, execution_id)
        events = await watcher.rest()

    assert without_cursors([first]) == [
        {
            "__typename": "ExecutionSoFar",
            "executionId": str(execution_id),
            "run": 1,
            "status": "QUEUED",
            "text": "",
            "messages": [],
            "toolExecutions": [],
            "execution": {"status": "QUEUED"},
        }
    ]
    told = [one for one in events if one["__typename"] != "ExecutionText"]
    assert kinds(told) == ["StatusChange", "Reply", "ToolResult", "Reply", "End"]
    assert {one["run"] for one in events} == {1}
    assert told[0]["status"] == "RUNNING"
    calling, ran, answering, end = told[1:]
    assert (calling["position"], calling["text"]) == (2, "Labels first.")
    assert calling["toolCalls"] == [
        {"id": "c1", "tool": "add_labels", "arguments": {"labels": ["bug"]}}
    ]
    assert (ran["callId"], ran["toolExecution"]["tool"]) == ("c1", "add_labels")
    assert ran["toolExecution"]["status"] == "SUCCEEDED"
    assert (answering["position"], answering["text"]) == (4, "It is the parser.")
    assert answering["toolCalls"] == []
    assert (end["status"], end["answer"]) == ("SUCCEEDED", "It is the parser.")
    assert end["answerUrl"].startswith("http")


async def test_text_comes_while_the_model_still_writes_and_is_what_it_wrote(live: World) -> None:
    written = "One word after another, until the whole answer stands there."
    words = threading.Semaphore(3)
    live.model.say(Reply.text(written).paced(words))
    execution_id = await live.opened()

    async with watching(execution_id) as watcher:
        await watcher.take()
        running = asyncio.create_task(execute(live.runtime, execution_id))
        [*_, first] = await watcher.until("ExecutionText")
        async with watching(execution_id) as late:
            so_far = await late.take()
            late_events = []
            for _ in range(2):
                words.release(3)
                late_events += await late.until("ExecutionText")
            words.release(EVERY)
            late_events += await late.rest()
        events = [first, *await watcher.rest()]
        await running

    assert (first["position"], first["round"], first["offset"]) == (2, 1, 0)
    assert written.startswith(first["text"])
    assert so_far["__typename"] == "ExecutionSoFar"
    assert so_far["status"] == "RUNNING"
    assert so_far["text"].startswith(first["text"])
    assert [one["position"] for one in so_far["messages"]] == [0, 1]
    for before, told in (("", events), (so_far["text"], late_events)):
        pieces = [one for one in told if one["__typename"] == "ExecutionText"]
        assert len(pieces) > 1
        for piece in pieces:
            assert written.startswith(piece["text"], piece["offset"])
        offsets = [one["offset"] for one in pieces]
        assert offsets == [
            len(before) + sum(len(one["text"]) for one in pieces[:place])
            for place in range(len(pieces))
        ]
    assert kinds(late_events)[-2:] == ["Reply", "End"]
    assert late_events[-2]["text"] == written


async def test_with_streaming_off_only_whole_replies_come(make: Any, database: str) -> None:
    world = make(LLM_STREAM="false")
    world.runtime.live = Hub(database)
    install(world.runtime)
    world.model.say(Reply.text("Whole."))
    execution_id = await world.opened()

    async with watching(execution_id) as watcher:
        await watcher.take()
        await execute(world.runtime, execution_id)
        events = await watcher.rest()
    install(None)
    await world.runtime.live.close()

    assert kinds(events) == ["StatusChange", "Reply", "End"] or kinds(events) == [
        "StatusChange", "StatusChange", "Reply", "End",
    ]  # fmt: skip
    assert await rows("SELECT 1 FROM live_event WHERE kind = 'text'") == []
    assert "stream" not in world.model.requests[0]


async def test_an_execution_that_has_ended_is_told_whole_and_the_stream_completes(
    live: World,
) -> None:
    done = await live.run(Reply.text("Done."))

    async with watching(done.id) as watcher:
        events = await watcher.rest()
    async with watching(done.id, after=events[-1]["cursor"]) as again:
        rest = await again.rest()

    assert kinds(events) == ["SoFar", "End"]
    assert [one["position"] for one in events[0]["messages"]] == [0, 1, 2]
    assert (events[1]["status"], events[1]["answer"]) == ("SUCCEEDED", "Done.")
    assert rest == []


async def test_a_client_that_comes_back_at_any_event_is_told_the_rest_once(live: World) -> None:
    live.model.say(
        by_turn(
            [Reply.calls(CALL("add_labels", {"labels": ["bug"]}, "c1")), Reply.text("The end.")]
        )
    )
    execution_id = await live.opened()
    async with watching(execution_id) as watcher:
        first = await watcher.take()
        await execute(live.runtime, execution_id)
        events = [first, *await watcher.rest()]

    for number, event in enumerate(events):
        async with watching(execution_id, after=event["cursor"]) as again:
            rest = await again.rest()
        assert without_cursors(rest) == without_cursors(events[number + 1 :])


@pytest.mark.parametrize("comes_back", [False, True])
async def test_what_happens_while_a_reader_is_taken_in_is_told_once(
    live: World, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    execution_id = await live.opened()
    after = await cursor_of_now() if comes_back else None
    state_of = streams._so_far

    async def claimed_meanwhile(id: int) -> Any:
        await rows("UPDATE task_execution SET status = 'running', lease_token = 1")
        return await state_of(id)

    monkeypatch.setattr(streams, "_so_far", claimed_meanwhile)
    async with watching(execution_id, after) as watcher:
        first = await watcher.take()
        await rows("UPDATE task_execution SET status = 'cancelled'")
        events = await watcher.rest()

    assert (kinds([first])[0], first["status"]) == (
        "StatusChange" if comes_back else "SoFar", "RUNNING",
    )  # fmt: skip
    assert [(one["__typename"], one["status"]) for one in events] == [("ExecutionEnd", "CANCELLED")]


async def test_a_new_try_makes_void_the_text_of_the_one_that_failed(live: World) -> None:
    words = threading.Semaphore(3)
    live.model.say(Reply.breaking("A first attempt that breaks off.", after_chunks=5).paced(words))
    execution_id = await live.opened()

    async with watching(execution_id) as watcher:
        await watcher.take()
        running = asyncio.create_task(execute(live.runtime, execution_id))
        failed = await watcher.until("ExecutionText")
        words.release(EVERY)
        await running
        failed += await watcher.until("ExecutionStatusChange", status="RETRYING")
        async with watching(execution_id) as between:
            so_far = await between.take()
        live.model.say(Reply.text("The second one holds."))
        await live.again(execution_id)
        events = await watcher.rest()

    assert [one["text"] for one in failed if one["__typename"] == "ExecutionText"] != []
    assert (so_far["status"], so_far["text"]) == ("RETRYING", "")
    assert (events[0]["__typename"], events[0]["status"], events[0]["tries"]) == (
        "ExecutionStatusChange", "RUNNING", 1,
    )  # fmt: skip
    pieces = [one for one in events if one["__typename"] == "ExecutionText"]
    assert [one["offset"] for one in pieces[:1]] in ([0], [])
    assert events[-1]["answer"] == "The second one holds."


async def test_a_worker_that_lost_its_lease_is_not_heard_any_more(live: World) -> None:
    execution_id = await live.opened()
    settings = Settings.from_environment({})
    lost = Lease(execution_id=execution_id, token=1, run=1, tries=0, seconds=30)
    held = Lease(execution_id=execution_id, token=2, run=1, tries=0, seconds=30)

    async with watching(execution_id) as watcher:
        await watcher.take()
        await rows("UPDATE task_execution SET status = 'running', lease_token = 2, tries = 1")
        async with (
            Speech(settings, lost, position=2, round=1) as old,
            Speech(settings, held, position=2, round=1) as new,
        ):
            old.hear("Of the dead. ")
            await until_told(1)
            new.hear("Of the living. ")
            [changed, piece] = [await watcher.take() for _ in range(2)]
            async with watching(execution_id) as late:
                so_far = await late.take()

    assert changed["__typename"] == "ExecutionStatusChange"
    assert piece["text"] == so_far["text"] == "Of the living. "


async def until_told(pieces: int) -> None:
    async with asyncio.timeout(60):
        while len(await rows("SELECT 1 FROM live_event WHERE kind = 'text'")) < pieces:  # noqa: ASYNC110 # another task writes
            await asyncio.sleep(0.01)


async def test_a_failed_run_ends_the_stream_and_a_restart_is_another(live: World) -> None:
    live.model.say(Reply.error(401))
    execution_id = await live.opened()
    async with watching(execution_id) as watcher:
        await watcher.take()
        await execute(live.runtime, execution_id)
        events = await watcher.rest()

    await restart(live.runtime, execution_id)
    async with watching(execution_id, after=events[-1]["cursor"]) as again:
        queued = await again.take()
        await cancel(execution_id)
        ended = await again.rest()

    assert (events[-1]["status"], events[-1]["answer"]) == ("FAILED", None)
    assert events[-1]["errorCode"] == "NOT_CONFIGURED"
    assert "LLM_API_KEY" in events[-1]["error"]
    assert (queued["status"], queued["run"]) == ("QUEUED", 2)
    assert [(one["__typename"], one["status"]) for one in ended] == [("ExecutionEnd", "CANCELLED")]


@pytest.mark.parametrize("id", ["7", "x", "9" * 30])
async def test_an_unknown_execution_is_not_found(live: World, id: str) -> None:
    results: Any = await whole_schema().stream(STREAM, {"id": id}, context_value=Context())

    found = [one async for one in results]

    assert [[error.extensions for error in one.errors or ()] for one in found] == [
        [{"code": "NOT_FOUND"}]
    ]
    assert live.runtime.live is not None
    assert live.runtime.live.count == 0


async def test_a_secret_is_taken_out_of_text_however_it_is_cut(live: World) -> None:
    execution_id = await live.opened()
    lease = Lease(execution_id=execution_id, token=1, run=1, tries=0, seconds=30)
    settings = Settings.from_environment({"GITHUB_TOKEN": base.TOKEN})

    async with Speech(settings, lease, position=2, round=1) as speech:
        for piece in ("The token ", base.TOKEN[:9], base.TOKEN[9:], " is secret, \x00and so"):
            speech.hear(piece)
            await asyncio.sleep(0.05)
        await until_told(2)

    told = await rows(
        "SELECT about->>'text' AS text, about->>'offset' AS at FROM live_event"
        " WHERE kind = 'text' ORDER BY tx, id"
    )
    assert "".join(one["text"] for one in told) == "The token *** is secret, and "
    assert [one["at"] for one in told] == ["0", str(len(told[0]["text"]))]


async def test_text_that_cannot_be_told_leaves_the_run_alone(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> list[Any]:
        raise OSError("no database")

    monkeypatch.setattr("aether.live.speech.rows", fail)

    done = await live.run(Reply.text("All the same."))

    assert (done.status, done.answer) == ("succeeded", "All the same.")


async def test_a_follower_that_leaves_is_forgotten_at_once(live: World) -> None:
    execution_id = await live.opened()
    hub = live.runtime.live
    assert hub is not None
    async with watching(execution_id) as watcher:
        await watcher.take()
        assert hub.count == 1
        waiting = asyncio.create_task(watcher.take())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    await until(lambda: hub.count == 0)
