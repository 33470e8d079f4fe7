"""Fills in the item of a delivery that came without one, as Jira Server and Plane tell comments.

Whichever is first: another delivery of the same change that names the item, or a worker, which
asks the platform. Nothing is asked on the way in.
"""

import json
import logging

from aether.db import row, rows, transaction
from aether.engine import bounds, switched_off
from aether.engine.runtime import Runtime
from aether.errors import NotConfiguredError, SwitchedOffError, UpstreamError
from aether.events import SourceEvent
from aether.leases import Lease, fence
from aether.sources.base import CompletingSource, DescribingSource, Source

log = logging.getLogger(__name__)


async def completed(
    runtime: Runtime, lease: Lease, source: Source, event: SourceEvent, *, delivery_id: int
) -> SourceEvent:
    """``event`` with its item, asked for and stored if it was not told.

    What an item says is asked for too where only its id is told; a run can do without.

    Raises:
        UpstreamError: the platform failed or does not show the item; retryable where there are
            no credentials, since another delivery may still name it.
        SwitchedOffError: the item belongs to a project that is disabled.
    """
    if not isinstance(source, CompletingSource):
        return event
    if not source.is_incomplete(event):
        is_bare = isinstance(source, DescribingSource) and source.is_bare(event)
        return await _described(runtime, lease, source, event, delivery_id) if is_bare else event
    try:
        client = await runtime.credentials.outbound(source.name, site=event.site)
    except NotConfiguredError as error:
        problem = f"the event does not name its item, and {source.name} cannot be asked: {error}"
        raise UpstreamError(problem) from error
    whole = await source.complete(client, event)
    project = await row(
        """SELECT id, enabled FROM project
           WHERE source = $1 AND (lower(source_project_id) = ANY($2::text[])
             OR source = 'plane'
               AND lower(substring(source_project_id FROM '[^/]*$')) = ANY($2::text[])) LIMIT 1""",
        event.source, [name.lower() for name in whole.project_names],
    )  # fmt: skip
    await store(lease, delivery_id, whole, project_id=int(project["id"]) if project else None)
    if project is not None and not project["enabled"]:
        log.info("delivery %s: its project is disabled", delivery_id)
        raise SwitchedOffError(switched_off.OFF_PROJECT)
    return whole


async def _described(
    runtime: Runtime, lease: Lease, source: CompletingSource, event: SourceEvent, delivery_id: int
) -> SourceEvent:
    """``event`` with what its item says, if the platform tells it."""
    try:
        client = await runtime.credentials.outbound(source.name)
        whole = await source.complete(client, event)
    except (NotConfiguredError, UpstreamError) as error:
        log.info("delivery %s: its item is not described: %s", delivery_id, error)
        return event
    await store(lease, delivery_id, whole, project_id=None)
    return whole


async def store(
    lease: Lease, delivery_id: int, event: SourceEvent, *, project_id: int | None
) -> None:
    """``fill_in`` by the worker that holds the execution.

    The delivery is locked before the fence locks the execution, as a redelivery locks them: the
    other way around each could wait for the other.
    """
    async with transaction():
        await rows("SELECT 1 FROM delivery WHERE id = $1 FOR UPDATE", delivery_id)
        await fence(lease)
        await fill_in(delivery_id, event, project_id=project_id)


async def fill_in(delivery_id: int, event: SourceEvent, *, project_id: int | None) -> None:
    """Write the item of ``event`` into a delivery that has none, and into its executions.

    Also what the item is called, or its project, where only that is missing. Inside the caller's
    transaction, which holds the delivery. Nothing where the delivery knows it all, or the event no
    item. What it started is held to the bounds of the item that it turns out to be about.
    """
    subject = event.subject
    if subject is None or not subject.key:
        return
    told = event.summary()
    item = (project_id, subject.project[:400], subject.kind, subject.key[:100])
    filled = await rows(
        """WITH before AS (
             SELECT item_key IS NULL OR project_key = '' AND $3 <> '' AS had_no_item
             FROM delivery WHERE id = $1)
           UPDATE delivery SET project_id = coalesce($2, project_id), project_key = $3,
             item_kind = $4, item_key = $5, title = $6, event = event || $7::jsonb
           FROM before
           WHERE id = $1 AND item_kind IS NOT NULL
             AND (before.had_no_item OR title = '' AND $6 <> '')
           RETURNING before.had_no_item""",
        delivery_id, *item, subject.title,
        json.dumps({name: told[name] for name in ("subject", "project_names")}),
    )  # fmt: skip
    if filled:
        await rows(
            """UPDATE task_execution SET project_id = coalesce($2, project_id), project_key = $3,
                 item_kind = $4, item_key = $5 WHERE delivery_id = $1""",
            delivery_id, *item,
        )  # fmt: skip
    if filled and filled[0]["had_no_item"]:
        await bounds.hold_to_item(delivery_id)
