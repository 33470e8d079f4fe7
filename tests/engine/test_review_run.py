"""Runs at awkward moments: inner time limits, lost outcomes, odd arguments, cancels, stops."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from aether.db import row, rows
from aether.demo.model import Reply
from aether.effects import Effects
from aether.engine import settle
from aether.engine.conversation import Conversation
from aether.engine.execute import execute
from aether.engine.restart import cancel
from aether.errors import UpstreamError
from aether.leases import claim
from aether.llm import chat, provider
from aether.models import Effect, ExecutionMessage, TaskExecution, ToolExecution
from aether.sources.base import Posted
from tests.engine import test_execute as base

make = base.make
world = base.world
World = base.World
CALL = base.CALL
REPO = base.REPO


@pytest.fixture(autouse=True)
def _loaded() -> None:
    """Loading LiteLLM takes seconds, which no time limit here is meant for."""
    provider.litellm()


@pytest.mark.parametrize("kind", [TimeoutError, ConnectionResetError])
async def test_an_inner_timeout_is_tried_again_and_not_told_as_the_runs_own_limit(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    async def slow(*_: Any, **__: Any) -> Any:
        raise kind

    monkeypatch.setattr(chat, "complete", slow)

    done = await world.run(Reply.text("Never asked."))

    assert (done.status, done.tries, done.error_code) == ("retrying", 1, "UNAVAILABLE")
    assert kind.__name__ in (done.error or "")
    assert "RUN_TIMEOUT_SECONDS" not in (done.error or "")


async def test_a_run_over_its_own_limit_fails_and_names_the_setting(
    make: Callable[..., World],
) -> None:
    world = make(RUN_TIMEOUT_SECONDS="1.5")

    done = await world.run(Reply.text("Late.").after(30))

    assert done.status == "failed"
    assert "longer than 1.5 seconds (RUN_TIMEOUT_SECONDS" in (done.error or "")
    assert world.comments() == []


async def test_the_closing_text_is_posted_where_the_agents_own_comment_was_refused(
    world: World,
) -> None:
    world.github.fail_next("POST", "comments", status=422, body={"message": "Validation Failed"})

    done = await world.run(
        Reply.calls(CALL("add_comment", {"body": "Refused."}, "c1")), Reply.text("It is so.")
    )

    assert (done.status, world.comments()) == ("succeeded", ["It is so."])
    assert done.answer_url


async def test_a_comment_that_was_refused_and_said_again_stands_once(world: World) -> None:
    world.github.fail_next("POST", "comments", status=422, body={"message": "Validation Failed"})

    await world.run(
        Reply.calls(CALL("add_comment", {"body": "Hello."}, "c1")),
        Reply.calls(CALL("add_comment", {"body": "Hello."}, "c2")),
        Reply.text("Said."),
    )

    assert world.comments() == ["Hello."]


async def test_a_second_part_that_was_refused_is_not_in_the_comment_later(world: World) -> None:
    world.github.fail_next("PATCH", "comments", status=422, body={"message": "Validation Failed"})

    await world.run(
        Reply.calls(CALL("add_comment", {"body": "One."}, "c1")),
        Reply.calls(CALL("add_comment", {"body": "Two."}, "c2")),
        Reply.calls(CALL("add_comment", {"body": "Three."}, "c3")),
        Reply.text("Said."),
    )

    assert world.comments() == ["One.\n\nThree."]


async def test_an_issue_that_may_exist_is_not_told_as_failed_when_the_look_up_fails(
    world: World,
) -> None:
    world.github.drop_after_commit_next("POST", "issues$")
    new = {"title": "Split the parser", "body": "As said."}
    first = await world.run(
        Reply.calls(CALL("create_issue", new, "c1")),
        Reply.text("Created."),
    )
    world.github.fail_next("GET", "issues$", status=500, times=3)

    second = await world.again(first.id)
    last = await world.again(first.id)

    assert [first.status, second.status, last.status] == ["retrying", "retrying", "succeeded"]
    created = [one for one in world.github.repositories[REPO].issues.values() if one.number != 7]
    assert [one.title for one in created] == ["Split the parser"]
    assert [one.status for one in await ToolExecution.all()] == ["succeeded"]


async def test_a_write_whose_record_failed_is_not_told_to_the_model_as_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Effects._sent
    broken = iter([True])

    async def sent_or_broken(self: Effects, *told: Any, **named: Any) -> Any:
        if next(broken, False):
            raise ConnectionResetError("the database went away")
        return await sent(self, *told, **named)

    monkeypatch.setattr(Effects, "_sent", sent_or_broken)
    first = await world.run(
        Reply.calls(CALL("add_comment", {"body": "Hello."}, "c1")), Reply.text("Said.")
    )

    done = await world.again(first.id)

    assert (first.status, done.status) == ("retrying", "succeeded")
    assert world.comments() == ["Hello."]
    assert [one.status for one in await ToolExecution.all()] == ["succeeded"]


@pytest.mark.parametrize("body", ["a\\u0000b", "a\\ud800b"])
async def test_what_no_database_stores_is_taken_out_of_a_models_arguments(
    world: World, body: str
) -> None:
    done = await world.run(
        Reply.calls(CALL("add_comment", f'{{"body": "{body}"}}', "c1")), Reply.text("Said.")
    )

    assert (done.status, done.tries) == ("succeeded", 0)
    assert world.comments()[0] in {"ab", "a\ufffdb"}
    assert (await ToolExecution.get()).status == "succeeded"


async def test_text_that_only_looks_like_an_escape_is_left_alone(world: World) -> None:
    await world.run(
        Reply.calls(CALL("add_comment", {"body": "write \\u0000 so"}, "c1")), Reply.text("Said.")
    )

    assert world.comments() == ["write \\u0000 so"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
async def test_a_number_that_json_does_not_know_is_told_to_the_model(
    world: World, number: str
) -> None:
    await rows("""UPDATE tool_definition SET parameters = '{"type": "object"}'""")

    done = await world.run(
        Reply.calls(CALL("get_issue", f'{{"depth": {number}}}', "c1")), Reply.text("Then so.")
    )

    assert (done.status, world.comments()) == ("succeeded", ["Then so."])
    assert (await ToolExecution.get()).status == "failed"


async def test_a_message_that_no_database_stores_is_cleaned_first(world: World) -> None:
    execution_id = await world.opened()
    lease = await claim(execution_id, seconds=30, grace_seconds=0)
    assert lease is not None
    message = {"role": "assistant", "content": "a", "thinking_blocks": [{"a\0": "b\0\ud800"}]}

    await Conversation(lease=lease, agent_id=None).begin([message])

    stored = await ExecutionMessage.get()
    assert stored.message["thinking_blocks"] == [{"a": "b\ufffd"}]


@pytest.mark.parametrize("seconds", [1e300, float(10**12)])
async def test_no_one_makes_a_run_wait_longer_than_a_day(world: World, seconds: float) -> None:
    execution_id = await world.opened()
    lease = await claim(execution_id, seconds=30, grace_seconds=0)
    assert lease is not None

    await settle.failure(
        lease, world.runtime.settings, UpstreamError("later", status=429, retry_after=seconds)
    )

    found = await row(
        "SELECT status, run_after <= now() + interval '1 day' AS soon FROM task_execution"
    )
    assert found == {"status": "retrying", "soon": True}


async def test_a_run_that_is_cancelled_does_not_wait_for_another_try(world: World) -> None:
    execution_id = await world.opened()
    lease = await claim(execution_id, seconds=30, grace_seconds=0)
    assert lease is not None
    await cancel(execution_id)

    await settle.failure(lease, world.runtime.settings, UpstreamError("it may pass"))

    done = await TaskExecution.get(id=execution_id)
    assert (done.status, done.lease_until) == ("cancelled", None)
    assert done.finished_at is not None


@pytest.mark.parametrize("moment", ["begin", "release"])
async def test_a_worker_stopped_inside_a_transaction_gives_its_run_back(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    execution_id = await world.opened()
    working = asyncio.create_task(_hanging(world, execution_id, monkeypatch, moment))
    async with asyncio.timeout(10):
        while not await _is_running(execution_id):  # noqa: ASYNC110 # a row tells of no event
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    given = await TaskExecution.get(id=execution_id)
    assert (given.status, given.tries, given.lease_until) == ("queued", 0, None)


async def _is_running(execution_id: int) -> bool:
    return (await TaskExecution.get(id=execution_id)).status == "running"


async def _hanging(
    world: World, execution_id: int, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    from asyncpg.pool import Pool
    from tortoise.backends.asyncpg.client import TransactionWrapper

    me = asyncio.current_task()
    begin, release = TransactionWrapper.begin, Pool.release
    begun: list[Any] = []

    async def slow_begin(self: Any) -> None:
        await begin(self)
        if asyncio.current_task() is me:
            begun.append(self._connection)
            if moment == "begin":
                await asyncio.sleep(60)

    async def slow_release(self: Any, connection: Any, **told: Any) -> None:
        await release(self, connection, **told)
        if connection in begun and moment == "release":
            begun.remove(connection)  # giving the run back may be handed the same one
            await asyncio.sleep(60)

    monkeypatch.setattr(TransactionWrapper, "begin", slow_begin)
    monkeypatch.setattr(Pool, "release", slow_release)
    await execute(world.runtime, execution_id)


async def test_a_failed_try_is_written_although_the_worker_is_stopped_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = asyncio.Event()
    failure = settle.failure

    async def slow(*told: Any) -> None:
        started.set()
        await asyncio.sleep(0.2)
        await failure(*told)

    monkeypatch.setattr(settle, "failure", slow)
    world.model.say(Reply.error(500))
    execution_id = await world.opened()
    working = asyncio.create_task(execute(world.runtime, execution_id))
    await asyncio.wait_for(started.wait(), 20)

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    async with asyncio.timeout(10):
        while await _is_running(execution_id):  # noqa: ASYNC110 # a row tells of no event
            await asyncio.sleep(0.01)
    assert (await TaskExecution.get(id=execution_id)).status == "retrying"


async def test_no_tools_and_no_rounds_are_one_call_without_tools(world: World) -> None:
    await rows("UPDATE task_definition SET tools = '[]', max_tool_rounds = 0")

    done = await world.run(Reply.text("Plain."))

    assert (done.status, world.comments()) == ("succeeded", ["Plain."])
    assert "tools" not in world.model.requests[0]


async def test_a_task_that_was_deleted_while_queued_fails_and_says_so(world: World) -> None:
    execution_id = await world.opened()
    await rows("DELETE FROM task_definition")

    await execute(world.runtime, execution_id)

    done = await TaskExecution.get(id=execution_id)
    assert (done.status, done.error) == ("failed", "task 'triage' not found")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "Not Found"),
        (410, "This issue was deleted"),
        (403, "Unable to create comment because issue is locked."),
        (403, "Resource not accessible by personal access token"),
    ],
)
async def test_an_item_that_takes_no_comment_fails_the_run_once_and_says_why(
    world: World, status: int, message: str
) -> None:
    world.github.fail_next("POST", "comments", status=status, body={"message": message})

    done = await world.run(Reply.text("Unheard."))

    assert [done.status, done.answer, world.comments()] == ["failed", None, []]
    assert f"/repos/{REPO}/issues/7/comments: answered {status}, {message}" in (done.error or "")
    effect = await Effect.get()
    assert (effect.status, message in (effect.error or "")) == ("failed", True)


async def test_values_longer_than_their_columns_do_not_stop_a_comment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def post(*_: Any, **__: Any) -> Any:
        return Posted(id="9" * 300, url="https://x", bot_account="b" * 300)

    monkeypatch.setattr("aether.sources.github.answer.post_comment", post)

    done = await world.run(Reply.text("Long."))

    assert (done.status, done.tries) == ("succeeded", 0)
