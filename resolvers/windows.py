"""Windows on lists that grow: a page by where it begins or ends, never by counting rows.

A position is the values that a list is ordered by. It means the same place whatever is inserted or
deleted in the meantime, also once the row that it was taken from is gone.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, Protocol, TypeVar

from tortoise.expressions import Q
from tortoise.models import Model
from tortoise.queryset import QuerySet

from aether.db import rows as run
from aether.errors import InvalidInputError
from resolvers.fields import MAX_INTEGER, Input, Limit

Position = tuple[int, ...]
DEFAULT: Final = 50
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
LAST_MICROSECOND: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND

M = TypeVar("M", bound=Model)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Sizes(Input):
    """How many rows, counted from the one end or from the other."""

    first: Limit | None = None
    last: Limit | None = None


@dataclass(frozen=True, kw_only=True)
class Window:
    """At most ``most`` rows strictly between two positions, the nearest to one of them."""

    most: int
    after: Position | None = None
    before: Position | None = None
    from_end: bool = False  # those that are nearest to ``before``, or to the list's end


def window(sizes: Sizes, *, after: Position | None, before: Position | None) -> Window:
    """The window that is asked for: 50 rows, unless ``first`` or ``last`` says another number.

    Without either it begins after ``after``; with ``before`` alone it ends there.

    Raises:
        InvalidInputError: both ``first`` and ``last``; names ``last``.
    """
    if sizes.first is not None and sizes.last is not None:
        raise InvalidInputError("last", "not together with first")
    backwards = sizes.first is None and after is None and before is not None
    return Window(
        most=sizes.first or sizes.last or DEFAULT,
        after=after,
        before=before,
        from_end=sizes.last is not None or backwards,
    )


async def _no() -> bool:
    return False


async def _yes() -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Slice(Generic[R_co]):
    """The rows of a window in the list's order. What is a function asks the database if called."""

    rows: Sequence[R_co]
    positions: Sequence[Position]
    has_previous: Callable[[], Awaitable[bool]]
    has_next: Callable[[], Awaitable[bool]]
    count: Callable[[], Awaitable[int]]  # of the whole list


class Listing(Protocol[R_co]):
    """A list in its order, as ``cut`` needs it."""

    async def between(self, window: Window, most: int) -> Sequence[R_co]:
        """At most ``most`` rows of the window; the nearest to its end first if ``from_end``."""

    async def reaches(self, position: Position, *, forward: bool) -> bool:
        """Whether a row stands at the position, or beyond it."""

    async def count(self) -> int:
        """How many rows there are."""

    def position(self, row: Any) -> Position:
        """Where a row stands."""


async def cut(listing: Listing[R], wanted: Window) -> Slice[R]:
    """The rows of a window; one statement, and further ones only for what is called."""
    found = list(await listing.between(wanted, wanted.most + 1))
    more = len(found) > wanted.most
    del found[wanted.most :]
    if wanted.from_end:
        found.reverse()

    def beyond(position: Position | None, *, forward: bool) -> Callable[[], Awaitable[bool]]:
        if more and forward != wanted.from_end:
            return _yes
        if position is None:
            return _no
        return lambda: listing.reaches(position, forward=forward)

    return Slice(
        rows=found,
        positions=[listing.position(one) for one in found],
        has_previous=beyond(wanted.after, forward=False),
        has_next=beyond(wanted.before, forward=True),
        count=listing.count,
    )


class NewestFirst(Generic[M]):
    """Rows of a log, the largest id first."""

    def __init__(self, query: QuerySet[M]) -> None:
        self._query = query

    async def between(self, window: Window, most: int) -> list[M]:
        query = self._query
        if window.after is not None:
            query = query.filter(self._beyond(window.after, forward=True))
        if window.before is not None:
            query = query.filter(self._beyond(window.before, forward=False))
        return await query.order_by(*self._order(reverse=window.from_end)).limit(most)

    async def reaches(self, position: Position, *, forward: bool) -> bool:
        query = self._query.filter(self._beyond(position, forward=forward, or_at=True))
        # In order, so that it begins at the position: else a table is walked from its far end.
        nearest = query.order_by(*self._order(reverse=not forward)).limit(1)
        return bool(await nearest.only("id"))

    async def count(self) -> int:
        return await self._query.count()

    def position(self, row: Any) -> Position:
        return (row.id,)

    def _order(self, *, reverse: bool) -> tuple[str, ...]:
        return ("id",) if reverse else ("-id",)

    def _beyond(self, position: Position, *, forward: bool, or_at: bool = False) -> Q:
        [row_id] = position
        return _compared("id", row_id, forward=forward, or_at=or_at)


