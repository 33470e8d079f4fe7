"""Turns an issue that a poll saw into the events that webhooks would have told of it."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aether.errors import UpstreamError
from aether.events import SourceEvent
from aether.sources.jira import change_key as keys
from aether.sources.jira import shapes
from aether.sources.jira.answer import comments_since
from aether.sources.jira.extract import COMMENT_CREATED, CREATED, UPDATED, read, status_change
from aether.sources.jira.site import Site, issue_path
from aether.sources.reading import key, mapping, number_key, sequence, text

log = logging.getLogger(__name__)

SLACK: Final = timedelta(seconds=10)  # an issue's time and that of what changed it differ a little
MOST_TOLD: Final = 60
CHANGELOG_PAGE: Final = 100
ABSENT: Final = frozenset({403, 404})


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was told of an issue: all up to ``changed``, by the keys of the last of it.

    ``size`` is how many comments and changes it had, since two may happen in one millisecond.
    """

    changed: datetime
    size: str = ""
    category: str = ""
    told: tuple[str, ...] = ()

    @classmethod
    def read(cls, value: object) -> "Known":
        """As ``written`` gave it."""
        one = mapping(value)
        return cls(
            changed=shapes.moment(one.get("at")) or datetime.min.replace(tzinfo=UTC),
            size=text(one.get("size")),
            category=text(one.get("category")),
            told=tuple(map(text, sequence(one.get("told")))),
        )

    def written(self) -> dict[str, Any]:
        """As JSON."""
        at = round(self.changed.timestamp() * 1000)
        told = {"at": at, "size": self.size, "category": self.category}
        return told | {"told": list(self.told)}


def size_of(issue: Mapping[str, Any]) -> str:
    """How many comments and changes an issue has, as far as a search tells."""
    comments = mapping(mapping(issue.get("fields")).get("comment"))
    held = ((comments, "comments"), (mapping(issue.get("changelog")), "histories"))
    return "/".join(
        str(one["total"] if isinstance(one.get("total"), int) else len(sequence(one.get(name))))
        for one, name in held
    )


