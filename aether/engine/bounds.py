"""What a new event starts or ends on its item beyond routing: rates kept, older runs cancelled.

Costs nothing where no task asks for it. An event that came without its item is held to the item's
bounds once that is known.
"""

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Final

from aether import audit
from aether.db import rows
from aether.engine import approvals
from aether.engine.own_doing import OURS
from aether.engine.plan import Plan, item_keys
from aether.engine.route import Refused
from aether.errors import ErrorCode
from aether.vocabulary import ExecutionStatus

log = logging.getLogger(__name__)

CLOSING: Final = frozenset({"issue.closed", "pr.closed", "pr.merged"})
"""The triggers that say that an item is closed."""
BOT_RUNS_AN_HOUR: Final = 5  # started by bots on one item
BOTS_HAD_THEIR_SHARE: Final = (
    f"bots have started {BOT_RUNS_AN_HOUR} runs on this item within the hour"
)
NEWER: Final = "a newer event started it again"
CLOSED: Final = "its item was closed"

_OF_ITEM: Final = f"""source = $1 AND site = $2 AND project_key = $3 AND item_key = $4
             AND created_at > now() - interval '1 hour'
             AND NOT (cancel_requested AND coalesce(error_code, '') = '{ErrorCode.RATE_LIMITED}')"""
"""What was started on an item within the hour; what was held back before it began is not."""


async def within_rates(plan: Plan, *, lock: bool = True) -> Plan:
    """``plan`` without the tasks that have been started on its item as often as they may be.

    The lock makes concurrent events of one item wait, until the transaction ends. A replay is
    asked for by a person, and is not held back.
    """
    limits = plan.rates
    limited = [one.task_id for one in plan.routing.starts if one.task_id in limits]
    if not limited or plan.event.subject is None or plan.replay_of:
        return plan
    item = (plan.event.source, plan.event.site, *item_keys(plan.event))
    if lock:
        await _lock(item, 1)
    counted = await _started_of(item, limited)
    over = {task_id: n for task_id, n in counted.items() if n >= limits[task_id]}
    if not over:
        return plan
    refused = [
        Refused(task_id=task_id, reason=_too_often(task_id, n)) for task_id, n in over.items()
    ]
    return refusing(plan, refused)


async def is_bot_bound_reached(plan: Plan, *, lock: bool = True) -> bool:
    """Whether bots have had their share of this item; the lock makes concurrent ones wait."""
    event, subject = plan.event, plan.event.subject
    if event.actor is None or not event.actor.is_bot or subject is None or plan.replay_of:
        return False
    item = (event.source, event.site, *item_keys(event))
    if lock:
        await _lock(item, 0)
    return await _has_bots_share(item)


async def _lock(item: Sequence[Any], what: int) -> None:
    await rows(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", "\x1f".join(map(str, item)), what
    )


async def _started_of(
    item: Sequence[Any], task_ids: Sequence[str], *, but: int = 0
) -> dict[str, int]:
    """How often each task was started on the item within the hour, not by the delivery ``but``."""
    counted = await rows(
        f"""SELECT task_id, count(*) AS n FROM task_execution
           WHERE {_OF_ITEM} AND task_id = ANY($5::text[]) AND delivery_id <> $6
           GROUP BY task_id""",  # noqa: S608 # our own words
        *item, task_ids, but,
    )  # fmt: skip
    return {str(one["task_id"]): int(one["n"]) for one in counted}


async def _has_bots_share(item: Sequence[Any], *, but: int = 0) -> bool:
    [counted] = await rows(
        f"""SELECT count(DISTINCT delivery_id) AS n FROM task_execution
           WHERE by_bot AND {_OF_ITEM} AND delivery_id <> $5""",  # noqa: S608 # our own words
        *item, but,
    )  # fmt: skip
    return int(counted["n"]) >= BOT_RUNS_AN_HOUR


def _too_often(task_id: str, n: int) -> str:
    return (
        f"task {task_id} held back: it was started {n} times on this item within the hour "
        "(max_runs_per_item_hour)"
    )


def refusing(plan: Plan, refused: Sequence[Refused], *, reason: str | None = None) -> Plan:
    """``plan`` without these tasks; ``reason`` in place of what each is refused for."""
    told = [reason] if reason else [plan.routing.reason, *(one.reason for one in refused)]
    gone = {one.task_id for one in refused}
    routing = replace(
        plan.routing,
        starts=tuple(one for one in plan.routing.starts if one.task_id not in gone),
        refused=(*plan.routing.refused, *refused),
        reason="; ".join(one for one in told if one),
    )
    return replace(plan, routing=routing)


async def tell_refused(plan: Plan, delivery_id: int) -> None:
    """Write who was refused what to the audit log; takes part in the transaction."""
    actor = plan.event.actor
    for one in plan.routing.refused:
        await audit.record(
            "task.held_back",
            delivery_id=delivery_id,
            detail={
                "task_id": one.task_id,
                "reason": one.reason,
                "actor": actor.login if actor else None,
                "association": actor.association if actor else None,
            },
        )


async def cancel_older(plan: Plan, delivery_id: int, started: Sequence[str]) -> None:
    """Cancel what this event makes pointless on its item; takes part in the transaction.

    Runs of a task that it has started again, and runs of any task if it closed the item, where
    the task says so. A running one ends at its next step.

    Args:
        started: the tasks that this delivery has started.
    """
    subject = plan.event.subject
    if subject is None or plan.why_nothing is not None:
        return
    closes = bool(CLOSING & set(plan.routing.canonical_triggers))
    newer = plan.cancel_on_newer & set(started)
    closed = plan.cancel_on_close if closes else frozenset[str]()
    if not newer | closed:
        return
    item = (plan.event.source, plan.event.site, *item_keys(plan.event))
    await _cancel(item, delivery_id, newer, closed)


