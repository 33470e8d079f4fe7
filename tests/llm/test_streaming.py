import asyncio
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from aether.config import Settings
from aether.demo.model import Reply, ScriptedModel, ToolCallScript
from aether.demo.serving import serving
from aether.errors import NotConfiguredError, UpstreamError
from aether.llm import chat, streaming
from aether.spending import Usage
from tests.llm.conftest import KEY, settings_of, until

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello."}]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {"name": "add_label", "parameters": {"type": "object", "properties": {}}},
    }
]


@pytest.fixture(autouse=True)
def _streams_unknown() -> Iterator[None]:
    streaming.forget()
    yield
    streaming.forget()


async def ask(settings: Settings, heard: list[str] | None = None, **changes: Any) -> chat.Reply:
    """One call; with ``heard`` streamed, its pieces in there."""
    asked: dict[str, Any] = {"model": None, "messages": HELLO, "tools": None, "timeout": 60}
    if heard is not None:
        asked["on_text"] = heard.append
    return await chat.complete(settings, **{**asked, **changes})


def call_piece(index: int | None, **told: Any) -> dict[str, Any]:
    """A delta with a piece of one tool call."""
    function = {key: told.pop(key) for key in ("name", "arguments") if key in told}
    piece = {"type": "function", "function": function, **told}
    return {"tool_calls": [piece if index is None else {"index": index, **piece}]}


@pytest.mark.parametrize(
    "reply",
    [
        Reply.text("Two charges, one refund.").using(120, 7),
        Reply.text("One"),
        Reply.text(None),
        Reply.text(""),
        Reply.text("\n "),
        Reply.text("naïve 🙂 text\x00 with odd signs"),
        Reply.text("<think>the user wants…</think>The answer."),
        Reply.text("<thinking>never ends"),
        Reply.text("<thin ice>"),
        Reply.text("Cut short").finishing("length"),
        Reply.calls(ToolCallScript("add_label", {"label": "bug"}, id="c1")),
        Reply.calls(
            ToolCallScript("add_label", {"label": "bug"}, id="c1"),
            ToolCallScript("functions.add_label", '{"label": "b', id="c2"),
            ToolCallScript("list_labels", "", id="c3"),
            content="I shall label it.",
        ),
        Reply(content="Told.", headers={"x-litellm-response-cost": "0.0123"}),
    ],
)
async def test_a_streamed_reply_is_the_very_reply_of_a_plain_call(
    settings: Settings, model: ScriptedModel, reply: Reply
) -> None:
    model.say(reply)
    heard: list[str] = []

    plain = await ask(settings, tools=TOOLS)
    streamed = await ask(settings, heard, tools=TOOLS)

    assert streamed == plain
    assert "".join(heard) == (plain.text or "")
    asked = model.requests[1]
    assert asked == model.requests[0] | {"stream": True, "stream_options": {"include_usage": True}}
    assert model.problems == []


async def test_the_text_is_heard_while_it_is_written(
    settings: Settings, model: ScriptedModel
) -> None:
    gate = threading.Event()
    model.say(lambda request: Reply.text("First second third.").paced(gate))
    heard: list[str] = []
    begun = asyncio.Event()

    def hear(piece: str) -> None:
        heard.append(piece)
        begun.set()

    asking = asyncio.create_task(ask(settings, on_text=hear))
    await until(lambda: bool(model.requests))
    assert heard == []
    gate.set()
    async with asyncio.timeout(60):
        await begun.wait()
        reply = await asking

    assert heard == ["First ", "second ", "third."]
    assert reply.text == "First second third."


async def test_the_list_price_is_the_cost_of_a_stream_too(
    settings: Settings, model: ScriptedModel
) -> None:
    model.models.append("gpt-4o")
    model.say(Reply.text("x").using(1_000, 100))

    reply = await ask(settings, [], model="gpt-4o")

    assert reply.usage == Usage(
        model="gpt-4o", prompt_tokens=1_000, completion_tokens=100, cost_usd=Decimal("0.0035")
    )


