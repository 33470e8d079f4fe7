"""The text that is posted: cleaned, within the platform's length, with its marker at the end."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final

NOTICE: Final = "*[Shortened: {left} more characters are kept in Aether's record of this run.]*"
BLANK_LINE: Final = "\n\n"
SOFT_CUT: Final = 400  # characters given up to end at a line or a word
ZERO_WIDTH_JOINER: Final = "\u200d"

_NOTICE_AT_THE_END: Final = re.compile(
    re.escape(NOTICE).replace(re.escape("{left}"), "([0-9]{1,12})") + r"\s*\Z"
)
Harmless = Callable[[str], str]
"""Takes out of a text what would act on a tracker; see ``aether.markup.neutral``."""

_FENCE: Final = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<info>.*)$")


def clean(text: str) -> str:
    """``text`` without NUL, lone surrogates as U+FFFD: what a database and a platform take."""
    return text.replace("\x00", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def storable(value: Any) -> Any:
    """A JSON value with every text in it cleaned, keys too."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(name)): storable(one) for name, one in value.items()}
    return [storable(one) for one in value] if isinstance(value, list | tuple) else value


def is_blank(text: str | None) -> bool:
    """Whether a reader would see nothing: only spaces, controls and zero-width characters."""
    return not text or all(unicodedata.category(one)[0] in "ZC" for one in text)


def render(text: str, *, marker: str, limit: int, harmless: Harmless = str) -> str:
    """``text`` with ``marker`` on a line of its own at the end, ``limit`` characters at most.

    A longer text is cut between characters as a reader sees them, an open code fence is closed,
    and a notice says how much is left out, with what an earlier notice at its end said.
    ``harmless`` is done to the text, not to the marker.
    """
    body = fitting(text, limit - len(marker) - len(BLANK_LINE), harmless=harmless)
    return f"{body}{BLANK_LINE}{marker}" if body else marker


def fitting(text: str, limit: int, *, harmless: Harmless = str) -> str:
    """``text`` made harmless, in ``limit`` characters; what is cut is made so again.

    A cut may take the end of a code span away, and what was code in it would be text.
    """
    whole = clean(text).rstrip()
    body = whole if len(whole) > 2 * limit else harmless(whole)  # it will be cut anyway
    room = limit
    while len(body) > limit and room > 0:
        body = harmless(shorten(whole, room))
        # in proportion: what is made harmless may be more than twice as long as it was
        room = min(room * limit // max(len(body), 1), room - room // 100 - 1)
    return body


def shorten(text: str, limit: int) -> str:
    """``text`` in ``limit`` characters: cut, its open fence closed, with a notice at the end.

    The notice counts what an earlier one at its end said. With a limit below the notice's own
    length there is the notice alone.
    """
    if len(text) <= limit:
        return text
    left = 0
    if earlier := _NOTICE_AT_THE_END.search(text):
        text, left = text[: earlier.start()].rstrip(), int(earlier[1])
    notice = NOTICE.format(left=len(text) + left)  # as long as any that follows
    room = limit - len(notice) - len(BLANK_LINE) - len("\n") - _longest_fence(text)
    kept = _cut(text, max(room, 0))
    told = NOTICE.format(left=len(text) - len(kept) + left)
    return with_notice(kept, told) if kept else told


def with_notice(text: str, notice: str) -> str:
    """``text`` and ``notice`` below it; a code block that the text ends in is closed first."""
    kept = text.rstrip()
    fence = _open_fence(kept)
    return f"{kept}\n{fence}{BLANK_LINE}{notice}" if fence else f"{kept}{BLANK_LINE}{notice}"


def _cut(text: str, room: int) -> str:
    """The first ``room`` characters or fewer, ending at a line, a word, or a whole character."""
    if len(text) <= room:
        return text
    start = max(0, room - SOFT_CUT)
    for boundary in ("\n", " "):
        place = text.rfind(boundary, start, room + 1)
        if place > start:
            return text[:place].rstrip()
    place = room
    while place > start and _joins(text[place - 1], text[place]):
        place -= 1
    return text[:place]


def _joins(before: str, after: str) -> bool:
    """Whether a cut between the two would fall inside one character as a reader sees it."""
    return (
        before == ZERO_WIDTH_JOINER
        or after == ZERO_WIDTH_JOINER
        or unicodedata.category(after)[0] == "M"
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones
        or ("\U0001f1e6" <= before <= "\U0001f1ff" and "\U0001f1e6" <= after <= "\U0001f1ff")
    )


def _open_fence(text: str) -> str | None:
    """The fence that would close the code block which ``text`` ends in, if it does."""
    opened: str | None = None
    for line in text.splitlines():
        found = _FENCE.match(line)
        if found is None:
            continue
        fence = found["fence"]
        if opened is None:
            opened = fence
        elif fence[0] == opened[0] and len(fence) >= len(opened) and not found["info"].strip():
            opened = None
    return opened


def _longest_fence(text: str) -> int:
    return max(
        (len(found["fence"]) for found in map(_FENCE.match, text.splitlines()) if found), default=0
    )
