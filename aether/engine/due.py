"""Which poll sources are due, and whose hint was lost: read once a second by the scheduler."""

import logging
from typing import Final

from aether.db import row, rows, transaction
from aether.queue import Job, Queue

log = logging.getLogger(__name__)

POLL_LOCK: Final = 0x4145_504F  # "AEPO": one of all schedulers at a time
HINT_PATIENCE_SECONDS: Final = 10.0
MOST_PATIENCE_SECONDS: Final = 300.0  # for what has waited long: all workers are busy, or gone
BATCH: Final = 200
KEEP_TICKS: Final = "7 days"

DUE: Final = """
WITH due AS (
  SELECT id, next_poll_at, make_interval(mins => interval_minutes) AS every,
    requested_at IS NULL AND (lease_until IS NULL OR lease_until < now()) AS is_idle
  FROM poll_source WHERE enabled AND next_poll_at <= now()
  ORDER BY next_poll_at LIMIT $1 FOR UPDATE SKIP LOCKED),
ticks AS (
  INSERT INTO schedule_tick (schedule, due_at)
  SELECT 'poll_source:' || id, next_poll_at FROM due
  ON CONFLICT DO NOTHING RETURNING schedule),
fired AS (
  UPDATE poll_source AS one
  SET next_poll_at = due.next_poll_at + due.every
        * (floor(extract(epoch FROM now() - due.next_poll_at) / extract(epoch FROM due.every)) + 1),
    requested_at = CASE WHEN due.is_idle AND ticks.schedule IS NOT NULL
      THEN now() ELSE one.requested_at END,
    enqueued_at = CASE WHEN due.is_idle AND ticks.schedule IS NOT NULL
      THEN now() ELSE one.enqueued_at END
  FROM due LEFT JOIN ticks ON ticks.schedule = 'poll_source:' || due.id
  WHERE one.id = due.id
  RETURNING one.id, due.is_idle AND ticks.schedule IS NOT NULL AS is_new)
SELECT id FROM fired WHERE is_new
"""
"""The due moment moves on by whole intervals; a poll that is under way makes it pass unused."""

LOST: Final = """
WITH lost AS (
  SELECT id FROM poll_source
  WHERE requested_at IS NOT NULL AND (lease_until IS NULL OR lease_until < now())
    AND (enqueued_at IS NULL OR enqueued_at < now() - least(
      greatest(make_interval(secs => $1), (now() - requested_at) / 4), make_interval(secs => $2)))
  ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)
UPDATE poll_source AS one SET enqueued_at = now() FROM lost WHERE one.id = lost.id RETURNING one.id
"""


async def send_due_polls(queue: Queue) -> int:
    """Send a hint for every poll source that is due, and for every hint that was lost; how many.

    Any number of schedulers may call it at once: the advisory lock lets one of them work, and a
    due moment is taken by one row of ``schedule_tick``.

    Raises:
        BrokerError, OSError: the queue is out of reach; the polls are wanted on, and sent again.
    """
    async with transaction():
        held = await row("SELECT pg_try_advisory_xact_lock($1) AS mine", POLL_LOCK)
        if held is None or not held["mine"]:
            return 0
        due = await rows(DUE, BATCH)
        lost = await rows(LOST, HINT_PATIENCE_SECONDS, MOST_PATIENCE_SECONDS, BATCH)
    if lost:
        log.info("the hints of %s polls are sent again", len(lost))
    ids = sorted({int(one["id"]) for one in (*due, *lost)})
    if ids:
        await queue.send(Job.POLL_SOURCE, ids)
    return len(ids)


async def prune_ticks() -> None:
    """Forget the due moments of long ago."""
    await rows(f"DELETE FROM schedule_tick WHERE due_at < now() - interval '{KEEP_TICKS}'")  # noqa: S608 # a constant of ours
