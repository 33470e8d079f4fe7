"""Asks one project of a platform what happened, and gives each event to ``receive``.

Events are stored first and the cursor after them: a crash in between repeats events, which the
deliveries' unique keys swallow. One worker polls a source at a time; whoever has lost its lease
saves nothing more.
"""

import asyncio
import contextvars
import json
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from aether import audit, checkpoints, sources
from aether.config import Settings
from aether.db import UNAVAILABLE, row, rows, transaction
from aether.engine.known_secrets import learn_stored
from aether.engine.receive import receive
from aether.engine.runtime import Runtime
from aether.errors import (
    AetherError,
    InvalidInputError,
    LeaseLostError,
    UnavailableError,
    UpstreamError,
)
from aether.platform_auth import site_of
from aether.queue import Job
from aether.redact import redact
from aether.renewing import RenewingConnection
from aether.sources.base import PolledSource, PollPage
from aether.sources.reading import storable
from aether.vocabulary import SourceName

log = logging.getLogger(__name__)

STEPS_A_TURN: Final = 20  # then another may have the worker's thread
STEP_SECONDS: Final = 300.0  # a poll that hangs is given up
FIRST_BACK_OFF: Final = timedelta(minutes=1)
LONGEST_BACK_OFF: Final = timedelta(hours=1)
MOST_PATIENCE_SECONDS: Final = 86_400.0  # with a platform that asks us to wait
LONGEST_ERROR: Final = 1000  # characters
_HINTS: Final = {
    401: "the credential is refused",
    403: "the credential may not read this",
    404: "there is no such project, or the credential may not see it",
}


@dataclass(kw_only=True)
class _Poll:
    """One poll under way: the claimed row and its fence."""

    id: int
    token: int
    source: SourceName
    source_project_id: str
    project_id: int | None
    integration_id: int | None
    site: str
    interval: timedelta
    failures: int
    now: datetime
    begins_at: datetime
    cursor: Mapping[str, Any]
    seconds: float


CLAIM: Final = """
UPDATE poll_source
SET lease_token = lease_token + 1, lease_until = now() + make_interval(secs => $2),
    enqueued_at = now()
WHERE id = $1 AND requested_at IS NOT NULL AND (lease_until IS NULL OR lease_until < now())
RETURNING lease_token, source, source_project_id, integration_id, interval_minutes, failures,
  cursor, now() AS now, coalesce(begins_at, created_at) AS begins_at,
  (SELECT base_url FROM integration WHERE integration.id = integration_id) AS base_url,
  (SELECT project.id FROM project WHERE project.source = poll_source.source
     AND (lower(project.source_project_id) = lower(poll_source.source_project_id)
       OR project.source = 'plane'
         AND lower(substring(project.source_project_id FROM '[^/]*$'))
           = lower(substring(poll_source.source_project_id FROM '[^/]*$')))
   ORDER BY project.id LIMIT 1) AS project_id
"""


async def poll_source(runtime: Runtime, id: int) -> None:
    """One turn of a poll that is wanted; quietly nothing where none is, or another has it.

    A failure is told by the row, the audit log and the watchdog, not raised, and the poll is
    tried again later. A turn that leaves more to be read sends its own next hint.

    Raises:
        CancelledError: the worker stops; the poll is given back.
    """
    outside = contextvars.copy_context()
    poll = await _claim(runtime.settings, id)
    if poll is None:
        return
    try:
        async with _held(poll):
            await learn_stored(runtime.settings)
            has_more = await _turn(runtime, poll)
    except LeaseLostError:
        log.info("poll source %s is somebody else's now, or was changed", id)
    except asyncio.CancelledError:
        await _settled(_give_back(poll), outside)
        raise
    except AetherError as error:
        await _settled(_failed(runtime, poll, error), outside)
    except UNAVAILABLE as error:
        log.warning("poll source %s: the database or a connection failed (%r)", id, error)
        failed = UnavailableError(f"the database or a connection failed ({type(error).__name__})")
        await _settled(_failed(runtime, poll, failed), outside)
    except Exception as error:  # the worker's door: a bug is recorded, and must not spin
        log.exception("poll source %s failed", id)
        await _settled(_failed(runtime, poll, error), outside)
    else:
        if has_more:
            runtime.queue.hint(Job.POLL_SOURCE, [id])


