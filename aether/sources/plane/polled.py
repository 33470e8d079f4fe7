"""Turns a work item that a poll saw into the events that webhooks would have told of it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aether.errors import InvalidInputError, UpstreamError
from aether.events import SourceEvent
from aether.sources.plane import answer, lookups, shapes
from aether.sources.plane import change_key as keys
from aether.sources.plane.extract import read
from aether.sources.plane.shapes import CLOSED_GROUPS, reference
from aether.sources.plane.site import Workspace
from aether.sources.reading import mapping, moment, moment_text, sequence, storable, text

log = logging.getLogger(__name__)

SAME_MOMENT: Final = timedelta(seconds=2)  # an item's time may come after its comment's
MOST_COMMENTS: Final = 100
ABSENT: Final = frozenset({403, 404})


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was told of an item: all up to ``changed``, when its state was of ``group``."""

    changed: datetime
    group: str = ""
    comments: tuple[str, ...] = ()

    @classmethod
    def read(cls, value: object) -> "Known":
        """As ``written`` gave it."""
        at, group, comments, *_ = [*sequence(value), None, None, None]
        return cls(
            changed=moment(at) or datetime.min.replace(tzinfo=UTC),
            group=text(group),
            comments=tuple(map(text, sequence(comments))),
        )

    def written(self) -> list[Any]:
        """As JSON."""
        return [self.changed.isoformat(), self.group, list(self.comments)]


