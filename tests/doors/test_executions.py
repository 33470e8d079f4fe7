"""Tests of /api/task-executions."""

import json

import pytest

from aether.db import rows
from aether.queue import Job
from tests.doors.calls import Door, actions, column, execution, insert, without


async def test_an_execution_is_told_with_its_reason_its_answer_and_its_usage(door: Door) -> None:
    ran = await execution(
        delivery_id=2**40, agent_id="ta_leo", agent_reason="ta_leo is the task's actor",
        status="succeeded", project_id=42, project_key="myorg/api-service", item_kind="issue",
        item_key="7", model="gpt-4o", answer="Whole answer", answer_url="https://x/1", llm_calls=2,
        tool_calls=1, prompt_tokens=2**40, completion_tokens=5, cost_usd="0.00380000",
    )  # fmt: skip

    [listed] = await door.get("/api/task-executions")

    assert without(listed, "run_after") == {
        "id": ran,
        "task_id": "pm_analyze",
        "agent_id": "ta_leo",
        "agent_reason": "ta_leo is the task's actor",
        "status": "succeeded",
        "delivery_id": 2**40,
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
        "answer": "Whole answer",
        "answer_url": "https://x/1",
        "usage": {
            "llm_calls": 2,
            "tool_calls": 1,
            "prompt_tokens": 2**40,
            "completion_tokens": 5,
            "total_tokens": 2**40 + 5,
            "cost_usd": 0.0038,
            "unpriced_calls": 0,
        },
        "cancel_requested": False,
    }
    assert await door.get(f"/api/task-executions/{ran}") == listed | {"messages": []}


async def test_an_execution_is_told_with_the_exact_prompt_of_its_current_run(door: Door) -> None:
    ran = await execution(run=2, status="running")
    for run, position, content in ((1, 0, "old"), (2, 1, "a user's text"), (2, 0, "You are Leo.")):
        role = "user" if position else "system"
        await insert(
            "execution_message", execution_id=ran, run=run, position=position,
            message=json.dumps({"role": role, "content": content}), prompt_tokens=position,
        )  # fmt: skip

    told = await door.get(f"/api/task-executions/{ran}")

    assert [without(one) for one in told["messages"]] == [
        {
            "position": 0,
            "message": {"role": "system", "content": "You are Leo."},
            "model": None,
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "cost_usd": 0.0,
            "unpriced": False,
        },
        {
            "position": 1,
            "message": {"role": "user", "content": "a user's text"},
            "model": None,
            "prompt_tokens": 1,
            "completion_tokens": 0,
            "cost_usd": 0.0,
            "unpriced": False,
        },
    ]


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("", [3, 2, 1, 0]),
        ("task_id=other", [1]),
        ("agent_id=ta_leo", [2, 1]),
        ("project_id=42", [3]),
        ("delivery_id=9", [0]),
        ("status=failed", [3, 2]),
        ("agent_id=ta_leo&status=failed", [2]),
        ("limit=1&offset=1", [2]),
        ("task_id=nothing", []),
    ],
)
async def test_executions_are_listed_newest_first_and_filtered(
    door: Door, query: str, places: list[int]
) -> None:
    ids = [
        await execution(delivery_id=9),
        await execution(task_id="other", agent_id="ta_leo"),
        await execution(agent_id="ta_leo", status="failed"),
        await execution(project_id=42, status="failed"),
    ]

    told = await door.get(f"/api/task-executions?{query}")

    assert column(told, "id") == [ids[place] for place in places]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("status=done", "status: one of queued, running, retrying, waiting_approval, succeeded, "
         "failed, cancelled"),
        ("project_id=2147483648", "project_id: must be at most 2147483647"),
        ("delivery_id=x", "delivery_id: must be a whole number"),
    ],
)  # fmt: skip
async def test_a_filter_that_is_not_valid_is_refused(door: Door, query: str, text: str) -> None:
    assert await door.refused("GET", f"/api/task-executions?{query}", None, 400) == text


async def test_a_failed_execution_restarts(door: Door) -> None:
    failed = await execution(status="failed")

    told = await door.post(f"/api/task-executions/{failed}/restart", status=200)

    assert told == {"execution_id": failed, "status": "queued"}
    assert door.hints == [(Job.RUN_TASK_EXECUTION, [failed])]
    await door.post(f"/api/task-executions/{failed}/restart", status=409)
    assert len(door.hints) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("queued", "cancelled"),
        ("retrying", "cancelled"),
        ("waiting_approval", "cancelled"),
        ("running", "running"),
    ],
)
async def test_an_execution_is_cancelled_at_once_unless_a_worker_is_at_it(
    door: Door, before: str, after: str
) -> None:
    ran = await execution(status=before)

    told = await door.post(f"/api/task-executions/{ran}/cancel", status=200)

    assert told == {"execution_id": ran, "status": after}
    assert await rows("SELECT status, cancel_requested FROM task_execution") == [
        {"status": after, "cancel_requested": True}
    ]
    assert await actions() == ["task.cancel_requested"]


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
async def test_an_execution_that_has_ended_is_not_cancelled(door: Door, status: str) -> None:
    ran = await execution(status=status)

    text = await door.refused("POST", f"/api/task-executions/{ran}/cancel", None, 409)

    assert text == f"task execution {ran} is {status} already"
    assert await actions() == []


@pytest.mark.parametrize("id", ["1", "x", "0", "9223372036854775807", "9" * 19, "9" * 40])
@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("POST", "/restart"), ("POST", "/cancel")]
)
async def test_an_execution_that_is_not_there_is_a_404(
    door: Door, method: str, rest: str, id: str
) -> None:
    text = await door.refused(method, f"/api/task-executions/{id}{rest}", None, 404)

    assert text in {f"task execution {id} not found", f"task execution '{id}' not found"}
    assert door.hints == []
