"""What a source brings to the conformance tests: signed deliveries, and a platform to write to."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from aether.events import Subject
from aether.sources.base import Source

Request = tuple[dict[str, str], bytes]
"""Headers, their names in lower case, and the body."""


class World(Protocol):
    """A platform that stands in, served, with one issue ``subject``."""

    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What authenticates a call."""
        ...

    @property
    def subject(self) -> Subject: ...

    def comments(self) -> list[str]:
        """The texts of the comments on the issue, oldest first, as they are stored."""
        ...

    def titles(self) -> list[str]:
        """The titles of all issues of the project."""
        ...


@dataclass(frozen=True, kw_only=True)
class Kit:
    """One source and what its platform sends.

    ``payloads`` are bodies by canonical trigger, for ``issue.created``, ``issue.closed`` and
    ``issue.commented``; ``request`` makes the delivery of a body, signed with ``secret`` unless
    told otherwise. ``proof`` is the header that proves it. ``event_field`` names the event where
    no header does: without it a body says nothing. ``addressed_by`` is the part of a subject that
    an address is made of.
    """

    source: Source
    secret: str = field(repr=False)
    other_secret: str = field(repr=False)
    proof: str
    payloads: Mapping[str, Any]
    request: Callable[[str, Any, str], Request]
    with_comment_text: Callable[[Any, str], Any]
    world: Callable[[], AbstractContextManager[World]]
    event_field: str | None = None
    addressed_by: Literal["project", "key"] = "project"
