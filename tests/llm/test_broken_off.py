"""What a call has used that broke off, or whose usage the provider does not tell."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from aether.config import Settings
from aether.demo.model import Reply, ScriptedModel, ToolCallScript
from aether.errors import AetherError, UpstreamError
from aether.llm import chat, prices, provider, streaming
from aether.spending import Usage
from tests.llm.conftest import settings_of, until
from tests.llm.test_streaming import ANTHROPIC_EVENTS, HELLO, TOOLS, anthropic

PRICES = settings_of(model_prices='{"scripted": {"prompt": 2, "completion": 8}}').model_prices


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    streaming.forget()
    prices.forget()
    yield
    streaming.forget()


class Heard:
    """One streamed call, and what it used if it broke off."""

    def __init__(self, settings: Settings, **changes: Any) -> None:
        self.settings = settings
        self.texts: list[str] = []
        self.broken_off: list[Usage] = []
        self.changes = changes

    async def ask(self) -> chat.Reply:
        asked = {"model": None, "messages": HELLO, "tools": None, "timeout": 20, **self.changes}
        return await chat.complete(
            self.settings, **asked, on_text=self.texts.append, on_broken_off=self.note
        )

    async def note(self, usage: Usage) -> None:
        self.broken_off.append(usage)


@pytest.fixture
def heard(settings: Settings) -> Heard:
    return Heard(settings.model_copy(update={"model_prices": PRICES}))


def counted(text: str, **prompt: Any) -> tuple[int, int]:
    """The tokens of a prompt and a text, as LiteLLM counts them."""
    library = provider.litellm()
    read = library.token_counter(**{"messages": HELLO, **prompt})
    return read, library.token_counter(text=text, count_response_tokens=True)


@pytest.mark.parametrize(
    "reply",
    [
        Reply.cut("one two three four", after_chunks=3),
        Reply.breaking("one two three four", after_chunks=3),
        Reply.unfinished("one two three four", after_chunks=3),
    ],
)
async def test_a_stream_that_breaks_off_has_used_its_prompt_and_what_came(
    heard: Heard, model: ScriptedModel, reply: Reply
) -> None:
    model.say(reply)

    with pytest.raises(UpstreamError):
        await heard.ask()

    assert "".join(heard.texts) == "one two "
    assert heard.broken_off == [
        Usage(
            model="scripted",
            prompt_tokens=9,
            completion_tokens=3,
            cost_usd=Decimal("0.000042"),
            is_estimated=True,
        )
    ]
    assert counted("one two ") == (9, 3)


async def test_tools_and_tool_calls_count_too(heard: Heard, model: ScriptedModel) -> None:
    call = ToolCallScript("add_label", {"label": "bug"}, id="c1")
    model.say(replace(Reply.calls(call), cut_after=3))
    heard.changes = {"tools": TOOLS}

    with pytest.raises(UpstreamError):
        await heard.ask()

    [used] = heard.broken_off
    first_half = '{"label":'
    assert (used.prompt_tokens, used.completion_tokens) == counted(
        f"add_label{first_half}", tools=TOOLS
    )
    assert used.prompt_tokens > counted("")[0]


async def test_usage_that_was_told_before_the_break_is_what_counts(
    heard: Heard, model: ScriptedModel
) -> None:
    everything_but_done = 5
    model.say(replace(Reply.text("one two").using(120, 7), breaks_after=everything_but_done,
                      error_event={"error": {"message": "Too late.", "code": 500}}))  # fmt: skip

    with pytest.raises(UpstreamError, match="Too late"):
        await heard.ask()

    assert heard.broken_off == [
        Usage(
            model="scripted", prompt_tokens=120, completion_tokens=7, cost_usd=Decimal("0.000296")
        )
    ]


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")  # LiteLLM's aiohttp
async def test_a_provider_that_tells_the_prompt_at_once_is_believed_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with anthropic(monkeypatch, ANTHROPIC_EVENTS[:9]) as settings:
        heard = Heard(settings, tools=TOOLS)
        with pytest.raises(UpstreamError, match="ended before"):
            await heard.ask()
        await chat.close()

    [used] = heard.broken_off
    written = counted("Hm.I look.")[1]
    assert (used.prompt_tokens, used.completion_tokens) == (1000, written)
    assert used.is_estimated
    assert used.cost_usd == Decimal(3 * 1000 + 15 * written) / 10**6


async def test_a_call_that_takes_too_long_has_used_what_came(
    heard: Heard, model: ScriptedModel
) -> None:
    never = threading.Event()
    model.say(lambda _: Reply.text("one two three").paced(never))
    heard.changes = {"timeout": 0.5}

    with pytest.raises(UpstreamError, match="did not answer in time"):
        await heard.ask()
    never.set()

    [used] = heard.broken_off
    assert (used.prompt_tokens, used.completion_tokens, used.is_estimated) == (9, 0, True)


async def test_a_call_that_is_cancelled_has_used_what_came(
    heard: Heard, model: ScriptedModel
) -> None:
    model.say(Reply.text("word " * 500).paced(0.05))
    asking = asyncio.create_task(heard.ask())
    await until(lambda: bool(heard.texts))

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert asking.cancelled()
    [used] = heard.broken_off
    assert (used.prompt_tokens, used.completion_tokens) == counted("".join(heard.texts))
    assert 0 < used.completion_tokens < 500


@pytest.mark.parametrize(
    "reply", [Reply.error(500), Reply.error(429), Reply.reset(), Reply.context_too_long()]
)
async def test_a_call_that_was_refused_has_used_nothing(
    heard: Heard, model: ScriptedModel, reply: Reply
) -> None:
    model.say(reply)

    with pytest.raises(AetherError):
        await heard.ask()

    assert heard.broken_off == []


async def test_a_reply_that_came_whole_did_not_break_off(
    heard: Heard, model: ScriptedModel
) -> None:
    model.say(Reply.text("one two").using(120, 7))

    reply = await heard.ask()

    assert (reply.usage.prompt_tokens, reply.usage.is_estimated) == (120, False)
    assert heard.broken_off == []


async def test_a_stream_that_does_not_tell_its_usage_is_counted_with_its_tools(
    heard: Heard, model: ScriptedModel
) -> None:
    model.say(Reply.text("one two").without_usage())
    heard.changes = {"tools": TOOLS}

    usage = (await heard.ask()).usage

    assert (usage.prompt_tokens, usage.completion_tokens) == counted("one two", tools=TOOLS)
    assert usage.is_estimated


async def test_a_plain_reply_that_does_not_tell_its_usage_is_counted(
    settings: Settings, model: ScriptedModel
) -> None:
    choice = {"index": 0, "finish_reason": "stop",
              "message": {"role": "assistant", "content": "one two"}}  # fmt: skip
    model.say(
        Reply.raw({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]})
    )

    reply = await chat.complete(settings, model=None, messages=HELLO, tools=None, timeout=20)

    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == counted("one two")
    assert reply.usage.is_estimated


async def test_what_cannot_be_counted_is_estimated_by_its_length(
    heard: Heard, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> int:
        raise ValueError("no tokenizer")

    monkeypatch.setattr(provider.litellm(), "token_counter", fail)
    model.say(Reply.cut("one two three four", after_chunks=3))

    with pytest.raises(UpstreamError):
        await heard.ask()

    [used] = heard.broken_off
    assert (used.prompt_tokens, used.completion_tokens) == (9, 2)
