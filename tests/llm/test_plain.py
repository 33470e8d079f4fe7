"""Replies of servers whose OpenAI form is nearly one are read for what they say, and counted."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from aether.config import Settings
from aether.demo.model import Reply, ScriptedModel
from aether.llm import chat, plain, streaming
from tests.llm.test_replies import HELLO, LABEL

PARTS = [{"type": "text", "text": "It is "}, {"type": "text", "text": "the parser."}]
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.fixture(autouse=True)
def _streams_unknown() -> Iterator[None]:
    streaming.forget()
    yield
    streaming.forget()


@pytest.fixture(params=["whole", "whole for a stream", "streamed"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def call(arguments: Any, id: Any = "c1") -> dict[str, Any]:
    function = {"name": "add_label", "arguments": arguments}
    return {"id": id, "type": "function", "function": function}


async def ask(
    settings: Settings, model: ScriptedModel, way: str, message: Mapping[str, Any]
) -> tuple[chat.Reply, str]:
    """What is read of ``message``, and what was heard of it on the way."""
    told: dict[str, Any] = {"role": "assistant", "content": None, **message}
    calls = told.get("tool_calls", ())
    if way == "streamed":
        deltas = [{"tool_calls": [{"index": n, **one}]} for n, one in enumerate(calls)]
        model.say(Reply.streaming(deltas[0] if deltas else told, *deltas[1:]).using(11, 7))
    else:
        choice = {"index": 0, "finish_reason": "stop", "message": told}
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        frame = {"id": "x", "object": "chat.completion", "created": 1, "model": "scripted"}
        model.say(Reply.raw(frame | {"choices": [choice], "usage": usage}))
    heard: list[str] = []
    reply = await chat.complete(
        settings, model=None, messages=HELLO, tools=[LABEL], timeout=20,
        on_text=None if way == "whole" else heard.append,
    )  # fmt: skip
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (11, 7)
    assert not reply.usage.is_estimated
    assert len(model.requests) == 1
    return reply, "".join(heard)


async def test_arguments_that_are_an_object_are_taken_as_they_are(
    settings: Settings, model: ScriptedModel, way: str
) -> None:
    arguments = {"label": "größer", "n": 1, "of": {"a": None}}

    reply, _ = await ask(settings, model, way, {"tool_calls": [call(arguments)]})

    [made] = reply.tool_calls
    assert json.loads(made.arguments or "") == arguments
    [kept] = reply.message["tool_calls"]
    assert json.loads(kept["function"]["arguments"]) == arguments


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([1], "[1]"), (["a"], '["a"]'), (3, "3"), (True, "true")],
)
async def test_arguments_that_are_neither_text_nor_an_object_are_told_as_the_text_of_them(
    settings: Settings, model: ScriptedModel, way: str, arguments: Any, told: str
) -> None:
    calls = [call(arguments), call({"label": "b"}, "c2")]

    reply, _ = await ask(settings, model, way, {"tool_calls": calls})

    assert [one.arguments for one in reply.tool_calls] == [told, '{"label": "b"}']
    kept = [one["function"]["arguments"] for one in reply.message["tool_calls"]]
    assert kept == ["{}", '{"label": "b"}']


async def test_ids_that_count_the_calls_are_ids(
    settings: Settings, model: ScriptedModel, way: str
) -> None:
    calls = [call('{"label": "a"}', 0), call('{"label": "b"}', 1)]

    reply, _ = await ask(settings, model, way, {"tool_calls": calls})

    assert [one.arguments for one in reply.tool_calls] == ['{"label": "a"}', '{"label": "b"}']
    assert [one.id for one in reply.tool_calls] == ["0", "1"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (PARTS, "It is the parser."),
        ([THOUGHT, *PARTS, IMAGE], "It is the parser."),
        (["It is ", "the parser."], "It is the parser."),
        ({"type": "text", "text": "It is the parser."}, "It is the parser."),
        ({"area": "parser"}, '{"area": "parser"}'),
        ([THOUGHT, IMAGE], ""),
    ],
)
async def test_a_text_in_parts_is_the_text_of_its_parts(
    settings: Settings, model: ScriptedModel, way: str, content: Any, text: str
) -> None:
    reply, heard = await ask(settings, model, way, {"content": content})

    assert (reply.text or "", reply.tool_calls) == (text, ())
    assert reply.message == {"role": "assistant", "content": text}
    assert heard == ("" if way == "whole" else text)


async def test_the_parts_of_a_stream_are_heard_one_by_one(
    settings: Settings, model: ScriptedModel
) -> None:
    told: list[dict[str, Any]] = [
        {"content": [THOUGHT]},
        {"content": PARTS[:1]},
        {"content": PARTS[1:]},
    ]
    model.say(Reply.streaming(*told))
    heard: list[str] = []

    reply = await chat.complete(
        settings, model=None, messages=HELLO, tools=None, timeout=20, on_text=heard.append
    )

    assert (reply.text, heard) == ("It is the parser.", ["It is ", "the parser."])


def test_arguments_that_no_text_can_be_made_of_are_told_as_such() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    assert plain.arguments(deep) == "(nested too deeply)"
