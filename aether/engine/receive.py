"""Stage 1: take one authentic event in, store it once, route it, and let go of the caller.

GitHub gives up after 10 seconds, so nothing slow runs here: one transaction holds the delivery
and its executions, hints leave after it, and the model is called by a worker.
"""

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from aether import audit
from aether.db import row, rows, transaction
from aether.engine import configuration
from aether.engine.bounds import (
    BOT_RUNS_AN_HOUR,
    BOTS_HAD_THEIR_SHARE,
    cancel_older,
    is_bot_bound_reached,
    refusing,
    tell_refused,
    within_rates,
)
from aether.engine.complete import fill_in
from aether.engine.own_doing import OURS
from aether.engine.plan import Plan, item_keys, make_plan, starting_nothing
from aether.engine.route import Refused
from aether.engine.runtime import Runtime
from aether.engine.told import lock_state, tells_a_state, why_told
from aether.errors import NotFoundError, UnavailableError
from aether.events import SourceEvent, event_from_summary
from aether.models import Delivery
from aether.queue import Job
from aether.vocabulary import DeliveryStatus

log = logging.getLogger(__name__)

RELOADS: Final = 5  # a configuration that changes faster than we read it is an error


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What the sender is told. ``status``: accepted, ignored or duplicate."""

    status: str
    delivery_id: int
    canonical_trigger: str | None
    canonical_triggers: list[str]
    executions: list[int]


class StaleConfigurationError(Exception):
    """The configuration changed between the plan and the transaction."""


async def receive(
    runtime: Runtime,
    event: SourceEvent,
    *,
    slug: str,
    is_verified: bool = True,
    replay_of: int | None = None,
) -> Receipt:
    """Store ``event`` once and start its tasks; the same event again starts nothing more.

    May be called many times at once for the same event, by several processes: the database's
    two unique keys decide which call stores it.

    Raises:
        UnavailableError: the configuration kept changing while it was read.
    """
    for _ in range(RELOADS):
        plan = await make_plan(
            runtime, event, slug=slug, is_verified=is_verified, replay_of=replay_of
        )
        try:
            receipt = await store(plan)
        except StaleConfigurationError:
            runtime.configuration = await configuration.load()
            continue
        if receipt.status == "accepted":
            runtime.queue.hint(Job.RUN_TASK_EXECUTION, receipt.executions)
        return receipt
    raise UnavailableError("the configuration is changing too fast; send it again")


async def replay(runtime: Runtime, delivery_id: int) -> Receipt:
    """Route a stored delivery once more, as a new delivery that names the old one.

    Raises:
        NotFoundError: no delivery has this id.
    """
    old = await Delivery.get_or_none(id=delivery_id)
    if old is None:
        raise NotFoundError("delivery", delivery_id)
    key = f"replay:{uuid.uuid4()}"
    event = replace(event_from_summary(old.event, old.payload), delivery_key=key, change_key=key)
    return await receive(
        runtime, event, slug=old.slug, is_verified=old.is_verified, replay_of=old.id
    )


async def store(plan: Plan) -> Receipt:
    """Store the event of ``plan`` once and start its tasks, in one transaction.

    Raises:
        StaleConfigurationError: the plan was made by another configuration than there is.
    """
    async with transaction():
        if plan.why_nothing is None and plan.replay_of is None and tells_a_state(plan.event):
            plan = await _unless_told(plan)
        stored = await row(INSERT_DELIVERY, *_columns(plan))
        if stored is None or int(stored["version"]) != plan.version:
            raise StaleConfigurationError
        if stored["id"] is None:
            return await _again(plan)
        if plan.replay_of is not None:
            await audit.record(
                "delivery.replayed",
                delivery_id=int(stored["id"]),
                caller="api",
                detail={"replay_of": plan.replay_of},
            )
        return await _start(plan, int(stored["id"]))


async def _unless_told(plan: Plan) -> Plan:
    """Look once more, with others held off: a poll and a webhook may have come together."""
    await lock_state(plan.event)
    why = await why_told(plan.event)
    return plan if why is None else starting_nothing(plan, why)


INSERT_DELIVERY: Final = """
WITH stored AS (
  INSERT INTO delivery (source, slug, delivery_key, change_key, event_name, action, status, reason,
    canonical_triggers, is_verified, project_id, project_key, item_kind, item_key, title, actor,
    actor_is_bot, event, payload, extracted, replay_of)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
    $20, $21)
  ON CONFLICT DO NOTHING
  RETURNING id)
