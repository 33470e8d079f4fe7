"""Cuts a long text into pieces that an embedding can stand for, at its own boundaries."""

import re
from typing import Final

SIZE: Final = 900
OVERLAP: Final = 120

_BOUNDARIES: Final = (
    re.compile(r"\n\s*\n"),  # a paragraph
    re.compile(
        r"(?<=[.!?…])\s+|(?<=[\u3002\uff01\uff1f])|\n"
    ),  # a sentence (Chinese and Japanese end one without a space), a line
    re.compile(r"\s+"),  # a word
)


def chunks(text: str, *, size: int = SIZE, overlap: int = OVERLAP) -> list[str]:
    """Pieces of ``text`` of ``size`` characters at most, each but the first repeating a bit.

    A piece ends at a paragraph, else a sentence, else a word, if there is one in its second
    half. Blank text has no pieces.
    """
    text = text.strip()
    found = []
    start = 0
    while len(text) - start > size:
        end = _end(text, start, size)
        found.append(text[start:end].strip())
        start = _restart(text, start, end, overlap)
    found.append(text[start:].strip())
    return [piece for piece in found if piece]


def _end(text: str, start: int, size: int) -> int:
    """Where the piece that begins at ``start`` ends."""
    for boundary in _BOUNDARIES:
        ends = [match.end() for match in boundary.finditer(text, start + size // 2, start + size)]
        if ends:
            return ends[-1]
    return start + size


def _restart(text: str, start: int, end: int, overlap: int) -> int:
    """Where the next piece begins: up to ``overlap`` before ``end``, at a sentence or a word."""
    earliest = max(end - overlap, start + 1)
    for boundary in _BOUNDARIES[1:]:
        match = boundary.search(text, earliest, end)
        if match is not None and match.end() < end:
            return match.end()
    return earliest
