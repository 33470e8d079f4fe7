"""REST: GET /api/usage. The reference, "Monitoring & Logs"."""

from typing import Any, Final

from resolvers import usage
from resolvers import usage_report as usage_reports
from resolvers.usage import UsageFilter
from resolvers.usage_report import UsageReportFilter
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
    unpriced_calls=int,
)


REPORT: Final = Shape(
    "UsageRow",
    day=str | None,
    agent_id=str | None,
    task_id=str | None,
    project_id=int | None,
    model=str | None,
    llm_calls=int,
    prompt_tokens=int,
    completion_tokens=int,
    total_tokens=int,
    cost_usd=float,
    unpriced_calls=int,
    estimated_calls=int,
)


async def usage_report(call: Call) -> Any:
    return await usage_reports.usage_report(call.query)


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
                "unpriced_calls": 0,
            }
        ],
    ),
    Op(
        "GET",
        "/api/usage/report",
        usage_report,
        summary="Usage by agent, task, project, model and day, as `by` says: by=agent,day",
        tag="Monitoring & Logs",
        query=UsageReportFilter,
        out=[REPORT],
        answer=[
            {
                "day": "2026-02-18",
                "agent_id": "ta_leo",
                "task_id": None,
                "project_id": None,
                "model": None,
                "llm_calls": 20,
                "prompt_tokens": 24000,
                "completion_tokens": 1600,
                "total_tokens": 25600,
                "cost_usd": 0.076,
                "unpriced_calls": 0,
                "estimated_calls": 0,
            }
        ],
    ),
)
