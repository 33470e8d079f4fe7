"""What a call costs: the server's word, then MODEL_PRICES, then LiteLLM's list, else not known."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from aether.config import Settings
from aether.demo.model import Reply, ScriptedModel
from aether.llm import chat, prices
from aether.spending import Usage
from tests.llm.conftest import KEY, settings_of

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello."}]
PRICES = '{"scripted": {"prompt": 2, "completion": 8, "cached": 0.5}, "gpt-4o": {"prompt": 1, '
PRICES += '"completion": 1}}'


@pytest.fixture(autouse=True)
def _nobody_warned() -> Iterator[None]:
    prices.forget()
    yield
    prices.forget()


@pytest.fixture
def priced(settings: Settings) -> Settings:
    """The same server, with prices of the user's own."""
    return settings.model_copy(
        update={"model_prices": settings_of(model_prices=PRICES).model_prices}
    )


async def ask(settings: Settings, *, streamed: bool, model: str | None = None) -> Usage:
    heard: list[str] = []
    reply = await chat.complete(
        settings, model=model, messages=HELLO, tools=None, timeout=20,
        on_text=heard.append if streamed else None,
    )  # fmt: skip
    return reply.usage


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_price_of_the_users_own_is_what_a_call_costs(
    priced: Settings, model: ScriptedModel, streamed: bool
) -> None:
    model.models.append("gpt-4o")
    model.say(Reply.text("x").using(1_000, 100, cached=400))

    own = await ask(priced, streamed=streamed)
    over_the_list = await ask(priced, streamed=streamed, model="gpt-4o")

    assert own.cost_usd == Decimal("0.0022")
    assert over_the_list.cost_usd == Decimal("0.0011")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("told", ["0.0123", "0.0"])
async def test_what_the_server_says_that_a_call_cost_comes_before_any_price(
    priced: Settings, model: ScriptedModel, told: str, streamed: bool
) -> None:
    model.say(Reply(content="x", headers={"x-litellm-response-cost": told}).using(1_000, 100))

    assert (await ask(priced, streamed=streamed)).cost_usd == Decimal(told)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("told", ["", "None", "nan", "-1", "free"])
async def test_a_cost_that_is_none_is_as_if_it_was_not_told(
    priced: Settings, model: ScriptedModel, told: str, streamed: bool
) -> None:
    model.say(Reply(content="x", headers={"x-litellm-response-cost": told}).using(1_000, 100))

    assert (await ask(priced, streamed=streamed)).cost_usd == Decimal("0.0028")


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_list_price_counts_for_a_name_with_its_provider_too(
    settings: Settings, model: ScriptedModel, streamed: bool
) -> None:
    model.models.append("openai/gpt-4o")
    model.say(Reply.text("x").using(1_000, 100, cached=400))

    assert (await ask(settings, streamed=streamed, model="openai/gpt-4o")).cost_usd == Decimal(
        "0.003"
    )


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cost_that_nobody_knows_is_not_zero_and_is_warned_about_once_a_day(
    settings: Settings,
    model: ScriptedModel,
    streamed: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model.models.append("phi4")
    day = datetime(2026, 2, 18, 23, 59, tzinfo=UTC)
    monkeypatch.setattr(prices, "now", lambda: day)

    costs = [(await ask(settings, streamed=streamed)).cost_usd for _ in range(3)]
    other = (await ask(settings, streamed=streamed, model="phi4")).cost_usd
    same_day = warnings(caplog)
    day = datetime(2026, 2, 19, tzinfo=UTC)
    await ask(settings, streamed=streamed)

    assert [*costs, other] == [None] * 4
    assert same_day == [
        f"the price of the model {name!r} is not known: its calls count as unpriced, costs are "
        "told without them, and it is not asked under a bound of cost; set it in MODEL_PRICES"
        for name in ("scripted", "phi4")
    ]
    assert warnings(caplog)[2:] == same_day[:1]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_price_of_zero_that_was_set_is_known_and_not_warned_about(
    model: ScriptedModel, model_url: str, streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    free = settings_of(
        llm_base_url=model_url, llm_api_key=KEY, llm_model="scripted",
        model_prices='{"scripted": {"prompt": 0, "completion": 0}}',
    )  # fmt: skip

    usage = await ask(free, streamed=streamed)
    await chat.close()

    assert usage.cost_usd == Decimal(0)
    assert warnings(caplog) == []


async def test_which_prices_are_known_is_known_before_anything_is_asked(
    settings: Settings, model: ScriptedModel
) -> None:
    names = ["scripted", "gpt-4o", "anthropic/claude-sonnet-4-5", "google/gpt-4o", "phi4", "phi4"]

    assert await prices.unpriced(settings, names) == ["scripted", "google/gpt-4o", "phi4"]
    assert model.calls == []


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("gpt-4o", True),
        ("anthropic/claude-sonnet-4-5", True),
        ("ft:gpt-4o-2024-08-06:org::x", True),
        ("ollama/llama3.1", True),
        ("ollama/brand-new:8b", True),
        ("anthropic/claude-of-tomorrow", False),
        ("azure/my-deployment", False),
        ("no such model at all", True),  # who asks it is told that
    ],
)
async def test_the_price_of_what_litellm_asks_itself_is_known_as_it_lists_it(
    monkeypatch: pytest.MonkeyPatch, name: str, is_known: bool
) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, "sk-test")

    unknown = await prices.unpriced(settings_of(), [name])

    assert unknown == ([] if is_known else [name])


async def test_a_price_that_was_set_is_known_without_loading_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> Any:
        raise AssertionError("LiteLLM was loaded")

    monkeypatch.setattr("aether.llm.provider.litellm", fail)
    settings = settings_of(model_prices=PRICES)

    assert await prices.unpriced(settings, ["scripted", "gpt-4o"]) == []
