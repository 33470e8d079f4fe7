"""Limits of agents, tasks and projects at both doors: what is none is refused by its name."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from strawberry.utils.str_converters import to_camel_case

from aether.db import rows
from tests.doors.calls import PM_ANALYZE, PM_SARAH
from tests.schema.both import Doors, both_doors

PROJECT: Final = {"name": "P", "source": "github", "source_project_id": "a/b"}
OF: Final = {
    "agent": ("/api/agents", "pm_sarah", PM_SARAH, "agent"),
    "task_definition": ("/api/tasks", "pm_analyze", PM_ANALYZE, "taskDefinition"),
    "project": ("/api/projects", "1", PROJECT, "project"),
}
"""Of each table the path, the id and the body, and how GraphQL's fields and types begin."""
LIMITS: Final = [
    ("agent", "max_tokens_per_day", 0, 2**53 - 1, "BigInt"),
    ("agent", "max_tokens_per_month", 0, 2**53 - 1, "BigInt"),
    ("agent", "max_cost_usd_per_day", 0, 10**9, "Float"),
    ("agent", "max_cost_usd_per_month", 0, 10**9, "Float"),
    ("agent", "max_concurrent_runs", 1, 10_000, "Int"),
    ("task_definition", "max_tokens_per_run", 0, 2**53 - 1, "BigInt"),
    ("task_definition", "max_cost_usd_per_run", 0, 10**9, "Float"),
    ("task_definition", "max_runs_per_item_hour", 1, 100_000, "Int"),
    ("task_definition", "max_tool_rounds", 0, 100, "Int"),
    ("task_definition", "timeout_seconds", 1, 86_400, "Int"),
    ("task_definition", "approval_timeout_minutes", 1, 525_600, "Int"),
    ("project", "max_tokens_per_day", 0, 2**53 - 1, "BigInt"),
    ("project", "max_tokens_per_month", 0, 2**53 - 1, "BigInt"),
    ("project", "max_cost_usd_per_day", 0, 10**9, "Float"),
    ("project", "max_cost_usd_per_month", 0, 10**9, "Float"),
    ("project", "max_concurrent_runs", 1, 10_000, "Int"),
]
"""Table, field, least, most and GraphQL's type."""
NO_NUMBERS: Final = ['"5 "', '""', '"NaN"', "true", "false", "[]", "[5]", "{}"]
HUGE: Final = ["2147483648000000000000", "1" + "0" * 299, "1e300", "-1e300"]
NO_JSON: Final = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 5_000]


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        for path, _, body, _ in OF.values():
            await ours.post(path, body)
        yield ours


async def sent(doors: Doors, method: str, path: str, body: str) -> Any:
    """What raw JSON is answered."""
    headers = {"content-type": "application/json"}
    return await doors.client.request(method, path, content=body.encode(), headers=headers)


async def refusals(doors: Doors, table: str, field: str, raw: str) -> list[str]:
    """What both doors say of a limit's raw value: on change, on creation, as a literal."""
    path, row, body, begins = OF[table]
    name = to_camel_case(field)
    kind = begins[0].upper() + begins[1:]
    create = json.dumps({**body, "name": "Q", "id": "other", "source_project_id": "c/d"})
    named = json.loads(create)
    named = {key: named[key] for key in (*body, "name")}
    texts = []
    for method, place, more in (("PUT", f"{path}/{row}", {}), ("POST", path, named)):
        lead = json.dumps(more)[:-1] + (", " if more else "")
        answer = await sent(doors, method, place, f'{lead}"{field}": {raw}}}')
        assert answer.status_code == 400, (field, raw, answer.text)
        texts.append(answer.json()["error"])
    query = f"mutation($it: {kind}ChangesInput!) {{ {begins}Update(id: {json.dumps(row)}, "
    asked = json.dumps(f"{query}changes: $it) {{ id }} }}")
    by_variable = f'{{"query": {asked}, "variables": {{"it": {{"{name}": {raw}}}}}}}'
    literal = f"mutation {{ {begins}Update(id: {json.dumps(row)}, changes: {{{name}: {raw}}}) "
    by_literal = json.dumps({"query": literal + "{ id } }"})
    for told in (by_variable, by_literal):
        found = (await sent(doors, "POST", "/graphql", told)).json()
        [error] = found["errors"]
        assert error["extensions"] == {"code": "INVALID_INPUT"}, (field, raw, found)
        texts.append(error["message"])
    return texts


