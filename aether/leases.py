"""Who holds a task execution: the claim, the fence before every write, and giving it up.

The lease's token only grows; a worker whose token is no longer the row's has lost the run and
may write nothing. Times are the database's.
"""

from dataclasses import dataclass
from typing import Final

from aether.db import row, rows
from aether.errors import CancelledRunError, LeaseLostError
from aether.vocabulary import ExecutionStatus


@dataclass(frozen=True, kw_only=True)
class Lease:
    """What a claim gave: the fence's token, the run, and how often it failed before."""

    execution_id: int
    token: int
    run: int
    tries: int
    seconds: float


class LetGoError(Exception):
    """Nobody works on the execution for now; its row says why, and was written already."""


CLAIM: Final = """
UPDATE task_execution
SET status = 'running', lease_token = lease_token + 1,
    lease_until = now() + make_interval(secs => $2),
    tries = tries + CASE WHEN status = 'running' THEN 1 ELSE 0 END,
    started_at = coalesce(started_at, now()), run_after = NULL, enqueued_at = NULL,
    agent_reason = NULL
WHERE id = $1 AND (
  (status IN ('queued', 'retrying') AND (run_after IS NULL OR run_after <= now()))
  OR (status = 'running' AND lease_until < now() - make_interval(secs => $3)))
RETURNING lease_token, run, tries
"""
"""Without a reason for its agent it has not had its turn yet; see ``limits.take_turn``."""


async def claim(execution_id: int, *, seconds: float, grace_seconds: float) -> Lease | None:
    """Take the execution, or None: it is done, held, not yet due, or gone.

    A running one is taken over once its lease has been over for ``grace_seconds``, the longest
    that a call of its holder may still be under way; that counts as one failure.
    """
    taken = await row(CLAIM, execution_id, seconds, grace_seconds)
    if taken is None:
        return None
    return Lease(
        execution_id=execution_id,
        token=int(taken["lease_token"]),
        run=int(taken["run"]),
        tries=int(taken["tries"]),
        seconds=seconds,
    )


async def fence(lease: Lease) -> None:
    """Renew the lease and lock its row: the first statement of every transaction of a run.

    Raises:
        LeaseLostError: another worker holds the execution, or it is no longer running.
        CancelledRunError: somebody asked for it to be cancelled.
    """
    held = await row(
        """UPDATE task_execution SET lease_until = now() + make_interval(secs => $3)
           WHERE id = $1 AND lease_token = $2 AND status = 'running'
           RETURNING cancel_requested""",
        lease.execution_id, lease.token, lease.seconds,
    )  # fmt: skip
    if held is None:
        raise LeaseLostError(f"execution {lease.execution_id} is no longer ours")
    if held["cancel_requested"]:
        raise CancelledRunError(f"execution {lease.execution_id} was cancelled")


async def not_taken(execution_id: int) -> None:
    """Its hint is used up and nobody works on it: the sweep sends another at once."""
    await rows(
        """UPDATE task_execution SET enqueued_at = NULL
           WHERE id = $1 AND status IN ('queued', 'retrying')""",
        execution_id,
    )


async def give_back(lease: Lease) -> None:
    """Queue the execution again as it was; for a worker that is asked to stop."""
    await rows(
        """UPDATE task_execution SET status = $3, lease_until = NULL, enqueued_at = NULL
           WHERE id = $1 AND lease_token = $2 AND status = 'running'""",
        lease.execution_id, lease.token, ExecutionStatus.QUEUED,
    )  # fmt: skip
