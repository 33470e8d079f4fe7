"""A prompt is cut to the window, and other models are asked where one fails."""

from collections.abc import Iterator
from typing import Any

import pytest

from aether.config import Settings
from aether.demo.model import Reply, ScriptedModel
from aether.demo.serving import serving
from aether.errors import AetherError, UpstreamError
from aether.llm import chat, window
from aether.llm.ask import Room, _known_window, ask, models
from tests.llm.conftest import KEY, settings_of

CALLS: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "get_issue", "arguments": "{}"}}
    ],
}


def talk(result: str, event: str = "It breaks.") -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": "You are Sarah. " * 20},
        {"role": "user", "content": f"== begins ==\n{event}\n== ends =="},
        CALLS,
        {"role": "tool", "tool_call_id": "c1", "content": result},
    ]


@pytest.fixture
def two() -> Iterator[tuple[ScriptedModel, Settings]]:
    """A server of two models, the first of which can be made to fail."""
    model = ScriptedModel(key=KEY, models=("first", "second"))
    with serving(model.app) as url:
        yield (
            model,
            settings_of(
                llm_base_url=f"{url}/v1",
                llm_api_key=KEY,
                llm_model="first",
                llm_fallback_models="second",
            ),
        )


def asked(model: ScriptedModel) -> list[str]:
    return [one["model"] for one in model.requests]


async def test_the_next_model_is_asked_where_the_first_fails(
    two: tuple[ScriptedModel, Settings],
) -> None:
    model, settings = two
    again: list[str] = []
    model.say([Reply.error(429, retry_after=30), Reply.text("Here.")])

    reply = await ask(
        settings,
        models=models(settings, None, ()),
        messages=[{"role": "user", "content": "Hello?"}],
        tools=None,
        timeout=20,
        on_again=lambda: again.append("again"),
    )

    assert (reply.text, asked(model), again) == ("Here.", ["first", "second"], ["again"])
    await chat.close()


async def test_where_all_fail_it_is_told_what_the_first_met(
    two: tuple[ScriptedModel, Settings],
) -> None:
    model, settings = two
    model.say([Reply.error(429, retry_after=30), Reply.error(500)])

    with pytest.raises(UpstreamError) as failed:
        await ask(
            settings,
            models=models(settings, None, ()),
            messages=[{"role": "user", "content": "Hello?"}],
            tools=None,
            timeout=20,
        )

    assert (failed.value.status, failed.value.retry_after, failed.value.retryable) == (
        429,
        30,
        True,
    )
    assert asked(model) == ["first", "second"]
    await chat.close()


async def fail(settings: Settings) -> AetherError:
    """What is told where every model of the settings fails."""
    with pytest.raises(AetherError) as failed:
        await ask(
            settings,
            models=models(settings, None, ()),
            messages=[{"role": "user", "content": "Hello?"}],
            tools=None,
            timeout=20,
        )
    await chat.close()
    return failed.value


@pytest.mark.parametrize("final", [400, 401])
async def test_where_another_model_may_be_back_later_the_first_one_s_refusal_is_not_the_end(
    two: tuple[ScriptedModel, Settings], final: int
) -> None:
    model, settings = two
    model.say([Reply.error(final, message="Not so."), Reply.error(429, retry_after=30)])

    error = await fail(settings)

    assert (error.retryable, error.retry_after) == (True, 30)
    assert "the model 'first' refused the" in str(error)
    assert "; the model 'second' failed (429)" in str(error)


async def test_where_no_model_will_ever_take_it_the_first_one_s_refusal_is_told(
    two: tuple[ScriptedModel, Settings],
) -> None:
    model, settings = two
    model.say([Reply.error(400, message="Not so."), Reply.error(404)])

    error = await fail(settings)

    assert (error.retryable, "'second'" in str(error)) == (False, False)


async def test_it_is_tried_again_as_soon_as_any_model_wants_to_be_asked(
    two: tuple[ScriptedModel, Settings],
) -> None:
    model, settings = two
    model.say([Reply.error(429, retry_after=3600), Reply.error(503, retry_after=7)])

    error = await fail(settings)

    assert (error.retryable, error.retry_after) == (True, 7)
    assert str(error).startswith("the model 'first' failed (429)")


def test_an_agents_own_models_come_first_and_each_is_asked_once() -> None:
    settings = settings_of(llm_model="m", llm_fallback_models="c, b")

    assert models(settings, "a", ["b", "a"]) == ["a", "b", "c"]
    assert models(settings, None, []) == [None, "c", "b"]
    assert models(settings, None, ["m", "c"]) == [None, "c", "b"]
    assert models(settings, "c", ["m"]) == ["c", "m", "b"]


