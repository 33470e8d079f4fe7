"""Polls one Jira project: what changed since, page by page, in the account's own time zone.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issue-search/
https://support.atlassian.com/jira-software-cloud/docs/jql-fields/ : a time in a query has minutes
and no zone, it is read in the asking account's.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from aether.errors import UpstreamError
from aether.events import SourceEvent
from aether.sources.base import Outbound, PollPage
from aether.sources.jira import shapes
from aether.sources.jira.answer import FIELDS
from aether.sources.jira.polled import ABSENT, Known, Reader, size_of
from aether.sources.jira.site import Site, project_key
from aether.sources.reading import key, mapping, sequence, text

log = logging.getLogger(__name__)

VERSION: Final = 1
PAGE: Final = 25
OVERLAP: Final = timedelta(minutes=10)
"""How late the search index may be, seconds to minutes as Atlassian says:
https://developer.atlassian.com/cloud/jira/platform/search-and-reconcile ."""

FARTHEST_ZONE: Final = timedelta(hours=14)
SAME_PLACE: Final = 5  # issues read again on the next page, since deleted ones make others move


@dataclass(kw_only=True)
class _Cursor:
    """Where a poll stands; moments are in UTC.

    ``mark``: everything that changed before it has been told, but for what the index may hold
    back. ``known``: what was told of the issues that the next pass will see again. The rest
    belongs to a pass under way, which goes over the issues in the order of their keys: that one
    does not move while they change.
    """

    since: datetime
    mark: datetime
    known: dict[str, Known] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    starts: datetime | None = None  # of the pass: what changed from then on
    begun: datetime | None = None
    newest: datetime | None = None
    next: str = ""
    query: str = ""

    @classmethod
    def read(cls, told: Mapping[str, Any], since: datetime) -> "_Cursor":
        if told.get("v") != VERSION:
            return cls(since=since, mark=since)
        moments = {
            name: shapes.moment(told.get(name))
            for name in ("since", "mark", "starts", "begun", "newest")
        }
        return cls(
            since=moments["since"] or since,
            mark=moments["mark"] or since,
            known={name: Known.read(one) for name, one in mapping(told.get("known")).items()},
            categories={name: text(one) for name, one in mapping(told.get("categories")).items()},
            starts=moments["starts"],
            begun=moments["begun"],
            newest=moments["newest"],
            next=text(told.get("next")),
            query=text(told.get("query")),
        )

    def written(self) -> dict[str, Any]:
        moments = ("since", "mark", "starts", "begun", "newest")
        told = {name: _milliseconds(getattr(self, name)) for name in moments}
        return {
            "v": VERSION,
            **{name: one for name, one in told.items() if one is not None},
            "known": {name: one.written() for name, one in self.known.items()},
            "categories": self.categories,
            "next": self.next,
            "query": self.query,
        }

    def end_pass(self) -> None:
        """Move the mark to the newest change seen, but not behind what changed meanwhile."""
        if self.newest and self.begun:
            self.mark = max(self.mark, min(self.newest, self.begun))
        kept = self.mark - OVERLAP - timedelta(minutes=1)
        self.known = {name: one for name, one in self.known.items() if one.changed >= kept}
        self.starts = self.begun = self.newest = None
        self.next = self.query = ""


async def poll(
    client: Outbound,
    source_project_id: str,
    cursor: Mapping[str, Any],
    *,
    now: datetime,
    since: datetime,
) -> PollPage:
    """One page of the issues that changed, with their comments and changelog.

    One search, one more at the start of a pass for the account's zone; further requests only for
    issues whose comments or changelog a search does not hold whole. Raises as
    ``PolledSource.poll``.
    """
    site, where = Site(client), project_key(source_project_id)
    at = _Cursor.read(cursor, since.astimezone(UTC))
    if at.starts is None:
        await _begin(site, where, at, now.astimezone(UTC))
    try:
        page, following = await _page(site, at)
    except UpstreamError as error:
        if error.status != 400 or not at.next:
            raise
        log.info("Jira %s: the page is gone, the pass begins again: %s", where, error)
        at.next = ""
        page, following = await _page(site, at)
    reader = Reader(site, at.categories, since=at.since, starts=at.starts or at.mark)
    events: list[SourceEvent] = []
    for issue in page:
        events += await _events(reader, at, issue)
    at.next = following
    if not following:
        at.end_pass()
    return PollPage(
        events=sorted(events, key=lambda event: event.happened_at or ""),
        cursor=at.written(),
        has_more=bool(following),
    )


