"""The platforms that Aether listens to: one tuple names them all."""

from typing import Final

from aether.sources.base import Source
from aether.sources.github import GitHub

SOURCES: Final[tuple[Source, ...]] = (GitHub(),)


def get(name: str) -> Source | None:
    """The source of this name, or None."""
    return next((source for source in SOURCES if source.name == name), None)
