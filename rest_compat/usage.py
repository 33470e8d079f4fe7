"""REST: GET /api/usage. The reference, "Monitoring & Logs"; its shape: contract.md."""

from typing import Any, Final

from resolvers import usage
from resolvers.usage import UsageFilter
from rest_compat.op import Call, Op
from rest_compat.shapes import Shape

USAGE: Final = Shape(
    "Usage",
    agent_id=str | None,
    tasks=int,
    tasks_completed=int,
    tasks_failed=int,
    llm_calls=int,
    tool_calls=int,
    prompt_tokens=int,
    completion_tokens=int,
    total_tokens=int,
    cost_usd=float,
)


async def list_usage(call: Call) -> Any:
    return await usage.list_usage(call.query)


OPS: Final = (
    Op(
        "GET",
        "/api/usage",
        list_usage,
        summary="Usage of each agent: tasks, calls, tokens, cost",
        tag="Monitoring & Logs",
        query=UsageFilter,
        out=[USAGE],
        answer=[
            {
                "agent_id": "ta_leo",
                "tasks": 12,
                "tasks_completed": 11,
                "tasks_failed": 1,
                "llm_calls": 20,
                "tool_calls": 8,
                "prompt_tokens": 24000,
                "completion_tokens": 1600,
                "total_tokens": 25600,
                "cost_usd": 0.076,
            }
        ],
    ),
)