async def test_a_stream_without_usage_is_counted(settings: Settings, model: ScriptedModel) -> None:
    model.say(Reply.text("One two three four.").without_usage())

    reply = await ask(settings, [])

    assert reply.text == "One two three four."
    assert 0 < reply.usage.prompt_tokens < 20
    assert 0 < reply.usage.completion_tokens < 10


async def test_half_characters_are_put_together_and_lone_ones_replaced(
    settings: Settings, model: ScriptedModel
) -> None:
    pieces = ["a\ud83d", "\ude42b", "\ude42", ".\x00", "\ud83d"]  # no secret begins so
    model.say(Reply.streaming(*({"content": piece} for piece in pieces)).without_usage())
    heard: list[str] = []

    reply = await ask(settings, heard)

    assert reply.text == "a🙂b\ufffd.\ufffd"
    assert heard == ["a", "🙂b", "\ufffd", ".", "\ufffd"]


async def test_a_thought_is_not_heard(settings: Settings, model: ScriptedModel) -> None:
    pieces = ["<th", "ink>I wonder", " a lot</thi", "nk>", "The ", "answer <think>."]
    model.say(Reply.streaming(*({"content": piece} for piece in pieces)))
    heard: list[str] = []

    reply = await ask(settings, heard)

    assert reply.text == "The answer <think>."
    assert heard == ["The ", "answer <think>."]


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        pytest.param(
            [
                call_piece(0, id="c1", name="f", arguments='{"a": 1}'),
                call_piece(0, id="c2", name="f", arguments='{"a": 2}'),
            ],
            [("c1", "f", '{"a": 1}'), ("c2", "f", '{"a": 2}')],
            id="whole calls all under index 0",
        ),
        pytest.param(
            [
                call_piece(0, id="c1", name="f", arguments='{"a"'),
                call_piece(0, id="c1", name="f", arguments=": 1}"),
            ],
            [("c1", "f", '{"a": 1}')],
            id="the id in every piece",
        ),
        pytest.param(
            [
                call_piece(0, id="c1", name="f", arguments='{"a": '),
                call_piece(0, arguments="1}"),
                call_piece(0, id="c1", name="f", arguments='{"a": 1}'),
            ],
            [("c1", "f", '{"a": 1}')],
            id="a finished call once more",
        ),
        pytest.param(
            [
                call_piece(0, id="c1", name="f", arguments='{"a": 1}'),
                call_piece(1, id="c2", name="f", arguments='{"a": 2}'),
                call_piece(2, id="c1", name="f", arguments='{"a": 1}'),
            ],
            [("c1", "f", '{"a": 1}'), ("c2", "f", '{"a": 2}')],
            id="one id twice",
        ),
        pytest.param(
            [
                call_piece(1, id="c2", name="g", arguments="{"),
                call_piece(0, id="c1", name="f", arguments="{"),
                call_piece(1, arguments="}"),
                call_piece(0, arguments="}"),
            ],
            [("c2", "g", "{}"), ("c1", "f", "{}")],
            id="interleaved",
        ),
    ],
)
async def test_tool_calls_are_put_together_however_they_are_cut(
    settings: Settings,
    model: ScriptedModel,
    pieces: list[dict[str, Any]],
    calls: list[tuple[str, str, str]],
) -> None:
    model.say(Reply.streaming(*pieces).finishing("tool_calls"))

    reply = await ask(settings, [], tools=TOOLS)

    assert [(one.id, one.name, one.arguments) for one in reply.tool_calls] == calls
    assert [one["id"] for one in reply.message["tool_calls"]] == [one[0] for one in calls]


