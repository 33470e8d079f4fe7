"""Tests of both doors side by side: one wrong value, one code, one text, for every field there is.

The values come from the models that both doors validate by, so a new field is looked at, too.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from pydantic import BaseModel
from strawberry.utils.str_converters import to_camel_case

from aether.errors import HTTP_STATUS, ErrorCode
from resolvers import (
    agents,
    deliveries,
    executions,
    mappings,
    mcp_servers,
    memory,
    projects,
    tasks,
    tools,
)
from tests.doors.calls import PM_ANALYZE, PM_SARAH, count
from tests.schema.both import Doors, both_doors, whole_schema

Model = type[BaseModel]


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors(WATCHDOG_ENABLED="true", ENCRYPTION_KEY="k" * 40) as ours:
        yield ours


def spelled_alike(text: str) -> str:
    """A refusal with its field's name spelled as GraphQL spells it."""
    field, colon, problem = text.partition(": ")
    if not re.fullmatch(r"[\w.]+", field):
        return text
    return ".".join(map(to_camel_case, field.split("."))) + colon + problem


BODIES: Final[dict[str, tuple[Model, dict[str, Any], str, str]]] = {
    "/api/agents": (agents.NewAgent, PM_SARAH, "agentCreate", "AgentInput"),
    "/api/tasks": (tasks.NewTask, PM_ANALYZE, "taskDefinitionCreate", "TaskDefinitionInput"),
    "/api/projects": (
        projects.NewProject, {"name": "P", "source": "github", "source_project_id": "a/b"},
        "projectCreate", "ProjectInput",
    ),
    "/api/tools": (tools.NewTool, {"name": "a"}, "toolDefinitionCreate", "ToolDefinitionInput"),
    "/api/tasks/triggers": (
        mappings.NewTriggerMapping, {"canonical_trigger": "issue.created", "task_id": "nothing"},
        "triggerTaskMappingCreate", "TriggerTaskMappingInput",
    ),
    "/api/tasks/sources": (
        mappings.NewSourceMapping,
        {"source": "github", "event_name": "issues", "canonical_trigger": "issue.created"},
        "sourceEventMappingCreate", "SourceEventMappingInput",
    ),
    "/api/webhook-mappings": (
        mappings.NewWebhookMapping,
        {"source": "github", "event_type": "issues", "jq_filter": ".a",
         "canonical_trigger": "issue.created"},
        "webhookMappingCreate", "WebhookMappingInput",
    ),
    "/api/memory": (
        memory.NewMemory, {"key": "k", "content": "c", "scope": "project"}, "memoryStore",
        "MemoryInput",
    ),
    "/api/mcp-servers": (
        mcp_servers.NewMcpServer, {"name": "Docs", "url": "https://docs.example"},
        "mcpServerCreate", "McpServerInput",
    ),
}  # fmt: skip

CHANGES: Final[dict[str, tuple[Model, str, str]]] = {
    "/api/agents/pm_sarah": (agents.AgentChanges, "agentUpdate", "AgentChangesInput"),
    "/api/tasks/pm_analyze": (
        tasks.TaskChanges, "taskDefinitionUpdate", "TaskDefinitionChangesInput"
    ),
    "/api/projects/1": (projects.ProjectChanges, "projectUpdate", "ProjectChangesInput"),
    "/api/tools/1": (tools.ToolChanges, "toolDefinitionUpdate", "ToolDefinitionChangesInput"),
    "/api/mcp-servers/1": (
        mcp_servers.McpServerChanges, "mcpServerUpdate", "McpServerChangesInput"
    ),
}  # fmt: skip

FILTERS: Final[dict[str, tuple[Model, str]]] = {
    "/api/agents": (agents.AgentFilter, "agents"),
    "/api/projects": (projects.ProjectFilter, "projects"),
    "/api/tasks": (tasks.TaskFilter, "taskDefinitions"),
    "/api/tools": (tools.ToolFilter, "toolDefinitions"),
    "/api/deliveries": (deliveries.DeliveryFilter, "deliveries"),
    "/api/task-executions": (executions.ExecutionFilter, "taskExecutions"),
    "/api/tool-executions": (tools.ToolExecutionFilter, "toolExecutions"),
    "/api/memory": (memory.MemoryFilter, "memories"),
}


def texts(kind: str) -> list[Any]:
    """Wrong values, or ones at the edge, that GraphQL's own types let pass."""
    if kind == "[String]":
        return [[""], [" "], ["x" * 65], ["x"] * 201]
    values: dict[str, list[Any]] = {
        "Int": [-1, 0, 101, 86_401, 2**31 - 1],
        "ID": ["", " ", "x" * 65, "x" * 401, "PM", "seed", "triggers", "0", "-1", "9" * 19],
        "JSON": [{"type": "array"}, {"type": "object", "$ref": "http://a.example"}, {"": "x"},
                 {"n": ""}, {"n": ".a ==="}],
        "String": ["", " ", "\u200b", "x" * 65, "x" * 101, "x" * 201, "x" * 401, "a b", "PM", "-",
                   ".a ===", "env", "github", "a\tb", "x" * 5_001],
    }  # fmt: skip
    return values.get(kind, [])  # enums: GraphQL itself refuses what is none, in its own words


