"""REST: task definitions, and the restart of their executions. The reference, "Tasks"."""

from datetime import datetime
from typing import Any, Final

from aether.vocabulary import AnswerMode, ExecutionStatus, MemoryScope, ToolReach
from resolvers import executions, seeding, tasks
from resolvers.tasks import NewTask, TaskChanges, TaskFilter
from rest_compat.op import Call, Op
from rest_compat.shapes import DELETED_BY_NAME, SEEDED, Shape

TASK: Final = Shape(
    "Task",
    id=str,
    name=str,
    description=str,
    actor_id=str,
    actor_fallback=("fallback_prompt", str | None),
    required_capabilities=list[str],
    tools=list[str] | None,
    tool_reach=ToolReach,
    memory_scopes=list[MemoryScope],
    max_tool_rounds=int | None,
    timeout_seconds=int | None,
    answer_mode=AnswerMode,
    approve_answer=bool,
    approve_tools=list[str],
    approval_timeout_minutes=int | None,
    cancel_on_close=bool,
    cancel_on_newer=bool,
    outsiders_may_act=bool,
    summarize=bool,
    max_tokens_per_run=int | None,
    max_cost_usd_per_run=float | None,
    max_runs_per_item_hour=int | None,
    enabled=bool,
    created_at=datetime,
    updated_at=datetime,
)
RESTARTED: Final = Shape("Restarted", execution_id=int, status=ExecutionStatus)


async def list_tasks(call: Call) -> Any:
    return await tasks.list_tasks(call.query)


async def get_task(call: Call) -> Any:
    return await tasks.get_task(call.path["id"])


async def create_task(call: Call) -> Any:
    return await tasks.create_task(call.body)


async def update_task(call: Call) -> Any:
    return await tasks.update_task(call.path["id"], call.body)


async def delete_task(call: Call) -> Any:
    await tasks.delete_task(call.path["id"])
    return {"deleted": call.path["id"]}


async def seed_tasks(_: Call) -> Any:
    return await seeding.seed("tasks")


async def restart_task(call: Call) -> Any:
    return await executions.restart_task(call.path["id"])


_TASK: Final = {
    "id": "pm_analyze",
    "name": "PM: Analyze Issue",
    "description": "Product Manager analyzes the issue for requirements",
    "actor_id": "pm_sarah",
    "actor_fallback": "You are a Product Manager. Analyze this issue.",
}
_SHOWN: Final = _TASK | {
    "required_capabilities": [],
    "tools": None,
    "tool_reach": "item",
    "memory_scopes": ["task", "project"],
    "max_tool_rounds": None,
    "timeout_seconds": None,
    "answer_mode": "add",
    "approve_answer": False,
    "approve_tools": [],
    "approval_timeout_minutes": None,
    "cancel_on_close": False,
    "cancel_on_newer": False,
    "outsiders_may_act": False,
    "summarize": False,
    "max_tokens_per_run": None,
    "max_cost_usd_per_run": None,
    "max_runs_per_item_hour": None,
    "enabled": True,
    "created_at": "2026-02-18T10:00:00Z",
    "updated_at": "2026-02-18T10:00:00Z",
}

OPS: Final = (
    Op(
        "GET",
        "/api/tasks",
        list_tasks,
        summary="List all task definitions",
        tag="Tasks",
        query=TaskFilter,
        out=[TASK],
        answer=[_SHOWN],
    ),
    Op(
        "POST",
        "/api/tasks",
        create_task,
        summary="Create a task definition",
        tag="Tasks",
        body=NewTask,
        out=TASK,
        status=201,
        errors=(409,),
        example=_TASK,
        answer=_SHOWN,
    ),
    Op(
        "GET",
        "/api/tasks/{id}",
        get_task,
        summary="Get a task definition",
        tag="Tasks",
        out=TASK,
        answer=_SHOWN,
    ),
    Op(
        "PUT",
        "/api/tasks/{id}",
        update_task,
        summary="Update a task definition; what is absent stays",
        tag="Tasks",
        body=TaskChanges,
        out=TASK,
        example={"actor_id": "ta_leo"},
        answer=_SHOWN | {"actor_id": "ta_leo"},
    ),
    Op(
        "DELETE",
        "/api/tasks/{id}",
        delete_task,
        summary="Delete a task definition with its trigger mappings",
        tag="Tasks",
        out=DELETED_BY_NAME,
        answer={"deleted": "pm_analyze"},
    ),
    Op(
        "POST",
        "/api/tasks/seed",
        seed_tasks,
        summary="Create the default task definitions that are missing",
        tag="Tasks",
        out=SEEDED,
        answer={"created": 9, "skipped": 0},
    ),
    Op(
        "POST",
        "/api/tasks/{id}/restart",
        restart_task,
        summary="Restart a failed task execution: by its id, or by its task's id the newest failed",
        tag="Tasks",
        out=RESTARTED,
        errors=(409,),
        answer={"execution_id": 1, "status": "queued"},
    ),
)
