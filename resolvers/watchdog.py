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

# A row of minus signs overflows PostgreSQL's parser of searches (SQLSTATE XX000).
_NO_WORDS: Final = re.compile(r"""-(?=\s*-)|[^\w\s"'./@:+#-]""")


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
    """What a filter finds, newest first: the search is SQL that the ORM has no words for."""

    def __init__(self, wanted: WatchdogFilter) -> None:
        if not runtime().settings.watchdog_enabled:
            raise WatchdogOffError
        self._where = ["true"]
        self._values: list[Any] = []
        search = (wanted.search or "").strip()[:LONGEST_SEARCH]
        if wanted.level is not None:
            self._add("level = {}", wanted.level)
        if wanted.component is not None:
            self._add("component = {}", wanted.component)
        if search:
            words = _NO_WORDS.sub(" ", search)
            self._add("tsv @@ websearch_to_tsquery('simple', {})", words)

    def _add(self, condition: str, value: Any) -> None:
        self._values.append(value)
        self._where.append(condition.format(f"${len(self._values)}"))

    def _sql(self, what: str, conditions: Sequence[str], values: Sequence[int]) -> str:
        """``conditions`` hold a ``{}`` each, for their values, which come after the filter's."""
        places = range(len(self._values) + 1, len(self._values) + len(values) + 1)
        more = [one.format(f"${place}") for one, place in zip(conditions, places, strict=True)]
        return f"SELECT {what} FROM watchdog_entry WHERE {' AND '.join(self._where + more)}"  # noqa: S608 # our own words

    async def read(
        self,
        conditions: Sequence[str],
        values: Sequence[int],
        most: int,
        *,
        offset: int = 0,
        reverse: bool = False,
    ) -> list[WatchdogEntry]:
        order = "id" if reverse else "id DESC"
        statement = self._sql("id", conditions, values)
        found = await rows(
            f"{statement} ORDER BY {order} LIMIT {most:d} OFFSET {offset:d}",
            *self._values,
            *values,
        )
        ids = [one["id"] for one in found]
        return await WatchdogEntry.filter(id__in=ids).order_by("id" if reverse else "-id")

    async def between(self, window: Window, most: int) -> list[WatchdogEntry]:
        bounds = {"id < {}": window.after, "id > {}": window.before}
        given = {condition: place[0] for condition, place in bounds.items() if place}
        return await self.read(list(given), list(given.values()), most, reverse=window.from_end)

    async def reaches(self, position: Position, *, forward: bool) -> bool:
        condition, order = ("id <= {}", "id DESC") if forward else ("id >= {}", "id")
        statement = self._sql("id", [condition], position)
        return bool(await rows(f"{statement} ORDER BY {order} LIMIT 1", *self._values, *position))

    async def count(self) -> int:
        [found] = await rows(self._sql("count(*) AS n", [], []), *self._values)
        return int(found["n"])

    def position(self, row: WatchdogEntry) -> Position:
        return (row.id,)