SELECT version, (SELECT id FROM stored) AS id FROM configuration_version WHERE id = 1
"""


def _columns(plan: Plan) -> tuple[Any, ...]:
    event, subject, actor = plan.event, plan.event.subject, plan.event.actor
    status = DeliveryStatus.ROUTED if plan.routing.starts else DeliveryStatus.IGNORED
    return (
        event.source, plan.slug, event.delivery_key, event.change_key, event.event_name[:200],
        event.action[:200] if event.action else None, status, plan.routing.reason,
        _json(plan.routing.canonical_triggers), plan.is_verified, plan.project_id,
        item_keys(event)[0], subject.kind if subject else None, item_keys(event)[1],
        subject.title if subject else "", actor.login[:200] if actor else None,
        actor.is_bot if actor else False, _json(event.summary()), _json(dict(event.payload)),
        _json(plan.extracted), plan.replay_of,
    )  # fmt: skip


async def _start(plan: Plan, delivery_id: int) -> Receipt:
    """Insert the executions of a delivery whose row this transaction holds."""
    plan = await _kept_within_rates(plan, delivery_id)
    if plan.routing.starts and await is_bot_bound_reached(plan):
        refused = [
            Refused(task_id=one.task_id, reason=BOTS_HAD_THEIR_SHARE) for one in plan.routing.starts
        ]
        plan = refusing(plan, refused, reason=BOTS_HAD_THEIR_SHARE)
        await rows(
            "UPDATE delivery SET status = $2, reason = $3 WHERE id = $1",
            delivery_id, DeliveryStatus.IGNORED, BOTS_HAD_THEIR_SHARE,
        )  # fmt: skip
        log.warning(
            "delivery %s starts nothing: bots have started %s runs on %s %s within the hour",
            delivery_id, BOT_RUNS_AN_HOUR, plan.event.project_names[:1], plan.event.subject
            and plan.event.subject.key,
        )  # fmt: skip
    elif plan.routing.reason:
        starts = "" if plan.routing.starts else " starts nothing"
        log.info("delivery %s%s: %s", delivery_id, starts, plan.routing.reason)
    await tell_refused(plan, delivery_id)
    if not plan.routing.starts:
        await cancel_older(plan, delivery_id, ())
        return _receipt("ignored", plan, delivery_id, [])
    event, subject = plan.event, plan.event.subject
    started = await rows(
        INSERT_EXECUTIONS,
        delivery_id, [one.task_id for one in plan.routing.starts],
        [one.canonical_trigger for one in plan.routing.starts], event.source, plan.project_id,
        item_keys(event)[0], subject.kind if subject else None, item_keys(event)[1],
        event.actor.is_bot if event.actor else False, event.site,
    )  # fmt: skip
    await cancel_older(plan, delivery_id, [one.task_id for one in plan.routing.starts])
    return _receipt("accepted", plan, delivery_id, sorted(int(one["id"]) for one in started))


async def _kept_within_rates(plan: Plan, delivery_id: int) -> Plan:
    kept = await within_rates(plan)
    if kept.routing.starts != plan.routing.starts:
        status = DeliveryStatus.ROUTED if kept.routing.starts else DeliveryStatus.IGNORED
        await rows(
            "UPDATE delivery SET status = $2, reason = $3 WHERE id = $1",
            delivery_id, status, kept.routing.reason,
        )  # fmt: skip
    return kept


INSERT_EXECUTIONS: Final = """
WITH started AS (
  INSERT INTO task_execution (delivery_id, task_id, canonical_trigger, source, project_id,
    project_key, item_kind, item_key, by_bot, site, enqueued_at)
  SELECT $1, start.task_id, start.canonical_trigger, $4, $5, $6, $7, $8, $9, $10, now()
  FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS start(task_id, canonical_trigger, place)
  ORDER BY start.place
  ON CONFLICT (delivery_id, task_id) DO NOTHING
  RETURNING id, task_id),
