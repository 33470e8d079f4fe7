"""MODEL_PRICES: how it is read, what is refused by the entry's name, and what a call comes to."""

from decimal import Decimal

import pytest

from aether.aside_process import _told
from aether.config import Settings
from aether.errors import NotConfiguredError
from aether.prices import ModelPrice


def told(text: str) -> Settings:
    return Settings.from_environment({"MODEL_PRICES": text})


def test_prices_are_read_exactly_as_they_are_written() -> None:
    settings = told(
        '{" phi4 ": {"prompt": 0.07, "completion": 0.14, "cached": 0.01},'
        ' "qwen3:8b": {"prompt": 0, "completion": 0}}'
    )

    assert settings.model_prices == {
        "phi4": ModelPrice(
            prompt=Decimal("0.07"), completion=Decimal("0.14"), cached=Decimal("0.01")
        ),
        "qwen3:8b": ModelPrice(prompt=Decimal(0), completion=Decimal(0)),
    }


@pytest.mark.parametrize("text", ["", "{}"])
def test_without_prices_there_are_none(text: str) -> None:
    assert told(text).model_prices == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("phi4=0.07", r"must be JSON such as \{.*\}; Expecting value: line 1 column 1 \(char 0\)"),
        ("[" * 100_000, "must be JSON such as .*"),
        ("[1]", "must be an object such as .*"),
        ('{"phi4": 0.07}', "'phi4': must be an object with prompt and completion, .*"),
        ('{"phi4": {"prompt": 0.07}}', "'phi4': completion is missing"),
        ('{"phi4": {"prompt": 0.07, "completion": null}}', "'phi4': completion is missing"),
        ('{"phi4": {"input": 0.07}}',
         "'phi4': 'input' is unknown; known: prompt, completion, cached"),
        ('{"a": {"prompt": 1, "completion": 1}, "phi4": {"prompt": -1, "completion": 1}}',
         "'phi4': prompt must be a number from 0 to 1,000,000, in US dollars per million tokens"),
        ('{"phi4": {"prompt": 1, "completion": 1e9}}', "'phi4': completion must be a number .*"),
        ('{"phi4": {"prompt": true, "completion": 1}}', "'phi4': prompt must be a number .*"),
        ('{"phi4": {"prompt": NaN, "completion": 1}}', "'phi4': prompt must be a number .*"),
        ('{"phi4": {"prompt": "much", "completion": 1}}', "'phi4': prompt must be a number .*"),
        ('{"phi4": {"prompt": 1, "completion": 1, "cached": []}}',
         "'phi4': cached must be a number .*"),
        ('{"phi4": {"prompt": 1, "completion": 1}, "phi4": {"prompt": 2, "completion": 2}}',
         "'phi4' is there twice"),
        ('{"phi4": {"prompt": 1, "completion": 1}, "phi4 ": {"prompt": 2, "completion": 2}}',
         "each model needs a name of its own, which is not blank"),
        ('{" ": {"prompt": 1, "completion": 1}}',
         "each model needs a name of its own, which is not blank"),
    ],
)  # fmt: skip
def test_prices_that_cannot_be_read_stop_the_start_and_name_the_entry(text: str, why: str) -> None:
    with pytest.raises(NotConfiguredError, match=rf"^MODEL_PRICES: {why}$"):
        told(text)


@pytest.mark.parametrize(
    ("cached", "dollars"),
    [(0, "0.000084"), (400, "0.00006"), (1_000, "0.000024"), (9_000, "0.000024")],
)
def test_a_call_costs_its_tokens_by_the_million(cached: int, dollars: str) -> None:
    price = ModelPrice(prompt=Decimal("0.07"), completion=Decimal("0.14"), cached=Decimal("0.01"))

    cost = price.cost(prompt=1_000, completion=100, cached=cached)

    assert cost == Decimal(dollars)


def test_what_was_cached_costs_the_same_where_nothing_else_is_said() -> None:
    price = ModelPrice(prompt=Decimal("0.07"), completion=Decimal("0.14"))

    assert price.cost(prompt=1_000, completion=100, cached=1_000) == Decimal("0.000084")


def test_the_aside_is_told_the_same_prices() -> None:
    settings = told('{"phi4": {"prompt": 0.07, "completion": 0.14, "cached": 0.01}}')

    assert Settings.model_validate(_told(settings)) == settings
