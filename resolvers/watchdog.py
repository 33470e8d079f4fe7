"""The watchdog log: warnings and errors of ours, newest first."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import StringConstraints
from pydantic.types import Strict

from aether.db import rows
from aether.engine.runtime import runtime
from aether.errors import AetherError, NotFoundError
from aether.models import WatchdogEntry
from aether.vocabulary import WatchdogLevel
from resolvers.fields import Page
from resolvers.rows import Label
from resolvers.windows import Position, Slice, Window, cut

LONGEST_SEARCH: Final = 2_000
"""Characters of a search that count; more would find nothing else."""
MOST_SEARCH: Final = 5_000
"""Characters of a search that are taken. All of them at 12 bytes each, %-encoded, still fit into a
request's head: beyond 64 KiB the server itself refuses it, and not as JSON."""
NEAR: Final = 2_000
"""Entries that are searched one by one before the index of words is asked: it gives what it finds
whole, and in no order, which is much for a common word and at once for a rare one."""

_MATCHES: Final = "tsv @@ websearch_to_tsquery('simple', {})"

# A row of minus signs overflows PostgreSQL's parser of searches (SQLSTATE XX000).
_NO_WORDS: Final = re.compile(r"""-(?=\s*-)|[^\w\s"'./@:+#-]""")

_APART: Final = str.maketrans("/.:@", "    ")
"""Where the words of an entry are taken apart: migration 0021."""
_COMPOUND: Final = re.compile(r"(?<!\S)(-?)(\S*[/.:@]\S*)")


class WatchdogOffError(NotFoundError):
    """Nothing is kept: WATCHDOG_ENABLED is off."""

    def __init__(self) -> None:
        text = "the watchdog log is off; WATCHDOG_ENABLED=true turns it on"
        AetherError.__init__(self, text)


class WatchdogFilter(Page):
    """Which entries. ``search``: words of the message, ``"a phrase"``, ``-not``, ``or``."""

    level: Annotated[WatchdogLevel, Strict(strict=False)] | None = None
    component: Label | None = None
    search: Annotated[str, StringConstraints(max_length=MOST_SEARCH)] | None = None


async def list_watchdog_entries(wanted: WatchdogFilter) -> list[WatchdogEntry]:
    """Entries, newest first; a blank ``search`` finds all, one without a word finds none.

    Raises:
        WatchdogOffError: WATCHDOG_ENABLED is off.
    """
    return await _Found(wanted).read([], [], wanted.limit, offset=wanted.offset)


async def slice_watchdog_entries(wanted: WatchdogFilter, part: Window) -> Slice[WatchdogEntry]:
    """A window on ``list_watchdog_entries``; the filter's ``limit`` and ``offset`` do not count.

    Raises:
        WatchdogOffError: WATCHDOG_ENABLED is off.
    """
    return await cut(_Found(wanted), part)


class _Found:
    """What a filter finds, newest first: the search is SQL that the ORM has no words for.

    PostgreSQL cannot know how common a word is, and would walk the whole log for one that is rare.
    """

    def __init__(self, wanted: WatchdogFilter) -> None:
        if not runtime().settings.watchdog_enabled:
            raise WatchdogOffError
        self._where = ["true"]
        self._values: list[Any] = []
        search = (wanted.search or "").strip()[:LONGEST_SEARCH]
        if wanted.level is not None:
            self._where.append(f"level = {self._number(wanted.level)}")
        if wanted.component is not None:
            self._where.append(f"component = {self._number(wanted.component)}")
        words = self._number(_words(search)) if search else None
        self._matches = _MATCHES.format(words) if words else None

    def _number(self, value: Any) -> str:
        self._values.append(value)
        return f"${len(self._values)}"

    def _conditions(self, more: Sequence[str]) -> str:
        """``more`` hold a ``{}`` each, for their values, which come after the filter's."""
        places = range(len(self._values) + 1, len(self._values) + len(more) + 1)
        told = [one.format(f"${place}") for one, place in zip(more, places, strict=True)]
        return " AND ".join(self._where + told)

    async def read(
        self,
        conditions: Sequence[str],
        values: Sequence[int],
        most: int,
        *,
        offset: int = 0,
        reverse: bool = False,
    ) -> list[WatchdogEntry]:
        ids = await self._ids(conditions, values, most, offset=offset, reverse=reverse)
        return await WatchdogEntry.filter(id__in=ids).order_by("id" if reverse else "-id")

    async def _ids(
        self,
        conditions: Sequence[str],
        values: Sequence[int],
        most: int,
        *,
        offset: int = 0,
        reverse: bool = False,
    ) -> list[int]:
        order = "id" if reverse else "id DESC"
        page = f"ORDER BY {order} LIMIT {most:d} OFFSET {offset:d}"
        where = self._conditions(conditions)
        if self._matches is None:
            plain = f"SELECT id FROM watchdog_entry WHERE {where} {page}"  # noqa: S608 # our own words
            return [one["id"] for one in await rows(plain, *self._values, *values)]
        near = f"""SELECT id FROM (
            SELECT id, tsv FROM watchdog_entry WHERE {where} ORDER BY {order} LIMIT {NEAR}) AS near
          WHERE {self._matches} {page}"""  # noqa: S608 # our own words
        found = await rows(near, *self._values, *values)
        if len(found) < most:
            anywhere = f"""WITH found AS MATERIALIZED (
                SELECT id, level, component FROM watchdog_entry WHERE {self._matches})
              SELECT id FROM found WHERE {where} {page}"""  # noqa: S608 # our own words
            found = await rows(anywhere, *self._values, *values)
        return [one["id"] for one in found]

    async def between(self, window: Window, most: int) -> list[WatchdogEntry]:
        bounds = {"id < {}": window.after, "id > {}": window.before}
        given = {condition: place[0] for condition, place in bounds.items() if place}
        return await self.read(list(given), list(given.values()), most, reverse=window.from_end)

    async def reaches(self, position: Position, *, forward: bool) -> bool:
        condition = "id <= {}" if forward else "id >= {}"
        return bool(await self._ids([condition], position, 1, reverse=not forward))

    async def count(self) -> int:
        where = self._conditions([self._matches] if self._matches else [])
        [found] = await rows(
            f"SELECT count(*) AS n FROM watchdog_entry WHERE {where}",  # noqa: S608 # our own words
            *self._values,
        )
        return int(found["n"])

    def position(self, row: WatchdogEntry) -> Position:
        return (row.id,)


def _words(search: str) -> str:
    """``search`` as PostgreSQL is asked: ``acme/api`` is a phrase of two words."""
    told = _NO_WORDS.sub(" ", search.replace("%2F", "/"))
    parts = told.split('"')
    for place, part in enumerate(parts):
        if place % 2:
            parts[place] = part.translate(_APART)
        else:
            parts[place] = _COMPOUND.sub(_phrase, part)
    return '"'.join(parts)


def _phrase(compound: re.Match[str]) -> str:
    words = compound[2].translate(_APART).strip()
    return f'{compound[1]}"{words}"' if words else " "