told AS (
  INSERT INTO audit_entry (action, execution_id, delivery_id, detail)
  SELECT 'task.queued', id, $1, jsonb_build_object('task_id', task_id) FROM started)
SELECT id FROM started
"""


STORED: Final = """
SELECT id, status, reason, canonical_triggers, delivery_key = $2 AS is_same_key FROM delivery
WHERE source = $1 AND (delivery_key = $2 OR change_key = $3)
ORDER BY (delivery_key = $2) DESC, id LIMIT 1
"""


async def find_stored(plan: Plan, *, lock: bool = True) -> Mapping[str, Any] | None:
    """The delivery that has one of this event's two keys; with ``lock`` until the transaction ends.

    Its columns: id, status, reason, canonical_triggers (JSON text), is_same_key.
    """
    event = plan.event
    sql = f"{STORED} FOR UPDATE" if lock else STORED
    return await row(sql, event.source, event.delivery_key, event.change_key)


def is_routed_anew(plan: Plan, found: Mapping[str, Any]) -> bool:
    """Whether an event that is stored already starts its tasks now, since nothing came of it then.

    Not where it was our own doing: the evidence may have grown old since.
    """
    was_ours = str(found["reason"]).startswith(OURS)
    has_starts = bool(plan.routing.starts)
    return found["status"] == DeliveryStatus.IGNORED and has_starts and not was_ours


def triggers_of(found: Mapping[str, Any]) -> list[str]:
    """The triggers that a delivery was routed by."""
    return [str(one) for one in json.loads(found["canonical_triggers"])]


async def executions_of(delivery_id: int) -> list[int]:
    """What a delivery has started, oldest first."""
    started = await rows(
        "SELECT id FROM task_execution WHERE delivery_id = $1 ORDER BY id", delivery_id
    )
    return [int(one["id"]) for one in started]


async def _again(plan: Plan) -> Receipt:
    """Answer for an event that is stored already; route it now if nothing came of it then."""
    found = await find_stored(plan)
    if found is None:
        raise StaleConfigurationError  # it was pruned between the two statements
    delivery_id = int(found["id"])
    await fill_in(delivery_id, plan.event, project_id=plan.project_id)
    if is_routed_anew(plan, found):
        await rows(
            """UPDATE delivery SET status = $2, reason = $3, canonical_triggers = $4,
                 project_id = $5, extracted = $6 WHERE id = $1""",
            delivery_id, DeliveryStatus.ROUTED, plan.routing.reason,
            _json(plan.routing.canonical_triggers), plan.project_id,
            _json(plan.extracted),
        )  # fmt: skip
        return await _start(plan, delivery_id)
    triggers = triggers_of(found)
    return Receipt(
        status="duplicate",
        delivery_id=delivery_id,
        canonical_trigger=triggers[0] if triggers else None,
        canonical_triggers=triggers,
        executions=await executions_of(delivery_id),
    )


def _receipt(status: str, plan: Plan, delivery_id: int, executions: list[int]) -> Receipt:
    triggers = list(plan.routing.canonical_triggers)
    return Receipt(
        status=status,
        delivery_id=delivery_id,
        canonical_trigger=triggers[0] if triggers else None,
        canonical_triggers=triggers,
        executions=executions,
    )


def _json(value: Any) -> str:
    """As the database takes it: ten times as fast as the standard library's on a payload."""
    return orjson.dumps(value).decode()