async def _begin(site: Site, where: str, at: _Cursor, now: datetime) -> None:
    """Begin a pass: from a while before the mark, written as the account reads times."""
    at.starts = max(at.mark - OVERLAP, at.since)
    at.begun = now
    told = text(mapping(await site.call("GET", "/myself")).get("timeZone"))
    at.query = f'project = "{where}" AND updated >= "{jql_time(at.starts, told)}" ORDER BY key ASC'


def jql_time(moment: datetime, zone_name: str) -> str:
    """A time of JQL that is not after ``moment``, for an account in this zone.

    Minutes only; two hours earlier where the clocks are just being changed, and fourteen where
    the zone is not known: what is read too much is known by the cursor.
    """
    try:
        zone: Any = ZoneInfo(zone_name)
    except (ValueError, OSError, KeyError):  # unknown, empty, or no zone data on this machine
        return f"{moment.astimezone(UTC) - FARTHEST_ZONE:%Y-%m-%d %H:%M}"
    hour = timedelta(hours=1)
    offsets = {(moment + one).astimezone(zone).utcoffset() for one in (-hour, hour)}
    told = moment if len(offsets) == 1 else moment - 2 * hour
    return f"{told.astimezone(zone):%Y-%m-%d %H:%M}"


async def _page(site: Site, at: _Cursor) -> tuple[list[Mapping[str, Any]], str]:
    """Issues, and where the next page begins; empty for the last one."""
    query = {
        "jql": at.query,
        "fields": f"{FIELDS},resolutiondate,comment",
        "expand": "changelog",
        "maxResults": str(PAGE),
    }
    if site.is_cloud:
        query |= {"nextPageToken": at.next} if at.next else {}
        answer = mapping(await site.call("GET", "/search/jql", query=query))
        return _issues(answer), text(answer.get("nextPageToken"))
    start = int(at.next) if at.next.isdigit() else 0
    answer = mapping(await site.call("GET", "/search", query=query | {"startAt": str(start)}))
    page, total = _issues(answer), answer.get("total")
    reached = start + len(page)
    if not page or not isinstance(total, int) or reached >= total:
        return page, ""
    return page, str(reached - min(SAME_PLACE, len(page) // 5))


def _issues(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [mapping(one) for one in sequence(answer.get("issues"))]


async def _events(reader: Reader, at: _Cursor, issue: Mapping[str, Any]) -> list[SourceEvent]:
    """What is new of one issue, which is known from here on."""
    identity = key(issue.get("id"))
    changed = shapes.moment(mapping(issue.get("fields")).get("updated"))
    if identity is None or changed is None or not text(issue.get("key")):
        log.warning("Jira: an issue of a search has no id, key or time of change; left out")
        return []
    at.newest = max(at.newest or changed, changed)
    before = at.known.get(identity)
    if before is not None and changed <= before.changed and before.size == size_of(issue):
        return []
    try:
        events, at.known[identity] = await reader.read(issue, changed, before)
    except UpstreamError as error:
        if error.status not in ABSENT:
            raise
        log.warning("Jira: %s cannot be read whole, left out: %s", text(issue.get("key")), error)
        return []
    return events


def _milliseconds(moment: datetime | None) -> int | None:
    return round(moment.timestamp() * 1000) if moment else None