class Reader:
    """Reads issues of one page; ``categories`` of statuses are kept for the next one."""

    def __init__(
        self, site: Site, categories: dict[str, str], *, since: datetime, starts: datetime
    ) -> None:
        """``since``: what happened before is never told; ``starts``: of the pass."""
        self._site = site
        self._categories = categories
        self._since = since
        self._starts = starts

    async def read(
        self, issue: Mapping[str, Any], changed: datetime, before: Known | None
    ) -> tuple[list[SourceEvent], Known]:
        """The new events of an issue, and what is known of it then.

        Raises:
            UpstreamError: more had to be asked for, and Jira failed.
        """
        bound = max(before.changed - SLACK if before else self._starts, self._since)
        fields = dict(mapping(issue.get("fields")))
        whole, size = {**issue, "fields": fields}, size_of(issue)
        comments = await self._comments(whole, bound)
        histories = await self._histories(whole, bound)
        whole.pop("changelog", None)
        fields.pop("comment", None)
        self._learn(mapping(fields.get("status")))
        found: list[SourceEvent] = []
        if before is None and self._is_new(fields.get("created"), self._starts):
            found.append(self._created(whole, fields))
        found += [await self._changed(whole, one) for one in histories or ()]
        found += [self._commented(whole, one) for one in comments if self._is_new_one(one, bound)]
        known = set(before.told) if before else set()
        events = [one for one in found if one.change_key not in known]
        is_explained = bool(found) or any(_is_edit(one, bound) for one in comments)
        is_seen_anew = before is not None or changed >= self._starts
        if histories is None and is_seen_anew and not is_explained:
            state = self._as_state(whole, changed, before)
            events += [] if state.change_key in known else [state]
        told = [*(before.told if before else ()), *(one.change_key for one in events)]
        category = _category(mapping(fields.get("status")))
        return events, Known(
            changed=changed, size=size, category=category, told=tuple(told[-MOST_TOLD:])
        )

    async def _comments(self, issue: Mapping[str, Any], bound: datetime) -> list[Mapping[str, Any]]:
        held = mapping(mapping(issue.get("fields")).get("comment"))
        told = [mapping(one) for one in sequence(held.get("comments"))]
        total = held.get("total")
        if isinstance(held.get("comments"), list) and (
            not isinstance(total, int) or len(told) >= total
        ):
            return told
        return await comments_since(self._site, text(issue.get("key")), bound)

    async def _histories(
        self, issue: Mapping[str, Any], bound: datetime
    ) -> list[Mapping[str, Any]] | None:
        """The new entries of the changelog, oldest first; None where the site tells of none."""
        held = mapping(issue.get("changelog")) or await self._changelog(text(issue.get("key")))
        if not isinstance(held.get("histories"), list):
            return None
        told = [mapping(one) for one in sequence(held.get("histories"))]
        total = held.get("total")
        is_cut = isinstance(total, int) and len(told) < total
        if is_cut and all(self._is_new(one.get("created"), bound) for one in told):
            told = await self._last_histories(text(issue.get("key")), int(str(total))) or told
        fresh = [one for one in told if self._is_new(one.get("created"), bound)]
        return sorted(fresh, key=lambda one: (_moment(one), int(number_key(one.get("id")) or 0)))

    async def _changelog(self, issue_key: str) -> Mapping[str, Any]:
        """That of the issue itself, for a site whose search does not hold it."""
        query = {"fields": "updated", "expand": "changelog"}
        issue = mapping(await self._site.call("GET", issue_path(issue_key), query=query))
        return mapping(issue.get("changelog"))

    async def _last_histories(self, issue_key: str, total: int) -> list[Mapping[str, Any]]:
        # Cloud's own list of them is oldest first; Server gives all with the search.
        query = {
            "startAt": str(max(total - CHANGELOG_PAGE, 0)),
            "maxResults": str(CHANGELOG_PAGE),
        }
        try:
            answer = await self._site.call("GET", f"{issue_path(issue_key)}/changelog", query=query)
        except UpstreamError as error:
            if error.status not in ABSENT:
                raise
            return []
        return [mapping(one) for one in sequence(mapping(answer).get("values"))]

    def _created(self, issue: Mapping[str, Any], fields: Mapping[str, Any]) -> SourceEvent:
        user = fields.get("creator") or fields.get("reporter")
        told = {"issue_event_type_name": "issue_created", "user": user, "issue": issue}
        return _event(CREATED, told, fields.get("created"))

    async def _changed(self, issue: Mapping[str, Any], history: Mapping[str, Any]) -> SourceEvent:
        items = sequence(history.get("items"))
        told = {
            "issue_event_type_name": _type_name(items),
            "user": history.get("author"),
            "issue": await self._as_then(issue, history),
            "changelog": {"id": key(history.get("id")), "items": items},
        }
        return _event(UPDATED, told, history.get("created"))

    async def _as_then(
        self, issue: Mapping[str, Any], history: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The issue with the status that this entry brought it to; it may have moved on."""
        change = status_change(history)
        fields = mapping(issue.get("fields"))
        status_id = key(change.get("to")) if change else None
        if change is None or status_id in {None, key(mapping(fields.get("status")).get("id"))}:
            return issue
        category = await self._category_of(status_id or "")
        status = {
            "id": status_id,
            "name": text(change.get("toString")),
            "statusCategory": {"key": category},
        }
        return {**issue, "fields": {**fields, "status": status}}

    async def _category_of(self, status_id: str) -> str:
        if status_id not in self._categories and status_id.isdigit():
            try:
                status = await self._site.call("GET", f"/status/{status_id}")
            except UpstreamError as error:
                if error.status not in ABSENT:
                    raise
                log.info("Jira: status %s is not told; taken for an open one", status_id)
                status = {}
            self._categories[status_id] = _category(mapping(status)) or "undefined"
        return self._categories.get(status_id, "undefined")

    def _learn(self, status: Mapping[str, Any]) -> None:
        status_id, category = key(status.get("id")), _category(status)
        if status_id and category:
            self._categories[status_id] = category

    def _commented(self, issue: Mapping[str, Any], comment: Mapping[str, Any]) -> SourceEvent:
        return _event(COMMENT_CREATED, {"comment": comment, "issue": issue}, comment.get("created"))

    def _as_state(
        self, issue: Mapping[str, Any], changed: datetime, before: Known | None
    ) -> SourceEvent:
        """That it changed, for a site that tells no changelog: as an update, or as closed."""
        fields = mapping(issue.get("fields"))
        is_done = _category(mapping(fields.get("status"))) == shapes.DONE
        was_open = before is not None and before.category not in {shapes.DONE, ""}
        is_resolved = self._is_new(fields.get("resolutiondate"), self._starts)
        is_closed = is_done and (was_open if before is not None else is_resolved)
        name = "issue_closed" if is_closed else "issue_updated"
        moment = round(changed.timestamp() * 1000)
        state = "closed" if is_closed else "updated"
        event = _event(
            UPDATED, {"issue_event_type_name": name, "issue": issue}, fields.get("updated")
        )
        identity = keys.transition_key(issue, state) or f"issue:{key(issue.get('id'))}:{moment}"
        return replace(event, told_by="state", change_key=identity, delivery_key=f"poll:{identity}")

    def _is_new_one(self, comment: Mapping[str, Any], bound: datetime) -> bool:
        return key(comment.get("id")) is not None and self._is_new(comment.get("created"), bound)

    def _is_new(self, value: object, bound: datetime) -> bool:
        moment = shapes.moment(value)
        return moment is not None and moment >= max(bound, self._since)


def _event(name: str, told: Mapping[str, Any], moment: object) -> SourceEvent:
    at = shapes.moment(moment)
    stamp = round(at.timestamp() * 1000) if at else None
    payload = {"timestamp": stamp, "webhookEvent": name, **told}
    event = read(payload, name, delivery_key="")
    happened = at.isoformat().replace("+00:00", "Z") if at else event.happened_at
    return replace(
        event,
        told_by="poll",
        happened_at=happened,
        delivery_key=f"poll:{event.change_key}",
    )


def _type_name(items: Iterable[Any]) -> str:
    names = {text(mapping(one).get("field")).lower() for one in items}
    if "status" in names:
        return "issue_generic"
    return "issue_assigned" if names == {"assignee"} else "issue_updated"


def _is_edit(comment: Mapping[str, Any], bound: datetime) -> bool:
    updated = shapes.moment(comment.get("updated"))
    return updated is not None and updated >= bound


def _moment(history: Mapping[str, Any]) -> datetime:
    return shapes.moment(history.get("created")) or datetime.max.replace(tzinfo=UTC)


def _category(status: Mapping[str, Any]) -> str:
    return text(mapping(status.get("statusCategory")).get("key"))
