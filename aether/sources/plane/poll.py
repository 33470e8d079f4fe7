"""Polls one project of Plane: what changed since, newest first, down to where the last one stood.

https://developers.plane.so/api-reference/issue/list-issues . The list knows no filter by time
(``updated_at__gt`` is ignored), and its cursor is an offset: what is changed while we read moves to
the front and pushes the rest on, so that a row may come twice, and none is lost. Only a deletion
pulls rows up; the total tells of one, and the pass begins again.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aether.errors import UpstreamError
from aether.events import SourceEvent
from aether.sources.base import Outbound, PollPage
from aether.sources.plane.polled import ABSENT, Known, Reader
from aether.sources.plane.shapes import reference
from aether.sources.plane.site import Workspace, next_cursor, results
from aether.sources.reading import mapping, moment, text

log = logging.getLogger(__name__)

VERSION: Final = 1
PAGE: Final = 15
"""Each changed item may cost two more requests, and a key has 60 a minute."""
OVERLAP: Final = timedelta(seconds=60)  # a change is seen only once its transaction is committed
MOST_KNOWN: Final = 1_000
MOST_RESTARTS: Final = 3


@dataclass(kw_only=True)
class _Cursor:
    """Where a poll stands. ``mark``: everything that changed before it has been told.

    ``known``: what was told of the items that changed last. The rest belongs to a pass under way.
    """

    since: datetime
    mark: datetime
    known: dict[str, Known] = field(default_factory=dict)
    project: str = ""
    next: str = ""
    newest: datetime | None = None
    total: int | None = None
    restarts: int = 0

    @classmethod
    def read(cls, told: Mapping[str, Any], since: datetime) -> "_Cursor":
        if told.get("v") != VERSION:
            return cls(since=since, mark=since)
        counts = {
            name: one for name in ("total", "restarts") if isinstance(one := told.get(name), int)
        }
        return cls(
            since=moment(told.get("since")) or since,
            mark=moment(told.get("mark")) or since,
            known={name: Known.read(one) for name, one in mapping(told.get("known")).items()},
            project=text(told.get("project")),
            next=text(told.get("next")),
            newest=moment(told.get("newest")),
            total=counts.get("total"),
            restarts=counts.get("restarts", 0),
        )  # fmt: skip

    @property
    def starts(self) -> datetime:
        """What changed from then on is looked at."""
        return max(self.mark - OVERLAP, self.since)

    def written(self) -> dict[str, Any]:
        return {
            "v": VERSION,
            "since": self.since.isoformat(),
            "mark": self.mark.isoformat(),
            "known": {name: one.written() for name, one in self.known.items()},
            "project": self.project,
            "next": self.next,
            "newest": self.newest.isoformat() if self.newest else None,
            "total": self.total,
            "restarts": self.restarts,
        }

    def end_pass(self) -> None:
        self.mark = max(self.mark, self.newest or self.mark)
        newest = sorted(self.known.items(), key=lambda pair: pair[1].changed, reverse=True)
        self.known = dict(newest[:MOST_KNOWN])
        self.next, self.newest, self.total, self.restarts = "", None, None, 0


async def poll(
    client: Outbound, source_project_id: str, cursor: Mapping[str, Any], *, since: datetime
) -> PollPage:
    """One page of the items that changed, with their comments.

    One request, one for the comments of each changed item, and one for its history where it is
    closed and was not seen open. Raises as ``PolledSource.poll``.
    """
    at = _Cursor.read(cursor, since.astimezone(UTC))
    site = Workspace(client, source_project_id)
    at.project = at.project or await site.project()
    site = Workspace(client, f"{site.slug}/{at.project}")
    query = {"order_by": "-updated_at", "per_page": str(PAGE), "expand": "state,labels,assignees"}
    answer = await site.items("GET", query=query | ({"cursor": at.next} if at.next else {}))
    page, following = results(answer), next_cursor(answer)
    is_shorter = _is_shorter(at, answer)
    reader = Reader(site, begins=at.starts)
    events: list[SourceEvent] = []
    for item in page:
        events += await _events(reader, at, item)
    if _reaches_behind(page, at.starts):
        following = ""
    at.next = following
    if not following and is_shorter and at.restarts < MOST_RESTARTS:
        at.next, at.total, at.restarts = "", None, at.restarts + 1
        following = "again"
    elif not following:
        at.end_pass()
    return PollPage(
        events=sorted(events, key=lambda event: event.happened_at or ""),
        cursor=at.written(),
        has_more=bool(following),
    )


async def _events(reader: Reader, at: _Cursor, item: Mapping[str, Any]) -> list[SourceEvent]:
    """What is new of one item, which is known from here on."""
    identity, changed = reference(item), moment(item.get("updated_at"))
    if identity is None or changed is None:
        log.warning("Plane: a work item of a list has no id or time of change; left out")
        return []
    at.newest = max(at.newest or changed, changed)
    before = at.known.get(identity)
    if changed < at.starts or (before is not None and changed <= before.changed):
        return []
    try:
        events, at.known[identity] = await reader.read(item, changed, before)
    except UpstreamError as error:
        if error.status not in ABSENT or error.retryable:
            raise
        log.warning("Plane: work item %s cannot be read whole, left out: %s", identity, error)
        return []
    return events


def _reaches_behind(page: list[Mapping[str, Any]], starts: datetime) -> bool:
    """Whether all that follows is older, which is so only if the list is in the order asked for."""
    ages = [at for one in page if (at := moment(one.get("updated_at")))]
    return not page or (ages == sorted(ages, reverse=True) and bool(ages) and ages[-1] < starts)


def _is_shorter(at: _Cursor, answer: object) -> bool:
    """Whether something was deleted since the pass began."""
    told = mapping(answer)
    found = (told.get(name) for name in ("total_results", "total_count"))
    total = next((one for one in found if isinstance(one, int)), None)
    if total is None:
        return False
    is_shorter = at.total is not None and total < at.total
    at.total = max(at.total or 0, total)
    return is_shorter
