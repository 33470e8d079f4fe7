"""Makes a conversation fit into a model's window: its longest texts lose their middles, visibly.

The system prompt, what the model itself wrote, and which result belongs to which call stay as
they are, so that the history stays valid for every provider.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aether.llm.prompts import shorten_message

CHARACTERS_A_TOKEN: Final = 3.0
"""Cautious: English text has about 4, code and other languages fewer.
https://platform.openai.com/tokenizer"""

SHORTEST: Final = 400
"""Characters that a text keeps at least, so that what it is about can still be seen."""

SHRINKING: Final = frozenset({"tool", "user"})


def characters(messages: Sequence[Mapping[str, Any]]) -> int:
    """How long the messages are on the wire, in characters."""
    return sum(len(json.dumps(one, ensure_ascii=False)) for one in messages)


def fit(messages: Sequence[Mapping[str, Any]], most: int) -> list[dict[str, Any]]:
    """The messages with ``most`` characters together, as far as that can be had.

    Only tool results and user messages are shortened, the longest of them to one common length.
    """
    told = [dict(one) for one in messages]
    over = characters(told) - most
    if over <= 0:
        return told
    lengths = sorted(
        len(one["content"]) for one in told if _shrinks(one) and len(one["content"]) > SHORTEST
    )
    cap = _common_length(lengths, over)
    while True:
        fitted = [_capped(one, cap) for one in told]
        over = characters(fitted) - most
        if over <= 0 or cap <= SHORTEST:
            return fitted
        # what we say of a message's data stays, and was not reckoned with
        cap = max(cap - max(over // max(len(lengths), 1), cap // 20), SHORTEST)


def _capped(message: dict[str, Any], cap: int) -> dict[str, Any]:
    if not _shrinks(message):
        return message
    return {**message, "content": shorten_message(message["content"], cap)}


def _shrinks(message: Mapping[str, Any]) -> bool:
    return message.get("role") in SHRINKING and isinstance(message.get("content"), str)


def _common_length(lengths: Sequence[int], over: int) -> int:
    """The greatest length that, put on all, saves ``over`` characters; SHORTEST if none does."""
    note = 60  # what ``shorten`` writes in place of the middle
    for count in range(1, len(lengths) + 1):
        longest = lengths[-count:]
        cap = (sum(longest) - over) // count - note
        below = lengths[-count - 1] if count < len(lengths) else 0
        if cap >= max(below, SHORTEST):
            return cap
    return SHORTEST
