"""Tests of /api/tasks and of the restart of what they started."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from aether.db import rows
from aether.queue import Job
from tests.doors.calls import (
    PM_ANALYZE,
    Door,
    actions,
    column,
    count,
    counts,
    details,
    execution,
    without,
)

REST_OF_IT = {
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
}


async def test_the_references_task_is_created_though_its_actor_names_nothing(door: Door) -> None:
    created = await door.post("/api/tasks", PM_ANALYZE)

    assert without(created) == PM_ANALYZE | REST_OF_IT
    assert list(created)[:5] == list(PM_ANALYZE)
    assert await door.get("/api/tasks/pm_analyze") == created
    assert await door.get("/api/tasks") == [created]
    [detail] = await details("task.created")
    assert detail["task_id"] == "pm_analyze"
    assert detail["after"].items() >= PM_ANALYZE.items()


async def test_every_field_of_a_task_is_kept_and_can_be_put_back(door: Door) -> None:
    sent = PM_ANALYZE | {
        "required_capabilities": ["security"],
        "tools": [],
        "tool_reach": "project",
        "memory_scopes": ["agent", "organizational"],
        "max_tool_rounds": 0,
        "timeout_seconds": 60,
        "answer_mode": "update",
        "approve_answer": True,
        "approve_tools": ["*", "close_issue"],
        "approval_timeout_minutes": 5,
        "cancel_on_close": True,
        "cancel_on_newer": True,
        "outsiders_may_act": True,
        "summarize": True,
        "max_tokens_per_run": 5_000_000_000,
        "max_cost_usd_per_run": 0.25,
        "max_runs_per_item_hour": 3,
        "enabled": False,
    }

    created = await door.post("/api/tasks", sent)

    assert without(created) == sent
    assert await door.put("/api/tasks/pm_analyze", created) == created
    assert await actions() == ["task.created"]


async def test_put_changes_what_is_sent_and_names_it_as_the_wire_does(door: Door) -> None:
    created = await door.post("/api/tasks", PM_ANALYZE)

    put = await door.put("/api/tasks/pm_analyze", {"actor_fallback": None, "actor_id": "ta_leo"})

    assert without(put) == without(created) | {"actor_fallback": None, "actor_id": "ta_leo"}
    [detail] = await details("task.updated")
    assert detail["changed"] == ["actor_fallback", "actor_id"]
    assert detail["before"] == {name: PM_ANALYZE[name] for name in detail["changed"]}
    assert detail["after"] == {name: put[name] for name in detail["changed"]}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"id": "triggers"}, "id: must not be triggers, which is a path of its own"),
        ({"id": "sources"}, "id: must not be sources, which is a path of its own"),
        ({"id": "seed"}, "id: must not be seed, which is a path of its own"),
        ({"id": "PM"}, "id: must be snake_case, such as pm_sarah"),
        ({"description": ""}, "description: must not be empty"),
        ({"actor_id": ""}, "actor_id: must not be empty"),
        ({"actor_id": "a" * 65}, "actor_id: must have at most 64 characters"),
        ({"tool_reach": "world"}, "tool_reach: one of item, project"),
        (
            {"memory_scopes": ["all"]},
            "memory_scopes.0: one of task, agent, project, organizational",
        ),
        (
            {"approve_tools": ["mcp_docs_*", "close_isue"]},
            "approve_tools.1: must be '*', a built-in tool such as close_issue, or begin with mcp_",
        ),
        (
            {"approve_tools": ["add_*"]},
            "approve_tools.0: must be '*', a built-in tool such as close_issue, or begin with mcp_",
        ),
        ({"max_tool_rounds": -1}, "max_tool_rounds: must be at least 0"),
        ({"timeout_seconds": 0}, "timeout_seconds: must be at least 1"),
        ({"answer_mode": "replace"}, "answer_mode: one of add, update"),
        ({"approval_timeout_minutes": 0}, "approval_timeout_minutes: must be at least 1"),
        ({"max_tokens_per_run": 2**53}, "max_tokens_per_run: must be at most 9007199254740991"),
        ({"max_cost_usd_per_run": "1"}, "max_cost_usd_per_run: must be a number"),
        ({"max_runs_per_item_hour": 0}, "max_runs_per_item_hour: must be at least 1"),
        ({"fallback_prompt": "x"}, "fallback_prompt: unknown field"),
    ],
)
async def test_a_task_that_is_not_valid_is_refused(
    door: Door, change: dict[str, Any], text: str
) -> None:
    assert await door.refused("POST", "/api/tasks", PM_ANALYZE | change, 400) == text
    assert await counts("task_definition", "audit_entry") == [0, 0]


@pytest.mark.parametrize("field", ["id", "name", "description", "actor_id"])
async def test_what_the_reference_requires_is_required(door: Door, field: str) -> None:
    body = {key: value for key, value in PM_ANALYZE.items() if key != field}

    assert await door.refused("POST", "/api/tasks", body, 400) == f"{field}: required"


async def test_of_ten_who_create_one_task_at_once_one_succeeds(door: Door) -> None:
    answers = await asyncio.gather(
        *(door.client.post("/api/tasks", json=PM_ANALYZE) for _ in range(10))
    )

    assert Counter(one.status_code for one in answers) == {201: 1, 409: 9}
    [text] = {one.json()["error"] for one in answers if one.status_code == 409}
    assert text == "task 'pm_analyze' already exists"


async def test_a_deleted_task_takes_its_trigger_mappings_along_and_leaves_its_history(
    door: Door,
) -> None:
    for task in ("pm_analyze", "other"):
        await door.post("/api/tasks", PM_ANALYZE | {"id": task})
        await door.post(
            "/api/tasks/triggers", {"canonical_trigger": "issue.created", "task_id": task}
        )
    ran = await execution(status="failed")

    assert await door.delete("/api/tasks/pm_analyze") == {"deleted": "pm_analyze"}

    assert column(await door.get("/api/tasks/triggers"), "task_id") == ["other"]
    assert column(await door.get("/api/task-executions?task_id=pm_analyze"), "id") == [ran]
    [detail] = await details("task.deleted")
    assert (detail["task_id"], detail["trigger_mappings"]) == ("pm_analyze", 1)
    assert detail["before"].items() >= PM_ANALYZE.items()
    text = await door.refused("DELETE", "/api/tasks/pm_analyze", None, 404)
    assert text == "task 'pm_analyze' not found"


async def test_no_mapping_is_left_behind_when_a_task_is_deleted_meanwhile(door: Door) -> None:
    await door.post("/api/tasks", PM_ANALYZE)

    def mapping(number: int) -> Any:
        sent = {"canonical_trigger": f"issue.t{number}", "task_id": "pm_analyze"}
        return door.client.post("/api/tasks/triggers", json=sent)

    await asyncio.gather(
        *(mapping(number) for number in range(8)),
        door.client.delete("/api/tasks/pm_analyze"),
        *(mapping(number) for number in range(8, 16)),
    )

    assert await counts("task_definition", "trigger_task_mapping") == [0, 0]


async def test_a_task_and_its_mappings_may_be_deleted_at_once(door: Door) -> None:
    paths = []
    for task in (f"task_{letter}" for letter in "abcd"):
        await door.post("/api/tasks", PM_ANALYZE | {"id": task})
        paths.append(f"/api/tasks/{task}")
        for number in range(3):
            sent = {"canonical_trigger": f"issue.t{number}", "task_id": task}
            mapping = await door.post("/api/tasks/triggers", sent)
            paths.append(f"/api/tasks/triggers/{mapping['id']}")

    answers = await asyncio.gather(*(door.client.delete(path) for path in reversed(paths)))

    assert {one.status_code for one in answers} <= {200, 404}
    assert await counts("task_definition", "trigger_task_mapping") == [0, 0]


async def test_a_failed_execution_is_restarted_by_its_id(door: Door) -> None:
    failed = await execution(status="failed", error="gone", error_code="X", tries=4)

    told = await door.post(f"/api/tasks/{failed}/restart", status=200)

    assert told == {"execution_id": failed, "status": "queued"}
    assert door.hints == [(Job.RUN_TASK_EXECUTION, [failed])]
    assert await rows("SELECT status, run, tries, error FROM task_execution") == [
        {"status": "queued", "run": 2, "tries": 0, "error": None}
    ]
    assert await actions() == ["task.restarted"]


async def test_the_newest_failed_execution_is_restarted_by_its_tasks_id(door: Door) -> None:
    await execution(status="failed")
    newest = await execution(status="failed")
    await execution(status="succeeded")

    told = await door.post("/api/tasks/pm_analyze/restart", status=200)

    assert told == {"execution_id": newest, "status": "queued"}


async def test_only_a_failed_execution_restarts(door: Door) -> None:
    done = await execution(status="succeeded")

    by_id = await door.refused("POST", f"/api/tasks/{done}/restart", None, 409)
    by_task = await door.refused("POST", "/api/tasks/pm_analyze/restart", None, 409)

    assert by_id == f"task execution {done} is succeeded, only a failed one restarts"
    assert by_task == "task 'pm_analyze' has no failed execution"
    assert (door.hints, await actions()) == ([], [])


@pytest.mark.parametrize("id", ["1", "0", "01", "nothing", "9" * 19, "9" * 30])
async def test_a_restart_of_nothing_is_a_404(door: Door, id: str) -> None:
    text = await door.refused("POST", f"/api/tasks/{id}/restart", None, 404)

    assert text.startswith("task execution ")
    assert door.hints == []


async def test_of_ten_who_restart_one_execution_at_once_one_succeeds(door: Door) -> None:
    failed = await execution(status="failed")

    answers = await asyncio.gather(
        *(door.client.post(f"/api/tasks/{failed}/restart") for _ in range(10))
    )

    assert Counter(one.status_code for one in answers) == {200: 1, 409: 9}
    assert door.hints == [(Job.RUN_TASK_EXECUTION, [failed])]
    assert await count("audit_entry") == 1
