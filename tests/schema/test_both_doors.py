"""Tests that both doors lead to one behaviour: the same mistake is told in the same words."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from aether.errors import HTTP_STATUS, ErrorCode
from tests.doors.calls import PM_ANALYZE, PM_SARAH, actions, counts, execution
from tests.schema.both import Doors, both_doors

AGENT = {"id": "pm_sarah", "name": "Sarah (PM)", "role": "PM", "prompt": "You are Sarah."}
TASK = {"id": "pm_analyze", "name": "Analyze", "description": "Analyze", "actorId": "pm_sarah"}
PROJECT = {"name": "P", "source": "GITHUB", "sourceProjectId": "myorg/api-service"}
TOOL = {"name": "add_comment"}
TRIGGER = {"canonicalTrigger": "issue.created", "taskId": "pm_analyze"}
SOURCE = {
    "source": "GITHUB",
    "eventName": "issues",
    "action": "opened",
    "canonicalTrigger": "issue.created",
}
RULE = {
    "source": "GITHUB",
    "eventType": "issues",
    "jqFilter": '.action == "opened"',
    "canonicalTrigger": "issue.created",
}

REST_BODIES: dict[str, Any] = {
    "/api/agents": PM_SARAH,
    "/api/tasks": PM_ANALYZE,
    "/api/projects": {"name": "P", "source": "github", "source_project_id": "myorg/api-service"},
    "/api/tools": TOOL,
    "/api/tasks/triggers": {"canonical_trigger": "issue.created", "task_id": "pm_analyze"},
    "/api/tasks/sources": {
        "source": "github",
        "event_name": "issues",
        "action": "opened",
        "canonical_trigger": "issue.created",
    },
    "/api/webhook-mappings": {
        "source": "github",
        "event_type": "issues",
        "jq_filter": '.action == "opened"',
        "canonical_trigger": "issue.created",
    },
}
CREATE = {
    "/api/agents": ("agentCreate", "AgentInput", AGENT),
    "/api/tasks": ("taskDefinitionCreate", "TaskDefinitionInput", TASK),
    "/api/projects": ("projectCreate", "ProjectInput", PROJECT),
    "/api/tools": ("toolDefinitionCreate", "ToolDefinitionInput", TOOL),
    "/api/tasks/triggers": ("triggerTaskMappingCreate", "TriggerTaskMappingInput", TRIGGER),
    "/api/tasks/sources": ("sourceEventMappingCreate", "SourceEventMappingInput", SOURCE),
    "/api/webhook-mappings": ("webhookMappingCreate", "WebhookMappingInput", RULE),
}


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        yield ours


def create(path: str) -> tuple[str, dict[str, Any]]:
    field, kind, value = CREATE[path]
    return f"mutation ($input: {kind}!) {{ {field}(input: $input) {{ id }} }}", {"input": value}


async def same_refusal(
    doors: Doors, method: str, path: str, body: Any, query: str, variables: dict[str, Any]
) -> tuple[str, str]:
    """What both doors say, once it is the same."""
    told, code = await doors.refused_by_graphql(query, **variables)
    assert await doors.refused(method, path, body, HTTP_STATUS[ErrorCode(code)]) == told
    return told, code


@pytest.mark.parametrize("path", CREATE)
async def test_what_is_made_by_one_door_is_taken_at_both(doors: Doors, path: str) -> None:
    query, variables = create(path)
    if path == "/api/tasks/triggers":
        await doors.post("/api/tasks", PM_ANALYZE)
    await doors.ask(query, **variables)
    before = await actions()

    told, code = await same_refusal(doors, "POST", path, REST_BODIES[path], query, variables)

    assert told.endswith("already exists")
    assert code == "CONFLICT"
    assert len(await doors.get(path)) == 1
    assert await actions() == before


@pytest.mark.parametrize(
    ("query", "variables", "method", "path", "body", "text"),
    [
        ("query ($id: ID!) { agent(id: $id) { id } }", {"id": "nobody"},
         "GET", "/api/agents/nobody", None, "agent 'nobody' not found"),
        ("mutation ($id: ID!) { agentDelete(id: $id) }", {"id": "nobody"},
         "DELETE", "/api/agents/nobody", None, "agent 'nobody' not found"),
        ('mutation ($id: ID!) { agentUpdate(id: $id, changes: {name: "N"}) { id } }',
         {"id": "nobody"}, "PUT", "/api/agents/nobody", {"name": "N"}, "agent 'nobody' not found"),
        ('mutation { agentCapabilityAdd(agentId: "nobody", capability: "x") { id } }', {},
         "POST", "/api/agents/nobody/capabilities", {"capability": "x"},
         "agent 'nobody' not found"),
        ('mutation { agentCapabilityRemove(agentId: "nobody", id: "7") }', {},
         "DELETE", "/api/agents/nobody/capabilities/7", None, "capability 7 not found"),
        ('{ auditEntries(agentId: "nobody") { id } }', {},
         "GET", "/api/agents/nobody/audit", None, "agent 'nobody' not found"),
        ("query ($id: ID!) { project(id: $id) { id } }", {"id": 42},
         "GET", "/api/projects/42", None, "project 42 not found"),
        ("query ($id: ID!) { project(id: $id) { id } }", {"id": 3_000_000_000},
         "GET", "/api/projects/3000000000", None, "project 3000000000 not found"),
        ("query ($id: ID!) { project(id: $id) { id } }", {"id": "x"},
         "GET", "/api/projects/x", None, "project 'x' not found"),
        ("mutation ($id: ID!) { projectDelete(id: $id) }", {"id": "42"},
         "DELETE", "/api/projects/42", None, "project 42 not found"),
        ("query ($id: ID!) { taskDefinition(id: $id) { id } }", {"id": "nothing"},
         "GET", "/api/tasks/nothing", None, "task 'nothing' not found"),
        ("mutation ($id: ID!) { taskDefinitionDelete(id: $id) }", {"id": "nothing"},
         "DELETE", "/api/tasks/nothing", None, "task 'nothing' not found"),
        ("mutation ($id: ID!) { taskDefinitionRestart(id: $id) { id } }", {"id": "nothing"},
         "POST", "/api/tasks/nothing/restart", None, "task execution 'nothing' not found"),
        ("mutation ($id: ID!) { triggerTaskMappingDelete(id: $id) }", {"id": "7"},
         "DELETE", "/api/tasks/triggers/7", None, "mapping 7 not found"),
        ("mutation ($id: ID!) { sourceEventMappingDelete(id: $id) }", {"id": "7"},
         "DELETE", "/api/tasks/sources/7", None, "mapping 7 not found"),
        ("query ($id: ID!) { webhookMapping(id: $id) { id } }", {"id": "7"},
         "GET", "/api/webhook-mappings/7", None, "webhook mapping 7 not found"),
        ("mutation ($id: ID!) { webhookMappingDelete(id: $id) }", {"id": "7"},
         "DELETE", "/api/webhook-mappings/7", None, "webhook mapping 7 not found"),
        ("query ($id: ID!) { delivery(id: $id) { id } }", {"id": "7"},
         "GET", "/api/deliveries/7", None, "delivery 7 not found"),
        ("query ($id: ID!) { delivery(id: $id) { id } }", {"id": "-1"},
         "GET", "/api/deliveries/-1", None, "delivery '-1' not found"),
        ("mutation ($id: ID!) { deliveryReplay(id: $id) { id } }", {"id": "7"},
         "POST", "/api/deliveries/7/replay", None, "delivery 7 not found"),
        ("query ($id: ID!) { taskExecution(id: $id) { id } }", {"id": "7"},
         "GET", "/api/task-executions/7", None, "task execution 7 not found"),
        ("mutation ($id: ID!) { taskExecutionRestart(id: $id) { id } }", {"id": "7"},
         "POST", "/api/task-executions/7/restart", None, "task execution 7 not found"),
        ("mutation ($id: ID!) { taskExecutionCancel(id: $id) { id } }", {"id": "7"},
         "POST", "/api/task-executions/7/cancel", None, "task execution 7 not found"),
        ("query ($id: ID!) { toolDefinition(id: $id) { id } }", {"id": "7"},
         "GET", "/api/tools/7", None, "tool 7 not found"),
        ("mutation ($id: ID!) { toolDefinitionDelete(id: $id) }", {"id": "7"},
         "DELETE", "/api/tools/7", None, "tool 7 not found"),
    ],
)  # fmt: skip
async def test_what_is_not_there_is_not_found_at_both(
    doors: Doors,
    query: str,
    variables: dict[str, Any],
    method: str,
    path: str,
    body: Any,
    text: str | None,
) -> None:
    told, code = await doors.refused_by_graphql(query, **variables)

    assert code == "NOT_FOUND"
    if text is not None:
        assert told == text
        assert await doors.refused(method, path, body, 404) == text
    assert await actions() == []
    assert doors.hints == []


@pytest.mark.parametrize(
    ("path", "rest", "graphql", "text"),
    [
        ("/api/agents", {"id": "Sarah"}, {"id": "Sarah"},
         "id: must be snake_case, such as pm_sarah"),
        ("/api/agents", {"name": " "}, {"name": " "}, "name: must not be blank"),
        ("/api/agents", {"prompt": ""}, {"prompt": ""}, "prompt: must not be empty"),
        ("/api/agents", {"tools": ["x" * 65]}, {"tools": ["x" * 65]},
         "tools.0: must have at most 64 characters"),
        ("/api/tasks", {"id": "triggers"}, {"id": "triggers"},
         "id: must not be triggers, which is a path of its own"),
        ("/api/projects", {"name": ""}, {"name": ""}, "name: must not be empty"),
        ("/api/tools", {"name": "a b"}, {"name": "a b"},
         "name: must be letters, digits, '_' and '-', such as add_comment"),
        ("/api/tools", {"parameters": {"type": "array"}}, {"parameters": {"type": "array"}},
         'parameters: must be a JSON Schema with "type": "object"'),
        ("/api/webhook-mappings", {"slug": "github"}, {"slug": "github"},
         "slug: must not be github, which is the source's own"),
        ("/api/webhook-mappings", {"extract": {"n": ""}}, {"extract": {"n": ""}},
         "extract.n: must not be empty"),
    ],
)  # fmt: skip
async def test_what_is_not_valid_is_refused_in_the_same_words(
    doors: Doors, path: str, rest: Any, graphql: Any, text: str
) -> None:
    query, variables = create(path)
    wrong = {"input": variables["input"] | graphql}

    told = await same_refusal(doors, "POST", path, REST_BODIES[path] | rest, query, wrong)

    assert told == (text, "INVALID_INPUT")
    assert await doors.get(path) == []
    assert await actions() == []


@pytest.mark.parametrize(
    ("rest", "graphql", "rest_text", "text"),
    [
        ({"actor_id": ""}, {"actorId": ""}, "actor_id: must not be empty",
         "actorId: must not be empty"),
        ({"max_tool_rounds": 101}, {"maxToolRounds": 101}, "max_tool_rounds: must be at most 100",
         "maxToolRounds: must be at most 100"),
    ],
)  # fmt: skip
async def test_each_door_names_the_field_as_it_spells_it(
    doors: Doors, rest: Any, graphql: Any, rest_text: str, text: str
) -> None:
    query, variables = create("/api/tasks")
    wrong = {"input": variables["input"] | graphql}

    assert await doors.refused("POST", "/api/tasks", PM_ANALYZE | rest, 400) == rest_text
    assert await doors.refused_by_graphql(query, **wrong) == (text, "INVALID_INPUT")
    assert await counts("task_definition", "audit_entry") == [0, 0]


async def test_a_program_that_jq_cannot_read_is_refused_at_both(doors: Doors) -> None:
    query, variables = create("/api/webhook-mappings")
    wrong = {"input": variables["input"] | {"jqFilter": ".a ==="}}
    body = REST_BODIES["/api/webhook-mappings"] | {"jq_filter": ".a ==="}

    by_rest = await doors.refused("POST", "/api/webhook-mappings", body, 400)
    told, code = await doors.refused_by_graphql(query, **wrong)

    assert by_rest.startswith("jq_filter: ")
    assert (told, code) == (by_rest.replace("jq_filter", "jqFilter"), "INVALID_INPUT")
    assert await counts("webhook_mapping", "audit_entry") == [0, 0]


async def test_a_state_that_does_not_allow_it_is_a_conflict_at_both(doors: Doors) -> None:
    ran = await execution(status="succeeded")
    restart = "mutation ($id: ID!) { taskExecutionRestart(id: $id) { id } }"
    cancel = "mutation ($id: ID!) { taskExecutionCancel(id: $id) { id } }"
    of_task = "mutation ($id: ID!) { taskDefinitionRestart(id: $id) { id } }"

    path = f"/api/task-executions/{ran}"
    told = [
        await same_refusal(doors, "POST", f"{path}/restart", None, restart, {"id": ran}),
        await same_refusal(doors, "POST", f"{path}/cancel", None, cancel, {"id": ran}),
        await same_refusal(
            doors, "POST", "/api/tasks/pm_analyze/restart", None, of_task, {"id": "pm_analyze"}
        ),
    ]

    assert told == [
        (f"task execution {ran} is succeeded, only a failed one restarts", "CONFLICT"),
        (f"task execution {ran} is succeeded already", "CONFLICT"),
        ("task 'pm_analyze' has no failed execution", "CONFLICT"),
    ]
    assert doors.hints == []
    assert await actions() == []


async def test_one_failure_does_not_blank_the_rest_of_an_answer(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH)

    answer = await doors.graphql(
        '{ agents { id } agent(id: "nobody") { id } taskExecutions(taskId: " ") { id } }', {}
    )

    assert answer["data"] == {"agents": [{"id": "pm_sarah"}], "agent": None, "taskExecutions": None}
    told = [(one["path"], one["message"], one["extensions"]["code"]) for one in answer["errors"]]
    assert sorted(told) == [
        (["agent"], "agent 'nobody' not found", "NOT_FOUND"),
        (["taskExecutions"], "taskId: must not be blank", "INVALID_INPUT"),
    ]
