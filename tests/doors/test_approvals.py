"""Tests of /api/approvals, and of the same over GraphQL."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from aether.clock import now
from aether.db import rows
from aether.errors import HTTP_STATUS, ErrorCode
from aether.queue import Job
from resolvers.seeding import seed
from tests.doors.calls import actions, count, details, execution, insert
from tests.schema.both import Doors, both_doors


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        yield ours


async def waiting(**values: Any) -> int:
    """An approval as a worker has left it, of an execution that waits for it."""
    execution_id = await execution(status="waiting_approval")
    defaults: dict[str, Any] = {
        "execution_id": execution_id,
        "run": 1,
        "key": "1:1:c1",
        "kind": "tool",
        "tool": "add_labels",
        "arguments": '{"labels": ["bug"]}',
        "task_id": "pm_analyze",
    }
    told = defaults | values
    return await insert("approval", **told, **_times())


def _times() -> dict[str, Any]:
    return {"created_at": now(), "expires_at": now() + timedelta(hours=1)}


async def test_what_waits_is_listed_and_approved_and_its_execution_is_queued(
    doors: Doors,
) -> None:
    first, second = await waiting(), await waiting(key="1:1:c2")

    listed = await doors.get("/api/approvals?status=pending")
    assert [one["id"] for one in listed] == [second, first]
    assert await doors.get(f"/api/approvals/{first}") == listed[1]
    approved = await doors.post(f"/api/approvals/{first}/approve", None, 200)

    assert (approved["status"], approved["decided_arguments"]) == ("approved", None)
    execution_id = approved["execution_id"]
    assert doors.hints == [(Job.RUN_TASK_EXECUTION, [execution_id])]
    found = await doors.get(f"/api/task-executions/{execution_id}")
    assert found["status"] == "queued"
    assert await details("approval.approved") == [{"approval_id": first, "of": "add_labels"}]
    left = await doors.get(f"/api/approvals?execution_id={execution_id}&status=pending")
    assert left == []


async def test_other_arguments_have_to_be_what_the_tool_takes(doors: Doors) -> None:
    await seed("tools")
    asked = await waiting()
    path = f"/api/approvals/{asked}/approve"

    refused = await doors.refused("POST", path, {"arguments": {"labels": "bug"}}, 400)
    assert refused == "arguments: labels: 'bug' is not of type 'array'."
    assert await doors.refused("POST", path, {"text": "Hello."}, 400) == (
        "text: is for answers; a tool call has arguments"
    )
    assert (await doors.get(f"/api/approvals/{asked}"))["status"] == "pending"
    assert doors.hints == []

    changed = await doors.post(path, {"arguments": {"labels": ["docs"]}}, 200)

    assert (changed["status"], changed["decided_arguments"]) == ("changed", {"labels": ["docs"]})
    assert changed["arguments"] == {"labels": ["bug"]}


async def test_an_answer_is_changed_by_its_text(doors: Doors) -> None:
    asked = await waiting(kind="answer", tool=None, arguments=None, text="It is the parser.")
    path = f"/api/approvals/{asked}/approve"

    assert await doors.refused("POST", path, {"arguments": {}}, 400) == (
        "arguments: is for tool calls; an answer has a text"
    )
    assert await doors.refused("POST", path, {"text": " "}, 400) == "text: must not be blank"
    assert await doors.refused("POST", path, {"text": "\u200b\u2060"}, 400) == (
        "text: must hold something to read"
    )
    assert (await doors.get(f"/api/approvals/{asked}"))["status"] == "pending"
    changed = await doors.post(path, {"text": "It is the lexer."}, 200)

    assert (changed["status"], changed["text"], changed["decided_text"]) == (
        "changed", "It is the parser.", "It is the lexer.",
    )  # fmt: skip


async def test_both_doors_refuse_with_a_reason_and_say_the_same_when_it_is_late(
    doors: Doors,
) -> None:
    asked = await waiting()

    told = await doors.ask(
        """mutation ($id: ID!) { approvalRefuse(id: $id, reason: "Not now.") {
             id status reason tool arguments execution { status } task { id } agent { id } } }""",
        id=asked,
    )

    refused = told["approvalRefuse"]
    assert refused == {
        "id": str(asked),
        "status": "REFUSED",
        "reason": "Not now.",
        "tool": "add_labels",
        "arguments": {"labels": ["bug"]},
        "execution": {"status": "QUEUED"},
        "task": None,
        "agent": None,
    }
    late = f"approval {asked} is refused already"
    assert await doors.refused("POST", f"/api/approvals/{asked}/approve", None, 409) == late
    assert await doors.refused("POST", "/api/approvals/999/refuse", None, 404) == (
        "approval 999 not found"
    )
    assert await actions() == ["approval.refused"]
    assert await count("approval") == 1


async def test_who_decided_is_kept_by_the_name_that_they_gave(doors: Doors) -> None:
    first, second = await waiting(), await waiting(key="1:1:c2")

    approved = await doors.post(f"/api/approvals/{first}/approve", {"by": "Mara"}, 200)
    told = await doors.ask(
        """mutation ($id: ID!) { approvalRefuse(id: $id, by: "Jo") { decidedBy reason } }""",
        id=second,
    )

    assert approved["decided_by"] == "Mara"
    assert told["approvalRefuse"] == {"decidedBy": "Jo", "reason": None}
    assert [one["by"] for one in await details("approval.approved")] == ["Mara"]
    assert [one["by"] for one in await details("approval.refused")] == ["Jo"]
    third = await waiting(key="1:1:c3")
    path = f"/api/approvals/{third}/refuse"
    assert await doors.refused("POST", path, {"by": " "}, 400) == "by: must not be blank"


async def test_an_execution_shows_what_it_asked(doors: Doors) -> None:
    asked = await waiting()

    told = await doors.ask(
        """{ taskExecutions(status: WAITING_APPROVAL) { id approvals { id kind expiresAt } }
             approvals(status: PENDING, taskId: "pm_analyze") { id executionId } }"""
    )

    [execution_] = told["taskExecutions"]
    assert [one["id"] for one in execution_["approvals"]] == [str(asked)]
    assert told["approvals"] == [{"id": str(asked), "executionId": execution_["id"]}]


APPROVE: Any = """mutation ($id: ID!, $arguments: JSON, $text: String, $by: String) {
  told: approvalApprove(id: $id, arguments: $arguments, text: $text, by: $by) { status } }"""
REFUSE: Any = """mutation ($id: ID!, $reason: String, $by: String) {
  told: approvalRefuse(id: $id, reason: $reason, by: $by) { status } }"""


async def untouched() -> list[Any]:
    tables = ("approval", "task_execution", "audit_entry")
    return [[dict(one) for one in await rows(f"SELECT * FROM {table}")] for table in tables]  # noqa: S608


async def both_refuse(doors: Doors, asked: int, verb: str, body: Any, status: int) -> list[str]:
    """What REST and GraphQL say, once that has changed nothing."""
    before = await untouched()
    rest = await doors.refused("POST", f"/api/approvals/{asked}/{verb}", body, status)
    query = APPROVE if verb == "approve" else REFUSE
    graphql, code = await doors.refused_by_graphql(query, id=str(asked), **(body or {}))
    assert HTTP_STATUS[ErrorCode(code)] == status
    assert await untouched() == before
    assert doors.hints == []
    return [rest, graphql]


@pytest.mark.parametrize(
    ("verb", "body", "text"),
    [
        ("approve", {"arguments": {"labels": []}}, "arguments: labels: [] should be non-empty."),
        ("approve", {"arguments": {}}, "arguments: arguments: 'labels' is a required property."),
        ("approve", {"arguments": {"labels": ["a"], "to": 1}},
         "arguments: arguments: Additional properties are not allowed ('to' was unexpected)."),
        ("approve", {"arguments": {"labels": [5]}},
         "arguments: labels.0: 5 is not of type 'string'."),
        ("approve", {"arguments": [{"labels": ["a"]}]}, "arguments: must be an object"),
        ("approve", {"arguments": '{"labels": ["a"]}'}, "arguments: must be an object"),
        ("approve", {"arguments": True}, "arguments: must be an object"),
        ("approve", {"arguments": {"labels": ["a\0"]}},
         "arguments.labels.0: must not hold a NUL character"),
        ("approve", {"by": ""}, "by: must not be empty"),
        ("approve", {"by": "x" * 201}, "by: must have at most 200 characters"),
        ("refuse", {"by": " "}, "by: must not be blank"),
        ("refuse", {"reason": "x" * 2_001}, "reason: must have at most 2000 characters"),
    ],
)  # fmt: skip
async def test_a_decision_on_a_call_that_cannot_be_read_decides_nothing(
    doors: Doors, verb: str, body: Any, text: str
) -> None:
    await seed("tools")
    asked = await waiting()

    assert await both_refuse(doors, asked, verb, body, 400) == [text, text]


@pytest.mark.parametrize(
    ("source", "text", "problem"),
    [
        ("github", "", "must not be empty"),
        ("github", " \n", "must not be blank"),
        ("github", "\u200b\u2060", "must hold something to read"),
        ("github", "a\0b", "must not hold a NUL character"),
        ("github", "x" * 65_437, "must have at most 65436 characters there"),
        ("gitlab", "x" * 500_001, "must have at most 500000 characters"),
    ],
)
async def test_a_changed_answer_that_cannot_be_posted_whole_decides_nothing(
    doors: Doors, source: str, text: str, problem: str
) -> None:
    asked = await waiting(kind="answer", tool=None, arguments=None, text="It is the parser.")
    await rows("UPDATE task_execution SET source = $1", source)

    told = await both_refuse(doors, asked, "approve", {"text": text}, 400)

    assert told == [f"text: {problem}"] * 2


async def test_a_changed_answer_may_be_as_long_as_the_platform_takes_with_our_marker(
    doors: Doors,
) -> None:
    asked = await waiting(kind="answer", tool=None, arguments=None, text="It is the parser.")

    changed = await doors.post(f"/api/approvals/{asked}/approve", {"text": "x" * 65_436}, 200)

    assert (changed["status"], len(changed["decided_text"])) == ("changed", 65_436)


@pytest.mark.parametrize("status", ["approved", "changed", "refused", "expired", "withdrawn"])
@pytest.mark.parametrize("verb", ["approve", "refuse"])
async def test_what_is_not_pending_any_more_is_not_decided_again(
    doors: Doors, status: str, verb: str
) -> None:
    asked = await waiting(status=status)

    told = await both_refuse(doors, asked, verb, None, 409)

    assert told == [f"approval {asked} is {status} already"] * 2


@pytest.mark.parametrize("verb", ["approve", "refuse"])
async def test_what_nobody_decided_in_time_is_not_decided_before_the_sweep_either(
    doors: Doors, verb: str
) -> None:
    asked = await waiting()
    await rows("UPDATE approval SET expires_at = now() - interval '1 second'")

    told = await both_refuse(doors, asked, verb, None, 409)

    assert told == [f"approval {asked}: its time is over"] * 2


@pytest.mark.parametrize("verb", ["approve", "refuse"])
async def test_a_decision_names_an_approval_that_there_is(doors: Doors, verb: str) -> None:
    for number in (0, -1, 2**31, 2**63, 10**30):
        [by_rest, by_graphql] = await both_refuse(doors, number, verb, None, 404)
        assert by_rest == by_graphql
        assert by_rest.replace("'", "") == f"approval {number} not found"
    assert await both_refuse(doors, 999, verb, {"by": "Jo"}, 404) == ["approval 999 not found"] * 2
