"""REST: approvals, which the reference does not name."""

from datetime import datetime
from typing import Any, Final

from aether.vocabulary import ApprovalKind, ApprovalStatus
from resolvers import approvals
from resolvers.approvals import ApprovalFilter, Approving, Refusing
from resolvers.fields import JsonObject
from rest_compat.op import Call, Op, int_id
from rest_compat.shapes import Shape

APPROVAL: Final = Shape(
    "Approval",
    id=int,
    execution_id=int,
    kind=ApprovalKind,
    tool=str | None,
    arguments=JsonObject | None,
    text=str | None,
    status=ApprovalStatus,
    decided_arguments=JsonObject | None,
    decided_text=str | None,
    reason=str | None,
    decided_by=str | None,
    agent_id=str | None,
    task_id=str,
    project_id=int | None,
    created_at=datetime,
    expires_at=datetime,
    decided_at=datetime | None,
)


async def list_approvals(call: Call) -> Any:
    return await approvals.list_approvals(call.query)


async def get_approval(call: Call) -> Any:
    return await approvals.get_approval(int_id(call, "id", "approval"))


async def approve(call: Call) -> Any:
    return await approvals.approve(int_id(call, "id", "approval"), call.body)


async def refuse(call: Call) -> Any:
    return await approvals.refuse(int_id(call, "id", "approval"), call.body)


_TAG: Final = "Approvals"
_SHOWN: Final = {
    "id": 1,
    "execution_id": 12,
    "kind": "tool",
    "tool": "close_issue",
    "arguments": {"reason": "completed"},
    "text": None,
    "status": "pending",
    "decided_arguments": None,
    "decided_text": None,
    "reason": None,
    "decided_by": None,
    "agent_id": "pm_sarah",
    "task_id": "pm_analyze",
    "project_id": 42,
    "created_at": "2026-02-18T10:00:00Z",
    "expires_at": "2026-02-19T10:00:00Z",
    "decided_at": None,
}
_DECIDED: Final = _SHOWN | {"decided_by": "mara", "decided_at": "2026-02-18T10:05:00Z"}

OPS: Final = (
    Op(
        "GET",
        "/api/approvals",
        list_approvals,
        summary="List approvals, newest first; status=pending lists what waits for a person",
        tag=_TAG,
        query=ApprovalFilter,
        out=[APPROVAL],
        answer=[_SHOWN],
    ),
    Op(
        "GET",
        "/api/approvals/{id}",
        get_approval,
        summary="Get an approval",
        tag=_TAG,
        out=APPROVAL,
        answer=_SHOWN,
    ),
    Op(
        "POST",
        "/api/approvals/{id}/approve",
        approve,
        summary="Approve a tool call or an answer, as it is or changed",
        tag=_TAG,
        body=Approving,
        body_optional=True,
        out=APPROVAL,
        errors=(409,),
        example={"arguments": {"reason": "not_planned"}, "by": "mara"},
        answer=_DECIDED | {"status": "changed", "decided_arguments": {"reason": "not_planned"}},
    ),
    Op(
        "POST",
        "/api/approvals/{id}/refuse",
        refuse,
        summary="Refuse a tool call or an answer; the agent reads the reason and goes on",
        tag=_TAG,
        body=Refusing,
        body_optional=True,
        out=APPROVAL,
        errors=(409,),
        example={"reason": "It is not done yet.", "by": "mara"},
        answer=_DECIDED | {"status": "refused", "reason": "It is not done yet."},
    ),
)
