"""Polls one GitLab project: issues, merge requests, their notes, deployments.

https://docs.gitlab.com/api/issues/#list-project-issues ,
https://docs.gitlab.com/api/merge_requests/#list-project-merge-requests ,
https://docs.gitlab.com/api/deployments/#list-project-deployments . Approvals have no list that
tells when they were given: only webhooks tell of them.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from aether.errors import InvalidInputError, UpstreamError
from aether.events import SourceEvent
from aether.rendering import storable
from aether.sources.base import Outbound, PollPage
from aether.sources.gitlab import answer, polled
from aether.sources.gitlab.extract import read_event
from aether.sources.gitlab.path import project_path
from aether.sources.gitlab.polled import MOST_NOTES, Item, Page, identity, stamp
from aether.sources.gitlab.told import moment, parsed
from aether.sources.reading import key, mapping, sequence, text

log = logging.getLogger(__name__)

VERSION: Final = 1
LISTS: Final = ("issues", "merge_requests", "deployments")
SAME_MOMENT: Final = timedelta(seconds=2)  # an item's time may come after its note's
ENDED: Final = frozenset({"success", "failed", "canceled"})
OUT_OF_REACH: Final = frozenset({403, 404})
_ALL: Final = {"scope": "all", "state": "all"}


async def poll(
    client: Outbound, source_project_id: str, cursor: Mapping[str, Any], *, since: datetime
) -> PollPage:
    """One page of one list, and the notes of what changed in it.

    Raises as ``PolledSource.poll``.
    """
    path = project_path(source_project_id)
    known = cursor if cursor.get("v") == VERSION else {}
    turn = int(known.get("turn", 0))
    project = mapping(known.get("project")) if turn else await _project(client, path)
    lists = dict(mapping(known.get("lists")))
    name = LISTS[turn]
    page = await _page(client, path, name, project, mapping(lists.get(name)), since)
    events: list[SourceEvent] = []
    if page is not None:
        step = _Step(client, path, project, page)
        for one in page.fresh:
            events += await step.of(name, one)
        lists[name] = page.after()
    if page is None or not page.is_full:
        turn = (turn + 1) % len(LISTS)
    return PollPage(
        events=sorted(events, key=lambda event: event.happened_at or ""),
        cursor={"v": VERSION, "project": project, "lists": lists, "turn": turn},
        has_more=turn != 0 or (page is not None and page.is_full),
    )


async def _project(client: Outbound, path: str) -> Mapping[str, Any]:
    """What each payload says of its project, and what is switched on there."""
    told = mapping(await answer.request(client, "GET", path))
    if not text(told.get("path_with_namespace")):
        raise UpstreamError(f"GET {path}: GitLab's answer names no project", retryable=False)
    names = ("id", "name", "path_with_namespace", "web_url", "default_branch")
    off = [name for name in LISTS if told.get(f"{name}_enabled") is False]
    return {**{name: told.get(name) for name in names}, "off": off}


async def _page(
    client: Outbound,
    path: str,
    name: str,
    project: Mapping[str, Any],
    known: Mapping[str, Any],
    since: datetime,
) -> Page | None:
    """The list's next page, None where the project has no such list or keeps it from us."""
    if name in project.get("off", ()):
        return None
    query = {} if name == "deployments" else _ALL
    try:
        return await polled.read(client, f"{path}/{name}", query, known, since)
    except UpstreamError as error:
        if name != "deployments" or error.retryable or error.status not in OUT_OF_REACH:
            raise
        log.info("GitLab %s: deployments are not polled: %s", path, error)
        return None


