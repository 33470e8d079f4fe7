"""REST: task executions, which the reference does not name. Their shape is ours."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from typing_extensions import TypedDict

from aether.models import ExecutionMessage, TaskExecution
from aether.vocabulary import ExecutionStatus, SourceName
from resolvers import executions
from resolvers.executions import ExecutionFilter
from resolvers.fields import JsonObject
from rest_compat.op import Call, Op, int_id
from rest_compat.shapes import Shape, WireField
from rest_compat.tasks import RESTARTED


class Spent(TypedDict):
    """What an execution has used, all its runs together."""

    llm_calls: int
    tool_calls: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: float
    unpriced_calls: int


class Message(TypedDict):
    """One message of the run: ``message`` is in OpenAI's chat form."""

    position: int
    message: JsonObject
    model: str | None
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    unpriced: bool
    created_at: datetime


def _spent(one: TaskExecution) -> Spent:
    return {
        "llm_calls": one.llm_calls,
        "tool_calls": one.tool_calls,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "total_tokens": one.prompt_tokens + one.completion_tokens,
        "cost_usd": float(one.cost_usd),
        "unpriced_calls": one.unpriced_calls,
    }


_FIELDS: Final[dict[str, WireField]] = {
    "id": int,
    "task_id": str,
    "agent_id": str | None,
    "agent_reason": str | None,
    "status": ExecutionStatus,
    "delivery_id": int,
    "canonical_trigger": str,
    "source": SourceName,
    "project_id": int | None,
    "project_key": str,
    "item_kind": str | None,
    "item_key": str | None,
    "model": str | None,
    "run": int,
    "tries": int,
    "error": str | None,
    "error_code": str | None,
    "answer": str | None,
    "answer_url": str | None,
    "usage": (_spent, Spent),
    "cancel_requested": bool,
    "run_after": datetime | None,
    "created_at": datetime,
    "started_at": datetime | None,
    "finished_at": datetime | None,
}
EXECUTION: Final = Shape("TaskExecution", **_FIELDS)
MESSAGE: Final = Shape("ExecutionMessage", **Message.__annotations__)


@dataclass(frozen=True, kw_only=True)
class _Detail:
    execution: TaskExecution
    messages: list[ExecutionMessage]


def _of_execution(key: str, told: WireField) -> WireField:
    if isinstance(told, tuple):
        get, kind = told
        return (lambda detail: get(detail.execution), kind)
    return (f"execution.{key}", told)


EXECUTION_DETAIL: Final = Shape(
    "TaskExecutionDetail",
    **{key: _of_execution(key, told) for key, told in _FIELDS.items()},
    messages=(lambda detail: [MESSAGE.encode(one) for one in detail.messages], list[Message]),
)
CANCELLED: Final = Shape("Cancelled", execution_id=int, status=ExecutionStatus)


async def list_task_executions(call: Call) -> Any:
    return await executions.list_executions(call.query)


async def get_task_execution(call: Call) -> Any:
    found = await executions.get_execution(int_id(call, "id", "task execution"))
    return _Detail(execution=found, messages=await executions.list_messages(found))


async def restart_task_execution(call: Call) -> Any:
    return await executions.restart_execution(int_id(call, "id", "task execution"))


async def cancel_task_execution(call: Call) -> Any:
    row_id = int_id(call, "id", "task execution")
    return {"execution_id": row_id, "status": await executions.cancel_execution(row_id)}


_TAG: Final = "Task Executions"
_SHOWN: Final = {
    "id": 1,
    "task_id": "pm_analyze",
    "agent_id": "pm_sarah",
    "agent_reason": "pm_sarah is the task's actor",
    "status": "succeeded",
    "delivery_id": 1,
    "canonical_trigger": "issue.created",
    "source": "github",
    "project_id": 42,
    "project_key": "myorg/api-service",
    "item_kind": "issue",
    "item_key": "7",
    "model": "gpt-4o",
    "run": 1,
    "tries": 0,
    "error": None,
    "error_code": None,
    "answer": "The request is clear ...",
    "answer_url": "https://github.com/myorg/api-service/issues/7#issuecomment-1",
    "usage": {
        "llm_calls": 1,
        "tool_calls": 0,
        "prompt_tokens": 1200,
        "completion_tokens": 80,
        "total_tokens": 1280,
        "cost_usd": 0.0038,
        "unpriced_calls": 0,
    },
    "cancel_requested": False,
    "run_after": None,
    "created_at": "2026-02-18T10:00:00Z",
    "started_at": "2026-02-18T10:00:01Z",
    "finished_at": "2026-02-18T10:00:09Z",
}

OPS: Final = (
    Op(
        "GET",
        "/api/task-executions",
        list_task_executions,
        summary="List task executions, newest first",
        tag=_TAG,
        query=ExecutionFilter,
        out=[EXECUTION],
        answer=[_SHOWN],
    ),
    Op(
        "GET",
        "/api/task-executions/{id}",
        get_task_execution,
        summary="Get a task execution with the messages of its current run",
        tag=_TAG,
        out=EXECUTION_DETAIL,
        answer={
            **_SHOWN,
            "messages": [
                {
                    "position": 0,
                    "message": {"role": "system", "content": "You are Sarah..."},
                    "model": None,
                    "prompt_tokens": 0,
                    "completion_tokens": 0,
                    "cost_usd": 0.0,
                    "unpriced": False,
                    "created_at": "2026-02-18T10:00:01Z",
                }
            ],
        },
    ),
    Op(
        "POST",
        "/api/task-executions/{id}/restart",
        restart_task_execution,
        summary="Restart a failed task execution",
        tag=_TAG,
        out=RESTARTED,
        errors=(409,),
        answer={"execution_id": 1, "status": "queued"},
    ),
    Op(
        "POST",
        "/api/task-executions/{id}/cancel",
        cancel_task_execution,
        summary="Cancel a task execution; a running one at its next step",
        tag=_TAG,
        out=CANCELLED,
        errors=(409,),
        answer={"execution_id": 1, "status": "cancelled"},
    ),
)
