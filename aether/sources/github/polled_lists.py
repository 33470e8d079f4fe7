"""Reads GitHub's lists by ``updated_at``: a page a step, nothing lost between pages or polls.

A page number would lose items: whoever is changed while we read moves to the list's end, and all
behind it move up. So the forward lists go on from the last time seen, and a page number is used
only within one second that fills a page. The backward list's items move away from where we read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from aether.errors import UpstreamError
from aether.sources.base import Fetched, Outbound
from aether.sources.reading import key, mapping, moment, sequence, text

Item = Mapping[str, Any]
Seen = dict[str, list[Any]]
"""Id to updated_at, closed_at and the last review told, of what stands near the position."""

PAGE: Final = 100
OVERLAP: Final = timedelta(seconds=60)  # read again: GitHub's replicas may be behind
QUIET: Final = timedelta(minutes=5)  # afterwards they are not, and only the last second is read
UNSETTLED: Final = timedelta(seconds=5)  # more may happen within the second that was read
MOST_SEEN: Final = 2000
_NO_ISSUES: Final = 410  # https://docs.github.com/en/rest/issues: issues are disabled


@dataclass(kw_only=True)
class Page:
    """One step in one list. ``begins``: what is older than this was there before the poll."""

    begins: datetime
    before: Seen
    items: list[Item] = field(default_factory=list)
    after: dict[str, Any] = field(default_factory=dict)
    has_more: bool = False

    @property
    def fresh(self) -> list[Item]:
        """What is not as it was when we saw it last, oldest first."""
        return [one for one in self.items if self.before.get(_id(one), [])[:2] != _state(one)]

    def has_told(self, one: Item) -> bool:
        """Whether we saw it before, so that its creation is told."""
        return _id(one) in self.before

    def closes(self, one: Item) -> bool:
        """Whether it is closed at another moment than when we saw it last."""
        known = self.before.get(_id(one))
        return known is None or known[1] != text(one.get("closed_at"))

    def last_review(self, one: Item) -> int:
        """The id of the last review that we saw of it; 0: none."""
        known = self.before.get(_id(one), [])
        return int(known[2]) if len(known) > 2 else 0

    def remember_review(self, one: Item, id: int) -> None:
        """Keep the last review's id with it."""
        known = self.after["seen"].get(_id(one))
        if known is not None and id:
            known[2:] = [id]


