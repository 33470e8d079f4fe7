"""Replies that are not whole, that hold too much, or that come when no tool is offered."""

import asyncio
import json
import threading
from typing import Any

import pytest

from aether.db import rows
from aether.demo.model import Reply, by_turn
from aether.engine import approvals
from aether.engine.execute import execute
from aether.engine.tool_calls import after_last_round
from aether.errors import LeaseLostError
from aether.models import Approval, ExecutionMessage, TaskDefinition, ToolExecution
from aether.vocabulary import ApprovalStatus
from tests.engine import test_execute as base

World = base.World
CALL = base.CALL
TOKEN = base.TOKEN
make = base.make
world = base.world


def results(world: World, request: int = -1) -> list[str]:
    """What the model was told of its calls in one request."""
    return [
        one["content"] for one in world.model.requests[request]["messages"] if one["role"] == "tool"
    ]


@pytest.mark.parametrize("half", ["", '{"reason": "not_pl'])
async def test_a_call_that_was_cut_off_is_not_run_and_the_model_is_told_why(
    world: World, half: str
) -> None:
    cut = Reply.calls(CALL("get_issue", {}, "c1"), CALL("close_issue", half, "c2"))

    done = await world.run(cut.finishing("length"), Reply.text("Then not."))

    assert (done.status, world.github.issue(base.REPO, 7).state) == ("succeeded", "open")
    read, close = await ToolExecution.all().order_by("id")
    assert (read.status, close.status) == ("succeeded", "failed")
    assert results(world)[1] == (
        "Error: arguments: your reply reached the output limit before their end; call again, and "
        "write less at once. The tool was not run."
    )
    assert world.model.problems == []


async def test_an_answer_that_was_cut_off_is_posted_and_says_so(world: World) -> None:
    half = "Look at this:\n\n```python\nprint(1"

    done = await world.run(Reply.text(half).finishing("length"))

    told = f"{half}\n```\n\n*[Cut off: the model's output limit was reached.]*"
    assert (done.status, done.answer, world.comments()) == ("succeeded", told, [told])


async def test_last_words_that_were_cut_off_beside_a_call_say_so(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(max_tool_rounds=1)
    read = Reply.calls(CALL("get_issue", {}, "c1"))
    cut = Reply.calls(CALL("close_issue", {}, "c2"), content="It is the par").finishing("length")

    await world.run(read, cut)

    assert world.comments() == [
        "It is the par\n\n*[Cut off: the model's output limit was reached.]*"
    ]
    assert world.github.issue(base.REPO, 7).state == "open"


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("length", "the model's output limit was reached"),
        ("content_filter", "the provider's content filter ended it"),
    ],
)
async def test_where_nothing_is_answered_it_is_said_why(
    world: World, reason: str, why: str
) -> None:
    done = await world.run(Reply.text("").finishing(reason), Reply.text("").finishing(reason))

    assert (done.status, done.llm_calls, world.comments()) == ("failed", 2, [])
    assert done.error == f"the model returned an empty answer twice ({why}); nothing was posted"


async def test_of_too_many_calls_the_model_is_told_which_were_not_run(world: World) -> None:
    many = Reply.calls(*(CALL("recall", {"query": "x"}, f"c{n}") for n in range(131)))

    done = await world.run(many, Reply.text("Enough."))

    assert (done.status, done.tool_calls) == ("succeeded", 128)
    sent = world.model.requests[1]["messages"]
    assert (len(sent[2]["tool_calls"]), [one["role"] for one in sent[3:131]]) == (
        128, ["tool"] * 128,
    )  # fmt: skip
    assert sent[131:] == [
        {
            "role": "user",
            "content": "Your last reply held too many calls: the last 3 were not run. Make them "
            "again if they are still wanted, fewer at once.",
        }
    ]
    assert world.model.problems == []


