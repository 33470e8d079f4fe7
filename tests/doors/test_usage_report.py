"""Tests of /api/usage/report, and of the same over GraphQL."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest

from tests.doors.calls import column, insert
from tests.schema.both import Doors, both_doors


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        yield ours


async def used(day: str, cost: str, **values: Any) -> None:
    defaults = {
        "agent_id": "ta_leo", "task_id": "triage", "project_id": 42, "model": "gpt-4o",
        "llm_calls": 2, "prompt_tokens": 100, "completion_tokens": 20,
    }  # fmt: skip
    told = {"day": date.fromisoformat(day), "cost_usd": cost, **defaults, **values}
    await insert("usage_day", **told)


async def filled() -> None:
    await used("2026-02-17", "0.5")
    await used("2026-02-18", "0.25")
    await used("2026-02-18", "1.5", agent_id="pm_sarah", model="phi4")
    await used("2026-02-18", "0.125", agent_id=None, task_id=None, project_id=None)


async def test_usage_is_told_apart_by_what_is_asked(doors: Doors) -> None:
    await filled()

    by_day = await doors.get("/api/usage/report")
    by_agent = await doors.get("/api/usage/report?by=agent")
    by_both = await doors.get("/api/usage/report?by=day,model&since=2026-02-18T00:00:00Z")

    assert [(one["day"], one["cost_usd"]) for one in by_day] == [
        ("2026-02-18", 1.875), ("2026-02-17", 0.5),
    ]  # fmt: skip
    assert by_day[0] == {
        "day": "2026-02-18", "agent_id": None, "task_id": None, "project_id": None, "model": None,
        "llm_calls": 6, "prompt_tokens": 300, "completion_tokens": 60, "total_tokens": 360,
        "cost_usd": 1.875, "unpriced_calls": 0, "estimated_calls": 0,
    }  # fmt: skip
    assert column(by_agent, "agent_id") == ["pm_sarah", "ta_leo", None]
    assert [(one["day"], one["model"]) for one in by_both] == [
        ("2026-02-18", "phi4"), ("2026-02-18", "gpt-4o"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("since=2026-02-18T23:00:00Z", ["2026-02-18"]),
        ("until=2026-02-18T00:00:00Z", ["2026-02-17"]),
        ("agent_id=pm_sarah", ["2026-02-18"]),
        ("project_id=42&task_id=triage&model=gpt-4o", ["2026-02-18", "2026-02-17"]),
        ("limit=1&offset=1", ["2026-02-17"]),
    ],
)
async def test_a_report_is_of_what_is_asked_for(doors: Doors, query: str, days: list[str]) -> None:
    await filled()

    assert column(await doors.get(f"/api/usage/report?{query}"), "day") == days


async def test_both_doors_give_the_same_report(doors: Doors) -> None:
    await filled()

    told = await doors.ask(
        """{ usageReport(by: [PROJECT, MODEL], agentId: "ta_leo") {
             day agentId taskId projectId model llmCalls totalTokens costUsd } }"""
    )

    assert told["usageReport"] == [
        {
            "day": None, "agentId": None, "taskId": None, "projectId": "42", "model": "gpt-4o",
            "llmCalls": 4, "totalTokens": 240, "costUsd": 0.75,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("by=agent,nothing", "by.1: one of agent, task, project, model, day"),
        ("by=", "by.0: one of agent, task, project, model, day"),
        ("limit=0", "limit: must be at least 1"),
        ("group=day", "group: unknown parameter"),
    ],
)
async def test_a_report_that_cannot_be_made_is_refused_naming_the_parameter(
    doors: Doors, query: str, text: str
) -> None:
    assert await doors.refused("GET", f"/api/usage/report?{query}", None, 400) == text
