"""A person's word before a tool call or an answer: asked for, waited for, obeyed.

An execution that asks leaves its worker: its rows say what it waits for, so that it may wait over
any restart. What was decided is read when it goes on.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from aether import audit
from aether.checkpoints import reached
from aether.db import row, rows, transaction
from aether.engine.arguments import BadArgumentsError, read_arguments
from aether.engine.offering import Offer, may_be_meant_in
from aether.engine.runtime import Runtime
from aether.errors import ConflictError, ErrorCode, ForbiddenError, NotFoundError
from aether.leases import Lease, LetGoError, fence
from aether.models import TaskDefinition
from aether.queue import Job
from aether.vocabulary import ApprovalKind, ApprovalStatus, ExecutionStatus, ToolEffect

log = logging.getLogger(__name__)

MOST_REFUSED: Final = 3  # answers of one run; a model that is refused so often has no better one
EXPIRED_AT_ONCE: Final = 100


class ApprovalPendingError(LetGoError):
    """The execution waits for a person now."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person is to see: a tool call with its arguments, or an answer's text."""

    key: str
    kind: ApprovalKind
    tool: str | None = None
    arguments: Mapping[str, Any] | None = None
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a person decided. ``arguments`` and ``text`` are what is to be done, changed or not."""

    status: ApprovalStatus
    arguments: Mapping[str, Any] | None = None
    text: str | None = None
    reason: str | None = None

    @property
    def is_refused(self) -> bool:
        """Whether it must not be done."""
        return self.status is ApprovalStatus.REFUSED


@dataclass(frozen=True, kw_only=True)
class Asker:
    """The run that asks, and how long a person may take."""

    lease: Lease
    task: TaskDefinition
    agent_id: str | None
    project_id: int | None
    minutes: int


def needs_approval(task: TaskDefinition, offer: Offer) -> bool:
    """Whether a person sees each call of this tool first.

    ``*`` in the task's list stands for every tool that writes, ``mcp_docs_*`` for all of that
    server, and for whatever else is called so. Where the answer has to be approved
    ``add_comment`` has to be, too: it is an answer.
    """
    if offer.requires_approval or may_be_meant_in(task.approve_tools, offer):
        return True
    if task.approve_answer and offer.name == "add_comment":
        return True
    return "*" in task.approve_tools and offer.effect is ToolEffect.WRITES


async def approved_calls(
    asker: Asker,
    wanted: Mapping[str, tuple[Mapping[str, Any], Any]],
    offered: Mapping[str, Offer],
) -> dict[str, Verdict]:
    """What people decided about these calls, by the key that names each.

    A call that could not be run anyway is asked nobody about: the model is told what is wrong.
    What was decided counts also where nobody would be asked any more.

    Args:
        wanted: the model's calls and their raw arguments, by key.

    Raises:
        ApprovalPendingError: some wait for a person now.
    """
    requests = []
    for key, (call, raw) in wanted.items():
        offer = offered.get(str(call["function"].get("name") or ""))
        if offer is None or not needs_approval(asker.task, offer):
            continue
        with suppress(BadArgumentsError):
            arguments = read_arguments(raw, offer.parameters, is_foreign=offer.is_foreign)
            requests.append(
                Request(key=key, kind=ApprovalKind.TOOL, tool=offer.name, arguments=arguments)
            )
    if not wanted:
        return {}
    decided = await verdicts(asker.lease.execution_id, asker.lease.run)
    open_ = [one for one in requests if one.key not in decided]
    if open_:
        await ask(asker, open_)
    return decided


async def approved_answer(asker: Asker, position: int, text: str) -> Verdict:
    """What a person decided about the answer at this position of the conversation.

    What was decided counts also where the task wants no approval any more.

    Raises:
        ApprovalPendingError: it waits for a person now.
        ForbiddenError: people have refused three answers of this run.
    """
    decided = await verdicts(asker.lease.execution_id, asker.lease.run)
    key = f"{asker.lease.run}:answer:{position}"
    if key not in decided and not asker.task.approve_answer:
        return Verdict(status=ApprovalStatus.APPROVED, text=text)
    if key not in decided:
        answers = [
            one for name, one in decided.items() if name.startswith(f"{asker.lease.run}:answer:")
        ]
        if sum(one.is_refused for one in answers) >= MOST_REFUSED:
            raise ForbiddenError(f"its answer was refused {MOST_REFUSED} times")
        await ask(asker, [Request(key=key, kind=ApprovalKind.ANSWER, text=text)])
    return decided[key]


async def verdicts(execution_id: int, run: int) -> dict[str, Verdict]:
    """What has been decided in this run, by the key that was asked with."""
    found = await rows(
        """SELECT key, status, coalesce(decided_arguments, arguments) AS arguments,
             coalesce(decided_text, text) AS text, reason
           FROM approval
           WHERE execution_id = $1 AND run = $2 AND status IN ('approved', 'changed', 'refused')""",
        execution_id, run,
    )  # fmt: skip
    return {
        str(one["key"]): Verdict(
            status=ApprovalStatus(one["status"]),
            arguments=json.loads(one["arguments"]) if one["arguments"] else None,
            text=one["text"],
            reason=one["reason"],
        )
        for one in found
    }


async def ask(asker: Asker, requests: Sequence[Request]) -> NoReturn:
    """Store what a person is to decide and let go of the execution.

    Raises:
        ApprovalPendingError: always, once that is written.
        LeaseLostError, CancelledRunError: the run is over; nothing was written.
    """
    lease = asker.lease
    async with transaction():
        await fence(lease)
        for one in requests:
            await rows(
                """INSERT INTO approval (execution_id, run, key, kind, tool, arguments, text,
                     agent_id, task_id, project_id, created_at, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now(),
                     now() + make_interval(mins => $11))
                   ON CONFLICT (execution_id, key) DO NOTHING""",
                lease.execution_id, lease.run, one.key, one.kind, one.tool,
                None if one.arguments is None else json.dumps(one.arguments), one.text,
                asker.agent_id, asker.task.id, asker.project_id, asker.minutes,
            )  # fmt: skip
        await rows(
            """UPDATE task_execution SET status = $3, lease_until = NULL
               WHERE id = $1 AND lease_token = $2""",
            lease.execution_id, lease.token, ExecutionStatus.WAITING_APPROVAL,
        )  # fmt: skip
        await audit.record(
            "approval.requested",
            agent_id=asker.agent_id,
            execution_id=lease.execution_id,
            detail={
                "of": [one.tool or one.kind for one in requests],
                "minutes": asker.minutes,
                "task_id": asker.task.id,
            },
        )
    reached("approval asked")
    raise ApprovalPendingError("waits for a person")


async def decide(
    runtime: Runtime,
    approval_id: int,
    status: ApprovalStatus,
    *,
    arguments: Mapping[str, Any] | None = None,
    text: str | None = None,
    reason: str | None = None,
    by: str | None = None,
) -> None:
    """Write a person's decision; the execution goes on once nothing of it is pending.

    Two people at once: one of them is told that it has been decided. ``by`` is the name that they
    gave, if they did.

    Raises:
        NotFoundError: no approval has this id.
        ConflictError: it is not pending any more.
    """
    async with transaction():
        approval = await _locked(approval_id)
        execution_id = int(approval["execution_id"])
        await rows(
            """UPDATE approval SET status = $2, decided_arguments = $3, decided_text = $4,
                 reason = $5, decided_by = $6, decided_at = now() WHERE id = $1""",
            approval_id, status, None if arguments is None else json.dumps(arguments), text,
            reason, by,
        )  # fmt: skip
        queued = await row(
            """UPDATE task_execution SET status = $2, run_after = NULL, enqueued_at = now()
               WHERE id = $1 AND status = 'waiting_approval' AND NOT EXISTS (
                 SELECT 1 FROM approval WHERE execution_id = $1 AND status = 'pending')
               RETURNING id""",
            execution_id, ExecutionStatus.QUEUED,
        )  # fmt: skip
        await audit.record(
            f"approval.{status}",
            agent_id=approval["agent_id"],
            execution_id=execution_id,
            caller="api",
            detail={
                "approval_id": approval_id,
                "of": approval["tool"] or approval["kind"],
                **({"arguments": arguments} if arguments is not None else {}),
                **({"text": text} if text is not None else {}),
                **({"reason": reason} if reason else {}),
                **({"by": by} if by else {}),
            },
        )
    if queued is not None:
        runtime.queue.hint(Job.RUN_TASK_EXECUTION, [execution_id])


async def _locked(approval_id: int) -> dict[str, Any]:
    """A pending approval; its execution is locked first, so that decisions wait for each other."""
    await rows(
        """SELECT 1 FROM task_execution
           WHERE id = (SELECT execution_id FROM approval WHERE id = $1) FOR UPDATE""",
        approval_id,
    )
    found = await row(
        """SELECT execution_id, agent_id, kind, tool, status, expires_at <= now() AS is_late
           FROM approval WHERE id = $1 FOR UPDATE""",
        approval_id,
    )
    if found is None:
        raise NotFoundError("approval", approval_id)
    if found["status"] != ApprovalStatus.PENDING:
        raise ConflictError(f"approval {approval_id} is {found['status']} already")
    if found["is_late"]:
        raise ConflictError(f"approval {approval_id}: its time is over")
    return found


async def withdraw(execution_id: int) -> None:
    """Nothing waits any more: the execution was cancelled. Takes part in a transaction."""
    await rows(
        """UPDATE approval SET status = $2, decided_at = now()
           WHERE execution_id = $1 AND status = 'pending'""",
        execution_id, ApprovalStatus.WITHDRAWN,
    )  # fmt: skip


async def expire() -> int:
    """Fail the executions whose approvals nobody decided in time; how many. For the scheduler."""
    async with transaction():
        late = await rows(
            """SELECT id, agent_id, run FROM task_execution AS execution
               WHERE status = 'waiting_approval' AND id IN (
                 SELECT execution_id FROM approval
                 WHERE status = 'pending' AND expires_at <= now() LIMIT $1)
               FOR UPDATE SKIP LOCKED""",
            EXPIRED_AT_ONCE,
        )
        for one in late:
            await _fail(one)
    return len(late)


async def _fail(execution: Mapping[str, Any]) -> None:
    expired = await rows(
        """UPDATE approval SET status = $2, decided_at = now()
           WHERE execution_id = $1 AND status = 'pending' RETURNING tool, kind""",
        execution["id"], ApprovalStatus.EXPIRED,
    )  # fmt: skip
    of = ", ".join(sorted(str(one["tool"] or one["kind"]) for one in expired))
    text = f"nobody approved or refused it in time: {of}"
    await rows(
        """UPDATE task_execution SET status = $2, error = $3, error_code = $4,
             finished_at = now() WHERE id = $1""",
        execution["id"], ExecutionStatus.FAILED, text, ErrorCode.FORBIDDEN,
    )  # fmt: skip
    await audit.record(
        "approval.expired",
        agent_id=execution["agent_id"],
        execution_id=execution["id"],
        detail={"of": of},
    )
    await audit.record(
        "task.failed",
        agent_id=execution["agent_id"],
        execution_id=execution["id"],
        detail={"error": text, "code": ErrorCode.FORBIDDEN},
    )
    log.warning("execution %s failed: %s", execution["id"], text)
