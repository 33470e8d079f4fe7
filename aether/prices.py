"""What a model's tokens cost: the prices that MODEL_PRICES sets, and what a call comes to."""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

HIGHEST: Final = Decimal(1_000_000)
MILLION: Final = Decimal(1_000_000)
EXAMPLE: Final = '{"phi4": {"prompt": 0.07, "completion": 0.14}}'

_NEEDED: Final = ("prompt", "completion")
_KNOWN: Final = (*_NEEDED, "cached")


class ModelPrice(BaseModel):
    """US dollars for a million tokens.

    ``cached`` is the price of prompt tokens that the provider had in its cache; None: as others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Decimal
    completion: Decimal
    cached: Decimal | None = None

    def cost(self, *, prompt: int, completion: int, cached: int = 0) -> Decimal:
        """US dollars for so many tokens; ``cached`` says how many of ``prompt`` were."""
        of_cached = self.prompt if self.cached is None else self.cached
        fresh = prompt - min(cached, prompt)
        total = fresh * self.prompt + (prompt - fresh) * of_cached + completion * self.completion
        return total / MILLION


def read_prices(told: Any) -> dict[str, ModelPrice]:
    """The prices by the models' names, from JSON text or what it stands for.

    Raises:
        ValueError: it cannot be read; the text names the entry.
    """
    if isinstance(told, str):
        try:
            told = json.loads(told, parse_float=Decimal, object_pairs_hook=_once)
        except json.JSONDecodeError as error:
            raise ValueError(f"must be JSON such as {EXAMPLE}; {error}") from None
        except RecursionError:
            raise ValueError(f"must be JSON such as {EXAMPLE}") from None
    if not isinstance(told, Mapping):
        raise ValueError(f"must be an object such as {EXAMPLE}")  # noqa: TRY004 # as the others
    prices = {name.strip(): _price(name, entry) for name, entry in told.items()}
    if len(prices) < len(told) or "" in prices:
        raise ValueError("each model needs a name of its own, which is not blank")
    return prices


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return told


def _price(name: str, entry: Any) -> ModelPrice:
    if isinstance(entry, ModelPrice):
        return entry
    if not isinstance(entry, Mapping):
        raise ValueError(  # noqa: TRY004 # as the others
            f"{name!r}: must be an object with prompt and completion, in US dollars per million "
            "tokens"
        )
    for key in entry:
        if key not in _KNOWN:
            raise ValueError(f"{name!r}: {key!r} is unknown; known: {', '.join(_KNOWN)}")
    for key in _NEEDED:
        if entry.get(key) is None:
            raise ValueError(f"{name!r}: {key} is missing")
    return ModelPrice(
        **{key: _dollars(name, key, value) for key, value in entry.items() if value is not None}
    )


def _dollars(name: str, key: str, value: Any) -> Decimal:
    try:
        amount = None if isinstance(value, bool) else Decimal(str(value))
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or not 0 <= amount <= HIGHEST:
        raise ValueError(
            f"{name!r}: {key} must be a number from 0 to {HIGHEST:,}, in US dollars per million "
            "tokens"
        )
    return amount