def shapes(schema: Any, name: str) -> dict[str, str]:
    """A GraphQL input's fields, by name, with their type without its marks."""
    kind = schema.get_type(name)
    return {field: str(one.type).replace("!", "") for field, one in kind.fields.items()}


def wrong(model: Model, kinds: dict[str, str]) -> Iterator[tuple[str, str, Any]]:
    """(REST's name, GraphQL's name, value) of each field and each of its wrong values."""
    for name, one in model.model_fields.items():
        spelled = to_camel_case(name)
        assert spelled in kinds, f"{model.__name__}.{name} is not at the GraphQL door"
        for value in texts(kinds[spelled]):
            yield one.alias or name, spelled, value


def sent_by_rest(value: Any, model: Model, name: str) -> Any:
    """GraphQL's ID of a number is text; REST's is a number."""
    annotation = next(
        str(one.annotation) for key, one in model.model_fields.items() if name in (key, one.alias)
    )
    is_number = re.search(r"\bint\b", annotation) and re.fullmatch(r"-?\d+", str(value))
    return int(value) if is_number else value


async def alike(doors: Doors, asked: Any, query: str, variables: dict[str, Any]) -> str | None:
    """What both doors say; None where both take it. Anything else is a failure."""
    answer = await doors.graphql(query, variables)
    if asked.status_code < 400:
        assert "errors" not in answer, (query, variables, asked.text, answer)
        return None
    assert "errors" in answer, (query, variables, asked.text, answer)
    [error] = answer["errors"]
    rest = asked.json()["error"]
    assert error["message"] == spelled_alike(rest), (query, variables)
    assert HTTP_STATUS[ErrorCode(error["extensions"]["code"])] == asked.status_code
    return str(rest)


def plain(body: dict[str, Any], model: Model, kinds: dict[str, str]) -> dict[str, Any]:
    """REST's body as GraphQL's input: names in camel case, enums by their names."""
    names = {one.alias or name: to_camel_case(name) for name, one in model.model_fields.items()}
    scalars = {"String", "ID", "Int", "Boolean", "JSON"}
    return {
        names[key]: value.upper() if kinds[names[key]] not in scalars else value
        for key, value in body.items()
    }


@pytest.mark.parametrize("path", BODIES)
async def test_a_wrong_field_of_what_is_created_is_refused_alike(doors: Doors, path: str) -> None:
    model, body, field, kind = BODIES[path]
    kinds = shapes(whole_schema()._schema, kind)
    query = f"mutation ($input: {kind}!) {{ {field}(input: $input) {{ __typename }} }}"
    given = plain(body, model, kinds)
    refused = 0

    for rest, graphql, value in wrong(model, kinds):
        asked = await doors.client.post(path, json=body | {rest: sent_by_rest(value, model, rest)})
        if asked.status_code < 400:
            continue  # fits; whether both take it is asked by the tests of the resource
        assert await alike(doors, asked, query, {"input": given | {graphql: value}})
        refused += 1

    assert refused >= 3


@pytest.mark.parametrize("path", CHANGES)
async def test_a_wrong_change_is_refused_alike(doors: Doors, path: str) -> None:
    for made in ("/api/agents", "/api/tasks", "/api/projects", "/api/tools", "/api/mcp-servers"):
        await doors.post(made, BODIES[made][1])
    model, field, kind = CHANGES[path]
    kinds = shapes(whole_schema()._schema, kind)
    row = path.rpartition("/")[2]
    query = (
        f"mutation ($id: ID!, $changes: {kind}!) "
        f"{{ {field}(id: $id, changes: $changes) {{ __typename }} }}"
    )
    before = await count("audit_entry")
    refused = 0

    for rest, graphql, value in wrong(model, kinds):
        body = {rest: sent_by_rest(value, model, rest)}
        asked = await doors.client.put(path, json=body)
        if asked.status_code < 400:
            before += await count("audit_entry") - before
            continue
        assert await alike(doors, asked, query, {"id": row, "changes": {graphql: value}})
        refused += 1

    assert refused >= 3
    assert await count("audit_entry") == before