async def test_a_streamed_call_of_a_kind_that_nobody_offered_is_kept_for_an_answer(
    settings: Settings, model: ScriptedModel
) -> None:
    custom = {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    model.say(Reply.streaming({"tool_calls": [custom]}).finishing("tool_calls"))

    reply = await ask(settings, [], tools=TOOLS)

    assert len(reply.tool_calls) == len(reply.message["tool_calls"]) == 1


async def test_whole_calls_under_one_index_without_ids_are_kept_apart(
    settings: Settings, model: ScriptedModel
) -> None:
    pieces = [
        call_piece(0, name="f", arguments='{"a": 1}'),
        call_piece(0, id="", name="g", arguments='{"a": '),
        call_piece(0, arguments="2}"),
    ]
    model.say(Reply.streaming(*pieces).finishing("tool_calls"))

    reply = await ask(settings, [], tools=TOOLS)

    assert [(one.name, one.arguments) for one in reply.tool_calls] == [
        ("f", '{"a": 1}'), ("g", '{"a": 2}'),
    ]  # fmt: skip
    assert len({one.id for one in reply.tool_calls}) == 2


@pytest.mark.parametrize(
    "reply",
    [
        Reply.cut("one two three four", after_chunks=3),
        Reply.breaking("one two three four", after_chunks=3),
        Reply.unfinished("one two three four", after_chunks=3),
    ],
)
async def test_a_stream_that_ends_in_the_middle_is_retryable_after_one_call(
    settings: Settings, model: ScriptedModel, reply: Reply
) -> None:
    model.say(reply)
    heard: list[str] = []

    with pytest.raises(UpstreamError) as raised:
        await ask(settings, heard)

    assert raised.value.retryable is True
    assert "".join(heard) == "one two "
    assert len(model.calls) == 1
    if reply.error_event:
        assert "The model broke down." in str(raised.value)


@pytest.mark.parametrize(
    ("reply", "retryable", "wait"),
    [
        (Reply.error(400, message="odd tools"), False, None),
        (Reply.context_too_long(), False, None),
        (Reply.error(404), False, None),
        (Reply.error(429, retry_after=2), True, 2.0),
        (Reply.error(500), True, None),
        (Reply.error(503, retry_after=30), True, 30.0),
        (Reply.reset(), True, None),
        (Reply.raw({"id": "x"}), True, None),
        (Reply.raw({"id": "x", "choices": []}), True, None),
        (Reply.raw("<html>"), True, None),
        (Reply.raw("hello"), True, None),
    ],
)
async def test_a_refused_stream_is_told_like_a_refused_call(
    settings: Settings,
    model: ScriptedModel,
    reply: Reply,
    retryable: bool,
    wait: float | None,
) -> None:
    model.say(reply)
    heard: list[str] = []

    with pytest.raises(UpstreamError) as raised:
        await ask(settings, heard)

    assert (raised.value.retryable, raised.value.retry_after) == (retryable, wait)
    assert heard == []
    assert len(model.calls) == 1


async def test_a_refused_key_is_named(settings: Settings, model: ScriptedModel) -> None:
    model.say(Reply.error(401))

    with pytest.raises(NotConfiguredError, match=r"^LLM_API_KEY: "):
        await ask(settings, [])

    assert len(model.calls) == 1


async def test_a_server_that_ignores_stream_answers_whole(
    settings: Settings, model: ScriptedModel
) -> None:
    told = Reply(content="<think>hm</think>All at once.", headers={"x-litellm-response-cost": "2"})
    model.say(told.unstreamed().using(9, 4))
    heard: list[str] = []

    plain = await ask(settings)
    streamed = await ask(settings, heard)

    assert streamed == plain
    assert heard == ["All at once."]
    assert len(model.calls) == 2  # not asked twice for one reply


@pytest.mark.parametrize(
    "message",
    [
        "Streaming is not supported for this model.",
        "`stream` must be false.",
        "This deployment does not support stream mode.",
        "Unsupported value: 'stream' does not support true with this model.",
    ],
)
async def test_a_server_that_refuses_to_stream_is_asked_plainly_from_then_on(
    settings: Settings, model: ScriptedModel, message: str
) -> None:
    model.say(
        lambda asked: (
            Reply.error(400, message=message) if asked.json.get("stream") else Reply.text("Plain.")
        )
    )
    heard: list[str] = []

    first = await ask(settings, heard)
    second = await ask(settings, heard)

    assert (first.text, second.text) == ("Plain.", "Plain.")
    assert heard == ["Plain.", "Plain."]
    assert [one.get("stream") for one in model.requests] == [True, None, None]


async def test_a_server_that_refuses_the_usage_option_streams_without(
    settings: Settings, model: ScriptedModel
) -> None:
    refusal = Reply.error(422, message="stream_options: Extra inputs are not permitted")
    model.say(
        lambda asked: refusal if "stream_options" in asked.json else Reply.text("Bit by bit.")
    )
    heard: list[str] = []

    await ask(settings, heard)
    reply = await ask(settings, heard)

    assert reply.text == "Bit by bit."
    assert heard == ["Bit ", "by ", "bit."] * 2
    assert ["stream_options" in one for one in model.requests] == [True, False, False]
    assert [one["stream"] for one in model.requests] == [True, True, True]


async def test_a_refusal_for_another_reason_is_neither_repeated_nor_remembered(
    settings: Settings, model: ScriptedModel
) -> None:
    model.say([Reply.error(400, message="the upstream does not know it"), Reply.text("a b")])
    heard: list[str] = []

    with pytest.raises(UpstreamError):
        await ask(settings, heard)
    await ask(settings, heard)

    assert heard == ["a ", "b"]
    assert len(model.calls) == 2


async def test_a_stream_that_falls_silent_is_ended(
    settings: Settings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "IDLE_SECONDS", 0.2)
    never = threading.Event()
    model.say(Reply.text("one two").paced(never))

    with pytest.raises(UpstreamError, match="did not answer in time") as raised:
        await ask(settings, [])

    assert raised.value.retryable is True
    await _ended(model)


async def test_a_stream_that_takes_too_long_in_all_is_ended(
    settings: Settings, model: ScriptedModel
) -> None:
    model.say(Reply.text(" ".join("x" * 20_000)).paced(0.01))
    heard: list[str] = []

    for seconds in (0.5, 2.0, 8.0, 32.0):  # until it is long enough on this machine to hear some
        with pytest.raises(UpstreamError, match="did not answer in time"):
            await ask(settings, heard, timeout=seconds)
        await _ended(model)
        if heard:
            break

    assert heard
    assert len(heard) < 20_000


async def test_a_cancelled_call_closes_the_stream(settings: Settings, model: ScriptedModel) -> None:
    model.say(Reply.text("one two").paced(threading.Event()))
    asking = asyncio.create_task(ask(settings, []))
    await until(lambda: bool(model.requests))

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    await _ended(model)


async def _ended(model: ScriptedModel) -> None:
    """Wait until the server has noticed that nobody listens."""
    await until(lambda: model.calls[-1].ended_at is not None)


async def test_a_listener_that_fails_changes_nothing(
    settings: Settings, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    model.say(Reply.text("one two"))

    def fail(_: str) -> None:
        raise ValueError("not mine")

    with caplog.at_level(logging.ERROR):
        reply = await ask(settings, on_text=fail)

    assert reply.text == "one two"
    assert "a listener to the model's text failed" in caplog.text


async def test_a_reply_without_end_is_ended(
    settings: Settings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MOST_CHARACTERS", 20)
    model.say(Reply.text("word " * 50))

    with pytest.raises(UpstreamError, match="more than 20 characters") as raised:
        await ask(settings, [])

    assert raised.value.retryable is False


async def test_many_streams_at_once_do_not_mix(settings: Settings, model: ScriptedModel) -> None:
    model.say(lambda request: Reply.text(f"{request.user} and again {request.user}"))

    async def one(number: int) -> bool:
        heard: list[str] = []
        messages = [{"role": "user", "content": f"question {number}"}]
        reply = await ask(settings, heard, messages=messages)
        return reply.text == "".join(heard) == f"question {number} and again question {number}"

    assert all(await asyncio.gather(*(one(number) for number in range(30))))


ANTHROPIC_EVENTS = (
    '{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":'
    '"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":'
    '{"input_tokens":1000,"output_tokens":1}}}',
    '{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm."}}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s1"}}',
    '{"type":"content_block_stop","index":0}',
    '{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}',
    '{"type":"ping"}',
    '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"I "}}',
    '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"look."}}',
    '{"type":"content_block_stop","index":1}',
    '{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t1","name":'
    '"add_label","input":{}}}',
    '{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":'
    '"{\\"label\\": "}}',
    '{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":'
    '"\\"bug\\"}"}}',
    '{"type":"content_block_stop","index":2}',
    '{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":'
    '{"output_tokens":100}}',
    '{"type":"message_stop"}',
)


@contextmanager
def anthropic(monkeypatch: pytest.MonkeyPatch, events: Sequence[str]) -> Iterator[Settings]:
    """Settings for a server of Anthropic's form that answers with these events."""
    lines = [f"event: x\ndata: {event}\n\n" for event in events]

    async def answer(request: Request) -> Response:
        assert (await request.json())["stream"] is True
        return StreamingResponse(iter(lines), media_type="text/event-stream")

    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-SECRET0001")
    with serving(Starlette(routes=[Route("/v1/messages", answer, methods=["POST"])])) as url:
        monkeypatch.setenv("ANTHROPIC_API_BASE", url)
        yield settings_of(llm_model="anthropic/claude-sonnet-4-5")


async def ask_anthropic(
    monkeypatch: pytest.MonkeyPatch, events: Sequence[str], heard: list[str]
) -> chat.Reply:
    """One streamed call, answered with these events."""
    with anthropic(monkeypatch, events) as settings:
        try:
            return await ask(settings, heard, tools=TOOLS)
        finally:
            await chat.close()


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")  # LiteLLM's aiohttp
async def test_a_providers_own_stream_without_its_end_is_retryable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []

    with pytest.raises(UpstreamError, match="ended before") as raised:
        await ask_anthropic(monkeypatch, ANTHROPIC_EVENTS[:9], heard)

    assert raised.value.retryable is True
    assert heard == ["I ", "look."]


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")  # LiteLLM's aiohttp
async def test_a_providers_own_stream_keeps_thoughts_calls_and_price(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Events as in https://docs.anthropic.com/en/docs/build-with-claude/streaming."""
    heard: list[str] = []

    reply = await ask_anthropic(monkeypatch, ANTHROPIC_EVENTS, heard)

    assert heard == ["I ", "look."]
    assert reply.text == "I look."
    assert reply.tool_calls == (
        chat.ToolCall(id="t1", name="add_label", arguments='{"label": "bug"}'),
    )
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (1000, 100)
    assert reply.usage.cost_usd == Decimal("0.0045")
    assert reply.message["thinking_blocks"][0]["signature"] == "s1"
    assert reply.message["reasoning_content"] == "Hm."


async def test_no_secret_is_in_a_streams_error_or_the_log(
    settings: Settings, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    message = f"no model at https://host.test/v1?key=AIzaSECRET0001, Bearer sk-SECRET, {KEY}"
    model.say(Reply.breaking("one two", message=message))
    caplog.set_level(logging.DEBUG)

    with pytest.raises(UpstreamError) as raised:
        await ask(settings, [])

    for secret in ("AIzaSECRET0001", "sk-SECRET", KEY):
        assert secret not in str(raised.value) + caplog.text
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


async def test_others_have_their_turn_while_a_fast_model_writes() -> None:
    pieces = [{"index": 0, "delta": {"content": f"{place} "}} for place in range(200)]
    pieces.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    told = [
        {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [one]}
        for one in pieces
    ]
    body = "".join(f"data: {json.dumps(one)}\n\n" for one in told) + "data: [DONE]\n\n"

    async def at_once(request: Request) -> Response:
        return Response(body, media_type="text/event-stream")

    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turns_at: list[int] = []
    app = Starlette(routes=[Route("/v1/chat/completions", at_once, methods=["POST"])])
    with serving(app) as url:
        settings = settings_of(llm_base_url=f"{url}/v1", llm_api_key=KEY, llm_model="m")
        running = asyncio.create_task(another())
        reply = await ask(settings, on_text=lambda _: turns_at.append(turns))
        running.cancel()
    await chat.close()

    assert reply.text == "".join(f"{place} " for place in range(200))
    assert len(turns_at) == 200
    assert all(later > earlier for earlier, later in pairwise(turns_at))
