"""LiteLLM, which the product calls models with, reads the scripted model as it reads OpenAI."""

import os
from typing import Any

import openai
import pytest

from aether.demo.model import Reply, ScriptedModel, ToolCallScript, by_turn
from tests.demo.conftest import KEY

TOOL = {
    "type": "function",
    "function": {
        "name": "add_labels",
        "parameters": {
            "type": "object",
            "properties": {"labels": {"type": "array", "items": {"type": "string"}}},
        },
    },
}
SCRIPT = by_turn(
    [Reply.calls(ToolCallScript("add_labels", {"labels": ["bug"]})), Reply.text("Done.")]
)


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Any:
    # Before the first import: it fetches price lists and loads a stray .env otherwise.
    for name, value in {"LITELLM_OFFLINE_MODE": "true", "LITELLM_MODE": "PRODUCTION"}.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    import litellm

    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    return litellm


@pytest.fixture
def to(model_url: str) -> dict[str, Any]:
    return {
        "model": "openai/scripted",
        "api_base": model_url,
        "api_key": KEY,
        "max_retries": 0,
        "tools": [TOOL],
    }


def as_history(message: Any) -> list[dict[str, Any]]:
    """The assistant's message and one result for each of its calls."""
    calls = message.tool_calls or []
    results = [{"role": "tool", "tool_call_id": call.id, "content": "ok"} for call in calls]
    return [
        message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}),
        *results,
    ]


async def test_tool_calls_and_the_answer_after_them(
    litellm: Any, model: ScriptedModel, to: dict[str, Any]
) -> None:
    model.say(SCRIPT)
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Label it."}]

    first = await litellm.acompletion(messages=messages, **to)
    messages += as_history(first.choices[0].message)
    second = await litellm.acompletion(messages=messages, **to)

    [call] = first.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("add_labels", '{"labels": ["bug"]}')
    assert first.choices[0].finish_reason == "tool_calls"
    assert second.choices[0].message.content == "Done."
    assert second.usage.completion_tokens == 1
    assert model.problems == []


async def test_a_stream_of_text_and_of_tool_calls_with_usage(
    litellm: Any, model: ScriptedModel, to: dict[str, Any]
) -> None:
    model.say([Reply.text("one two three").using(9, 3), SCRIPT_CALLS])
    messages = [{"role": "user", "content": "Go."}]
    options = {"stream": True, "stream_options": {"include_usage": True}}

    text = [part async for part in await litellm.acompletion(messages=messages, **to, **options)]
    calls = [part async for part in await litellm.acompletion(messages=messages, **to, **options)]

    whole, called = litellm.stream_chunk_builder(text), litellm.stream_chunk_builder(calls)
    assert whole.choices[0].message.content == "one two three"
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (9, 3)
    functions = [one.function for one in called.choices[0].message.tool_calls]
    assert [(one.name, one.arguments) for one in functions] == [
        ("add_labels", '{"labels": ["a"]}'),
        ("add_labels", '{"labels": ["b"]}'),
    ]
    assert len({one.id for one in called.choices[0].message.tool_calls}) == 2


SCRIPT_CALLS = Reply.calls(
    ToolCallScript("add_labels", {"labels": ["a"]}), ToolCallScript("add_labels", {"labels": ["b"]})
)


async def test_errors_become_litellms_own_after_one_call_each(
    litellm: Any, model: ScriptedModel, to: dict[str, Any]
) -> None:
    expected = [
        (Reply.error(429, retry_after=2), "RateLimitError"),
        (Reply.error(401), "AuthenticationError"),
        (Reply.error(400), "BadRequestError"),
        (Reply.error(404), "NotFoundError"),
        (Reply.context_too_long(), "ContextWindowExceededError"),
        (Reply.error(500), "InternalServerError"),
        (Reply.reset(), "InternalServerError"),
    ]
    model.say([reply for reply, _ in expected])

    raised = []
    for _ in expected:
        with pytest.raises(openai.APIError) as caught:
            await litellm.acompletion(messages=[{"role": "user", "content": "Go."}], **to)
        raised.append(type(caught.value).__name__)

    assert raised == [name for _, name in expected]
    assert len(model.requests) == len(expected)


async def test_a_cut_stream_fails_while_it_is_read(
    litellm: Any, model: ScriptedModel, to: dict[str, Any]
) -> None:
    model.say(Reply.cut("one two three four", after_chunks=3))
    stream = await litellm.acompletion(
        messages=[{"role": "user", "content": "Go."}], stream=True, **to
    )

    received: list[str] = []

    async def read() -> None:
        async for part in stream:  # not a comprehension: it would lose what came before the end
            received.append(part.choices[0].delta.content or "")  # noqa: PERF401

    with pytest.raises(litellm.exceptions.MidStreamFallbackError):
        await read()
    assert "".join(received) == "one two "


async def test_embeddings(litellm: Any, model_url: str) -> None:
    answer = await litellm.aembedding(
        model="openai/scripted-embedding",
        input=["login fails", "export"],
        api_base=model_url,
        api_key=KEY,
        max_retries=0,
    )

    assert [len(one["embedding"]) for one in answer.data] == [256, 256]
    assert answer.usage.prompt_tokens == 3