def to_query(at: datetime) -> str:
    """A moment as GitHub takes and writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, kw_only=True)
class Times:
    """When it is, and where a list begins that was never read."""

    now: datetime
    since: datetime


def resting(pages: Sequence[Page]) -> list[dict[str, Any]]:
    """Where each list goes on: what is read to its end waits until all others are."""
    is_over = not any(page.has_more for page in pages)
    return [
        {name: value for name, value in page.after.items() if name != "done"}
        | ({} if is_over or page.has_more else {"done": True})
        for page in pages
    ]


async def forwards(
    client: Outbound, path: str, query: Mapping[str, str], known: Mapping[str, Any], times: Times
) -> Page:
    """The next page of a list that goes forwards from where it stands, inclusively."""
    begins = moment(known.get("begins")) or times.since
    position = moment(known.get("position")) or begins
    number = known.get("page", 1)
    page = Page(begins=begins, before=_seen(known))
    if known.get("done"):
        page.after = dict(known)
        return page
    asked = {
        **query,
        "sort": "updated",
        "direction": "asc",
        "per_page": str(PAGE),
        "since": to_query(position),
        **({"page": str(number)} if number > 1 else {}),
    }
    etag = known.get("etag") if number == 1 else None
    answer = await _fetched(client, path, asked, etag)
    if answer.is_unchanged:
        page.after = dict(known)
        return page
    page.items = _items(answer)
    newest = max((_updated(one) for one in page.items), default=position)
    page.has_more = len(page.items) >= PAGE or answer.next_query is not None
    seen = _with(page.before, page.items)
    if page.has_more:
        is_stuck = newest <= position  # a whole page of one second
        page.after = {
            "begins": to_query(begins),
            "position": to_query(position if is_stuck else newest),
            "page": number + 1 if is_stuck else 1,
            "seen": _newest(seen),
        }
        return page
    following = _begin(begins, newest, times)
    is_same = number == 1 and to_query(following) == to_query(position)
    page.after = _rest(following, seen, answer.etag if is_same else None)
    return page


async def of_items(
    client: Outbound,
    path: str,
    numbers: Sequence[str],
    known: Mapping[str, Any],
    times: Times,
    *,
    has_more: bool,
) -> Page:
    """The comments of these items, which have changed; where nobody lists a repository's.

    ``has_more``: other items follow, whose comments may be older than these.
    """
    begins = moment(known.get("begins")) or times.since
    page = Page(begins=begins, before=_seen(known), has_more=has_more)
    query = {"per_page": str(PAGE), "since": to_query(begins)}
    for number in numbers:
        told = await client.pages(f"{path}/issues/{number}/comments", query)
        page.items += _items(Fetched(body=told))
    page.items.sort(key=_updated)
    seen = _with(page.before, page.items)
    newest = max((_updated(one) for one in page.items), default=begins)
    page.after = _rest(begins if has_more else _begin(begins, newest, times), seen, None)
    return page


async def backwards(client: Outbound, path: str, known: Mapping[str, Any], times: Times) -> Page:
    """The next page of a list that goes backwards, down to where the last poll stood."""
    begins = moment(known.get("begins")) or times.since
    number = known.get("page", 1)
    page = Page(begins=begins, before=_seen(known))
    if known.get("done"):
        page.after = dict(known)
        return page
    asked = {"state": "all", "sort": "updated", "direction": "desc", "per_page": str(PAGE)}
    asked |= {"page": str(number)} if number > 1 else {}
    answer = await _fetched(client, path, asked, known.get("etag") if number == 1 else None)
    if answer.is_unchanged:
        page.after = dict(known)
        return page
    listed = _items(answer)
    page.items = [one for one in reversed(listed) if _updated(one) >= begins]
    first = max((_updated(one) for one in listed), default=begins)
    newest = first if number == 1 else moment(known.get("newest")) or first
    etag = answer.etag if number == 1 else known.get("etag")  # of the first page: it moves first
    is_full = len(listed) >= PAGE or answer.next_query is not None
    page.has_more = is_full and len(page.items) == len(listed)
    seen = _with(page.before, page.items)
    for one in page.items:  # a review within the same second leaves the item as it was
        if _updated(one) > times.now - UNSETTLED:
            seen[_id(one)][0], etag = "", None
    if page.has_more:
        page.after = {
            "begins": to_query(begins),
            "page": number + 1,
            "newest": to_query(newest),
            "etag": etag,
            "seen": _newest(seen),
        }
    else:
        page.after = _rest(_begin(begins, newest, times), seen, etag)
    return page


async def _fetched(
    client: Outbound, path: str, query: Mapping[str, str], etag: str | None
) -> Fetched:
    try:
        return await client.fetch(path, query, etag=etag)
    except UpstreamError as error:
        if error.status != _NO_ISSUES:
            raise
        return Fetched(body=[])


def _items(answer: Fetched) -> list[Item]:
    """What the page holds and can be followed: each has an id and a time of change."""
    told = map(mapping, sequence(answer.body))
    return [one for one in told if key(one.get("id")) and moment(one.get("updated_at"))]


def _updated(one: Item) -> datetime:
    told = moment(one.get("updated_at"))
    assert told is not None  # noqa: S101 - _items has looked
    return told


def _id(one: Item) -> str:
    return key(one.get("id")) or ""


def _state(one: Item) -> list[str]:
    return [text(one.get("updated_at")), text(one.get("closed_at"))]


def _seen(known: Mapping[str, Any]) -> Seen:
    return {one: list(told) for one, told in mapping(known.get("seen")).items()}


def _with(before: Seen, items: list[Item]) -> Seen:
    seen = {one: list(told) for one, told in before.items()}
    for one in items:
        seen[_id(one)] = [*_state(one), *seen.get(_id(one), [])[2:]]
    return seen


def _newest(seen: Seen) -> Seen:
    kept = sorted(seen.items(), key=lambda pair: str(pair[1][0]), reverse=True)[:MOST_SEEN]
    return dict(kept)


def _begin(begins: datetime, newest: datetime, times: Times) -> datetime:
    is_quiet = newest < times.now - QUIET
    return max(begins, newest if is_quiet else newest - OVERLAP)


def _rest(begins: datetime, seen: Seen, etag: str | None) -> dict[str, Any]:
    """Where the next poll begins, once this one has read everything."""
    near = {one: told for one, told in seen.items() if (moment(told[0]) or begins) >= begins}
    return {"begins": to_query(begins), "etag": etag, "seen": _newest(near)}
