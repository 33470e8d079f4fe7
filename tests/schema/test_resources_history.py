"""Tests of what happened, over GraphQL: deliveries, task and tool executions, usage."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest

import resolvers.deliveries
import resolvers.executions
from aether.queue import Job
from tests.doors.calls import (
    PM_ANALYZE,
    PM_SARAH,
    actions,
    column,
    counts,
    execution,
    insert,
    issue_opened,
)
from tests.schema.both import Doors, both_doors

LARGE: Final = 3_000_000_000
INEXACT: Final = 9_007_199_254_740_993
"""2^53 + 1: a float cannot hold it."""
MOST: Final = 2**63 - 1


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        yield ours


async def routed(doors: Doors) -> None:
    """Issues that are opened start ``pm_analyze``."""
    await doors.post("/api/agents", PM_SARAH)
    await doors.post("/api/tasks", PM_ANALYZE)
    trigger = {"canonical_trigger": "issue.created"}
    await doors.post("/api/tasks/triggers", trigger | {"task_id": "pm_analyze"})
    source = {"source": "github", "event_name": "issues", "action": "opened"}
    await doors.post("/api/tasks/sources", source | trigger)


async def delivery(key: str, **values: Any) -> int:
    defaults = {
        "source": "github", "slug": "github", "delivery_key": key, "change_key": key,
        "event_name": "issues", "status": "ignored", "event": "{}", "payload": "{}",
    }  # fmt: skip
    return await insert("delivery", **(defaults | values))


async def test_a_delivery_is_told_whole_and_its_numbers_keep_their_digits(doors: Doors) -> None:
    await routed(doors)
    project = await doors.post(
        "/api/projects",
        {"name": "API", "source": "github", "source_project_id": "myorg/api-service"},
    )
    payload = issue_opened() | {"numbers": [LARGE, INEXACT, MOST, -MOST - 1, 1.5]}
    receipt = await doors.deliver(payload)

    told = await doors.ask(
        """query ($id: ID!) { delivery(id: $id) {
          id source slug eventName action status reason canonicalTriggers projectKey itemKind
          itemKey title actor actorIsBot isVerified project { id name } projectId
          replayOf { id } executions { id status task { id } agent { id } delivery { id } }
          payload event extracted } }""",
        id=receipt["delivery_id"],
    )

    found = told["delivery"]
    assert found.pop("payload") == payload
    assert found.pop("event")["event_name"] == "issues"
    assert found == {
        "id": str(receipt["delivery_id"]),
        "source": "GITHUB",
        "slug": "github",
        "eventName": "issues",
        "action": "opened",
        "status": "ROUTED",
        "reason": None,
        "canonicalTriggers": ["issue.created"],
        "projectKey": "myorg/api-service",
        "itemKind": "issue",
        "itemKey": "7",
        "title": "Login fails after the update",
        "actor": "octocat",
        "actorIsBot": False,
        "isVerified": True,
        "project": {"id": str(project["id"]), "name": "API"},
        "projectId": str(project["id"]),
        "replayOf": None,
        "executions": [
            {
                "id": str(receipt["executions"][0]),
                "status": "QUEUED",
                "task": {"id": "pm_analyze"},
                "agent": None,
                "delivery": {"id": str(receipt["delivery_id"])},
            }
        ],
        "extracted": {},
    }


async def test_a_number_of_any_size_in_a_payload_keeps_its_digits(doors: Doors) -> None:
    payload = {"n": 2**70, "inner": [{"n": -(10**30)}, 0.1]}
    await delivery("a", payload=json.dumps(payload))

    assert await doors.ask("{ deliveries { payload } }") == {"deliveries": [{"payload": payload}]}


async def test_a_delivery_is_replayed_as_a_new_one_that_names_it(doors: Doors) -> None:
    await routed(doors)
    receipt = await doors.deliver(issue_opened())
    doors.hints.clear()

    told = await doors.ask(
        """mutation ($id: ID!) { deliveryReplay(id: $id) {
             id status replayOf { id executions { id } } executions { id } payload } }""",
        id=receipt["delivery_id"],
    )

    replay = told["deliveryReplay"]
    assert replay["status"] == "ROUTED"
    assert replay["replayOf"] == {
        "id": str(receipt["delivery_id"]),
        "executions": [{"id": str(receipt["executions"][0])}],
    }
    [started] = [int(one["id"]) for one in replay["executions"]]
    assert started != receipt["executions"][0]
    assert replay["payload"] == issue_opened()
    assert doors.hints == [(Job.RUN_TASK_EXECUTION, [started])]


async def test_deliveries_are_listed_newest_first_and_filtered(doors: Doors) -> None:
    ids = [
        str(await delivery("a", payload='{"n": 1}')),
        str(await delivery("b", source="gitlab", payload='{"n": 2}')),
        str(await delivery("c", status="routed", project_id=42, payload='{"n": 3}')),
    ]

    told = await doors.ask(
        """{ all: deliveries { id payload } one: deliveries(limit: 1, offset: 1) { id }
             gitlab: deliveries(source: GITLAB) { id } routed: deliveries(status: ROUTED) { id }
             project: deliveries(projectId: 42) { id project { id } projectId } }"""
    )

    assert told == {
        "all": [{"id": ids[place], "payload": {"n": place + 1}} for place in (2, 1, 0)],
        "one": [{"id": ids[1]}],
        "gitlab": [{"id": ids[1]}],
        "routed": [{"id": ids[2]}],
        "project": [{"id": ids[2], "project": None, "projectId": "42"}],
    }


async def test_a_list_gives_payloads_up_to_a_bound_and_says_where_it_stops(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolvers.deliveries, "TOGETHER_BYTES", 100)
    large = json.dumps({"text": "x" * 200})
    oldest = await delivery("a")
    await delivery("b", payload=large)

    answer = await doors.graphql("{ deliveries { id payload } }", {})
    alone = await doors.ask("query ($id: ID!) { delivery(id: $id) { payload } }", id=oldest)

    [newer, older] = answer["data"]["deliveries"]
    assert newer["payload"] == json.loads(large)
    assert older == {"id": str(oldest), "payload": None}
    [error] = answer["errors"]
    assert error["path"] == ["deliveries", 1, "payload"]
    assert error["message"] == "payload: too much at once; ask for fewer deliveries"
    assert error["extensions"] == {"code": "INVALID_INPUT"}
    assert alone == {"delivery": {"payload": {}}}


EXECUTION = """id status canonicalTrigger source projectKey itemKind itemKey agentReason model run
  tries error errorCode answer answerUrl cancelRequested runAfter startedAt finishedAt
  taskId agentId deliveryId projectId
  usage { llmCalls toolCalls promptTokens completionTokens totalTokens costUsd }
  task { name } agent { name } delivery { title } project { name }"""


async def test_an_execution_is_told_with_its_relations_and_its_usage(doors: Doors) -> None:
    await routed(doors)
    project = await doors.post(
        "/api/projects", {"name": "API", "source": "github", "source_project_id": "myorg/api"}
    )
    of = await delivery("a", title="Login fails")
    ran = await execution(
        delivery_id=of, agent_id="pm_sarah", agent_reason="pm_sarah is the task's actor",
        status="succeeded", project_id=project["id"], project_key="myorg/api", item_kind="issue",
        item_key="7", model="gpt-4o", answer="Whole answer", answer_url="https://x/1", llm_calls=2,
        tool_calls=1, prompt_tokens=INEXACT, completion_tokens=LARGE, cost_usd="0.00380000",
    )  # fmt: skip

    told = await doors.ask(f"{{ taskExecutions {{ {EXECUTION} }} }}")

    expected = {
        "id": str(ran),
        "status": "SUCCEEDED",
        "canonicalTrigger": "issue.created",
        "source": "GITHUB",
        "projectKey": "myorg/api",
        "itemKind": "issue",
        "itemKey": "7",
        "agentReason": "pm_sarah is the task's actor",
        "model": "gpt-4o",
        "run": 1,
        "tries": 0,
        "error": None,
        "errorCode": None,
        "answer": "Whole answer",
        "answerUrl": "https://x/1",
        "cancelRequested": False,
        "runAfter": None,
        "startedAt": None,
        "finishedAt": None,
        "taskId": "pm_analyze",
        "agentId": "pm_sarah",
        "deliveryId": str(of),
        "projectId": str(project["id"]),
        "usage": {
            "llmCalls": 2,
            "toolCalls": 1,
            "promptTokens": INEXACT,
            "completionTokens": LARGE,
            "totalTokens": INEXACT + LARGE,
            "costUsd": 0.0038,
        },
        "task": {"name": PM_ANALYZE["name"]},
        "agent": {"name": PM_SARAH["name"]},
        "delivery": {"title": "Login fails"},
        "project": {"name": "API"},
    }
    assert told == {"taskExecutions": [expected]}
    one = f"query ($id: ID!) {{ taskExecution(id: $id) {{ {EXECUTION} }} }}"
    assert await doors.ask(one, id=ran) == {"taskExecution": expected}


async def test_history_keeps_its_ids_when_what_they_name_is_gone(doors: Doors) -> None:
    ran = await execution(
        delivery_id=2**40, task_id="gone", agent_id="gone", project_id=42, status="failed"
    )
    fields = """{ taskId task { id } agentId agent { id } projectId project { id }
      deliveryId delivery { id } }"""

    told = await doors.ask(f"query ($id: ID!) {{ taskExecution(id: $id) {fields} }}", id=ran)

    assert told["taskExecution"] == {
        "taskId": "gone",
        "task": None,
        "agentId": "gone",
        "agent": None,
        "projectId": "42",
        "project": None,
        "deliveryId": str(2**40),
        "delivery": None,
    }


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        ("", [3, 2, 1, 0]),
        ('(taskId: "other")', [1]),
        ('(agentId: "ta_leo")', [2, 1]),
        ('(projectId: "42")', [3]),
        ("(deliveryId: 1099511627776)", [0]),
        ('(deliveryId: "1099511627776")', [0]),
        ("(status: FAILED)", [3, 2]),
        ('(agentId: "ta_leo", status: FAILED)', [2]),
        ("(limit: 1, offset: 1)", [2]),
    ],
)
async def test_executions_are_listed_newest_first_and_filtered(
    doors: Doors, arguments: str, places: list[int]
) -> None:
    ids = [
        await execution(delivery_id=2**40),
        await execution(task_id="other", agent_id="ta_leo"),
        await execution(agent_id="ta_leo", status="failed"),
        await execution(project_id=42, status="failed"),
    ]

    told = await doors.ask(f"{{ taskExecutions{arguments} {{ id }} }}")

    assert column(told["taskExecutions"], "id") == [str(ids[place]) for place in places]


async def test_an_execution_is_told_with_the_exact_prompt_of_its_current_run(doors: Doors) -> None:
    ran = await execution(run=2, status="running")
    for run, position, content in ((1, 0, "old"), (2, 1, "a user's text"), (2, 0, "You are Leo.")):
        await insert(
            "execution_message", execution_id=ran, run=run, position=position,
            message=json.dumps({"content": content, "n": INEXACT}), prompt_tokens=LARGE,
            cost_usd="0.5",
        )  # fmt: skip

    told = await doors.ask(
        """query ($id: ID!) { taskExecution(id: $id) { messages {
             position message model promptTokens completionTokens costUsd } } }""",
        id=ran,
    )

    same = {"model": None, "promptTokens": LARGE, "completionTokens": 0, "costUsd": 0.5}
    assert told["taskExecution"]["messages"] == [
        {"position": 0, "message": {"content": "You are Leo.", "n": INEXACT}} | same,
        {"position": 1, "message": {"content": "a user's text", "n": INEXACT}} | same,
    ]


async def test_a_list_gives_messages_up_to_a_bound_and_says_where_it_stops(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolvers.executions, "TOGETHER_BYTES", 100)
    older, newer = await execution(), await execution()
    await execution()
    for ran in (older, newer):
        await insert(
            "execution_message", execution_id=ran, run=1, position=0,
            message=json.dumps({"content": "x" * 200}),
        )  # fmt: skip

    answer = await doors.graphql("{ taskExecutions { messages { position } } }", {})

    told = column(answer["data"]["taskExecutions"], "messages")
    assert told == [[], [{"position": 0}], None]
    [error] = answer["errors"]
    assert error["path"] == ["taskExecutions", 2, "messages"]
    assert error["message"] == "messages: too much at once; ask for fewer executions"
    assert error["extensions"] == {"code": "INVALID_INPUT"}


async def test_tool_executions_are_told_alone_and_under_their_execution(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH)
    ran, other = await execution(agent_id="pm_sarah"), await execution()
    made = [
        await insert(
            "tool_execution", execution_id=of, run=1, round=number, call_id=f"c{number}",
            tool="add_comment", agent_id=agent_id, arguments=arguments, result="Posted.",
            status=status, duration_ms=312, prompt_tokens=LARGE, completion_tokens=INEXACT,
        )
        for number, of, agent_id, arguments, status in (
            (1, ran, "pm_sarah", '{"body": "Thanks!"}', "succeeded"),
            (2, ran, "pm_sarah", '"not JSON {"', "failed"),
            (3, ran, None, None, "refused"),
            (1, other, None, "[1]", "succeeded"),
        )
    ]  # fmt: skip

    told = await doors.ask(
        f"""{{
          toolExecutions(limit: 1, offset: 3) {{
            id tool arguments result status error run round durationMs promptTokens
            completionTokens agentId executionId agent {{ name }} execution {{ id status }} }}
          failed: toolExecutions(status: FAILED) {{ id arguments }}
          of: toolExecutions(executionId: "{other}") {{ id arguments }}
          agent: toolExecutions(agentId: "pm_sarah", tool: "add_comment") {{ id }}
          taskExecutions {{ id toolExecutions(limit: 2, offset: 1) {{ id agent {{ id }} }} }} }}"""
    )

    first, second, third, fourth = map(str, made)
    assert told == {
        "toolExecutions": [
            {
                "id": first,
                "tool": "add_comment",
                "arguments": {"body": "Thanks!"},
                "result": "Posted.",
                "status": "SUCCEEDED",
                "error": None,
                "run": 1,
                "round": 1,
                "durationMs": 312,
                "promptTokens": LARGE,
                "completionTokens": INEXACT,
                "agentId": "pm_sarah",
                "executionId": str(ran),
                "agent": {"name": PM_SARAH["name"]},
                "execution": {"id": str(ran), "status": "QUEUED"},
            }
        ],
        "failed": [{"id": second, "arguments": "not JSON {"}],
        "of": [{"id": fourth, "arguments": [1]}],
        "agent": [{"id": second}, {"id": first}],
        "taskExecutions": [
            {"id": str(other), "toolExecutions": []},
            {
                "id": str(ran),
                "toolExecutions": [
                    {"id": second, "agent": {"id": "pm_sarah"}},
                    {"id": third, "agent": None},
                ],
            },
        ],
    }


async def test_a_failed_execution_restarts_by_its_id_and_by_its_tasks(doors: Doors) -> None:
    first = await execution(status="failed", error="no model")
    newest = await execution(status="failed")

    by_id = await doors.ask(
        "mutation ($id: ID!) { taskExecutionRestart(id: $id) { id status run error } }", id=first
    )
    by_task = await doors.ask(
        'mutation { taskDefinitionRestart(id: "pm_analyze") { id status run } }'
    )

    restarted = {"id": str(first), "status": "QUEUED", "run": 2, "error": None}
    assert by_id == {"taskExecutionRestart": restarted}
    assert by_task["taskDefinitionRestart"] == {"id": str(newest), "status": "QUEUED", "run": 2}
    assert doors.hints == [(Job.RUN_TASK_EXECUTION, [first]), (Job.RUN_TASK_EXECUTION, [newest])]


async def test_an_executions_id_is_no_tasks_id(doors: Doors) -> None:
    failed = await execution(status="failed")
    restart = "mutation ($id: ID!) { taskDefinitionRestart(id: $id) { id } }"

    told = await doors.refused_by_graphql(restart, id=failed)

    assert told == (f"task execution '{failed}' not found", "NOT_FOUND")
    assert doors.hints == []


@pytest.mark.parametrize(("before", "after"), [("queued", "CANCELLED"), ("running", "RUNNING")])
async def test_an_execution_is_cancelled(doors: Doors, before: str, after: str) -> None:
    ran = await execution(status=before)

    told = await doors.ask(
        "mutation ($id: ID!) { taskExecutionCancel(id: $id) { id status cancelRequested } }",
        id=ran,
    )

    assert told["taskExecutionCancel"] == {
        "id": str(ran),
        "status": after,
        "cancelRequested": True,
    }
    assert await actions() == ["task.cancel_requested"]


async def test_usage_is_told_of_each_agent_with_exact_sums(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH)
    for status, day in (("succeeded", 1), ("failed", 2)):
        await execution(
            agent_id="pm_sarah", status=status, llm_calls=2, tool_calls=1, prompt_tokens=INEXACT,
            completion_tokens=LARGE, cost_usd="0.25", created_at=_day(day),
        )  # fmt: skip
    await execution(status="succeeded", agent_reason="the fallback", created_at=_day(3))
    fields = """agentId agent { name } tasks tasksCompleted tasksFailed llmCalls toolCalls
      promptTokens completionTokens totalTokens costUsd"""

    told = await doors.ask(
        f"""{{ usage {{ {fields} }}
          since: usage(since: "2026-02-02T00:00:00Z", until: "2026-02-03T01:00:00+01:00")
            {{ agentId tasks promptTokens }}
          one: usage(agentId: "pm_sarah") {{ tasks }}
          page: usage(limit: 1, offset: 1) {{ agentId }} }}"""
    )

    nothing = {
        "llmCalls": 0, "toolCalls": 0, "promptTokens": 0, "completionTokens": 0, "totalTokens": 0,
        "costUsd": 0.0,
    }  # fmt: skip
    assert told == {
        "usage": [
            {
                "agentId": "pm_sarah",
                "agent": {"name": PM_SARAH["name"]},
                "tasks": 2,
                "tasksCompleted": 1,
                "tasksFailed": 1,
                "llmCalls": 4,
                "toolCalls": 2,
                "promptTokens": 2 * INEXACT,
                "completionTokens": 2 * LARGE,
                "totalTokens": 2 * (INEXACT + LARGE),
                "costUsd": 0.5,
            },
            {"agentId": None, "agent": None, "tasks": 1, "tasksCompleted": 1, "tasksFailed": 0}
            | nothing,
        ],
        "since": [{"agentId": "pm_sarah", "tasks": 1, "promptTokens": INEXACT}],
        "one": [{"tasks": 2}],
        "page": [{"agentId": None}],
    }


def _day(day: int) -> datetime:
    return datetime(2026, 2, day, 12, tzinfo=UTC)


async def test_a_replay_that_is_refused_stores_nothing(doors: Doors) -> None:
    replay = 'mutation { deliveryReplay(id: "9223372036854775807") { id } }'

    told = await doors.refused_by_graphql(replay)

    assert told == ("delivery 9223372036854775807 not found", "NOT_FOUND")
    assert await counts("delivery", "task_execution", "audit_entry") == [0, 0, 0]
