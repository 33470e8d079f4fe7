"""Tests of how many SQL statements a query takes: relations are loaded for a whole list at once."""

from collections.abc import AsyncIterator

import pytest

from aether.db import rows
from tests.doors.calls import PM_ANALYZE, PM_SARAH, execution, insert
from tests.schema.both import Doors, both_doors, statements


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        yield ours


@pytest.fixture
async def history(doors: Doors) -> None:
    """Fifty executions of two agents' tasks, with deliveries, messages and tool executions."""
    for number in range(2):
        await doors.post("/api/agents", PM_SARAH | {"id": f"agent_{number}"})
        await doors.post(
            "/api/tasks", PM_ANALYZE | {"id": f"task_{number}", "actor_id": f"agent_{number}"}
        )
    for number in range(50):
        delivery = await insert(
            "delivery", source="github", slug="github", delivery_key=str(number),
            change_key=str(number), event_name="issues", status="routed", event="{}",
            payload="{}", project_id=number,
        )  # fmt: skip
        ran = await execution(
            delivery_id=delivery, task_id=f"task_{number % 2}", agent_id=f"agent_{number % 2}",
            project_id=number,
        )  # fmt: skip
        await insert(
            "tool_execution", execution_id=ran, run=1, round=1, call_id="c", tool="add_comment",
            status="succeeded", agent_id=f"agent_{number % 2}",
        )  # fmt: skip
        await insert("execution_message", execution_id=ran, run=1, position=0, message="{}")


async def test_every_statement_is_counted(database: str) -> None:
    with statements() as sent:
        await rows("SELECT 1")
        await rows("SELECT $1::int", 2)

    assert len(sent) == 2


async def test_fifty_executions_with_agent_and_task_take_three_statements(
    doors: Doors, history: None
) -> None:
    with statements() as sent:
        told = await doors.ask(
            "{ taskExecutions { id agent { name } task { name agent { id } } } }"
        )

    assert len(told["taskExecutions"]) == 50
    assert {one["agent"]["name"] for one in told["taskExecutions"]} == {PM_SARAH["name"]}
    assert {one["task"]["agent"]["id"] for one in told["taskExecutions"]} == {"agent_0", "agent_1"}
    assert len(sent) == 3


@pytest.mark.parametrize(
    ("query", "most"),
    [
        ("{ taskExecutions { agent { id } task { id } delivery { id } project { id } } }", 5),
        ("{ taskExecutions { messages { position } } }", 3),
        ("{ taskExecutions { toolExecutions { id agent { id } execution { id } } } }", 5),
        ("{ deliveries { payload event extracted } }", 2),
        ("{ deliveries { executions { id agent { id } task { id triggers { id } } } } }", 7),
        ("{ agents { capabilities { capability } audit { id agent { id } } } }", 6),
        ("{ taskDefinitions { agent { id } triggers { task { id } } } }", 4),
        ("{ toolExecutions { agent { id } execution { task { id } } } }", 4),
        ("{ usage { agent { id } } }", 2),
    ],
)
async def test_a_list_takes_as_many_statements_however_long_it_is(
    doors: Doors, history: None, query: str, most: int
) -> None:
    with statements() as sent:
        await doors.ask(query)

    assert len(sent) <= most, sent