@pytest.mark.parametrize("path", FILTERS)
async def test_a_wrong_filter_is_refused_alike(doors: Doors, path: str) -> None:
    model, field = FILTERS[path]
    query_type: Any = whole_schema()._schema.query_type
    arguments = query_type.fields[field].args.items()
    taken = {name: str(one.type).replace("!", "") for name, one in arguments}
    refused = 0

    for rest, graphql, value in wrong(model, taken):
        kind = taken[graphql]
        asked = await doors.client.get(path, params={rest: str(value)})
        query = f"query ($v: {kind}) {{ {field}({graphql}: $v) {{ __typename }} }}"
        refused += await alike(doors, asked, query, {"v": value}) is not None

    assert refused >= 2


IDS: Final = ("0", "-1", "01", "x", "9223372036854775807", "9223372036854775808", "9" * 30, "1.0")
BY_ID: Final = (
    ("GET", "/api/projects/{}", "query ($id: ID!) { project(id: $id) { id } }"),
    ("PUT", "/api/projects/{}",
     'mutation ($id: ID!) { projectUpdate(id: $id, changes: {name: "N"}) { id } }'),
    ("DELETE", "/api/projects/{}", "mutation ($id: ID!) { projectDelete(id: $id) }"),
    ("GET", "/api/tools/{}", "query ($id: ID!) { toolDefinition(id: $id) { id } }"),
    ("DELETE", "/api/tools/{}", "mutation ($id: ID!) { toolDefinitionDelete(id: $id) }"),
    ("GET", "/api/deliveries/{}", "query ($id: ID!) { delivery(id: $id) { id } }"),
    ("POST", "/api/deliveries/{}/replay", "mutation ($id: ID!) { deliveryReplay(id: $id) { id } }"),
    ("GET", "/api/task-executions/{}", "query ($id: ID!) { taskExecution(id: $id) { id } }"),
    ("POST", "/api/task-executions/{}/restart",
     "mutation ($id: ID!) { taskExecutionRestart(id: $id) { id } }"),
    ("POST", "/api/task-executions/{}/cancel",
     "mutation ($id: ID!) { taskExecutionCancel(id: $id) { id } }"),
    ("DELETE", "/api/tasks/triggers/{}",
     "mutation ($id: ID!) { triggerTaskMappingDelete(id: $id) }"),
    ("DELETE", "/api/tasks/sources/{}",
     "mutation ($id: ID!) { sourceEventMappingDelete(id: $id) }"),
    ("GET", "/api/webhook-mappings/{}", "query ($id: ID!) { webhookMapping(id: $id) { id } }"),
    ("DELETE", "/api/webhook-mappings/{}", "mutation ($id: ID!) { webhookMappingDelete(id: $id) }"),
    ("GET", "/api/mcp-servers/{}", "query ($id: ID!) { mcpServer(id: $id) { id } }"),
    ("PUT", "/api/mcp-servers/{}",
     'mutation ($id: ID!) { mcpServerUpdate(id: $id, changes: {name: "N"}) { id } }'),
    ("DELETE", "/api/mcp-servers/{}", "mutation ($id: ID!) { mcpServerDelete(id: $id) }"),
    ("GET", "/api/approvals/{}", "query ($id: ID!) { approval(id: $id) { id } }"),
    ("POST", "/api/approvals/{}/approve",
     "mutation ($id: ID!) { approvalApprove(id: $id) { id } }"),
    ("POST", "/api/approvals/{}/refuse", "mutation ($id: ID!) { approvalRefuse(id: $id) { id } }"),
    ("DELETE", "/api/integrations/{}", "mutation ($id: ID!) { integrationDelete(id: $id) }"),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path", "query"), BY_ID, ids=[f"{a} {b}" for a, b, _ in BY_ID])
async def test_an_id_that_nothing_has_is_not_found_alike(
    doors: Doors, method: str, path: str, query: str
) -> None:
    for row in IDS:
        body = {"name": "N"} if method == "PUT" else None
        asked = await doors.client.request(method, path.format(row), json=body)

        told = await alike(doors, asked, query, {"id": row})

        assert asked.status_code == 404
        assert told is not None
        assert told.endswith("not found")


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
async def test_what_cannot_be_stored_is_refused_alike(doors: Doors, text: str) -> None:
    body = json.dumps(PM_SARAH | {"name": text})
    headers = {"content-type": "application/json"}
    asked = await doors.client.post("/api/agents", content=body, headers=headers)
    query = "mutation ($input: AgentInput!) { agentCreate(input: $input) { id } }"
    variables = {"input": {"id": "a", "name": text, "role": "PM", "prompt": "p"}}
    told = await doors.client.post(
        "/graphql", content=json.dumps({"query": query, "variables": variables}), headers=headers
    )

    [error] = told.json()["errors"]
    assert asked.status_code == 400
    assert error["message"] == "input." + asked.json()["error"]  # the variable is named, too
    assert error["extensions"]["code"] == "INVALID_INPUT"
