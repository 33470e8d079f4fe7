"""The fast executor answers like the ordinary one: the same data, order and errors."""

import json

import pytest
from graphql import parse
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from schema.core import Schema
from schema.executor import FastExecutor
from tests.schema.small import Calls, small_schema

ALL = "id name role tokens settings labels createdAt note"

QUERIES = [
    f"{{ agents {{ {ALL} }} }}",
    f"{{ agents {{ __typename {ALL} shout double }} __typename }}",
    "{ agents { double id shout name } }",
    "{ agents(limit: 1) { b: name a: name ...F ... on Agent { team { id double } } } }"
    " fragment F on Agent { role z: labels name }",
    "{ agents { id @skip(if: true) name @include(if: false) note } }",
    "{ agents(limit: 1) { id guarded name } }",
    '{ broken(how: "required") { name required } }',
    '{ broken(how: "listed") { name listed } }',
    '{ broken(how: "moment") { moment name } }',
    "{ bug conflict agents { id } }",
    '{ agent(id: "7") { id team(limit: 2) { id name friends { id } } } }',
    'mutation { one: agentCreate(name: "a") { id name } two: agentCreate(name: "b") { name } }',
    "{ __schema { queryType { name fields { name } } } }",
]


@pytest.fixture(scope="module")
def ordinary() -> Schema:
    schema = small_schema()
    schema.execution_context_class = StrawberryGraphQLCoreExecutionContext
    return schema


@pytest.mark.parametrize("query", QUERIES)
async def test_the_answer_is_that_of_the_ordinary_executor(
    schema: Schema, ordinary: Schema, made: Calls, query: str
) -> None:
    fast = await schema.execute(query)
    slow = await ordinary.execute(query)

    assert json.dumps(fast.data) == json.dumps(slow.data)  # the order of keys, too
    assert [one.formatted for one in fast.errors or ()] == [
        one.formatted for one in slow.errors or ()
    ]


async def test_a_field_with_a_permission_is_not_served_from_its_attribute(schema: Schema) -> None:
    answer = await schema.execute("{ agents(limit: 1) { guarded } }")

    assert answer.data == {"agents": [{"guarded": None}]}
    assert [one.extensions for one in answer.errors or ()] == [{"code": "FORBIDDEN"}]


async def test_values_are_written_as_the_wire_wants_them(schema: Schema) -> None:
    answer = await schema.execute(f"{{ agents(limit: 1) {{ {ALL} }} }}")

    assert answer.data == {
        "agents": [
            {
                "id": "0",
                "name": "Sarah",
                "role": "PM",
                "tokens": 3_000_000_000,
                "settings": {"a": [1, None]},
                "labels": ["x", "y"],
                "createdAt": "2026-02-18T10:00:00Z",
                "note": None,
            }
        ]
    }


def test_the_events_of_a_subscription_do_not_add_up(schema: Schema) -> None:
    document = parse("subscription { ticks(to: 1) }")
    executor = FastExecutor.build(schema._schema, document)
    assert isinstance(executor, FastExecutor)

    events = [executor.build_per_event_executor(number) for number in range(3)]
    for event in events:
        event.execute_operation()

    assert executor._plans == {}
    assert executor._relevant_sub_fields == {}
    assert [len(event._plans) for event in events] == [1, 1, 1]


async def test_a_list_of_awaitables_is_awaited(schema: Schema) -> None:
    answer = await schema.execute("{ later { __typename } }")

    assert answer.data == {"later": [{"__typename": "Agent"}, {"__typename": "Agent"}]}
