"""The unguessable word in what we post, by which we find it again; no reader sees it."""

import re
from typing import Final

_MARKER: Final = re.compile(r"<!-- aether:([A-Za-z0-9_-]{32,64}) -->")


def marker_comment(marker: str) -> str:
    """How a marker stands in a text that we post: invisible to a reader."""
    return f"<!-- aether:{marker} -->"


def markers_in(text: str) -> list[str]:
    """The markers in a text, but not those in lines that quote another one."""
    if "<!-- aether:" not in text:  # nearly always, and on the way of every delivery
        return []
    unquoted = (line for line in text.splitlines() if not line.lstrip().startswith(">"))
    return [found for line in unquoted for found in _MARKER.findall(line)]