async def _settled(end: Coroutine[Any, Any, None], outside: contextvars.Context) -> None:
    """Write how it ended, also while the worker is stopped, and in no transaction of before."""
    writing = asyncio.create_task(_written(end), context=outside)
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise


async def _written(end: Coroutine[Any, Any, None]) -> None:
    try:
        await end
    except UNAVAILABLE as error:
        log.warning("the end of a poll could not be written (%r); its lease will end", error)


async def give_way(id: int) -> None:
    """Its hint is used up and nobody works on it: the scheduler sends another at once."""
    await rows(
        """UPDATE poll_source SET enqueued_at = NULL
           WHERE id = $1 AND requested_at IS NOT NULL
             AND (lease_until IS NULL OR lease_until < now())""",
        id,
    )


async def _claim(settings: Settings, id: int) -> _Poll | None:
    taken = await row(CLAIM, id, settings.lease_seconds)
    if taken is None:
        return None
    return _Poll(
        id=id,
        token=int(taken["lease_token"]),
        source=SourceName(taken["source"]),
        source_project_id=taken["source_project_id"],
        project_id=taken["project_id"],
        integration_id=taken["integration_id"],
        site=site_of(settings, SourceName(taken["source"]), taken["base_url"]),
        interval=timedelta(minutes=int(taken["interval_minutes"])),
        failures=int(taken["failures"]),
        now=taken["now"],
        begins_at=taken["begins_at"],
        cursor=json.loads(taken["cursor"]),
        seconds=settings.lease_seconds,
    )


@asynccontextmanager
async def _held(poll: _Poll) -> AsyncIterator[None]:
    """Renew the lease while the block runs; a lost one ends the block with LeaseLostError."""
    work = asyncio.current_task()
    lost = False

    async def renew() -> None:
        nonlocal lost
        while True:
            await asyncio.sleep(poll.seconds / 3)
            with suppress(*UNAVAILABLE):  # then the lease may run out, and the fence tells it
                if not await _renewed(poll):
                    lost = True
                    if work is not None:
                        work.cancel()
                    return

    renewing = asyncio.create_task(renew())
    try:
        yield
    except asyncio.CancelledError:
        if lost and work is not None and work.uncancel() == 0:
            raise LeaseLostError(f"poll source {poll.id} is no longer ours") from None
        raise
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def _renewed(poll: _Poll) -> bool:
    held = await row(
        """UPDATE poll_source SET lease_until = now() + make_interval(secs => $3)
           WHERE id = $1 AND lease_token = $2 RETURNING id""",
        poll.id, poll.token, poll.seconds,
    )  # fmt: skip
    return held is not None


async def _turn(runtime: Runtime, poll: _Poll) -> bool:
    """Some steps; whether there is more to read."""
    source = sources.get_polled(poll.source)
    if source is None:
        raise InvalidInputError("source", f"{poll.source} cannot be polled")
    client = await runtime.credentials.outbound(
        poll.source,
        project_id=poll.project_id,
        project_key=poll.source_project_id,
        integration_id=poll.integration_id,
    )
    for step in range(1, STEPS_A_TURN + 1):
        page = await _step(runtime, poll, source, client)
        if page.has_more and page.cursor == poll.cursor:
            raise UpstreamError(f"{poll.source}: the poll makes no progress", retryable=False)
        await _save(poll, page, ends_turn=step == STEPS_A_TURN)
        poll.cursor = page.cursor
        if not page.has_more:
            return False
    return True


async def _step(
    runtime: Runtime, poll: _Poll, source: PolledSource, client: RenewingConnection
) -> PollPage:
    """One page, asked and stored."""
    look_back = timedelta(minutes=runtime.settings.poll_look_back_minutes)
    try:
        async with asyncio.timeout(STEP_SECONDS):
            page = await source.poll(
                client,
                poll.source_project_id,
                poll.cursor,
                now=poll.now,
                since=poll.begins_at - look_back,
            )
    except TimeoutError:
        raise UpstreamError(f"{poll.source}: given up after {STEP_SECONDS:.0f} s") from None
    for event in page.events:
        await receive(runtime, replace(event, site=poll.site), slug=poll.source)
    checkpoints.reached("poll stored")
    return page


