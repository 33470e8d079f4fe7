"""The table of live events: read in exact pages, pruned, and its rows' details loaded once."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, TypeVar

from aether.db import row, rows
from aether.errors import InvalidInputError
from aether.live.cursors import Position, Snapshot, decode

T = TypeVar("T")
Fetch = Callable[..., Awaitable[Sequence[Mapping[str, Any]]]]

KEEP_HOURS: Final = 6
"""How long events are kept, so that a client that was away may come back."""
PRUNE_BATCH: Final = 5_000
PAGE: Final = 200


class LiveKind(StrEnum):
    """What a live event tells of, and so which table its ``row_id`` is of."""

    DELIVERY = "delivery"  #: Stored, or routed by a redelivery.
    EXECUTION = "execution"  #: Started, claimed, or its status, agent or tries changed.
    MESSAGE = "message"  #: A reply of the model was stored.
    TOOL = "tool"  #: A tool call was run and stored.
    TEXT = "text"  #: A piece of a reply that is still being written.
    APPROVAL = "approval"  #: A person was asked, or has decided, or it is over without.
    WATCHDOG = "watchdog"  #: A warning or error was stored.


@dataclass(frozen=True)
class Interest:
    """Which events somebody follows: kinds, of one execution or all, and a judgement of the rest.

    ``accepts`` is asked in the event loop for each event of these kinds; it must be quick.
    """

    kinds: frozenset[LiveKind]
    accepts: Callable[["LiveEvent"], bool] = lambda _: True
    execution_id: int | None = None


@dataclass(eq=False)
class LiveEvent:
    """One event. ``about`` is what was so at its moment; its row may have changed since."""

    kind: LiveKind
    row_id: int
    execution_id: int | None
    about: Mapping[str, Any]
    position: Position
    page: "Page" = field(repr=False)
    is_wanted: bool = False  # by anybody; only then its row is loaded with the page's others

    @cached_property
    def cursor(self) -> str:
        """What a client comes back with, to be told what follows this event."""
        return self.position.encode(self.page.epoch)

    async def row(self, load: Callable[[list[int]], Awaitable[Sequence[T | None]]]) -> T | None:
        """Its row as ``load`` gives it, asked for together with those of its page, once for all
        who follow; None: it is gone."""
        return await self.page.row(self, load)


class Page:
    """Events that were read together."""

    def __init__(self, epoch: str, position: Position) -> None:
        self.epoch = epoch
        self.position = position  # after all of it
        self.has_more = False  # perhaps: ask again from its position
        self.events: list[LiveEvent] = []
        self._loads: dict[tuple[LiveKind, Any], asyncio.Task[Any]] = {}

    async def row(
        self, event: LiveEvent, load: Callable[[list[int]], Awaitable[Sequence[T | None]]]
    ) -> T | None:
        """See ``LiveEvent.row``."""
        key = (event.kind, load)
        loading = self._loads.get(key)
        if loading is None:
            loading = asyncio.create_task(self._load(event.kind, load))
            loading.add_done_callback(_looked_at)
            self._loads[key] = loading
        try:
            # shielded: whoever asked first may leave before the others
            found: dict[int, T | None] = await asyncio.shield(loading)
        except Exception:
            self._loads.pop(key, None)  # the next one asks again
            raise
        return found.get(event.row_id)

    async def _load(
        self, kind: LiveKind, load: Callable[[list[int]], Awaitable[Sequence[T | None]]]
    ) -> dict[int, T | None]:
        wanted = (one.row_id for one in self.events if one.kind is kind and one.is_wanted)
        ids = list(dict.fromkeys(wanted))
        return dict(zip(ids, await load(ids), strict=True))


def _looked_at(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # told to those who wait; nobody may be left


def _those(condition: str) -> str:
    """Of the new events those of which ``condition`` holds, in their order."""
    return f"""(SELECT * FROM live_event
     WHERE {condition}
       AND tx < pg_snapshot_xmax(upto.snapshot) AND pg_visible_in_snapshot(tx, upto.snapshot)
       AND kind = ANY($5::text[]) AND ($6::bigint IS NULL OR execution_id = $6)
     ORDER BY tx, id LIMIT $7)"""  # noqa: S608 # our own words


# What a snapshot does not see is what was under way then, and what began later: looked up as
# such, since between a transaction that stays open for hours and the newest all may be known.
_READ: Final = f"""
WITH upto AS MATERIALIZED (
  SELECT coalesce($2::text::pg_snapshot, pg_current_snapshot()) AS snapshot)
SELECT upto.snapshot::text AS upto, pg_current_snapshot()::text AS now, state.epoch,
  state.pruned::text AS pruned, one.tx::text AS tx, one.id AS event_id, one.kind, one.row_id,
  one.execution_id, one.about::text AS about
FROM upto LEFT JOIN live_state AS state ON state.id = 1
LEFT JOIN LATERAL (
  SELECT * FROM (
    {_those("tx = ANY($1::text[]::xid8[]) AND (tx, id) > ($3::text::xid8, $4::bigint)")}
    UNION ALL
    {_those("(tx, id) > ($8::text::xid8, $9::bigint)")}) AS new
  ORDER BY tx, id LIMIT $7) AS one ON true
