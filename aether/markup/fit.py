"""Converts a text so that what comes out is within a platform's limit."""

from collections.abc import Callable
from typing import Final, TypeVar

from aether.markup.tree import Node, parse
from aether.rendering import shorten

T = TypeVar("T")

MOST_TRIES: Final = 30


def fit(
    markdown: str,
    limit: int,
    convert: Callable[[Node], T],
    *,
    measure: Callable[[T], int] = len,  # type: ignore[assignment] # of a text
) -> T:
    """``convert`` of the tree of ``markdown``, shortened until that measures at most ``limit``.

    It is cut as Markdown, between its lines and words where it can be, with fences closed and the
    notice of ``rendering`` at its end, so that what is converted is whole. Where even the notice
    is too long, what comes out may be longer than ``limit``.

    Args:
        measure: how long a converted text is, in the units of ``limit``; its characters, unless
            told.
    """
    made = convert(parse(markdown))
    room = len(markdown)
    for _ in range(MOST_TRIES):
        size = measure(made)
        if size <= limit or room <= 0:
            break
        room = min(room - 1, room * limit // size - 1)
        made = convert(parse(shorten(markdown, max(room, 0))))
    return made
