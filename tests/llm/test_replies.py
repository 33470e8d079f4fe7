"""How a reply is read that is not whole, or that the next request would not be valid with."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from aether.config import Settings
from aether.demo.model import Reply, ScriptedModel, ToolCallScript
from aether.demo.serving import serving
from aether.llm import chat, streaming
from tests.llm.conftest import settings_of

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello."}]
LABEL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "add_label", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(autouse=True)
def _streams_unknown() -> Iterator[None]:
    streaming.forget()
    yield
    streaming.forget()


@pytest.fixture(params=["whole", "streamed"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def ask(settings: Settings, way: str, messages: list[dict[str, Any]] = HELLO) -> chat.Reply:
    heard: list[str] = []
    return await chat.complete(
        settings, model=None, messages=messages, tools=[LABEL], timeout=20,
        on_text=heard.append if way == "streamed" else None,
    )  # fmt: skip


@pytest.mark.parametrize("half", ["", '{"label": "b', '{"label": "bug"'])
async def test_arguments_that_were_cut_off_are_marked_and_those_before_them_are_not(
    settings: Settings, model: ScriptedModel, way: str, half: str
) -> None:
    calls = (
        ToolCallScript("add_label", "", id="c1"),
        ToolCallScript("add_label", {"label": "a"}, id="c2"),
        ToolCallScript("add_label", half, id="c3"),
    )
    model.say(Reply.calls(*calls).finishing("length"))

    reply = await ask(settings, way)

    assert [one.arguments for one in reply.tool_calls] == [
        "", '{"label": "a"}', half + chat.CUT_OFF,
    ]  # fmt: skip
    assert [one["function"]["arguments"] for one in reply.message["tool_calls"]] == [
        "{}", '{"label": "a"}', "{}",
    ]  # fmt: skip


async def test_the_last_call_of_a_reply_that_was_cut_off_behind_it_is_whole(
    settings: Settings, model: ScriptedModel, way: str
) -> None:
    model.say(Reply.calls(ToolCallScript("add_label", {"label": "a"})).finishing("length"))

    reply = await ask(settings, way)

    assert [one.arguments for one in reply.tool_calls] == ['{"label": "a"}']


@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        ("stop", None),
        ("length", "the model's output limit was reached"),
        ("content_filter", "the provider's content filter ended it"),
    ],
)
async def test_a_reply_says_why_its_text_is_not_whole(
    settings: Settings, model: ScriptedModel, way: str, reason: str, ending: str | None
) -> None:
    model.say(Reply.text("It is the").finishing(reason))

    reply = await ask(settings, way)

    assert (reply.text, reply.ending) == ("It is the", ending)
    assert reply.message == {"role": "assistant", "content": "It is the"}


async def test_what_a_model_refuses_with_is_told_beside_the_missing_text(
    settings: Settings, model: ScriptedModel
) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot\nhelp with that."}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    told = {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]}
    model.say(Reply.raw(told))

    reply = await ask(settings, "whole")

    assert reply.is_blank
    assert reply.ending == "the model refused: I cannot help with that."


async def test_an_id_that_the_conversation_has_already_is_given_to_no_other_call(
    settings: Settings, model: ScriptedModel, way: str
) -> None:
    calls = [ToolCallScript("add_label", {"label": label}, id="call_0") for label in "abb"]
    model.say(Reply.calls(*calls))
    first = await ask(settings, way)
    results = [
        {"role": "tool", "tool_call_id": one.id, "content": "done"} for one in first.tool_calls
    ]

    second = await ask(settings, way, [*HELLO, first.message, *results])

    ids = [one["id"] for reply in (first, second) for one in reply.message["tool_calls"]]
    assert [one.id for reply in (first, second) for one in reply.tool_calls] == ids
    assert len(ids) == len(set(ids)) == 4
    assert ids[0] == "call_0"
    assert all(len(one) == 9 and one.isalnum() for one in ids[1:])
    assert [one.arguments for one in second.tool_calls] == ['{"label": "a"}', '{"label": "b"}']


async def test_of_more_calls_than_a_provider_takes_back_the_first_are_kept(
    settings: Settings, model: ScriptedModel, way: str
) -> None:
    model.say(Reply.calls(*(ToolCallScript("add_label", {"n": n}) for n in range(200))))

    reply = await ask(settings, way)

    assert (len(reply.tool_calls), len(reply.message["tool_calls"]), reply.left_out) == (
        128, 128, 72,
    )  # fmt: skip


async def test_white_space_beside_calls_does_not_go_back_to_the_model(
    settings: Settings, model: ScriptedModel, way: str
) -> None:
    model.say(Reply.calls(ToolCallScript("add_label", {}), content="\n\n"))

    reply = await ask(settings, way)

    assert reply.message["content"] is None


async def test_lone_surrogates_in_the_pieces_of_a_call_or_a_thought_are_replaced(
    settings: Settings, model: ScriptedModel
) -> None:
    function = {"name": "add_label", "arguments": '{"label": "a\ud83d'}
    model.say(
        Reply.streaming(
            {"role": "assistant", "content": None, "reasoning_content": "hm\ud83d"},
            {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '\ude42\ud800"}'}}]},
        ).without_usage()
    )

    reply = await ask(settings, "streamed")

    assert [one.arguments for one in reply.tool_calls] == ['{"label": "a🙂\ufffd"}']


async def test_thoughts_go_back_to_the_provider_that_had_them_and_to_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, Any]] = []

    async def answer(request: Request) -> JSONResponse:
        asked.append(json.loads(await request.body()))
        if request.url.path.endswith("/messages"):
            thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
            call = {"type": "tool_use", "id": "t1", "name": "add_label", "input": {}}
            told = {"id": "m", "type": "message", "role": "assistant", "model": "claude"}
            usage = {"input_tokens": 1, "output_tokens": 1}
            return JSONResponse(
                told | {"content": [thought, call], "stop_reason": "tool_use", "usage": usage}
            )
        message = {"role": "assistant", "content": "Done."}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return JSONResponse({"id": "x", "object": "chat.completion", "choices": [choice]})

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])
    result = {"role": "tool", "tool_call_id": "t1", "content": "done"}
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "sk-SECRET-0001")
    with serving(app) as url:
        monkeypatch.setenv("ANTHROPIC_API_BASE", url)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        claude = settings_of(llm_model="anthropic/claude-sonnet-4-5")
        first = await ask(claude, "whole")
        history = [*HELLO, first.message, result]

        await ask(claude, "whole", history)
        await ask(settings_of(llm_model="openai/gpt-4o"), "whole", history)
        await chat.close()

    same, other = (one["messages"][-2] for one in asked[1:])
    assert [block["type"] for block in same["content"]] == ["thinking", "tool_use"]
    assert not other.keys() & {"reasoning_content", "thinking_blocks", "reasoned_by"}
    assert "thinking_blocks" in history[1]  # what is stored keeps them
