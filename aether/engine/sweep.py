"""What a crash or a lost hint left behind: found by the rows, sent again."""

import logging
from typing import Final

from aether import audit, watchdog
from aether.config import Settings
from aether.db import row, rows, transaction
from aether.effects import call_timeout
from aether.engine import summary
from aether.live import events
from aether.memory.store import expire
from aether.queue import Job, Queue

log = logging.getLogger(__name__)

SWEEP_LOCK: Final = 0x4145_5357  # "AESW": one sweeper at a time, whoever it is
HINT_PATIENCE_SECONDS: Final = 10.0  # a hint older than this was lost, or all workers are busy
MOST_PATIENCE_SECONDS: Final = (
    45.0  # for a row that waits long: a backlog is not sent again and again
)
BATCH: Final = 500

DUE: Final = """
WITH due AS (
  SELECT id FROM task_execution
  WHERE ((status IN ('queued', 'retrying') AND (run_after IS NULL OR run_after <= now()))
         OR (status = 'running' AND lease_until < now() - make_interval(secs => $3)))
    AND (enqueued_at IS NULL OR enqueued_at < now() - least(
      greatest(make_interval(secs => $1), (now() - created_at) / 4), make_interval(secs => $2)))
  ORDER BY coalesce(run_after, enqueued_at, created_at), id LIMIT $4 FOR UPDATE SKIP LOCKED)
UPDATE task_execution AS execution SET enqueued_at = now()
FROM due WHERE execution.id = due.id RETURNING execution.id
"""


async def sweep(settings: Settings, queue: Queue) -> int:
    """Send a hint for every execution that is due and has none under way; how many.

    Safe to call from several processes: the advisory lock lets one of them work.

    Raises:
        BrokerError, OSError: the queue is out of reach; the rows are due again soon.
    """
    async with transaction():
        held = await row("SELECT pg_try_advisory_xact_lock($1) AS mine", SWEEP_LOCK)
        if held is None or not held["mine"]:
            return 0
        due = await rows(
            DUE, HINT_PATIENCE_SECONDS, MOST_PATIENCE_SECONDS, call_timeout(settings), BATCH
        )
    ids = sorted(int(one["id"]) for one in due)
    if ids:
        log.info("the sweep sends %s executions again", len(ids))
        await queue.send(Job.RUN_TASK_EXECUTION, ids)
    summaries = await summary.wanted()
    if summaries:
        await queue.send(Job.SUMMARIZE_RUN, summaries)
    return len(ids)


async def prune(settings: Settings) -> None:
    """Delete what has outlived its time: expired memories and live events always, history by
    RETENTION_DAYS."""
    while await expire():
        pass  # a batch at a time, so that no delete holds its locks for long
    await watchdog.prune()
    await events.prune()
    if settings.retention_days:
        await _prune_history(settings.retention_days)


_NO_LIMIT_COUNTS_IT: Final = "AND {column} < date_trunc('month', now() AT TIME ZONE 'UTC')"
_NO_EXECUTION: Final = """AND NOT EXISTS (
  SELECT 1 FROM task_execution AS kept WHERE kept.id = {table}.execution_id)"""

PRUNED: Final = (
    ("task_execution", "created_at", "AND status IN ('succeeded', 'failed', 'cancelled')"),
    ("execution_message", "created_at", _NO_EXECUTION),
    ("tool_execution", "created_at", _NO_EXECUTION),
    ("effect", "touched_at", _NO_EXECUTION),
    ("standing_answer", "touched_at", ""),
    ("mcp_call", "created_at", _NO_EXECUTION),
    ("approval", "created_at", _NO_EXECUTION),
    (
        "delivery",
        "received_at",
        """AND NOT EXISTS (
             SELECT 1 FROM task_execution AS kept WHERE kept.delivery_id = delivery.id)""",
    ),
    ("llm_call", "created_at", ""),
    ("audit_entry", "created_at", ""),
    ("limit_notice", "created_at", _NO_LIMIT_COUNTS_IT),
    ("usage_day", "day", _NO_LIMIT_COUNTS_IT),
)
"""Table, age, condition; executions first, since all that belongs to one goes after it."""


async def _prune_history(days: int) -> None:
    """In batches, so that no delete holds its locks for long; unfinished work is kept whole.

    The audit log, which cannot be deleted in any other way, tells how much of what has gone.
    """
    deleted: dict[str, int] = {}
    for table, column, condition in PRUNED:
        only = condition.format(table=table, column=column)
        while True:
            async with transaction():
                await rows("SELECT set_config('aether.prune', 'on', true)")
                gone = await rows(
                    f"""DELETE FROM {table} WHERE id IN (
                          SELECT id FROM {table}
                          WHERE {column} < now() - make_interval(days => $1) {only}
                          ORDER BY {column} LIMIT 5000) RETURNING id""",  # noqa: S608 # our own names
                    days,
                )
            if gone:
                deleted[table] = deleted.get(table, 0) + len(gone)
            if len(gone) < 5000:
                break
    if deleted:
        await audit.record("history.pruned", detail={"retention_days": days, "rows": deleted})