async def _cancel(item: Sequence[Any], delivery_id: int, newer: Set[str], closed: Set[str]) -> None:
    cancelled = await rows(
        CANCEL, *item, sorted(newer | closed), delivery_id, sorted(newer),
        ExecutionStatus.CANCELLED, NEWER, CLOSED,
    )  # fmt: skip
    for one in cancelled:
        await approvals.withdraw(one["id"])
        await audit.record(
            "task.cancel_requested",
            agent_id=one["agent_id"],
            execution_id=one["id"],
            delivery_id=delivery_id,
            detail={"why": one["error"]},
        )
        log.info("execution %s is cancelled: %s", one["id"], one["error"])


CANCEL: Final = """
WITH older AS (
  SELECT id FROM task_execution
  WHERE source = $1 AND site = $2 AND project_key = $3 AND item_key = $4
    AND task_id = ANY($5::text[]) AND delivery_id < $6 AND NOT cancel_requested
    AND status IN ('queued', 'running', 'retrying', 'waiting_approval')
  ORDER BY id FOR UPDATE)
UPDATE task_execution AS execution SET cancel_requested = true,
  error = CASE WHEN execution.task_id = ANY($7::text[]) THEN $9 ELSE $10 END,
  status = CASE WHEN execution.status = 'running' THEN execution.status ELSE $8 END,
  finished_at = CASE WHEN execution.status = 'running' THEN execution.finished_at ELSE now() END
FROM older WHERE execution.id = older.id
RETURNING execution.id, execution.agent_id, execution.error
"""
"""Locked in the order of their ids: two events of one item would else wait for each other."""


LATE: Final = """
SELECT execution.id, execution.task_id, execution.agent_id, execution.by_bot, execution.source,
  execution.site, execution.project_key, execution.item_key, task.max_runs_per_item_hour AS most,
  task.cancel_on_newer, delivery.replay_of IS NOT NULL AS is_replay,
  EXISTS (
    SELECT 1 FROM task_execution AS newer
    WHERE newer.source = execution.source AND newer.site = execution.site
      AND newer.project_key = execution.project_key AND newer.item_key = execution.item_key
      AND newer.task_id = execution.task_id AND newer.delivery_id > execution.delivery_id
      AND NOT newer.cancel_requested) AS has_newer,
  task.cancel_on_close AND EXISTS (
    SELECT 1 FROM delivery AS closing
    WHERE closing.source = execution.source AND closing.project_key = execution.project_key
      AND closing.item_key = execution.item_key
      AND coalesce(closing.event->>'site', '') = execution.site
      AND closing.id > execution.delivery_id AND closing.canonical_triggers ?| $2::text[]
      AND NOT starts_with(coalesce(closing.reason, ''), $3)) AS is_closed
FROM task_execution AS execution
JOIN delivery ON delivery.id = execution.delivery_id
JOIN task_definition AS task ON task.id = execution.task_id
WHERE execution.delivery_id = $1 AND execution.status IN ('queued', 'running', 'retrying')
  AND NOT execution.cancel_requested
ORDER BY execution.id
"""


async def hold_to_item(delivery_id: int) -> None:
    """Keep the bounds of an item that a stored delivery is only now known to be about.

    It came without its item, so that nothing could be counted and nothing older cancelled when its
    executions were started; none of them has begun. Takes part in the transaction that has filled
    the item in.
    """
    for one in await rows(LATE, delivery_id, sorted(CLOSING), OURS):
        item = (one["source"], one["site"], one["project_key"], one["item_key"])
        why = None if one["is_replay"] else await _why_held_back(item, one, delivery_id)
        if why is not None:
            await _end_late(one, delivery_id, why, is_held_back=True)
        elif one["is_closed"]:
            await _end_late(one, delivery_id, CLOSED)
        elif one["cancel_on_newer"] and one["has_newer"]:
            await _end_late(one, delivery_id, NEWER)
        elif one["cancel_on_newer"]:
            await _cancel(item, delivery_id, {one["task_id"]}, frozenset())


async def _why_held_back(
    item: Sequence[Any], late: Mapping[str, Any], delivery_id: int
) -> str | None:
    if late["by_bot"]:
        await _lock(item, 0)
        if await _has_bots_share(item, but=delivery_id):
            return BOTS_HAD_THEIR_SHARE
    if late["most"] is not None:
        await _lock(item, 1)
        counted = await _started_of(item, [late["task_id"]], but=delivery_id)
        if (n := counted.get(late["task_id"], 0)) >= late["most"]:
            return _too_often(late["task_id"], n)
    return None


async def _end_late(
    late: Mapping[str, Any], delivery_id: int, why: str, *, is_held_back: bool = False
) -> None:
    """Cancel an execution that has not begun; one that is claimed ends at its next step."""
    await rows(
        """UPDATE task_execution SET cancel_requested = true, error = $2, error_code = $3,
             status = CASE WHEN status = 'running' THEN status ELSE $4 END,
             finished_at = CASE WHEN status = 'running' THEN finished_at ELSE now() END
           WHERE id = $1""",
        late["id"], why, ErrorCode.RATE_LIMITED if is_held_back else None,
        ExecutionStatus.CANCELLED,
    )  # fmt: skip
    await audit.record(
        "task.held_back" if is_held_back else "task.cancel_requested",
        agent_id=late["agent_id"],
        execution_id=late["id"],
        delivery_id=delivery_id,
        detail={"task_id": late["task_id"], "reason": why} if is_held_back else {"why": why},
    )
    log.info("execution %s is cancelled: %s", late["id"], why)
