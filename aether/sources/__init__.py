"""The platforms that Aether listens to: one tuple names them all."""

from typing import Final

from aether.sources.base import Source
from aether.sources.github import GitHub
from aether.sources.gitlab import GitLab

SOURCES: Final[tuple[Source, ...]] = (GitHub(), GitLab())


def get(name: str) -> Source | None:
    """The source of this name, or None."""
    return next((source for source in SOURCES if source.name == name), None)
