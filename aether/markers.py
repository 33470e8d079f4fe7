"""The unguessable word in what we post, by which we find it again; no reader sees it."""

import re
from typing import Final

_MARKER: Final = re.compile(r"<!-- aether:([A-Za-z0-9_-]{32,64}) -->")
_AT_THE_END: Final = re.compile(rf"\s*{_MARKER.pattern}\s*\Z")


def marker_comment(marker: str) -> str:
    """How a marker stands in a Markdown text that we post: invisible to a reader."""
    return f"<!-- aether:{marker} -->"


def markers_in(text: str) -> list[str]:
    """The markers in a text, but not those in lines that quote another one."""
    if "<!-- aether:" not in text:  # nearly always, and on the way of every delivery
        return []
    unquoted = (line for line in text.splitlines() if not line.lstrip().startswith(">"))
    return [found for line in unquoted for found in _MARKER.findall(line)]


def split_marker(text: str) -> tuple[str, str | None]:
    """A text without the marker at its end, and that marker, for platforms that drop comments."""
    found = _AT_THE_END.search(text)
    return (text[: found.start()], found[1]) if found else (text, None)
