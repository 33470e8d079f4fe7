"""How an execution ends: succeeded, retrying, failed, cancelled; by the kind of its failure."""

import logging
import random
from typing import Final

from aether import audit
from aether.config import Settings
from aether.db import row, rows, transaction
from aether.errors import AetherError, ErrorCode, UpstreamError
from aether.leases import Lease
from aether.redact import redact
from aether.rendering import clean
from aether.vocabulary import ExecutionStatus

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS: Final = 5.0
LONGEST_WAIT_SECONDS: Final = 600.0
LONGEST_TOLD_SECONDS: Final = 86_400.0  # whatever a far side asks for


def internal(error: Exception) -> AetherError:
    """A bug as a failure: its text stays in the log, it may pass."""
    return UpstreamError(f"internal error ({type(error).__name__}); the log has more")


def wait_seconds(tries: int, retry_after: float | None) -> float:
    """How long to wait before the next try: doubling, with jitter, never before ``retry_after``.

    That counts up to a day: nobody makes a run wait for ever.
    """
    doubled = min(FIRST_WAIT_SECONDS * 2.0 ** max(tries - 1, 0), LONGEST_WAIT_SECONDS)
    jittered: float = doubled * random.uniform(0.8, 1.2)  # noqa: S311 # spreads load, hides nothing
    return max(jittered, min(retry_after or 0.0, LONGEST_TOLD_SECONDS))


async def succeed(lease: Lease, *, text: str, url: str | None, summarize: bool = False) -> None:
    """Mark it done, inside the caller's fenced transaction."""
    await rows(
        """UPDATE task_execution SET status = $3, answer = $4, answer_url = $5, error = NULL,
             error_code = NULL, lease_until = NULL, finished_at = now(), summary_tries = $6
           WHERE id = $1 AND lease_token = $2""",
        lease.execution_id, lease.token, ExecutionStatus.SUCCEEDED, text, url,
        0 if summarize else None,
    )  # fmt: skip


async def failure(lease: Lease, settings: Settings, error: AetherError) -> None:
    """Write a failed try: wait for the next where it may pass and tries are left, else fail.

    One that is to be cancelled is cancelled.
    """
    tries = lease.tries + 1
    text = redact(clean(str(error)), settings)
    if error.retryable and tries < settings.max_tries:
        is_written = await _retry(lease, tries, text, error)
    else:
        told = text if not error.retryable else f"{text} (tried {tries} times)"
        is_written = await _fail(lease, tries, told, error.code)
    if not is_written:
        await cancel(lease)  # that was asked for meanwhile; nothing if the lease is lost


async def fail_crashed(lease: Lease) -> None:
    """Fail an execution whose workers kept dying; cancel it if that was asked for."""
    text = f"its worker died or stopped answering {lease.tries} times"
    if not await _fail(lease, lease.tries, text, ErrorCode.INTERNAL):
        await cancel(lease)


async def cancel(lease: Lease, *, why: str | None = None) -> None:
    """Mark it cancelled; ``why``, where nobody has asked for it."""
    async with transaction():
        ended = await row(
            """UPDATE task_execution SET status = $3, lease_until = NULL, finished_at = now(),
                 error = coalesce($4, error),
                 error_code = CASE WHEN $4 IS NULL THEN error_code END
               WHERE id = $1 AND lease_token = $2 AND status = 'running' RETURNING agent_id""",
            lease.execution_id, lease.token, ExecutionStatus.CANCELLED, why,
        )  # fmt: skip
        if ended is not None:
            await audit.record(
                "task.cancelled",
                agent_id=ended["agent_id"],
                execution_id=lease.execution_id,
                detail={"why": why} if why else None,
            )
    if ended is not None and why:
        log.info("execution %s is cancelled: %s", lease.execution_id, why)


async def _retry(lease: Lease, tries: int, text: str, error: AetherError) -> bool:
    """Whether it was written; not for a run that is to be cancelled, or is somebody else's."""
    wait = wait_seconds(tries, error.retry_after)
    async with transaction():
        ended = await row(
            """UPDATE task_execution SET status = $3, tries = $4, error = $5, error_code = $6,
                 run_after = now() + make_interval(secs => $7), lease_until = NULL,
                 enqueued_at = NULL
               WHERE id = $1 AND lease_token = $2 AND status = 'running'
                 AND NOT cancel_requested RETURNING agent_id""",
            lease.execution_id, lease.token, ExecutionStatus.RETRYING, tries, text,
            error.code, wait,
        )  # fmt: skip
        if ended is not None:
            await audit.record(
                "task.retrying",
                agent_id=ended["agent_id"],
                execution_id=lease.execution_id,
                detail={"error": text, "tries": tries, "wait_seconds": round(wait, 1)},
            )
    if ended is None:
        return False
    log.warning("execution %s failed (%s); trying again in %.0f s", lease.execution_id, text, wait)
    return True


async def _fail(lease: Lease, tries: int, text: str, code: ErrorCode) -> bool:
    """Whether it was written; not for a run that is to be cancelled, or is somebody else's."""
    async with transaction():
        ended = await row(
            """UPDATE task_execution SET status = $3, tries = $4, error = $5, error_code = $6,
                 lease_until = NULL, finished_at = now()
               WHERE id = $1 AND lease_token = $2 AND status = 'running'
                 AND NOT cancel_requested RETURNING agent_id, task_id""",
            lease.execution_id, lease.token, ExecutionStatus.FAILED, tries, text, code,
        )  # fmt: skip
        if ended is not None:
            await audit.record(
                "task.failed",
                agent_id=ended["agent_id"],
                execution_id=lease.execution_id,
                detail={"error": text, "code": code, "tries": tries, "task_id": ended["task_id"]},
            )
    if ended is None:
        return False
    log.error("execution %s failed: %s", lease.execution_id, text)
    return True