async def test_one_id_in_every_round_is_another_id_in_the_history(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(max_tool_rounds=3)
    rounds = [Reply.calls(CALL("add_labels", {"labels": [name]}, "call_0")) for name in "abc"]

    done = await world.run(*rounds, Reply.text("Labelled."))

    assert (done.status, world.labels()) == ("succeeded", ["a", "b", "c"])
    sent = world.model.requests[-1]["messages"]
    asked = [call["id"] for one in sent for call in one.get("tool_calls") or ()]
    told = [one["tool_call_id"] for one in sent if one["role"] == "tool"]
    assert (asked, len(set(asked))) == (told, 3)


async def test_a_tool_that_is_switched_off_while_the_model_thinks_is_not_run(
    world: World,
) -> None:
    go_on = threading.Event()
    close = Reply.calls(CALL("close_issue", {}, "c2")).after(go_on)
    world.model.say(
        by_turn([Reply.calls(CALL("get_issue", {}, "c1")), close, Reply.text("Then not.")])
    )
    execution_id = await world.opened()

    async def switch_off() -> None:
        async with asyncio.timeout(20):
            while len(world.model.requests) < 2:  # noqa: ASYNC110 # in another thread
                await asyncio.sleep(0.01)
        await rows("UPDATE tool_definition SET enabled = false WHERE name = 'close_issue'")
        go_on.set()

    await asyncio.gather(execute(world.runtime, execution_id), switch_off())

    assert world.github.issue(base.REPO, 7).state == "open"
    assert results(world)[1] == (
        "Refused: close_issue is withheld from this run: it is switched off"
    )
    offered = [one["function"]["name"] for one in world.model.requests[2]["tools"]]
    assert "close_issue" not in offered


async def test_a_crash_between_two_results_of_one_reply_leaves_a_history_that_is_valid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [CALL("add_labels", {"labels": [name]}, f"c{name}") for name in "abc"]
    stored = []

    def crash(name: str) -> None:
        if name == "tool result stored":
            stored.append(name)
            if len(stored) == 2:
                raise LeaseLostError("its process died")

    monkeypatch.setattr("aether.checkpoints._Hook.call", staticmethod(crash))
    execution = await world.run(Reply.calls(*calls), Reply.text("Labelled."))
    assert (execution.status, execution.tool_calls) == ("running", 2)
    await rows("UPDATE task_execution SET lease_until = now() - interval '1 hour'")

    done = await world.again(execution.id)

    assert (done.status, done.llm_calls, done.tool_calls) == ("succeeded", 2, 3)
    sent = world.model.requests[-1]["messages"]
    assert [one["tool_call_id"] for one in sent if one["role"] == "tool"] == ["ca", "cb", "cc"]
    assert (world.labels(), world.model.problems) == (["a", "b", "c"], [])
    assert [one.call_id for one in await ToolExecution.all().order_by("id")] == ["ca", "cb", "cc"]


async def test_last_words_that_a_person_refuses_are_written_anew(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(max_tool_rounds=1, approve_answer=True)
    read = Reply.calls(CALL("get_issue", {}, "c1"))
    words = Reply.calls(CALL("close_issue", {}, "c2"), content="Last words.")
    waiting = await world.run(read, words, Reply.text("Better words."))
    asked = await Approval.get(status="pending")
    assert (waiting.status, asked.text) == ("waiting_approval", "Last words.")

    await approvals.decide(world.runtime, asked.id, ApprovalStatus.REFUSED, reason="Too short.")
    await execute(world.runtime, waiting.id)

    again = await Approval.get(status="pending")
    assert (again.text, world.comments()) == ("Better words.", [])
    assert results(world)[1] == "Refused: the last round of calls is over"
    assert world.model.problems == []
    await approvals.decide(world.runtime, again.id, ApprovalStatus.APPROVED)
    await execute(world.runtime, waiting.id)
    assert world.comments() == ["Better words."]
    assert world.github.issue(base.REPO, 7).state == "open"


async def test_calls_beside_last_words_that_were_refused_are_not_run_after_a_crash_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await TaskDefinition.filter(id="triage").update(max_tool_rounds=1, approve_answer=True)
    read = Reply.calls(CALL("get_issue", {}, "c1"))
    words = Reply.calls(
        CALL("add_labels", {"labels": ["bug"]}, "c2"),
        CALL("close_issue", {}, "c3"),
        content="Last words.",
    )
    waiting = await world.run(read, words, Reply.text("Better words."))
    asked = await Approval.get(status="pending")
    await approvals.decide(world.runtime, asked.id, ApprovalStatus.REFUSED, reason="Too short.")
    ended = []

    def crash(*told: Any) -> Any:
        ended.append(told)
        if len(ended) == 2:
            raise LeaseLostError("its process died")
        return after_last_round(*told)

    monkeypatch.setattr("aether.engine.rounds.after_last_round", crash)
    await execute(world.runtime, waiting.id)
    monkeypatch.undo()
    await rows("UPDATE task_execution SET lease_until = now() - interval '1 hour'")

    await world.again(waiting.id)

    again = await Approval.get(status="pending")
    assert (again.text, world.labels()) == ("Better words.", [])
    assert world.github.issue(base.REPO, 7).state == "open"
    assert results(world)[1:] == ["Refused: the last round of calls is over"] * 2
    assert "Too short." in world.model.requests[-1]["messages"][-1]["content"]
    assert world.model.problems == []


async def test_secrets_in_a_text_that_is_cut_leave_no_half_of_one(world: World) -> None:
    body = f"{TOKEN} " * 40_000

    done = await world.run(Reply.calls(CALL("get_issue", {}, "c1")), Reply.text("Read."), body=body)

    assert done.status == "succeeded"
    event, result = (world.model.requests[1]["messages"][place]["content"] for place in (1, -1))
    assert "characters left out" in event
    assert "characters left out" in result
    stored = [one.message for one in await ExecutionMessage.all()]
    told = json.dumps([stored, [one.result for one in await ToolExecution.all()]])
    assert TOKEN[:6] not in told
    assert TOKEN[-6:] not in told


async def test_a_result_of_megabytes_of_odd_signs_is_shortened_and_cleaned(world: World) -> None:
    done = await world.run(
        Reply.calls(CALL("get_issue", {}, "c1")), Reply.text("Read."), body="a\x00b" * 1_000_000
    )

    [told] = results(world)
    assert (done.status, len(told) < 41_000) == ("succeeded", True)
    assert "characters left out" in told
    assert "\x00" not in told
    assert "\\u0000" not in told


async def test_arguments_that_are_no_object_are_answered_and_their_reply_is_counted(
    world: World,
) -> None:
    wanted: list[tuple[str, Any]] = [("close_issue", [1]), ("get_issue", {})]
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(wanted)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    told = {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]}

    done = await world.run(
        Reply.raw(told | {"usage": usage}), Reply.text("Then not.").using(100, 10)
    )

    assert (done.status, done.llm_calls, done.tries) == ("succeeded", 2, 0)
    assert (done.prompt_tokens, done.completion_tokens) == (111, 17)
    closed, read = await ToolExecution.all().order_by("id")
    assert (closed.status, read.status) == ("failed", "succeeded")
    assert results(world)[0] == ("Error: arguments: must be a JSON object. The tool was not run.")
    assert world.github.issue(base.REPO, 7).state == "open"
