"""A worker's claim of an execution: one that waits for its turn is claimed when it has it.

So nobody is told anew, each time that it asks, that it runs and waits again.
"""

from contextlib import suppress

from aether.config import Settings
from aether.db import row, rows, transaction
from aether.effects import call_timeout
from aether.engine import conversation, limits, switched_off
from aether.engine.assign import Assignment, assign, resume
from aether.errors import AetherError
from aether.leases import Lease, claim
from aether.models import Agent, Project, TaskDefinition, TaskExecution


class _StillWaitsError(Exception):
    """As many runs as may be are under way; what was claimed is rolled back."""


async def claimed(settings: Settings, execution_id: int) -> Lease | None:
    """``claim`` for a worker; None also while it has to wait for its turn."""
    waits = await row(
        """SELECT 1 FROM task_execution WHERE id = $1 AND status = 'queued'
             AND starts_with(agent_reason, $2) AND (run_after IS NULL OR run_after <= now())""",
        execution_id, limits.WAITS,
    )  # fmt: skip
    if waits is not None:
        try:
            with suppress(AetherError):  # met again, and told, by the run that is begun then
                return await _in_turn(settings, execution_id)
        except _StillWaitsError as why:
            await limits.wait_on(execution_id, str(why))
            return None
    return await _claim(settings, execution_id)


async def chosen(execution: TaskExecution) -> Assignment | None:
    """The agent that an execution was given with its turn; None: it has not asked for one yet."""
    if not execution.agent_reason:
        return None
    agent = await Agent.get_or_none(id=execution.agent_id) if execution.agent_id else None
    if execution.agent_id and (agent is None or not agent.enabled):
        return None
    return Assignment(agent=agent, reason=execution.agent_reason)


async def _claim(settings: Settings, execution_id: int) -> Lease | None:
    return await claim(
        execution_id, seconds=settings.lease_seconds, grace_seconds=call_timeout(settings)
    )


async def _in_turn(settings: Settings, execution_id: int) -> Lease | None:
    """Claim it together with its turn, or not at all.

    Raises:
        _StillWaitsError: it has to wait; the text is the reason.
        AetherError: there is no agent for it, or it may not begin.
    """
    async with transaction():
        lease = await _claim(settings, execution_id)
        if lease is None:
            return None
        execution = await TaskExecution.get(id=execution_id)
        task = await TaskDefinition.get_or_none(id=execution.task_id)
        if task is None:
            return lease
        if await conversation.has_begun(lease):
            assignment = await resume(lease, execution.agent_id)
        else:
            await switched_off.check(execution_id)
            assignment = await assign(task, execution_id=execution_id)
        agent = assignment.agent
        project = await Project.get_or_none(id=execution.project_id or 0)
        await rows(
            "UPDATE task_execution SET agent_id = $2, agent_reason = $3 WHERE id = $1",
            execution_id, agent.id if agent else None, assignment.reason,
        )  # fmt: skip
        why = await limits.why_no_turn(execution_id, agent, project)
        if why is not None:
            raise _StillWaitsError(why)
        return lease
