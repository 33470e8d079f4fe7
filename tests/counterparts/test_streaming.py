"""A reply that is heard while it is written, and a chat over it: aimock and the LiteLLM proxy."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from aether.config import Settings
from aether.errors import NotConfiguredError, UpstreamError
from aether.llm import chat, streaming
from tests.counterparts.conftest import MakeAiMock, MakeSystem
from tests.counterparts.models import AIMOCK_KEY, PROXY_KEY, calls, refuses, says
from tests.counterparts.programs import Program

pytestmark = pytest.mark.counterparts

TOOL = {
    "type": "function",
    "function": {
        "name": "add_labels",
        "description": "Add labels.",
        "parameters": {
            "type": "object",
            "properties": {"labels": {"type": "array", "items": {"type": "string"}}},
        },
    },
}
TEXT = "naïve 🙂🙂 text, with odd signs 👩‍💻 and more"


@asynccontextmanager
async def asking(environment: dict[str, str]) -> AsyncIterator[Any]:
    """``ask(text)``: the reply and what was heard of it."""
    settings = Settings.from_environment(environment)
    streaming.forget()

    async def ask(text: str, *, stream: bool = True) -> tuple[chat.Reply, list[str]]:
        heard: list[str] = []
        reply = await chat.complete(
            settings,
            model=None,
            messages=[{"role": "user", "content": text}],
            tools=[TOOL],
            timeout=20,
            on_text=heard.append if stream else None,
        )
        return reply, heard

    try:
        yield ask
    finally:
        await chat.close()


async def test_aimocks_stream_is_the_reply_of_its_plain_answer(make_aimock: MakeAiMock) -> None:
    script = [
        {**says(TEXT, userMessage="say"), "chunkSize": 3},  # cuts within characters
        {**calls("add_labels", {"labels": ["bug", "🙂"]}, userMessage="label"), "chunkSize": 4},
    ]
    with make_aimock(*script) as model:
        async with asking(model.environment) as ask:
            said, heard = await ask("say")
            plain, _ = await ask("say", stream=False)
            labelled, _ = await ask("label")
            plainly, _ = await ask("label", stream=False)

        assert said.text == "".join(heard) == TEXT
        assert len(heard) > 5
        assert (said.text, said.message) == (plain.text, plain.message)
        assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (
            plain.usage.prompt_tokens,
            plain.usage.completion_tokens,
        )
        assert labelled.tool_calls == plainly.tool_calls
        [call] = labelled.tool_calls
        assert json.loads(call.arguments or "") == {"labels": ["bug", "🙂"]}
        assert model.statuses() == [200] * 4


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        (refuses(429, "Slow down.", 7, userMessage="say"), 7.0),
        ({**says(TEXT, userMessage="say"), "chunkSize": 3, "truncateAfterChunks": 4}, None),
        ({**says(TEXT, userMessage="say"), "chunkSize": 3, "latency": 20,
          "disconnectAfterMs": 60}, None),
        ({**says(TEXT, userMessage="say"), "chaos": {"malformedRate": 1.0}}, None),
        ({**says(TEXT, userMessage="say"), "chaos": {"disconnectRate": 1.0}}, None),
    ],
    ids=["429", "truncated", "disconnected", "malformed", "hung up on"],
)  # fmt: skip
async def test_aimocks_faults_may_pass_and_are_one_call(
    make_aimock: MakeAiMock, fault: dict[str, Any], wait: float | None
) -> None:
    with make_aimock(fault) as model:
        async with asking(model.environment) as ask:
            with pytest.raises(UpstreamError) as raised:
                await ask("say")

        assert raised.value.retryable is True
        assert raised.value.retry_after == wait
        assert len(model.journal()) == 1
        assert AIMOCK_KEY not in str(raised.value)


async def test_the_proxys_stream_is_the_reply_of_its_plain_answer(litellm: Program) -> None:
    base = {"LLM_BASE_URL": litellm.url, "LLM_API_KEY": PROXY_KEY}
    async with asking({**base, "LLM_MODEL": "answers"}) as ask:
        said, heard = await ask("say")
        plain, _ = await ask("say", stream=False)

    assert said.text == "".join(heard) == plain.text == "It came through the proxy."
    assert len(heard) > 1
    # its canned answers have fixed numbers when plain, and are counted when streamed
    assert (plain.usage.prompt_tokens, plain.usage.completion_tokens) == (10, 20)
    assert 0 < said.usage.prompt_tokens < 20
    assert 0 < said.usage.completion_tokens < 20


async def test_the_proxy_refuses_a_stream_for_a_key_it_does_not_know(litellm: Program) -> None:
    wrong = "sk-a-key-that-the-proxy-does-not-know"
    settings = {"LLM_BASE_URL": litellm.url, "LLM_API_KEY": wrong, "LLM_MODEL": "answers"}
    async with asking(settings) as ask:
        with pytest.raises(NotConfiguredError, match=r"^LLM_API_KEY: ") as raised:
            await ask("say")

    assert wrong not in str(raised.value)


def test_a_chat_goes_through_the_proxy_whole_and_streamed(
    make_system: MakeSystem, litellm: Program
) -> None:
    with make_system(
        LLM_BASE_URL=litellm.url, LLM_API_KEY=PROXY_KEY, LLM_MODEL="answers"
    ) as system:
        system.start_web()
        body = {"messages": [{"role": "user", "content": "Hello."}]}

        def post(**more: Any) -> httpx.Response:
            return httpx.post(f"{system.url}/api/llm/chat", json={**body, **more}, timeout=60)

        plain = post()
        streamed = post(stream=True)
        told = system.call("GET", "/api/usage")

    assert plain.json()["message"]["content"] == "It came through the proxy."
    events = [json.loads(one.split("data: ")[1]) for one in streamed.text.strip().split("\n\n")]
    assert "".join(one["text"] for one in events[:-1]) == "It came through the proxy."
    assert events[-1]["message"] == plain.json()["message"]
    assert (told[0]["agent_id"], told[0]["llm_calls"]) == (None, 2)
    read = [one["usage"]["prompt_tokens"] for one in (plain.json(), events[-1])]
    assert told[0]["prompt_tokens"] == sum(read) > 0