class NewestCreatedFirst(NewestFirst[M]):
    """Rows that may be created anew under an old id, the last created first."""

    def position(self, row: Any) -> Position:
        return ((row.created_at - EPOCH) // MICROSECOND, row.id)

    def _order(self, *, reverse: bool) -> tuple[str, ...]:
        return ("created_at", "id") if reverse else ("-created_at", "-id")

    def _beyond(self, position: Position, *, forward: bool, or_at: bool = False) -> Q:
        microseconds, row_id = position
        moment = EPOCH + microseconds * MICROSECOND
        # The first condition alone could be left out; it is what an index is entered by.
        return _compared("created_at", moment, forward=forward, or_at=True) & (
            _compared("created_at", moment, forward=forward, or_at=False)
            | _compared("id", row_id, forward=forward, or_at=or_at)
        )


def _compared(field: str, value: Any, *, forward: bool, or_at: bool) -> Q:
    """That a row comes after a value, or before it, where the largest comes first."""
    condition: dict[str, Any] = {
        f"{field}__{'lt' if forward else 'gt'}{'e' if or_at else ''}": value
    }
    return Q(**condition)


_SLICES: Final = """
SELECT place, found.ids,
  wanted.after IS NOT NULL AND EXISTS (
    SELECT FROM {table} WHERE {column} = wanted.key AND id >= wanted.after) AS reaches_back,
  wanted.before IS NOT NULL AND EXISTS (
    SELECT FROM {table} WHERE {column} = wanted.key AND id <= wanted.before) AS reaches_on
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
  AS wanted(key, after, before, most, place)
CROSS JOIN LATERAL (SELECT array(
  SELECT id FROM {table} WHERE {column} = wanted.key
    AND id < coalesce(wanted.after, {beyond}) AND id > coalesce(wanted.before, 0)
  ORDER BY id {order} LIMIT wanted.most + 1) AS ids) AS found
"""


async def slices(
    model: type[M],
    column: str,
    keys: Sequence[tuple[str, Window]],
) -> list[Slice[M]]:
    """Of the rows of each key, the largest id first, that window; in the order of ``keys``.

    ``column`` holds the key. Two statements for all of them, three where some count from the end.
    Each slice counts for itself: whoever shows many counts them together.
    """
    picked: dict[int, dict[str, Any]] = {}
    for from_end in (False, True):
        places = [place for place, (_, one) in enumerate(keys) if one.from_end is from_end]
        if places:
            found = await _pick(model, column, [keys[place] for place in places], from_end=from_end)
            picked.update(zip(places, found, strict=True))
    wanted = {row_id for one in picked.values() for row_id in one["ids"]}
    rows = {one.pk: one for one in await model.filter(id__in=wanted)} if wanted else {}
    told = []
    for place, (key, part) in enumerate(keys):
        one = picked[place]
        more = len(one["ids"]) > part.most
        ids = one["ids"][: part.most]
        if part.from_end:
            ids.reverse()
        there = [rows[one] for one in ids if one in rows]  # the others are deleted since
        told.append(
            Slice(
                rows=there,
                positions=[(one.pk,) for one in there],
                has_previous=_known(one["reaches_back"] or (more and part.from_end)),
                has_next=_known(one["reaches_on"] or (more and not part.from_end)),
                count=model.filter(**{column: key}).count,
            )
        )
    return told


def _known(value: bool) -> Callable[[], Awaitable[bool]]:
    return _yes if value else _no


async def _pick(
    model: type[Model], column: str, keys: Sequence[tuple[str, Window]], *, from_end: bool
) -> list[dict[str, Any]]:
    statement = _SLICES.format(
        table=model._meta.db_table,  # noqa: SLF001 # documented by Tortoise
        column=column,
        beyond=MAX_INTEGER,
        order="ASC" if from_end else "DESC",
    )
    return await run(
        f"{statement} ORDER BY place",
        [key for key, _ in keys],
        [one.after and one.after[0] for _, one in keys],
        [one.before and one.before[0] for _, one in keys],
        [one.most for _, one in keys],
    )
