"""A person asks for a failed execution to be run anew, or for one to be cancelled."""

from dataclasses import dataclass

from aether import audit
from aether.db import row, transaction
from aether.engine import approvals, switched_off
from aether.engine.runtime import Runtime
from aether.errors import ConflictError, NotFoundError
from aether.queue import Job
from aether.vocabulary import ExecutionStatus


@dataclass(frozen=True, kw_only=True)
class Restarted:
    """The execution that was queued again."""

    execution_id: int
    status: ExecutionStatus


async def restart(runtime: Runtime, execution_id: int) -> Restarted:
    """Begin the next run of a failed execution; its tries start from none, its comment stays its.

    Two callers at once: one of them is told that it is not failed.

    Raises:
        NotFoundError: no execution has this id.
        ConflictError: it is not failed, or its task or project is disabled.
    """
    async with transaction():
        queued = await row(
            """UPDATE task_execution SET status = $2, run = run + 1, tries = 0, error = NULL,
                 error_code = NULL, run_after = NULL, finished_at = NULL, cancel_requested = false,
                 enqueued_at = now()
               WHERE id = $1 AND status = 'failed' RETURNING agent_id, run""",
            execution_id, ExecutionStatus.QUEUED,
        )  # fmt: skip
        if queued is None:
            found = await row("SELECT status FROM task_execution WHERE id = $1", execution_id)
            if found is None:
                raise NotFoundError("task execution", execution_id)
            raise ConflictError(
                f"task execution {execution_id} is {found['status']}, only a failed one restarts"
            )
        if (why := await switched_off.why_off(execution_id)) is not None:
            raise ConflictError(
                f"task execution {execution_id} does not restart: {why}; it stays failed"
            )
        await audit.record(
            "task.restarted",
            agent_id=queued["agent_id"],
            execution_id=execution_id,
            caller="api",
            detail={"run": queued["run"]},
        )
    runtime.queue.hint(Job.RUN_TASK_EXECUTION, [execution_id])
    return Restarted(execution_id=execution_id, status=ExecutionStatus.QUEUED)


async def restart_newest_failed(runtime: Runtime, task_id: str) -> Restarted:
    """Restart the newest failed execution of a task definition.

    Raises:
        NotFoundError: the task has never been executed, or there is no such task.
        ConflictError: none of its executions is failed.
    """
    newest = await row(
        """SELECT (SELECT max(id) FROM task_execution WHERE task_id = $1 AND status = 'failed')
             AS failed,
           (SELECT max(id) FROM task_execution WHERE task_id = $1) AS any_state""",
        task_id,
    )
    if newest is None or newest["any_state"] is None:
        raise NotFoundError("task execution", task_id)
    if newest["failed"] is None:
        raise ConflictError(f"task {task_id!r} has no failed execution")
    return await restart(runtime, int(newest["failed"]))


async def cancel(execution_id: int) -> ExecutionStatus:
    """Cancel an execution: at once where nobody works on it, else at its worker's next step.

    Raises:
        NotFoundError: no execution has this id.
        ConflictError: it has ended already.
    """
    async with transaction():
        found = await row(
            """UPDATE task_execution SET cancel_requested = true,
                 status = CASE WHEN status = 'running' THEN status ELSE 'cancelled' END,
                 finished_at = CASE WHEN status = 'running' THEN finished_at ELSE now() END
               WHERE id = $1 AND status IN ('queued', 'running', 'retrying', 'waiting_approval')
               RETURNING status, agent_id""",
            execution_id,
        )
        if found is None:
            ended = await row("SELECT status FROM task_execution WHERE id = $1", execution_id)
            if ended is None:
                raise NotFoundError("task execution", execution_id)
            raise ConflictError(f"task execution {execution_id} is {ended['status']} already")
        await approvals.withdraw(execution_id)
        await audit.record(
            "task.cancel_requested",
            agent_id=found["agent_id"],
            execution_id=execution_id,
            caller="api",
        )
    return ExecutionStatus(found["status"])
