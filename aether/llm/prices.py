"""What a call costs: as its server tells it, by MODEL_PRICES, else by LiteLLM's list."""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

from aether.clock import now
from aether.config import Settings
from aether.errors import NotConfiguredError
from aether.llm import provider
from aether.llm.provider import Target
from aether.prices import HIGHEST, MILLION, ModelPrice

log = logging.getLogger(__name__)

TOLD: Final = "llm_provider-x-litellm-response-cost"
"""Where LiteLLM keeps what a server says that a call cost: a LiteLLM proxy's own header, too."""

MOST_REMEMBERED: Final = 1_000
FREE: Final = ModelPrice(prompt=Decimal(0), completion=Decimal(0))

_warned: dict[str, date] = {}


def cost(
    settings: Settings, target: Target, answer: Any, *, prompt: int, completion: int, cached: int
) -> Decimal | None:
    """US dollars for one call, rounded to 8 digits; None where nobody knows its price.

    ``answer`` is LiteLLM's; the tokens are those of ``answer.usage``.
    """
    known = told_cost(answer)
    if known is None:
        price = settings.model_prices.get(target.name) or _list_price(target)
        if price is not None:
            known = price.cost(prompt=prompt, completion=completion, cached=cached)
        elif "api_base" not in target.arguments:
            known = _sum(answer, target)
    return None if known is None else round(known, 8)


def told_cost(answer: Any) -> Decimal | None:
    """What the server says that the call cost."""
    headers = getattr(answer, "_hidden_params", {}).get("additional_headers") or {}
    told = _dollars(headers.get(TOLD))
    return _dollars(getattr(getattr(answer, "usage", None), "cost", None)) if told is None else told


async def unpriced(settings: Settings, names: Sequence[str]) -> list[str]:
    """Those of ``names`` whose price is not known before they are asked.

    Of a model that cannot be asked at all nothing is said here: whoever asks it is told why.
    """
    unknown = [one for one in dict.fromkeys(names) if one not in settings.model_prices]
    if not unknown:
        return []  # without loading LiteLLM
    return await asyncio.to_thread(lambda: [one for one in unknown if _is_unpriced(settings, one)])


def warn(model: str) -> None:
    """Tell once a day, for each process, that calls of ``model`` cost nobody knows what."""
    today = now().date()
    if _warned.get(model) == today:
        return
    if len(_warned) >= MOST_REMEMBERED:
        _warned.clear()
    _warned[model] = today
    log.warning(
        "the price of the model %r is not known: its calls count as unpriced, costs are told "
        "without them, and it is not asked under a bound of cost; set it in MODEL_PRICES",
        model,
    )


def forget() -> None:
    """Forget which models have been warned about."""
    _warned.clear()


def _is_unpriced(settings: Settings, name: str) -> bool:
    try:
        target = provider.chat_target(settings, name)
    except NotConfiguredError:
        return False
    if _list_price(target) is not None:
        return False
    return "api_base" in target.arguments or not _is_summed(target)


def _list_price(target: Target) -> ModelPrice | None:
    """LiteLLM's price for each token of this model, where that is all there is to know.

    Of what its own client asks LiteLLM knows more, such as what writing to a cache costs, and
    adds it up itself.
    """
    if target.costs_nothing:
        return FREE
    if "api_base" not in target.arguments:
        return None
    listed = entry(target.name)
    prompt, completion, cached = (
        _per_million(listed.get(key))
        for key in (
            "input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost",
        )
    )  # fmt: skip
    if prompt is None and completion is None:
        return None
    return ModelPrice(prompt=prompt or Decimal(0), completion=completion or Decimal(0),
                      cached=cached)  # fmt: skip


def entry(name: str) -> Mapping[str, Any]:
    """What LiteLLM's list holds of a model of that name, with or without its provider's."""
    prices: Mapping[str, Mapping[str, Any]] = provider.litellm().model_cost
    if name in prices:
        return prices[name]
    maker, _, bare = name.partition("/")
    found = prices.get(bare, {})
    return found if str(found.get("litellm_provider", "")).startswith(maker) else {}


def _is_summed(target: Target) -> bool:
    """Whether LiteLLM gives a cost other than 0, or has a price of 0 in its list.

    It gives 0 for a model that it lists without any price.
    """
    library = provider.litellm()
    try:
        parts = library.cost_per_token(
            model=target.name, prompt_tokens=1_000, completion_tokens=1_000
        )
    except Exception:  # noqa: BLE001 # no price is known: Exception itself is raised
        return False
    return sum(parts) > 0 or _has_price(target.name)


def _sum(answer: Any, target: Target) -> Decimal | None:
    """What LiteLLM adds up for an answer that its own client got."""
    told = getattr(answer, "_hidden_params", {}).get("response_cost")
    if told is None:
        try:
            told = provider.litellm().completion_cost(
                completion_response=answer, model=target.arguments["model"]
            )
        except Exception:  # noqa: BLE001 # no price is known: Exception itself is raised
            return None
    amount = _dollars(told)
    return amount if amount or _has_price(target.name) else None


def _has_price(name: str) -> bool:
    return any("cost_per" in key and one is not None for key, one in entry(name).items())


def _per_million(dollars: Any) -> Decimal | None:
    amount = _dollars(dollars)
    return None if amount is None else min(amount * MILLION, HIGHEST)


def _dollars(told: Any) -> Decimal | None:
    """An amount that a foreign side names; None where it is none."""
    if isinstance(told, bool) or not isinstance(told, (int, float, str)):
        return None
    try:
        amount = float(told)
    except ValueError:
        return None
    if not math.isfinite(amount) or amount < 0:
        return None
    return Decimal(str(min(amount, 10**6)))
