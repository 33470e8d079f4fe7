"""REST: an agent's audit log. The reference, "Agent Audit Log"."""

from datetime import datetime
from typing import Any, Final

from resolvers import audit
from resolvers.audit import AuditFilter
from resolvers.fields import JsonObject, Page
from rest_compat.op import Call, Op
from rest_compat.shapes import Shape

AUDIT_ENTRY: Final = Shape(
    "AuditEntry",
    id=int,
    agent_id=str | None,
    action=str,
    execution_id=int | None,
    delivery_id=int | None,
    caller=str | None,
    origin=str | None,
    detail=JsonObject,
    created_at=datetime,
)


async def list_agent_audit(call: Call) -> Any:
    return await audit.list_agent_audit(call.path["id"], call.query)


async def list_audit(call: Call) -> Any:
    return await audit.list_audit(call.query)


_ENTRY: Final = {
    "id": 7,
    "agent_id": None,
    "action": "project.updated",
    "execution_id": None,
    "delivery_id": None,
    "caller": "api",
    "origin": "rest 127.0.0.1",
    "detail": {
        "project_id": 42,
        "changed": ["enabled"],
        "before": {"enabled": True},
        "after": {"enabled": False},
    },
    "created_at": "2026-02-18T10:00:00Z",
}

OPS: Final = (
    Op(
        "GET",
        "/api/audit",
        list_audit,
        summary="The whole audit log, newest first: every effect, change and refusal",
        tag="Agent Audit Log",
        query=AuditFilter,
        out=[AUDIT_ENTRY],
        answer=[_ENTRY],
    ),
    Op(
        "GET",
        "/api/agents/{id}/audit",
        list_agent_audit,
        summary="Audit log of an agent, newest first; outlives the agent",
        tag="Agent Audit Log",
        query=Page,
        out=[AUDIT_ENTRY],
        answer=[
            {
                "id": 7,
                "agent_id": "ta_leo",
                "action": "task.completed",
                "execution_id": 2,
                "delivery_id": None,
                "caller": None,
                "origin": None,
                "detail": {"task_id": "tech_discovery_review"},
                "created_at": "2026-02-18T10:00:00Z",
            }
        ],
    ),
)
