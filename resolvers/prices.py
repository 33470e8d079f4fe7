"""Warns of a bound of cost that cannot be kept: of models whose price is not known."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from contextvars import Context
from typing import Any, Final

from aether import aside
from aether.aside_wire import AsideFailedError
from aether.config import Settings
from aether.engine.runtime import runtime
from aether.errors import AetherError
from aether.llm import ask as asking
from aether.models import Agent, Project, TaskDefinition

log = logging.getLogger(__name__)

BOUNDS: Final = ("max_cost_usd_per_day", "max_cost_usd_per_month", "max_cost_usd_per_run")
MATTERS: Final = frozenset({*BOUNDS, "model", "fallback_models", "actor_id"})

_under_way: set[asyncio.Task[None]] = set()


async def warn_of_unpriced(
    owner: Agent | Project | TaskDefinition, changed: Collection[str] = MATTERS
) -> None:
    """Have the log say it where ``owner`` now has a bound of cost that its models cannot keep.

    It is found out beside the request, since LiteLLM may have to be loaded for it. ``changed``:
    the names of what was saved just now.
    """
    bounds = [one for one in BOUNDS if getattr(owner, one, None) is not None]
    if not bounds or MATTERS.isdisjoint(changed):
        return
    settings = runtime().settings
    names = [one for one in await _models(settings, owner) if one not in settings.model_prices]
    if names and aside.is_installed():
        of = f"{type(owner).__name__.removesuffix('Definition').lower()} {owner.pk}"
        looking = asyncio.create_task(_warn(of, bounds[0], names), context=Context())
        _under_way.add(looking)
        looking.add_done_callback(_under_way.discard)


async def _models(settings: Settings, owner: Agent | Project | TaskDefinition) -> list[str]:
    """The models that ``owner`` may have asked, as far as that is known now."""
    agents: Sequence[Agent | None]
    if isinstance(owner, Agent):
        agents = [owner]
    elif isinstance(owner, TaskDefinition):
        agents = [await Agent.get_or_none(id=owner.actor_id)]
    else:
        agents = [None, *await Agent.filter(enabled=True)]
    found: dict[str, Any] = {}
    for agent in agents:
        told = agent.fallback_models if agent else ()
        for model in asking.models(settings, agent.model if agent else None, told):
            name = model or settings.llm_model
            found |= {name: None} if name else {}
    return list(found)


async def _warn(of: str, bound: str, names: Sequence[str]) -> None:
    try:
        unknown = await aside.call("llm.unpriced", {"models": list(names)})
    except (AetherError, AsideFailedError) as error:
        log.info("whether %s of %s can be kept is not known: %s", bound, of, error)
        return
    for name in unknown:
        log.warning(
            "%s of %s cannot be kept: the price of the model %r is not known, so it is not asked "
            "under that bound; set it in MODEL_PRICES, or bound tokens instead of cost",
            bound, of, name,
        )  # fmt: skip
