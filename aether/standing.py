"""The one comment of a task on an item: what stands there, and whose turn it is to write it.

For tasks whose ``answer_mode`` is update. The executions of a task on one item take turns, so
that none posts while another does; an execution that is older than the one whose answer stands
there yields. A turn ends by itself when its holder has died, and not before a call of the holder
can still arrive.
"""

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from aether import clock
from aether.db import row, rows, transaction
from aether.effect_rows import LOOK_BACK, Target
from aether.errors import UpstreamError
from aether.leases import Lease, fence

MARGIN_SECONDS: Final = 5.0  # beyond the longest call
LOOK_SECONDS: Final = 0.2  # between two looks for the turn


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A turn: the comment as it was when the turn was taken.

    ``platform_id`` is None where none is known; then one with ``marker`` may be there.
    """

    id: int
    execution_id: int | None  # the newest that wrote it, or may have
    marker: str | None  # what it wrote then
    written_at: datetime | None  # when it was about to
    platform_id: str | None
    url: str | None

    @property
    def is_in_doubt(self) -> bool:
        """Whether there may be a comment that nobody has the id of."""
        return self.platform_id is None and self.marker is not None

    @property
    def since(self) -> str:
        """From when on the platform may hold it, ISO 8601."""
        return clock.to_wire((self.written_at or clock.now()) - LOOK_BACK)


BEGIN: Final = """
INSERT INTO standing_answer (place, task_id, source, site, project_key, item_key, audience,
  execution_id, marker, written_at, platform_id, url)
SELECT $1, $2, $3, $4, $5, $6, $7, before.execution_id, before.marker, before.intended_at,
  before.platform_id, before.url
FROM (SELECT 1) AS one LEFT JOIN LATERAL (
  SELECT effect.* FROM effect JOIN task_execution ON task_execution.id = effect.execution_id
  WHERE task_execution.task_id = $2 AND effect.source = $3 AND effect.site = $4
    AND effect.project_key = $5 AND effect.item_key = $6 AND effect.audience = $7
    AND effect.kind = 'comment' AND effect.status IN ('sent', 'intended')
  ORDER BY effect.execution_id DESC LIMIT 1) AS before ON true
ON CONFLICT (place) DO NOTHING
"""

TAKE: Final = """
UPDATE standing_answer SET held_by = $2, held_token = $3,
  held_until = now() + make_interval(secs => $4)
WHERE place = $1 AND (held_by IS NULL OR held_by = $2 OR held_until < now())
RETURNING id, execution_id, marker, written_at, platform_id, url
"""


async def begin(task_id: str, target: Target) -> str:
    """See to it that there is a row; gives its place. In a fenced transaction.

    A new row takes up the comment that the task's newest execution made when each made its own.
    """
    subject = target.subject
    told = (
        task_id, target.source, target.site, subject.project[:400], subject.key[:100],
        subject.audience,
    )  # fmt: skip
    place = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    await rows(BEGIN, place, *told)
    return place


async def take(place: str, lease: Lease, *, call_seconds: float) -> Standing:
    """Wait for the turn, which then is ours for a look at the platform and one call.

    Raises:
        UpstreamError: another execution has had it for longer than its calls may take.
        LeaseLostError, CancelledRunError: the run is over.
    """
    ends = time.monotonic() + 2 * call_seconds
    while True:
        async with transaction():
            await fence(lease)
            taken = await row(
                TAKE, place, lease.execution_id, lease.token, 2 * call_seconds + MARGIN_SECONDS
            )
        if taken is not None:
            return Standing(**taken)
        if time.monotonic() > ends:
            raise UpstreamError(
                "another execution of this task is still answering on this item", retryable=True
            )
        await asyncio.sleep(LOOK_SECONDS)


async def write(
    one: Standing, lease: Lease, marker: str, *, call_seconds: float, is_new: bool
) -> Standing:
    """Note what is about to be written, and hold the turn for that call.

    ``is_new``: a comment is about to be posted, not edited.

    Raises:
        UpstreamError: the turn is over; nothing may be written.
        LeaseLostError, CancelledRunError: the run is over.
    """
    async with transaction():
        await fence(lease)
        held = await row(
            """UPDATE standing_answer SET execution_id = $4, marker = $5, written_at = now(),
                 touched_at = now(), held_until = now() + make_interval(secs => $6),
                 platform_id = CASE WHEN $7 THEN NULL ELSE platform_id END,
                 url = CASE WHEN $7 THEN NULL ELSE url END
               WHERE id = $1 AND held_by = $2 AND held_token = $3
               RETURNING id, execution_id, marker, written_at, platform_id, url""",
            one.id, lease.execution_id, lease.token, lease.execution_id, marker,
            call_seconds + MARGIN_SECONDS, is_new,
        )  # fmt: skip
    if held is None:
        raise UpstreamError("it took too long to look for the answer of before", retryable=True)
    return Standing(**held)


async def settle(one: Standing, lease: Lease) -> None:
    """Write what stands there, and give the turn back; nothing if the turn is over."""
    await rows(
        """UPDATE standing_answer SET execution_id = $4, marker = $5, written_at = $6,
             platform_id = $7, url = $8, touched_at = now(),
             held_by = NULL, held_token = NULL, held_until = NULL
           WHERE id = $1 AND held_by = $2 AND held_token = $3""",
        one.id, lease.execution_id, lease.token, one.execution_id, one.marker, one.written_at,
        one.platform_id, one.url,
    )  # fmt: skip


def known(one: Standing, platform_id: str, url: str) -> Standing:
    """The same, with the id of the comment that stands there."""
    return replace(one, platform_id=platform_id[:200], url=url)
