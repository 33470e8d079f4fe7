"""Tests of /api/audit, the whole log, and of the same over GraphQL."""

from collections.abc import AsyncIterator

import pytest

from aether.db import rows
from tests.doors.calls import PM_SARAH, column
from tests.schema.both import Doors, both_doors

API = {"name": "API", "source": "github", "source_project_id": "myorg/api-service"}


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        yield ours


async def test_what_belongs_to_no_agent_is_in_the_whole_log(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH)
    project = await doors.post("/api/projects", API)

    listed = await doors.get("/api/audit")
    told = await doors.ask("{ auditLog { id action agentId caller origin detail } }")

    assert column(listed, "action") == ["project.created", "agent.created"]
    assert listed[0]["detail"] == {"project_id": project["id"], "after": API | {"enabled": True}}
    assert (listed[0]["agent_id"], listed[1]["agent_id"]) == (None, "pm_sarah")
    assert (listed[0]["caller"], listed[0]["origin"]) == ("api", "rest 127.0.0.1")
    assert column(told["auditLog"], "id") == [str(one["id"]) for one in listed]
    assert await doors.get("/api/audit?action=agent.created") == [listed[1]]
    assert await doors.get("/api/audit?agent_id=pm_sarah&limit=5") == [listed[1]]
    assert await doors.get("/api/audit?until=2026-01-01T00:00:00Z") == []
    assert await doors.get("/api/audit?limit=1&offset=1") == [listed[1]]


async def test_what_people_did_is_told_apart_and_what_came_of_a_delivery(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH)
    await rows(
        """INSERT INTO audit_entry (action, execution_id, delivery_id)
           VALUES ('task.queued', 5, 7), ('task.queued', 6, 8)"""
    )

    by_people = await doors.get("/api/audit?caller=api")
    of_delivery = await doors.get("/api/audit?delivery_id=7")
    told = await doors.ask("""{ people: auditLog(caller: "api") { action }
      delivery: auditLog(deliveryId: 7) { action executionId deliveryId }
      paged: auditLogConnection(deliveryId: 8, first: 5) { nodes { executionId } }
      none: auditLog(caller: "api", deliveryId: 7) { id } }""")

    assert column(by_people, "action") == ["agent.created"]
    [entry] = of_delivery
    assert (entry["action"], entry["execution_id"], entry["delivery_id"]) == ("task.queued", 5, 7)
    assert told == {
        "people": [{"action": "agent.created"}],
        "delivery": [{"action": "task.queued", "executionId": "5", "deliveryId": "7"}],
        "paged": {"nodes": [{"executionId": "6"}]},
        "none": [],
    }


async def test_the_whole_log_is_read_by_cursors(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH)
    await doors.post("/api/projects", API)
    query = """query ($after: String) { auditLogConnection(first: 1, after: $after) {
      nodes { action } pageInfo { hasNextPage endCursor } } }"""

    first = (await doors.ask(query))["auditLogConnection"]
    second = (await doors.ask(query, after=first["pageInfo"]["endCursor"]))["auditLogConnection"]

    assert (first["nodes"], first["pageInfo"]["hasNextPage"]) == (
        [{"action": "project.created"}], True,
    )  # fmt: skip
    assert (second["nodes"], second["pageInfo"]["hasNextPage"]) == (
        [{"action": "agent.created"}], False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("execution_id=x", "execution_id: must be a whole number"),
        ("since=yesterday", "since: must be a time such as 2026-02-18T10:00:00Z"),
        ("agent=pm_sarah", "agent: unknown parameter"),
    ],
)
async def test_a_filter_that_is_none_is_refused_naming_it(
    doors: Doors, query: str, text: str
) -> None:
    assert await doors.refused("GET", f"/api/audit?{query}", None, 400) == text


async def test_a_simulation_is_a_mutation_too_and_changes_nothing(doors: Doors) -> None:
    ask = """simulateDelivery(slug: "github", headers: {}, body: "{}") {
      status reason httpStatus }"""

    by_query = await doors.ask(f"{{ {ask} }}")
    by_mutation = await doors.ask(f"mutation {{ {ask} }}")

    assert by_mutation == by_query
    assert await doors.get("/api/audit") == []
