"""The platforms that Aether listens to: one tuple names them all."""

from typing import Final

from aether.sources.base import PolledSource, Source
from aether.sources.github import GitHub
from aether.sources.gitlab import GitLab
from aether.sources.jira import Jira
from aether.sources.plane import Plane

SOURCES: Final[tuple[Source, ...]] = (GitHub(), GitLab(), Jira(), Plane())


def get(name: str) -> Source | None:
    """The source of this name, or None."""
    return next((source for source in SOURCES if source.name == name), None)


def get_polled(name: str) -> PolledSource | None:
    """The source of this name if it can be polled, or None."""
    source = get(name)
    return source if isinstance(source, PolledSource) else None


def polled_names() -> list[str]:
    """The sources that can be polled, in the order of ``SOURCES``."""
    return [source.name.value for source in SOURCES if isinstance(source, PolledSource)]
