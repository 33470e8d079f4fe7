"""What a call has used: tokens as the provider tells them, else counted; and what they cost."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aether.config import Settings
from aether.llm import prices, provider, streaming
from aether.llm.provider import Target
from aether.llm.window import characters
from aether.rendering import clean
from aether.spending import Usage

MOST_TOKENS: Final = 10**12
LONGEST_NAME: Final = 200
CHARACTERS_A_TOKEN: Final = 4  # of English text, where LiteLLM cannot count


@dataclass(frozen=True, kw_only=True)
class _Tokens:
    prompt: int = 0
    completion: int = 0
    cached: int = 0

    def __bool__(self) -> bool:
        return bool(self.prompt or self.completion)


async def of_reply(
    settings: Settings, target: Target, arguments: Mapping[str, Any], answer: Any
) -> Usage:
    """What a reply has used; ``answer`` is LiteLLM's, ``arguments`` what it was asked."""
    tokens = _told(getattr(answer, "usage", None))
    is_estimated = not tokens
    if is_estimated:
        message = answer.choices[0].message
        tokens = await asyncio.to_thread(_counted, arguments, "".join(_written(message)))
    return _usage(settings, target, answer, tokens, is_estimated=is_estimated)


async def of_broken_off(
    settings: Settings, target: Target, arguments: Mapping[str, Any], came: streaming.Came
) -> Usage:
    """What a stream has used that ended before its end; at least one chunk of it came.

    What was told counts, where it may be all of it; what is missing is counted. Providers bill
    what was read and written, however the call ended.
    """
    chunks = came.chunks
    told = [_told(getattr(one, "usage", None)) for one in chunks]
    most = _Tokens(
        prompt=max(one.prompt for one in told),
        completion=max(one.completion for one in told),
        cached=max(one.cached for one in told),
    )
    has_all = came.has_end and bool(most.completion)
    if not has_all:
        deltas = [one.choices[0].delta for one in chunks if getattr(one, "choices", None)]
        text = "".join(piece for one in deltas for piece in _written(one))
        counted = await asyncio.to_thread(_counted, arguments, text)
        most = _Tokens(
            prompt=most.prompt or counted.prompt,
            completion=max(most.completion, counted.completion),
            cached=most.cached,
        )
    library = provider.litellm()
    model = streaming.told_model(chunks) or target.arguments["model"]
    answer = library.ModelResponse(model=model, choices=[])
    answer._hidden_params = {  # noqa: SLF001 # where LiteLLM keeps them
        "additional_headers": getattr(chunks[0], "_hidden_params", {}).get("additional_headers")
    }
    return _usage(settings, target, answer, most, is_estimated=not has_all)


def _usage(
    settings: Settings, target: Target, answer: Any, tokens: _Tokens, *, is_estimated: bool
) -> Usage:
    if not _told(getattr(answer, "usage", None)):
        answer.usage = provider.litellm().Usage(
            prompt_tokens=tokens.prompt, completion_tokens=tokens.completion
        )  # what LiteLLM adds costs up by
    cost = prices.cost(
        settings, target, answer,
        prompt=tokens.prompt, completion=tokens.completion, cached=tokens.cached,
    )  # fmt: skip
    if cost is None:
        prices.warn(target.name)
    model = clean(str(getattr(answer, "model", None) or "")).removeprefix("custom_openai/")
    return Usage(
        model=(model or target.name)[:LONGEST_NAME],
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        cost_usd=cost,
        is_estimated=is_estimated,
    )


def _told(usage: Any) -> _Tokens:
    details = getattr(usage, "prompt_tokens_details", None)
    return _Tokens(
        prompt=_count(getattr(usage, "prompt_tokens", None)),
        completion=_count(getattr(usage, "completion_tokens", None)),
        cached=_count(getattr(details, "cached_tokens", None)),
    )


def _count(value: Any) -> int:
    return min(max(value, 0), MOST_TOKENS) if isinstance(value, int) else 0


def _counted(arguments: Mapping[str, Any], text: str) -> _Tokens:
    """The tokens by LiteLLM's counter for models of any name; blocks for 1 s a million characters.

    By the model's own name it would load that model's tokenizer, some of them from elsewhere.
    """
    library = provider.litellm()
    messages = arguments["messages"]
    try:
        prompt = library.token_counter(messages=messages, tools=arguments.get("tools"))
        completion = (
            library.token_counter(text=clean(text), count_response_tokens=True) if text else 0
        )
    except provider.failures():
        prompt = characters(messages) // CHARACTERS_A_TOKEN
        completion = len(text) // CHARACTERS_A_TOKEN
    return _Tokens(prompt=_count(prompt), completion=_count(completion))


def _written(said: Any) -> Iterable[str]:
    """What the model wrote, of a message or a piece of one: text, thoughts, tool calls."""
    for name in ("reasoning_content", "content"):
        value = getattr(said, name, None)
        if isinstance(value, str):
            yield value
    for call in getattr(said, "tool_calls", None) or ():
        for name in ("name", "arguments"):
            value = getattr(getattr(call, "function", None), name, None)
            if isinstance(value, str):
                yield value
