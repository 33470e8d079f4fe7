"""What a new event starts or ends on its item beyond routing: rates kept, older runs cancelled.

Costs nothing where no task asks for it.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from aether import audit
from aether.db import rows
from aether.engine import approvals
from aether.engine.plan import Plan, item_keys
from aether.engine.route import Refused
from aether.vocabulary import ExecutionStatus

log = logging.getLogger(__name__)

CLOSING: Final = frozenset({"issue.closed", "pr.closed", "pr.merged"})
"""The triggers that say that an item is closed."""


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
        await rows(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", "\x1f".join(map(str, item))
        )
    counted = await rows(
        """SELECT task_id, count(*) AS n FROM task_execution
           WHERE source = $1 AND site = $2 AND project_key = $3 AND item_key = $4
             AND task_id = ANY($5::text[]) AND created_at > now() - interval '1 hour'
           GROUP BY task_id""",
        *item, limited,
    )  # fmt: skip
    over = {one["task_id"]: one["n"] for one in counted if one["n"] >= limits[one["task_id"]]}
    if not over:
        return plan
    refused = [
        Refused(
            task_id=task_id,
            reason=f"task {task_id} held back: it was started {n} times on this item within the "
            "hour (max_runs_per_item_hour)",
        )
        for task_id, n in over.items()
    ]
    return refusing(plan, refused)


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
    cancelled = await rows(
        CANCEL, plan.event.source, *item_keys(plan.event), sorted(newer | closed), delivery_id,
        sorted(newer), ExecutionStatus.CANCELLED, plan.event.site,
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
  WHERE source = $1 AND project_key = $2 AND item_key = $3 AND task_id = ANY($4::text[])
    AND site = $8 AND delivery_id < $5 AND NOT cancel_requested
    AND status IN ('queued', 'running', 'retrying', 'waiting_approval')
  ORDER BY id FOR UPDATE)
UPDATE task_execution AS execution SET cancel_requested = true,
  error = CASE WHEN execution.task_id = ANY($6::text[]) THEN 'a newer event started it again'
    ELSE 'its item was closed' END,
  status = CASE WHEN execution.status = 'running' THEN execution.status ELSE $7 END,
  finished_at = CASE WHEN execution.status = 'running' THEN execution.finished_at ELSE now() END
FROM older WHERE execution.id = older.id
RETURNING execution.id, execution.agent_id, execution.error
"""
"""Locked in the order of their ids: two events of one item would else wait for each other."""
