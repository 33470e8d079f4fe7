"""Reads GitLab's lists by ``updated_at``, a page a step; nothing is lost between pages or polls.

A page number would lose items: whoever is changed while we read moves to the list's end, and all
behind it move up. So each step goes on from the last time seen, and a page number is used only
within one moment that fills a page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aether.sources.base import Outbound
from aether.sources.gitlab.answer import request
from aether.sources.gitlab.told import parsed
from aether.sources.reading import key, mapping, sequence, text

Item = Mapping[str, Any]

PAGE: Final = 20
OVERLAP: Final = timedelta(seconds=60)  # a change is seen only once its transaction is committed
MOST_SEEN: Final = 2_000
MOST_NOTES: Final = 100
_QUERY: Final = {"order_by": "updated_at", "sort": "asc", "per_page": str(PAGE)}


@dataclass(kw_only=True)
class Seen:
    """What is known to be told of one item."""

    updated_at: str
    closed_at: str = ""  # or merged
    notes: list[str] = field(default_factory=list)

    def wire(self) -> list[Any]:
        return [self.updated_at, self.closed_at, self.notes]


@dataclass(kw_only=True)
class Page:
    """One step in one list. ``begins``: what is older was there before this poll, and is told."""

    begins: datetime
    items: Sequence[Item]
    before: Mapping[str, Seen]
    seen: dict[str, Seen]
    position: datetime
    number: int

    @property
    def is_full(self) -> bool:
        """Whether there may be more."""
        return len(self.items) >= PAGE

    @property
    def fresh(self) -> list[Item]:
        """What is not as it was when we saw it last, oldest first."""
        return [one for one in self.items if self.known(one, self.before) != stamp(one)]

    def known(self, one: Item, among: Mapping[str, Seen]) -> str | None:
        found = among.get(identity(one))
        return found.updated_at if found else None

    def is_new(self, at: object) -> bool:
        """Whether a moment is none of before this poll."""
        told = parsed(at)
        return told is not None and told >= self.begins

    def after(self) -> dict[str, Any]:
        """Where the next step in this list begins."""
        newest = max((parsed(stamp(one)) or self.position for one in self.items), default=None)
        if self.is_full and newest is not None:
            is_stuck = newest <= self.position
            return {
                "begins": wire(self.begins),
                "position": wire(newest if not is_stuck else self.position),
                "page": self.number + 1 if is_stuck else 1,
                "seen": _newest(self.seen),
            }
        begins = max(self.begins, (newest or self.position) - OVERLAP)
        near = {
            name: one
            for name, one in self.seen.items()
            if (parsed(one.updated_at) or begins) >= begins
        }
        return {
            "begins": wire(begins), "position": wire(begins), "page": 1, "seen": _newest(near)
        }  # fmt: skip


async def read(
    client: Outbound, path: str, query: Mapping[str, str], known: Mapping[str, Any], since: datetime
) -> Page:
    """The next page of the list at ``path``; an empty ``known`` begins at ``since``."""
    begins = parsed(known.get("begins")) or since
    position = parsed(known.get("position")) or begins
    number = int(known.get("page", 1))
    asked = {**query, **_QUERY, "updated_after": wire(position), "page": str(number)}
    listed = sequence(await request(client, "GET", path, query=asked))
    items = [one for one in map(mapping, listed) if identity(one) and parsed(stamp(one))]
    before = {
        name: Seen(updated_at=one[0], closed_at=one[1], notes=list(one[2]))
        for name, one in mapping(known.get("seen")).items()
    }
    seen = dict(before)
    for one in items:
        was = before.get(identity(one))
        seen[identity(one)] = Seen(
            updated_at=stamp(one),
            closed_at=text(one.get("merged_at")) or text(one.get("closed_at")),
            notes=list(was.notes) if was else [],
        )
    return Page(
        begins=begins, items=items, before=before, seen=seen, position=position, number=number
    )


def identity(one: Item) -> str:
    """GitLab's own number of it."""
    return key(one.get("id")) or ""


def stamp(one: Item) -> str:
    """When it changed, as GitLab writes it."""
    return text(one.get("updated_at"))


def wire(at: datetime) -> str:
    """A moment as GitLab takes it, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _newest(seen: Mapping[str, Seen]) -> dict[str, list[Any]]:
    kept = sorted(seen.items(), key=lambda pair: pair[1].updated_at, reverse=True)[:MOST_SEEN]
    return {name: one.wire() for name, one in kept}