async def stored() -> list[list[Any]]:
    tables = [*OF, "audit_entry"]
    return [[dict(one) for one in await rows(f"SELECT * FROM {table}")] for table in tables]  # noqa: S608


@pytest.mark.parametrize(("table", "field", "least", "most", "kind"), LIMITS)
async def test_a_limit_that_is_none_is_refused_by_its_name_and_nothing_is_written(
    doors: Doors, table: str, field: str, least: int, most: int, kind: str
) -> None:
    before = await stored()
    name = to_camel_case(field)
    beyond = {str(least - 1): f"must be at least {least}", str(most + 1): f"must be at most {most}"}

    for raw, problem in beyond.items():
        told = await refusals(doors, table, field, raw)
        assert told == [f"{field}: {problem}"] * 2 + [f"{name}: {problem}"] * 2
    for raw in NO_NUMBERS + ["0.5"] * (kind != "Float"):
        told = await refusals(doors, table, field, raw)
        what = "number" if kind == "Float" else "whole number"
        assert told[:2] == [f"{field}: must be a {what}"] * 2
        assert told[2].startswith(f"Variable '$it' has invalid value at .{name}: {kind} ")
        assert told[3].startswith(f"{name}: {kind} "), (raw, told)
    for raw in HUGE:
        told = await refusals(doors, table, field, raw)
        edge = f"least {least}" if raw[0] == "-" else f"most {most}"
        assert told[:2] == [f"{field}: must be at {edge}"] * 2
        assert all(name in one for one in told[2:]), (raw, told)
    for raw in NO_JSON:
        told = await refusals(doors, table, field, raw)
        assert all(one.startswith("body: ") for one in told[:2]), (raw, told)
        assert name in told[3] or raw == "-Infinity", (raw, told)  # which is no GraphQL at all
    assert await stored() == before


@pytest.mark.parametrize(("table", "field", "least", "most", "kind"), LIMITS)
async def test_a_limit_is_taken_at_its_edges_and_null_lifts_it(
    doors: Doors, table: str, field: str, least: int, most: int, kind: str
) -> None:
    path, row, _, begins = OF[table]
    name = to_camel_case(field)
    query = (
        f"mutation($id: ID!, $it: {begins[0].upper()}{begins[1:]}ChangesInput!) "
        f"{{ {begins}Update(id: $id, changes: $it) {{ {name} }} }}"
    )
    shown = []
    for value in (least, None, most, None, float(least), None):
        by_rest = await doors.put(f"{path}/{row}", {field: value})
        other = least if value is None else None
        by_graphql = await doors.ask(query, id=row, it={name: other})
        shown.append((by_rest[field], by_graphql[f"{begins}Update"][name]))
        await doors.ask(query, id=row, it={name: value})
        assert (await doors.get(f"{path}/{row}"))[field] == value

    once = [(least, None), (None, least)]
    assert shown == [*once, (most, None), (None, least), *once]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("{ agents(limit: true) { id } }", "limit: Int cannot represent non-integer value"),
        (f"{{ agents(limit: {'9' * 5_000}) {{ id }} }}", "limit: has too many digits"),
        (f"query($n: Int = {'9' * 400}) {{ agents(limit: $n) {{ id }} }}",
         "number: has too many digits"),
        ('query($n: Int = "a") { agents(limit: $n) { id } }',
         "Int cannot represent non-integer value"),
        ('mutation { agentUpdate(id: 0.5, changes: {name: "x"}) { id } }',
         "id: ID cannot represent a non-string and non-integer value"),
        ('mutation { agentUpdate(id: "a", changes: {tools: ["b", 5]}) { id } }',
         "tools.1: String cannot represent a non string value"),
    ],
)  # fmt: skip
async def test_a_literal_that_is_none_is_told_by_the_name_of_its_field(
    doors: Doors, query: str, text: str
) -> None:
    told = (await doors.graphql(query, None))["errors"]

    assert [(one["message"], one["extensions"]) for one in told] == [
        (text, {"code": "INVALID_INPUT"})
    ]
    assert told[0].get("locations") or "digits" in text