SAVE: Final = """
UPDATE poll_source
SET cursor = $3::text::jsonb, failures = 0, error = NULL,
    lease_until = CASE WHEN $4 THEN now() + make_interval(secs => $5) END,
    requested_at = CASE WHEN $6 THEN requested_at END,
    enqueued_at = CASE WHEN $6 THEN now() END,
    last_polled_at = CASE WHEN $6 THEN last_polled_at ELSE now() END,
    next_poll_at = CASE
      WHEN NOT $6 AND (failures > 0 OR next_poll_at <= now())
      THEN now() + make_interval(mins => interval_minutes) ELSE next_poll_at END
WHERE id = $1 AND lease_token = $2
RETURNING id
"""


async def _save(poll: _Poll, page: PollPage, *, ends_turn: bool) -> None:
    """Keep the cursor, and what it means for the row: it is held on, wanted on, or done."""
    held = await row(
        SAVE, poll.id, poll.token, json.dumps(storable(dict(page.cursor), field="cursor")),
        page.has_more and not ends_turn, poll.seconds, page.has_more,
    )  # fmt: skip
    if held is None:
        raise LeaseLostError(f"poll source {poll.id} is no longer ours")


async def _failed(runtime: Runtime, poll: _Poll, error: Exception) -> None:
    text = redact(_words(poll, error), settings=runtime.settings)[:LONGEST_ERROR]
    wait = _back_off(poll, error)
    log.warning(
        "polling %s %s failed, next try in %.0f s: %s",
        poll.source, poll.source_project_id, wait.total_seconds(), text,
    )  # fmt: skip
    async with transaction():
        held = await row(
            """UPDATE poll_source
               SET failures = failures + 1, error = $3, lease_until = NULL, requested_at = NULL,
                 enqueued_at = NULL, next_poll_at = now() + make_interval(secs => $4)
               WHERE id = $1 AND lease_token = $2 RETURNING failures""",
            poll.id, poll.token, text, wait.total_seconds(),
        )  # fmt: skip
        if held is not None:
            detail = {"poll_source_id": poll.id, "source": poll.source.value, "error": text}
            detail |= {"project_id": poll.source_project_id, "failures": held["failures"]}
            await audit.record("poll.failed", detail=detail)


def _words(poll: _Poll, error: Exception) -> str:
    if isinstance(error, UpstreamError):
        hint = _HINTS.get(error.status or 0)
        is_told = hint is not None and error.retry_after is None
        return f"{poll.source_project_id}: {hint} ({error})" if is_told else str(error)
    if isinstance(error, InvalidInputError) and error.field == "project":
        return f"project_id{str(error).removeprefix(error.field)}"
    return (
        str(error) if isinstance(error, AetherError) else f"internal error ({type(error).__name__})"
    )


def _back_off(poll: _Poll, error: Exception) -> timedelta:
    """How long to leave the platform alone: as it says, else longer with each failure.

    What may pass is tried before the next interval, if that is long; what will not pass by
    itself is not.
    """
    if isinstance(error, UpstreamError) and error.retry_after is not None:
        return timedelta(seconds=min(max(error.retry_after, 1.0), MOST_PATIENCE_SECONDS))
    may_pass = isinstance(error, UnavailableError) or getattr(error, "retryable", False)
    first = FIRST_BACK_OFF if may_pass else max(poll.interval, FIRST_BACK_OFF)
    longest = max(LONGEST_BACK_OFF, poll.interval)
    return min(first * float(2 ** min(poll.failures, 10)), longest)


async def _give_back(poll: _Poll) -> None:
    await rows(
        """UPDATE poll_source SET lease_until = NULL, enqueued_at = NULL
           WHERE id = $1 AND lease_token = $2""",
        poll.id, poll.token,
    )  # fmt: skip
