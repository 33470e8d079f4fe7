"""What a tool is: a function of a context and checked arguments that gives the model a text."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aether.config import Settings
from aether.effects import Effects, Outcome
from aether.errors import AetherError, ErrorCode
from aether.events import Subject
from aether.leases import Lease
from aether.memory.search import Visibility
from aether.rendering import storable
from aether.sources.base import KeyedSource, Source
from aether.vocabulary import EffectStatus, ToolReach


class RefusedError(AetherError):
    """The agent may not do this; the text goes back to the model."""

    code = ErrorCode.FORBIDDEN


@dataclass(frozen=True, kw_only=True)
class ToolContext:
    """All that a tool may touch in one call: the item at hand, its project, this run's memory."""

    settings: Settings
    source: Source
    subject: Subject | None
    effects: Effects | None  # None where there is no item to act on
    execution_id: int
    call_key: str  # names this call within the execution; the same when the run is resumed
    agent_id: str | None
    lease: Lease  # of the run; what is stored before a call is fenced by it
    reach: ToolReach
    visibility: Visibility  # what this run may remember and recall

    def target(self, arguments: Mapping[str, Any]) -> tuple[Effects, Subject]:
        """What to act on: the item at hand, or ``issue`` of its project if the task says so.

        Raises:
            RefusedError: there is no item, or another one than this run may act on.
        """
        if self.effects is None or self.subject is None or not self.subject.can_be_answered:
            raise RefusedError("there is no issue or pull request at hand")
        wanted = arguments.get("issue")
        key = self.subject.key if wanted in {None, ""} else str(wanted).removeprefix("#")
        if key == self.subject.key:
            return self.effects, self.subject
        if self.reach is not ToolReach.PROJECT:
            raise RefusedError(f"issue: this run may act on {self.subject.key} only, not on {key}")
        place = self.subject.project
        if isinstance(self.source, KeyedSource) and not self.source.is_of_project(place, key):
            raise RefusedError(f"issue: {key[:100]} is no item of the project {place}")
        other = Subject(
            kind="issue",
            project=self.subject.project,
            key=key,
            visibility=self.subject.visibility,  # what is said elsewhere comes from here
            restricted_to=self.subject.restricted_to,
        )
        return self.effects, other


Tool = Callable[[ToolContext, Mapping[str, Any]], Awaitable[str]]


def as_json(value: Any) -> str:
    """What a tool gives as data: JSON without what no database and no model takes."""
    return json.dumps(storable(value), ensure_ascii=False)


def told(outcome: Outcome, done: str) -> str:
    """What the model hears of a write."""
    if outcome.status is EffectStatus.NOT_SENT:
        return f"Recorded, but not sent: {outcome.why}."
    return f"{done} {outcome.url}".strip() if outcome.url else done
