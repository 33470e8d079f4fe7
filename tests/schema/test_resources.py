"""Tests of the configuration's resources over GraphQL: create, read, change, delete, relations."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.doors.calls import PM_ANALYZE, PM_SARAH, TA_LEO, actions, column, counts
from tests.schema.both import Doors, both_doors


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        yield ours


AGENT = """id name role description prompt context identity responsibilities constraints
  communicationStyle model tools enabled capabilities { capability }"""
SARAH: dict[str, Any] = {
    "id": "pm_sarah",
    "name": "Sarah (PM)",
    "role": "PM",
    "prompt": "You are Sarah.",
}
REST_OF_SARAH: dict[str, Any] = {
    "description": None,
    "context": None,
    "identity": None,
    "responsibilities": [],
    "constraints": [],
    "communicationStyle": None,
    "model": None,
    "tools": None,
    "enabled": True,
    "capabilities": [],
}


async def test_an_agent_is_created_changed_listed_and_deleted(doors: Doors) -> None:
    create = f"mutation ($i: AgentInput!) {{ agentCreate(input: $i) {{ {AGENT} }} }}"
    update = f"""mutation ($c: AgentChangesInput!) {{
      agentUpdate(id: "pm_sarah", changes: $c) {{ {AGENT} }} }}"""

    created = await doors.ask(create, i=SARAH)
    changed = await doors.ask(update, c={"role": "HUB", "tools": ["add_comment"], "model": None})
    listed = await doors.ask(f'{{ agents {{ {AGENT} }} agent(id: "pm_sarah") {{ {AGENT} }} }}')
    deleted = await doors.ask('mutation { agentDelete(id: "pm_sarah") }')

    assert created == {"agentCreate": SARAH | REST_OF_SARAH}
    expected = SARAH | REST_OF_SARAH | {"role": "HUB", "tools": ["add_comment"]}
    assert changed == {"agentUpdate": expected}
    assert listed == {"agents": [expected], "agent": expected}
    assert deleted == {"agentDelete": "pm_sarah"}
    assert await actions() == ["agent.created", "agent.updated", "agent.deleted"]
    assert await doors.ask("{ agents { id } }") == {"agents": []}


async def test_a_change_to_null_is_told_from_what_is_left_out(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH | {"model": "gpt-4o"})
    update = """mutation ($c: AgentChangesInput!) {
      agentUpdate(id: "pm_sarah", changes: $c) { description model } }"""

    left_out = await doors.ask(update, c={"model": "gpt-4o-mini"})
    to_null = await doors.ask(update, c={"description": None})

    description = PM_SARAH["description"]
    assert left_out["agentUpdate"] == {"description": description, "model": "gpt-4o-mini"}
    assert to_null["agentUpdate"] == {"description": None, "model": "gpt-4o-mini"}


async def test_agents_are_filtered_and_paged(doors: Doors) -> None:
    for number in range(4):
        role = "qa" if number % 2 else "dev"
        await doors.post("/api/agents", TA_LEO | {"id": f"agent_{number}", "role_id": role})
    await doors.put("/api/agents/agent_3", {"enabled": False})

    told = await doors.ask(
        """{ qa: agents(role: QA) { id } enabled: agents(enabled: true, limit: 2, offset: 1) { id }
             all: agents { id } }"""
    )

    assert column(told["qa"], "id") == ["agent_1", "agent_3"]
    assert column(told["enabled"], "id") == ["agent_1", "agent_2"]
    assert len(told["all"]) == 4


async def test_a_capability_is_added_and_removed(doors: Doors) -> None:
    await doors.post("/api/agents", TA_LEO)

    added = await doors.ask(
        'mutation { agentCapabilityAdd(agentId: "ta_leo", capability: "code_review")'
        " { id capability } }"
    )
    told = await doors.ask('{ agent(id: "ta_leo") { capabilities { id capability } } }')
    capability = added["agentCapabilityAdd"]
    removed = await doors.ask(
        'mutation ($id: ID!) { agentCapabilityRemove(agentId: "ta_leo", id: $id) }',
        id=capability["id"],
    )

    assert capability["capability"] == "code_review"
    assert told["agent"]["capabilities"] == [capability]
    assert removed == {"agentCapabilityRemove": capability["id"]}
    assert await counts("agent_capability") == [0]


@pytest.mark.parametrize(
    ("capability", "text"),
    [
        ("", "capability: must not be empty"),
        ("x" * 65, "capability: must have at most 64 characters"),
    ],
)
async def test_a_capability_that_is_not_valid_is_refused(
    doors: Doors, capability: str, text: str
) -> None:
    await doors.post("/api/agents", TA_LEO)
    add = """mutation ($c: String!) {
      agentCapabilityAdd(agentId: "ta_leo", capability: $c) { id } }"""

    assert await doors.refused_by_graphql(add, c=capability) == (text, "INVALID_INPUT")
    assert await counts("agent_capability") == [0]


async def test_an_agents_audit_log_is_paged_and_outlives_it(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH)
    await doors.put("/api/agents/pm_sarah", {"name": "S"})
    of_agent = '{ agent(id: "pm_sarah") { audit(limit: 1, offset: 1) { action agentId } } }'
    entries = '{ auditEntries(agentId: "pm_sarah") { id action detail agent { id } } }'

    page = await doors.ask(of_agent)
    before = await doors.ask(entries)
    await doors.delete("/api/agents/pm_sarah")
    after = await doors.ask(entries)

    assert page["agent"]["audit"] == [{"action": "agent.created", "agentId": "pm_sarah"}]
    assert column(before["auditEntries"], "action") == ["agent.updated", "agent.created"]
    assert before["auditEntries"][0]["detail"]["changed"] == ["name"]
    assert {one["agent"]["id"] for one in before["auditEntries"]} == {"pm_sarah"}
    assert column(after["auditEntries"], "action")[0] == "agent.deleted"
    assert column(after["auditEntries"], "agent") == [None, None, None]


async def test_a_project_is_created_changed_listed_and_deleted(doors: Doors) -> None:
    fields = "id name description source sourceProjectId enabled"
    create = f"mutation ($i: ProjectInput!) {{ projectCreate(input: $i) {{ {fields} }} }}"
    sent = {"name": "API", "source": "JIRA", "sourceProjectId": "PROJ"}

    made = (await doors.ask(create, i=sent))["projectCreate"]
    update = f"""mutation ($id: ID!, $c: ProjectChangesInput!) {{
      projectUpdate(id: $id, changes: $c) {{ {fields} }} }}"""
    changed = await doors.ask(update, id=made["id"], c={"source": "PLANE", "enabled": False})
    listed = await doors.ask(f"""query ($id: ID!) {{ project(id: $id) {{ {fields} }}
      plane: projects(source: PLANE) {{ id }} enabled: projects(enabled: true) {{ id }} }}""",
      id=int(made["id"]))  # fmt: skip
    deleted = await doors.ask("mutation ($id: ID!) { projectDelete(id: $id) }", id=made["id"])

    assert made == sent | {"id": made["id"], "description": None, "enabled": True}
    expected = made | {"source": "PLANE", "enabled": False}
    assert changed == {"projectUpdate": expected}
    assert listed == {"project": expected, "plane": [{"id": made["id"]}], "enabled": []}
    assert deleted == {"projectDelete": made["id"]}
    assert await counts("project") == [0]


async def test_a_task_is_told_with_its_agent_and_its_triggers(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH)
    create = """mutation ($i: TaskDefinitionInput!) { taskDefinitionCreate(input: $i) {
      id name description actorId fallbackPrompt requiredCapabilities tools toolReach memoryScopes
      maxToolRounds timeoutSeconds enabled agent { name } triggers { id } } }"""
    sent = {
        "id": "pm_analyze",
        "name": "Analyze",
        "description": "Analyze it.",
        "actorId": "pm_sarah",
        "memoryScopes": ["PROJECT", "ORGANIZATIONAL"],
        "toolReach": "PROJECT",
        "maxToolRounds": 0,
    }

    created = await doors.ask(create, i=sent)
    mapped = await doors.ask(
        """mutation { triggerTaskMappingCreate(input: {canonicalTrigger: "issue.created",
             taskId: "pm_analyze", condition: "true", minAssociation: MEMBER}) {
             id minAssociation condition task { id agent { id } } } }"""
    )
    told = await doors.ask(
        """{ taskDefinitions(actorId: "pm_sarah") {
               memoryScopes triggers { id canonicalTrigger minAssociation taskId } }
             triggerTaskMappings(taskId: "pm_analyze") { task { name } } }"""
    )

    assert created["taskDefinitionCreate"] == sent | {
        "fallbackPrompt": None,
        "requiredCapabilities": [],
        "tools": None,
        "timeoutSeconds": None,
        "enabled": True,
        "agent": {"name": "Sarah (PM)"},
        "triggers": [],
    }
    mapping = mapped["triggerTaskMappingCreate"]
    assert mapping == {
        "id": mapping["id"],
        "minAssociation": "MEMBER",
        "condition": "true",
        "task": {"id": "pm_analyze", "agent": {"id": "pm_sarah"}},
    }
    trigger = {
        "id": mapping["id"],
        "canonicalTrigger": "issue.created",
        "minAssociation": "MEMBER",
        "taskId": "pm_analyze",
    }
    assert told == {
        "taskDefinitions": [{"memoryScopes": ["PROJECT", "ORGANIZATIONAL"], "triggers": [trigger]}],
        "triggerTaskMappings": [{"task": {"name": "Analyze"}}],
    }


async def test_a_task_is_changed_and_deleted_and_its_agent_need_not_exist(doors: Doors) -> None:
    await doors.post("/api/tasks", PM_ANALYZE)
    await doors.post(
        "/api/tasks/triggers", {"canonical_trigger": "issue.created", "task_id": "pm_analyze"}
    )

    changed = await doors.ask(
        """mutation { taskDefinitionUpdate(id: "pm_analyze", changes: {actorId: "nobody",
             memoryScopes: [TASK], timeoutSeconds: 60}) {
             actorId agent { id } memoryScopes timeoutSeconds name } }"""
    )
    deleted = await doors.ask('mutation { taskDefinitionDelete(id: "pm_analyze") }')

    assert changed["taskDefinitionUpdate"] == {
        "actorId": "nobody",
        "agent": None,
        "memoryScopes": ["TASK"],
        "timeoutSeconds": 60,
        "name": PM_ANALYZE["name"],
    }
    assert deleted == {"taskDefinitionDelete": "pm_analyze"}
    assert await counts("task_definition", "trigger_task_mapping") == [0, 0]


async def test_mappings_of_all_three_kinds_are_created_listed_and_deleted(doors: Doors) -> None:
    await doors.post("/api/tasks", PM_ANALYZE)
    source = """source eventName action canonicalTrigger"""
    rule = "source eventType jqFilter canonicalTrigger name slug extract enabled"
    sent_source = {
        "source": "GITHUB",
        "eventName": "issues",
        "action": None,
        "canonicalTrigger": "issue.created",
    }
    sent_rule = {
        "source": "GITLAB",
        "eventType": "Issue Hook",
        "jqFilter": ".a",
        "canonicalTrigger": "issue.urgent",
        "name": "Urgent",
        "slug": "urgent-hook",
        "extract": {"title": ".title"},
        "enabled": False,
    }

    made = await doors.ask(
        f"""mutation ($s: SourceEventMappingInput!, $r: WebhookMappingInput!) {{
          sourceEventMappingCreate(input: $s) {{ id {source} }}
          webhookMappingCreate(input: $r) {{ id {rule} }}
          triggerTaskMappingCreate(input: {{canonicalTrigger: "a.b", taskId: "pm_analyze"}})
            {{ id minAssociation }} }}""",
        s=sent_source, r=sent_rule,
    )  # fmt: skip
    ids = {name: one.pop("id") for name, one in made.items()}
    changed = await doors.ask(
        """mutation ($id: ID!) { webhookMappingUpdate(id: $id, changes: {enabled: true, slug: null})
             { enabled slug jqFilter } }""",
        id=ids["webhookMappingCreate"],
    )
    listed = await doors.ask(
        f"""query ($id: ID!) {{
          sourceEventMappings(source: GITHUB, eventName: "issues") {{ {source} }}
          none: sourceEventMappings(canonicalTrigger: "x.y") {{ id }}
          webhookMappings(source: GITLAB, enabled: true) {{ eventType }}
          webhookMapping(id: $id) {{ extract }}
          triggerTaskMappings(canonicalTrigger: "a.b") {{ canonicalTrigger }} }}""",
        id=ids["webhookMappingCreate"],
    )
    deleted = await doors.ask(
        """mutation ($s: ID!, $r: ID!, $t: ID!) { sourceEventMappingDelete(id: $s)
             webhookMappingDelete(id: $r) triggerTaskMappingDelete(id: $t) }""",
        s=ids["sourceEventMappingCreate"], r=ids["webhookMappingCreate"],
        t=ids["triggerTaskMappingCreate"],
    )  # fmt: skip

    assert made == {
        "sourceEventMappingCreate": sent_source,
        "webhookMappingCreate": sent_rule,
        "triggerTaskMappingCreate": {"minAssociation": None},
    }
    assert changed["webhookMappingUpdate"] == {"enabled": True, "slug": None, "jqFilter": ".a"}
    assert listed == {
        "sourceEventMappings": [sent_source],
        "none": [],
        "webhookMappings": [{"eventType": "Issue Hook"}],
        "webhookMapping": {"extract": {"title": ".title"}},
        "triggerTaskMappings": [{"canonicalTrigger": "a.b"}],
    }
    assert list(deleted.values()) == [ids[name.replace("Delete", "Create")] for name in deleted]
    tables = ("source_event_mapping", "webhook_mapping", "trigger_task_mapping")
    assert await counts(*tables) == [0, 0, 0]


async def test_a_tool_is_created_changed_listed_and_deleted(doors: Doors) -> None:
    fields = "id name description category parameters effect enabled mcpServerId"
    create = f"""mutation ($i: ToolDefinitionInput!) {{
      toolDefinitionCreate(input: $i) {{ {fields} }} }}"""
    parameters = {"type": "object", "properties": {"n": {"maximum": 9007199254740993}}}
    sent = {"name": "add_comment", "effect": "WRITES", "parameters": parameters}

    made = (await doors.ask(create, i=sent))["toolDefinitionCreate"]
    changed = await doors.ask(
        f"""mutation ($id: ID!) {{ toolDefinitionUpdate(id: $id,
          changes: {{category: "tracker", enabled: false}}) {{ {fields} }} }}""",
        id=made["id"],
    )
    listed = await doors.ask(
        f"""query ($id: ID!) {{ toolDefinition(id: $id) {{ {fields} }}
          some: toolDefinitions(category: "tracker") {{ name }}
          none: toolDefinitions(enabled: true) {{ name }} }}""",
        id=made["id"],
    )
    deleted = await doors.ask(
        "mutation ($id: ID!) { toolDefinitionDelete(id: $id) }", id=made["id"]
    )

    rest = {"description": "", "category": None, "enabled": True, "mcpServerId": None}
    assert made == sent | rest | {"id": made["id"]}
    expected = made | {"category": "tracker", "enabled": False}
    assert changed == {"toolDefinitionUpdate": expected}
    assert listed == {"toolDefinition": expected, "some": [{"name": "add_comment"}], "none": []}
    assert deleted == {"toolDefinitionDelete": made["id"]}
    assert await counts("tool_definition") == [0]


async def test_each_seed_is_planted_once(doors: Doors) -> None:
    names = (await doors.ask('{ __type(name: "SeedName") { enumValues { name } } }'))["__type"]
    seed = "mutation ($name: SeedName!) { seed(name: $name) { created skipped } }"

    for name in column(names["enumValues"], "name"):
        first = (await doors.ask(seed, name=name))["seed"]
        second = (await doors.ask(seed, name=name))["seed"]

        assert first["created"] > 0
        assert first["skipped"] == 0
        assert second == {"created": 0, "skipped": first["created"]}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("{ taskDefinitions(actorId: \"\") { id } }", "actorId: must not be empty"),
        ("{ triggerTaskMappings(canonicalTrigger: \" \") { id } }",
         "canonicalTrigger: must not be blank"),
        ("{ sourceEventMappings(eventName: \"\") { id } }", "eventName: must not be empty"),
        ("{ toolDefinitions(category: \"\") { id } }", "category: must not be empty"),
        ("{ toolExecutions(executionId: \"x\") { id } }", "executionId: must be a whole number"),
        ("{ taskExecutions(projectId: \"3000000000\") { id } }",
         "projectId: must be at most 2147483647"),
        ("{ deliveries(projectId: \"1.5\") { id } }", "projectId: must be a whole number"),
        ("{ usage(agentId: \"\") { agentId } }", "agentId: must not be empty"),
    ],
)  # fmt: skip
async def test_a_filter_that_is_not_valid_is_refused_naming_the_argument(
    doors: Doors, query: str, text: str
) -> None:
    assert await doors.refused_by_graphql(query) == (text, "INVALID_INPUT")