class _Step:
    """Turns what a list gave into events, as the webhooks of the same acts would be read."""

    def __init__(self, client: Outbound, path: str, project: Mapping[str, Any], page: Page) -> None:
        self._client = client
        self._path = path
        self._project = {name: one for name, one in project.items() if name != "off"}
        self._page = page

    async def of(self, name: str, one: Item) -> list[SourceEvent]:
        """What is new of one item."""
        if name == "deployments":
            return self._of_deployment(one)
        kind = "issue" if name == "issues" else "merge_request"
        notes = await self._notes(name, one)
        events = [*self._of_item(kind, one), *self._of_notes(kind, one, notes)]
        if events or self._is_explained(one, notes):
            return events
        return self._as_state(one, self._item_event(kind, one, "update", {}, stamp(one)), "updated")

    def _of_item(self, kind: str, one: Item) -> list[SourceEvent]:
        page, before = self._page, self._page.before.get(identity(one))
        events: list[SourceEvent] = []
        if before is None and page.is_new(one.get("created_at")):
            at = one.get("created_at")
            events += self._item_event(kind, one, "open", mapping(one.get("author")), at)
        merged, closed = one.get("merged_at"), one.get("closed_at")
        known = before.closed_at if before else ""
        if one.get("state") == "merged" and page.is_new(merged) and known != text(merged):
            who = mapping(one.get("merge_user")) or mapping(one.get("merged_by"))
            events += self._item_event(kind, one, "merge", who, merged)
        if one.get("state") == "closed" and page.is_new(closed) and known != text(closed):
            who = mapping(one.get("closed_by"))
            told = self._item_event(kind, one, "close", who, closed)
            # A merge request's webhook does not tell when it was closed.
            events += told if kind == "issue" else self._as_state(one, told, "closed")
        return events

    def _of_notes(self, kind: str, one: Item, notes: list[Item]) -> list[SourceEvent]:
        seen = self._page.seen[identity(one)]
        events: list[SourceEvent] = []
        for note in notes:
            if identity(note) in seen.notes or not self._page.is_new(note.get("created_at")):
                continue
            seen.notes = [*seen.notes, identity(note)][-MOST_NOTES:]
            events += self._note_event(kind, one, note)
        return events

    def _of_deployment(self, one: Item) -> list[SourceEvent]:
        if text(one.get("status")) not in ENDED or not self._page.is_new(stamp(one)):
            return []
        job = mapping(one.get("deployable"))
        payload = {
            "object_kind": "deployment",
            "status": one.get("status"),
            "status_changed_at": stamp(one),
            "deployment_id": one.get("id"),
            "deployable_id": job.get("id"),
            "deployable_url": job.get("web_url"),
            "environment": mapping(one.get("environment")).get("name"),
            "user": one.get("user"),
            "commit_title": mapping(job.get("commit")).get("title"),
            "ref": one.get("ref"),
        }
        return self._event("Deployment Hook", payload, stamp(one))

    async def _notes(self, name: str, one: Item) -> list[Item]:
        """The notes that were written or edited since the poll before."""
        if one.get("user_notes_count") == 0:
            return []
        path = f"{self._path}/{name}/{key(one.get('iid'))}"
        try:
            return await answer.notes(
                self._client, path, since=polled.wire(self._page.begins - SAME_MOMENT)
            )
        except UpstreamError as error:
            if error.status not in OUT_OF_REACH or error.retryable:
                raise
            return []  # deleted or moved away since it was listed

    def _is_explained(self, one: Item, notes: list[Item]) -> bool:
        """Whether a note, new or edited, is what changed the item's ``updated_at``."""
        changed = parsed(stamp(one))
        newest = max((at for at in (parsed(stamp(note)) for note in notes) if at), default=None)
        return changed is None or (newest is not None and newest >= changed - SAME_MOMENT)

    def _item_event(
        self, kind: str, one: Item, action: str, user: Mapping[str, Any], at: object
    ) -> list[SourceEvent]:
        attributes = {**self._attributes(one), "action": action}
        is_confidential = one.get("confidential") is True
        name = "Merge Request Hook" if kind == "merge_request" else "Issue Hook"
        payload = {
            "object_kind": kind,
            "event_type": f"confidential_{kind}" if is_confidential else kind,
            "user": user,
            "object_attributes": attributes,
            "labels": attributes["labels"],
            "assignees": one.get("assignees"),
            "changes": {},
        }
        return self._event(f"Confidential {name}" if is_confidential else name, payload, at)

    def _note_event(self, kind: str, one: Item, note: Item) -> list[SourceEvent]:
        is_internal = note.get("internal") is True or note.get("confidential") is True
        is_confidential = is_internal or one.get("confidential") is True
        item = self._attributes(one)
        payload = {
            "object_kind": "note",
            "event_type": "confidential_note" if is_confidential else "note",
            "user": note.get("author"),
            "object_attributes": {
                "id": note.get("id"),
                "note": note.get("body"),
                "noteable_type": "Issue" if kind == "issue" else "MergeRequest",
                "author_id": mapping(note.get("author")).get("id"),
                "created_at": note.get("created_at"),
                "updated_at": note.get("updated_at"),
                "internal": is_internal,
                "system": False,
                "url": f"{item['url']}#note_{identity(note)}",
                "action": "create",
            },
            kind: item,
        }
        name = "Confidential Note Hook" if is_confidential else "Note Hook"
        return self._event(name, payload, note.get("created_at"))

    def _attributes(self, one: Item) -> dict[str, Any]:
        """The item as webhooks have it: labels as objects, the author by number."""
        labels = [{"title": name} for name in sequence(one.get("labels"))]
        author = mapping(one.get("author")).get("id")
        return {**one, "labels": labels, "author_id": author, "url": text(one.get("web_url"))}

    def _as_state(self, one: Item, told: list[SourceEvent], word: str) -> list[SourceEvent]:
        """The same as what a poll saw to be so: the engine compares it with what webhooks told."""
        at = moment(one.get("closed_at") if word == "closed" else stamp(one))
        events = []
        for event in told:
            kind = event.subject.kind if event.subject else ""
            named = f"{kind}:{identity(one)}.{key(one.get('iid'))}:{word}:{at}"
            state = replace(event, change_key=named, delivery_key=f"poll:{named}")
            events.append(replace(state, told_by="state", happened_at=moment(stamp(one))))
        return events

    def _event(self, name: str, payload: dict[str, Any], at: object) -> list[SourceEvent]:
        """The event of one act, in a list; an empty list where it cannot be read."""
        whole = storable({**payload, "project": self._project})
        try:
            event = read_event(name, whole, delivery_key="")
        except InvalidInputError as error:
            log.warning("GitLab %s: an item is left out: %s", self._path, error)
            return []
        return [
            replace(
                event,
                delivery_key=f"poll:{event.change_key}",
                told_by="poll",
                happened_at=moment(at),
            )
        ]