class Reader:
    """Reads items of one page; states and people are asked for once, if they are needed."""

    def __init__(self, site: Workspace, *, begins: datetime) -> None:
        """``begins``: what happened before was told, or is never to be."""
        self._site = site
        self._begins = begins
        self._states: list[Mapping[str, Any]] | None = None
        self._people: dict[str | None, Mapping[str, Any]] | None = None

    async def read(
        self, item: Mapping[str, Any], changed: datetime, before: Known | None
    ) -> tuple[list[SourceEvent], Known]:
        """The new events of an item, and what is known of it then.

        Raises:
            UpstreamError: more had to be asked for, and Plane failed.
        """
        item = await self._with_state(item)
        created = moment(item.get("created_at"))
        comments = await answer.comments(self._site, reference(item) or "", None)
        events: list[SourceEvent] = []
        if before is None and created is not None and created >= self._begins:
            events += await self._created(item)
        told = before.comments if before else ()
        new = [one for one in comments if self._is_new(one) and reference(one) not in told]
        for one in new:
            events += await self._commented(item, one)
        closing = await self._closing(item, before)
        if closing is not None:
            events += await self._as_state(item, "closed", closing)
        elif not events and not _is_explained(changed, created, comments):
            events += await self._as_state(item, "updated", {})
        said = (*told, *(one for one in map(reference, new) if one))
        known = Known(changed=changed, group=shapes.group(item), comments=said[-MOST_COMMENTS:])
        return events, known

    async def _with_state(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """The item with its state as an object, which old installations do not expand."""
        wanted = reference(item.get("state"))
        if mapping(item.get("state")) or wanted is None:
            return item
        if self._states is None:
            self._states = await lookups.states(self._site)
        found = next((one for one in self._states if reference(one) == wanted), None)
        return {**item, "state": found} if found else item

    async def _closing(
        self, item: Mapping[str, Any], before: Known | None
    ) -> Mapping[str, Any] | None:
        """The entry of the history that closed it since we looked, empty if there is none to
        see; None where it is open, or was closed before."""
        if shapes.group(item) not in CLOSED_GROUPS:
            return None
        if before is not None and before.group:
            return None if before.group in CLOSED_GROUPS else await self._history(item) or {}
        return await self._history(item)

    async def _history(self, item: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The last move into the state that the item is in, if it was since we looked."""
        path = f"{reference(item)}/activities/"
        try:
            told = [one async for one in self._site.each(path, {}, of_items=True)]
        except UpstreamError as error:
            if error.status not in ABSENT or error.retryable:
                raise
            return None
        now, name = reference(item.get("state")), shapes.state_name(item)
        moves = [
            (at, one)
            for one in told
            if text(one.get("field")) in {"state", "state_id"}
            and (reference(one.get("new_identifier")) == now or text(one.get("new_value")) == name)
            and (at := moment(one.get("created_at")))
            and at >= self._begins
        ]
        return max(moves, key=lambda pair: pair[0])[1] if moves else None

    async def _created(self, item: Mapping[str, Any]) -> list[SourceEvent]:
        person = await self._person(item.get("created_by"))
        told = {"event": "issue", "action": "created", "data": item, "activity": _activity(person)}
        return self._event(told, item.get("created_at"))

    async def _commented(
        self, item: Mapping[str, Any], comment: Mapping[str, Any]
    ) -> list[SourceEvent]:
        writer = comment.get("actor")
        person = mapping(writer) or await self._person(writer)
        about = {
            **comment,
            "actor": reference(writer),
            "issue": reference(item),
            "project": reference(item.get("project")),
            "issue_detail": item,
        }
        told = {"event": "issue_comment", "action": "created", "data": about}
        return self._event(told | {"activity": _activity(person)}, comment.get("created_at"))

    async def _as_state(
        self, item: Mapping[str, Any], word: str, entry: Mapping[str, Any]
    ) -> list[SourceEvent]:
        """That it is so now; the engine compares it with what webhooks told."""
        told: dict[str, Any] = {"event": "issue", "action": "updated", "data": item}
        if word == "closed":
            person = mapping(entry.get("actor")) or await self._person(entry.get("actor"))
            state = reference(item.get("state"))
            moved = {"field": "state", "new_value": state, "old_value": entry.get("old_identifier")}
            told["activity"] = _activity(person) | moved
        change_key = keys.state_key(item, word, item.get("updated_at"))
        return [
            replace(
                event,
                told_by="state",
                change_key=change_key or event.change_key,
                delivery_key=f"poll:{change_key or event.change_key}",
            )
            for event in self._event(told, item.get("updated_at"))
        ]

    async def _person(self, who: object) -> Mapping[str, Any]:
        identity = reference(who)
        if identity is None:
            return {}
        if self._people is None:
            self._people = {reference(one): one for one in await lookups.people(self._site)}
        return self._people.get(identity, {"id": identity})

    def _event(self, told: Mapping[str, Any], at: object) -> list[SourceEvent]:
        """The event of one act, in a list; an empty list where it cannot be read."""
        data = mapping(told.get("data"))
        whole = {**told, "workspace_id": reference(data.get("workspace")),
                 "workspace": {"slug": self._site.slug}}  # fmt: skip
        try:
            event = read(storable(whole), text(told.get("event")), delivery_key="")
        except InvalidInputError as error:
            log.warning("Plane: a work item is left out: %s", error)
            return []
        subject = event.subject
        if subject is not None and self._site.slug != self._site.own_slug:
            subject = replace(subject, project=self._site.project_name)
        return [
            replace(
                event,
                subject=subject,
                delivery_key=f"poll:{event.change_key}",
                told_by="poll",
                happened_at=moment_text(at),
            )
        ]

    def _is_new(self, comment: Mapping[str, Any]) -> bool:
        at = moment(comment.get("created_at"))
        return reference(comment) is not None and at is not None and at >= self._begins


def _activity(person: Mapping[str, Any]) -> dict[str, Any]:
    told = {"field": None, "new_value": None, "old_value": None}
    return told | ({"actor": dict(person)} if person else {})


def _is_explained(
    changed: datetime, created: datetime | None, comments: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether the item's time is that of its creation, or of a comment, new or edited."""
    names = ("created_at", "updated_at", "edited_at")
    acts = [created, *(moment(one.get(name)) for one in comments for name in names)]
    return any(at is not None and abs(changed - at) <= SAME_MOMENT for at in acts)
