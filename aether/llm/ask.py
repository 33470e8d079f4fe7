"""Asks for a reply until one comes: the prompt cut to the model's window, then other models."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aether.config import Settings
from aether.errors import AetherError, NotConfiguredError, UpstreamError
from aether.llm import chat, prices, provider, window
from aether.llm.chat import Reply
from aether.spending import Usage

log = logging.getLogger(__name__)

SMALLER: Final = (0.5, 0.25, 0.1)
"""What is left of a prompt that a model has called too long, each time it does."""


@dataclass
class Room:
    """How long a prompt may be, by model, as far as that is known: kept from one call of a run to
    the next."""

    characters: dict[str | None, int] = field(default_factory=dict)


def models(settings: Settings, model: str | None, fallbacks: Sequence[str]) -> list[str | None]:
    """Which models to ask, in order: the agent's own or LLM_MODEL, the agent's fallbacks, ours."""
    named: dict[str | None, str | None] = {}
    for one in (model, *fallbacks, *settings.llm_fallback_models):
        named.setdefault(one or settings.llm_model, one)
    return list(named.values())


async def ask(
    settings: Settings,
    *,
    models: Sequence[str | None],
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    timeout: float,
    room: Room | None = None,
    on_text: Callable[[str], None] | None = None,
    on_again: Callable[[], None] | None = None,
    on_broken_off: Callable[[Usage], Awaitable[None]] | None = None,
    before_next: Callable[[], Awaitable[object]] | None = None,
) -> Reply:
    """One reply, from the first of ``models`` that gives one; each is asked once.

    A prompt that is too long for a model is asked again with its longest texts shortened, three
    times at most. The arguments are those of ``chat.complete``.

    Args:
        models: at least one; None means LLM_MODEL.
        room: what earlier calls have met, and this one adds to: a prompt that was too long is
            not sent in its length again.
        on_again: called before every further attempt: what ``on_text`` has heard is void.
        on_broken_off: hears what each call has used that broke off.
        before_next: called before each model but the first; what it raises is the end.

    Raises:
        NotConfiguredError, UpstreamError: none gave one; what the first of them met. Where that
            will not pass and what another one met may, both are told, and it may pass.
    """
    met: list[AetherError] = []
    for model in models:
        if met:
            if before_next is not None:
                await before_next()
            if on_again is not None:
                on_again()
        try:
            return await _fitted(
                settings,
                model=model,
                messages=messages,
                room=room or Room(),
                tools=tools,
                timeout=timeout,
                on_text=on_text,
                on_again=on_again,
                on_broken_off=on_broken_off,
            )
        except (NotConfiguredError, UpstreamError) as error:
            if len(models) > 1:
                log.warning("the model %r gave no reply: %s", model or settings.llm_model, error)
            met.append(error)
    if not met:
        raise ValueError("no model to ask")
    raise _told(met)


def _told(met: Sequence[AetherError]) -> AetherError:
    """The first failure, or that which may pass, until the first of all the waits is over."""
    passing = [one for one in met if one.retryable]
    if not passing:
        return met[0]
    waits = [one.retry_after for one in passing if one.retry_after is not None]
    first = "" if met[0].retryable else f"{met[0]}; "
    status = passing[0].status if isinstance(passing[0], UpstreamError) else None
    return UpstreamError(
        f"{first}{passing[0]}", status=status, retry_after=min(waits, default=None)
    )


async def _fitted(
    settings: Settings,
    *,
    model: str | None,
    messages: Sequence[Mapping[str, Any]],
    room: Room,
    tools: Sequence[Mapping[str, Any]] | None,
    on_again: Callable[[], None] | None,
    **arguments: Any,
) -> Reply:
    known = await _known_window(settings, model)
    most = window.characters(messages)
    if known is not None:
        beside = window.characters(tools or ())
        most = min(most, max(int(known * window.CHARACTERS_A_TOKEN) - beside, 0))
    most = min(most, room.characters.get(model, most))
    for left in (1.0, *SMALLER):
        fitting = window.fit(messages, int(most * left))
        try:
            reply = await chat.complete(
                settings, model=model, messages=fitting, tools=tools, **arguments
            )
        except provider.PromptTooLongError as error:
            shorter = window.fit(messages, int(most * left * 0.9))
            if left == SMALLER[-1] or window.characters(shorter) >= window.characters(fitting):
                raise  # nothing more can be left out
            log.info("the prompt is shortened and sent again: %s", error)
            if on_again is not None:
                on_again()
        else:
            if left < 1.0:
                room.characters[model] = int(most * left)
            return reply
    raise AssertionError("unreachable")


async def _known_window(settings: Settings, model: str | None) -> int | None:
    """How many tokens the model reads, as the setting says or LiteLLM knows it; None: nobody does.

    The smaller of the two counts.
    """
    bound = settings.llm_max_prompt_tokens
    if settings.llm_base_url:
        return bound  # its names are its own
    name = chat.model_name(settings, model)
    told = (await asyncio.to_thread(prices.entry, name)).get("max_input_tokens")
    known = [one for one in (told, bound) if isinstance(one, int) and one > 0]
    return min(known, default=None)