async def test_a_prompt_that_is_too_long_is_shortened_with_a_note_and_sent_again(
    model: ScriptedModel, settings: Settings
) -> None:
    model.context_tokens = 3_000
    model.say([Reply.text("Fits.")])
    messages = talk("x" * 40_000)

    reply = await ask(settings, models=[None], messages=messages, tools=None, timeout=20)

    assert reply.text == "Fits."
    sent = model.requests[-1]["messages"]
    assert [one["role"] for one in sent] == ["system", "user", "assistant", "tool"]
    assert sent[:2] == messages[:2]
    assert sent[2]["tool_calls"] == CALLS["tool_calls"]
    assert " characters left out …]" in sent[3]["content"]
    assert sent[3]["tool_call_id"] == "c1"
    assert len(messages[3]["content"]) == 40_000  # what is stored stays whole


async def test_what_was_too_long_once_is_not_sent_in_its_length_again(
    model: ScriptedModel, settings: Settings
) -> None:
    model.context_tokens = 3_000
    model.say(Reply.text("Fits."))
    room = Room()

    for _ in range(3):
        await ask(
            settings, models=[None], messages=talk("x" * 40_000), room=room, tools=None, timeout=20
        )

    refused, first, second, third = model.calls[-4:]
    assert (refused.status, first.status, second.status, third.status) == (400, 200, 200, 200)


async def test_what_is_too_long_for_one_model_is_sent_whole_to_another(
    two: tuple[ScriptedModel, Settings],
) -> None:
    model, settings = two
    model.say([Reply.error(503), Reply.context_too_long(), Reply.text("Fits."), Reply.text("All.")])
    room, messages = Room(), talk("x" * 40_000)

    for _ in range(2):
        await ask(
            settings, models=models(settings, None, ()), messages=messages, room=room, tools=None,
            timeout=20,
        )  # fmt: skip

    assert asked(model) == ["first", "second", "second", "first"]
    sent = [len(one["messages"][3]["content"]) for one in model.requests]
    assert sent[0] == sent[1] == sent[3] == 40_000
    assert sent[2] < 25_000
    await chat.close()


async def test_a_prompt_is_cut_beforehand_for_a_server_that_would_cut_it_without_a_word(
    model: ScriptedModel, settings: Settings
) -> None:
    model.say(Reply.text("Fits."))
    bounded = settings.model_copy(update={"llm_max_prompt_tokens": 2_000})
    tool = {"name": "get_issue", "description": "y" * 900, "parameters": {"type": "object"}}
    tools = [{"type": "function", "function": tool}]

    await ask(bounded, models=[None], messages=talk("x" * 40_000), tools=tools, timeout=20)

    [sent] = model.requests
    assert len(model.calls) == 1
    assert window.characters([*sent["messages"], *sent["tools"]]) <= 6_000
    assert " characters left out …]" in sent["messages"][3]["content"]


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("gpt-4o", 128_000),
        ("openai/gpt-4o", 128_000),
        ("anthropic/claude-sonnet-4-5", 200_000),
        ("anthropic/gpt-4o", None),
        ("nobody/knows", None),
    ],
)
async def test_the_window_of_a_model_is_known_with_its_provider_s_name_and_without(
    name: str, tokens: int | None
) -> None:
    assert await _known_window(settings_of(llm_model=name), None) == tokens
    bounded = settings_of(llm_model=name, llm_max_prompt_tokens=1_000)
    assert await _known_window(bounded, None) == 1_000


async def test_a_prompt_of_which_nothing_can_be_left_out_fails_for_good(
    model: ScriptedModel, settings: Settings
) -> None:
    model.context_tokens = 10
    model.say(Reply.text("Never."))

    with pytest.raises(UpstreamError, match="too long") as failed:
        await ask(settings, models=[None], messages=talk("short"), tools=None, timeout=20)

    assert failed.value.retryable is False
    assert len(model.requests) <= 1


def test_the_longest_texts_lose_their_middles_and_short_ones_stay() -> None:
    messages = talk("x" * 30_000, "y" * 20_000)

    fitted = window.fit(messages, 12_000)

    assert window.characters(fitted) <= 12_000
    system, event, calls, result = fitted
    assert (system, calls) == (messages[0], messages[2])
    assert event["content"].startswith("== begins ==\n")
    assert event["content"].endswith("\n== ends ==")
    assert abs(len(event["content"]) - len(result["content"])) < 100
    assert window.fit(messages, 10**6) == messages


@pytest.mark.parametrize("most", [0, 100, 2_000, 5_000, 20_000, 49_000])
def test_what_fits_fits_and_nothing_is_cut_below_what_tells_what_it_is(most: int) -> None:
    messages = [*talk("x" * 30_000, "y" * 900), {"role": "user", "content": "z" * 20_000}]

    fitted = window.fit(messages, most)

    least = window.fit(messages, 0)
    assert window.characters(fitted) <= max(most, window.characters(least))
    assert all(len(one["content"] or "") >= 350 or one in messages for one in fitted)