"""  # noqa: S608 # our own words


async def read(
    fetch: Fetch,
    position: Position,
    *,
    upto: Snapshot | None = None,
    interest: Interest | None = None,
    is_told: str | None = None,
    limit: int = PAGE,
) -> Page:
    """The next events after ``position``, in order, as far as ``upto`` sees (None: as of now).

    First what is left of the position's batch; ``has_more`` says whether to ask again, from the
    page's own position. ``fetch`` runs a statement, as ``aether.db.rows``.
    ``is_told``: the epoch of the cursor that ``position`` was read from, to be checked.

    Raises:
        InvalidInputError: names ``after``; the cursor is too old, or of another database.
    """
    goal = position.batch if position.is_within else upto
    kinds = sorted(interest.kinds if interest else LiveKind)
    execution_id = interest.execution_id if interest else None
    running = [str(one) for one in position.before.running]
    later = max((position.before.xmax, 0), (position.tx, position.id))
    found = await fetch(
        _READ, running, str(goal) if goal else None, str(position.tx), position.id, kinds,
        execution_id, limit, str(later[0]), later[1],
    )  # fmt: skip
    first = found[0]
    if is_told is not None:
        _check(position, is_told, first)
    reached = goal or Snapshot.read(first["upto"])
    page = Page(first["epoch"] or "0" * 12, Position.at(reached))
    for one in found:
        if one["event_id"] is not None:
            place = Position(position.before, reached, int(one["tx"]), int(one["event_id"]))
            page.events.append(_event(one, place, page))
    page.events.sort(key=lambda event: (event.position.tx, event.position.id))
    if len(page.events) == limit:
        page.has_more = True
        page.position = page.events[-1].position
    elif position.is_within:
        page.has_more = reached != upto  # the batch is done; what followed it is not
    return page


def _event(found: Mapping[str, Any], position: Position, page: Page) -> LiveEvent:
    return LiveEvent(
        kind=LiveKind(found["kind"]),
        row_id=int(found["row_id"]),
        execution_id=found["execution_id"],
        about=json.loads(found["about"]),
        position=position,
        page=page,
    )


def _check(position: Position, epoch: str, found: Mapping[str, Any]) -> None:
    now = Snapshot.read(found["now"])
    if epoch != found["epoch"] or position.batch.xmax > now.xmax:
        raise InvalidInputError("after", "is a cursor of another database; begin without it")
    pruned = int(found["pruned"] or 0)
    # what is under way still has nothing that could have been pruned, however old it is
    ended = (one for one in position.before.running if now.sees(one))
    if pruned >= position.before.xmax or any(one <= pruned for one in ended):
        raise InvalidInputError(
            "after",
            f"is too old: events are kept for {KEEP_HOURS} hours, and some that follow it are "
            "gone; read the present state, then begin without it",
        )


def read_cursor(after: str) -> tuple[str, Position]:
    """A client's cursor as its epoch and its position.

    Raises:
        InvalidInputError: names ``after``; it is no cursor.
    """
    try:
        return decode(after)
    except ValueError:
        raise InvalidInputError("after", "must be the cursor of an event, as it was told") from None


_PREPARE: Final = (
    "INSERT INTO live_state (id) VALUES (1) ON CONFLICT (id) DO NOTHING",
    # Rows of transactions that are still to come were restored from another server's dump: its
    # numbers mean nothing here, and neither do its cursors.
    """WITH restored AS (
         DELETE FROM live_event WHERE tx >= pg_snapshot_xmax(pg_current_snapshot()) RETURNING 1)
       UPDATE live_state SET epoch = left(md5(gen_random_uuid()::text), 12), pruned = NULL
       WHERE id = 1 AND (EXISTS (SELECT FROM restored)
         OR pruned >= pg_snapshot_xmax(pg_current_snapshot()))""",
)


async def prepare(fetch: Fetch) -> None:
    """See that the state's row is there, and that a restored database does not speak of another."""
    for statement in _PREPARE:
        await fetch(statement)


async def cursor_of_now() -> str:
    """A cursor after everything that has been committed."""
    await prepare(rows)
    found = await row("SELECT epoch, pg_current_snapshot()::text AS now FROM live_state")
    if found is None:
        raise RuntimeError("live_state has no row")
    return Position.at(Snapshot.read(found["now"])).encode(found["epoch"])


_PRUNE: Final = """
WITH gone AS (
  DELETE FROM live_event WHERE (tx, id) IN (
    SELECT tx, id FROM (SELECT * FROM live_event ORDER BY tx, id LIMIT $2::int) AS first
    WHERE created_at < now() - make_interval(hours => $1::int))
  RETURNING tx),
last AS (SELECT tx, count(*) OVER () AS n FROM gone ORDER BY tx DESC LIMIT 1),
noted AS (
  INSERT INTO live_state (id, pruned) SELECT 1, tx FROM last
  ON CONFLICT (id) DO UPDATE SET pruned = greatest(live_state.pruned, excluded.pruned))
SELECT n FROM last
"""


async def prune(hours: int = KEEP_HOURS) -> int:
    """Delete events older than ``hours``, in batches, and note how far; how many there were.

    Looks at the first events only, until all of a batch are younger: what a transaction that was
    open for long has written late stands among the first, and goes with the next pruning.
    """
    deleted = 0
    while (gone := await row(_PRUNE, hours, PRUNE_BATCH)) is not None:
        deleted += int(gone["n"])
    return deleted
