"""Whatever changes something at either door is told in the audit log: who, what, from where."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import pytest

from aether import aside
from aether.db import rows
from aether.demo.model import Reply, ScriptedModel
from aether.demo.serving import serving
from aether.llm import chat
from rest_compat import OPS
from tests.aside.here import AsideHere
from tests.doors.calls import PM_ANALYZE, PM_SARAH, execution, issue_opened
from tests.doors.test_approvals import waiting
from tests.mcp.toolbox import Toolbox
from tests.schema.both import Doors, both_doors, whole_schema

KEY: Final = "key-key-key-key-key-key-key-key-key-key"
READS: Final = {
    "POST /api/deliveries/simulate",
    "POST /api/memory/search",
    "POST /webhook/{slug}",  # a platform's doing: the delivery's own row tells of it
}
TARGETS: Final = {
    "approval_id", "integration_id", "mapping_id", "mcp_server_id", "memory", "model",
    "poll_source_id", "project_id", "seed", "task_id", "tool_id",
}  # fmt: skip
"""What a detail names that an act was done to, where no column does."""
TOOL: Final = {"name": "my_tool", "description": "Mine."}
PROJECT: Final = {"name": "API", "source": "github", "source_project_id": "acme/api"}
POLLED: Final = {"source": "github", "project_id": "acme/api"}
HOOK: Final = {
    "source": "github", "event_type": "issues", "jq_filter": "true", "canonical_trigger": "a.b",
}  # fmt: skip
SOURCE_EVENT: Final = {"source": "jira", "event_name": "x", "canonical_trigger": "a.b"}
ASKED: Final = {"agent_id": "pm_sarah", "messages": [{"role": "user", "content": "Why?"}]}


@dataclass
class Walk:
    """Where the walk stands: the doors, the ids that were made, what has been walked."""

    doors: Doors
    box: Toolbox
    ids: dict[str, Any] = field(default_factory=dict)
    walked: list[str] = field(default_factory=list)

    async def rest(
        self, name: str, action: str, body: Any = None, *, keep: str = "", **path: Any
    ) -> Any:
        """One endpoint; what it leaves in the log is this action of a caller at REST."""
        method, template = name.split(" ")
        last = await newest()
        answer = await self.doors.client.request(method, template.format(**path), json=body)
        assert answer.status_code < 300, (name, answer.text)
        await self._told(name, action, last, "rest 127.0.0.1")
        told = answer.json() if answer.content else None
        if keep:
            assert told is not None
            self.ids[keep] = told["id"]
        return told

    async def graphql(self, name: str, action: str, call: str, *, keep: str = "") -> Any:
        """One mutation, written as ``agentCreate(…) { id }``."""
        last = await newest()
        told = (await self.doors.ask(f"mutation {{ {call} }}"))[name]
        await self._told(name, action, last, "graphql 127.0.0.1")
        if keep:
            self.ids[keep] = told["id"]
        return told

    async def _told(self, name: str, action: str, last: int, origin: str) -> None:
        found = await rows(
            """SELECT action, caller, origin, detail, created_at, agent_id, execution_id,
                 delivery_id FROM audit_entry WHERE id > $1 AND caller IS NOT NULL ORDER BY id""",
            last,
        )
        assert [one["action"] for one in found] == [action], name
        [one] = found
        assert (one["caller"], one["origin"]) == ("api", origin), name
        assert one["created_at"] is not None
        detail = json.loads(one["detail"])
        ids = [one[column] for column in ("agent_id", "execution_id", "delivery_id")]
        assert any(ids) or TARGETS & detail.keys(), f"{name} does not say what it was done to"
        if action.endswith(".updated"):
            assert detail["before"].keys() == detail["after"].keys() == set(detail["changed"]), name
            assert detail["before"] != detail["after"], name
        self.walked.append(name)


async def newest() -> int:
    [found] = await rows("SELECT coalesce(max(id), 0) AS id FROM audit_entry")
    return int(found["id"])


@pytest.fixture
def model() -> ScriptedModel:
    made = ScriptedModel()
    made.say(lambda _: Reply.text("Because."))
    return made


@pytest.fixture
async def walk(database: str, model: ScriptedModel) -> AsyncIterator[Walk]:
    box = Toolbox()
    box.put_search()
    with box.served(), serving(model.app) as url:
        async with both_doors(
            ENCRYPTION_KEY=KEY, OUTBOUND_ALLOW="127.0.0.1", LLM_BASE_URL=f"{url}/v1",
            LLM_API_KEY=model.key, LLM_MODEL=model.models[0],
        ) as doors:  # fmt: skip
            aside.install(AsideHere(doors.runtime.settings))
            yield Walk(doors, box)
            aside.install(None)
    await chat.close()


async def changed(box: Toolbox) -> None:
    """The server's tool becomes another one, which waits to be confirmed."""

    def search(query: str, limit: int) -> str:
        return f"{query}{limit}"

    box.put("search", search)


async def mcp_tool() -> int:
    [found] = await rows("SELECT id FROM tool_definition WHERE mcp_server_id IS NOT NULL")
    return int(found["id"])


async def test_every_write_at_rest_is_told_once_with_its_caller(walk: Walk) -> None:
    rest, ids, doors = walk.rest, walk.ids, walk.doors

    await rest("POST /api/agents", "agent.created", PM_SARAH)
    await rest("PUT /api/agents/{id}", "agent.updated", {"name": "S"}, id="pm_sarah")
    await rest(
        "POST /api/agents/{id}/capabilities",
        "agent.capability_added",
        {"capability": "review"},
        id="pm_sarah",
        keep="capability",
    )
    await rest(
        "DELETE /api/agents/{id}/capabilities/{capability_id}",
        "agent.capability_removed",
        id="pm_sarah",
        capability_id=ids["capability"],
    )
    await rest("POST /api/projects", "project.created", PROJECT, keep="project")
    await rest("PUT /api/projects/{id}", "project.updated", {"name": "P"}, id=ids["project"])
    await rest("POST /api/tasks", "task.created", PM_ANALYZE)
    await rest("PUT /api/tasks/{id}", "task.updated", {"name": "T"}, id="pm_analyze")
    await rest(
        "POST /api/tasks/triggers",
        "mapping.created",
        {"canonical_trigger": "a.b", "task_id": "pm_analyze"},
        keep="trigger",
    )
    await rest(
        "PUT /api/tasks/triggers/{id}",
        "mapping.updated",
        {"min_association": "MEMBER"},
        id=ids["trigger"],
    )
    await rest("DELETE /api/tasks/triggers/{id}", "mapping.deleted", id=ids["trigger"])
    await rest("POST /api/tasks/sources", "mapping.created", SOURCE_EVENT, keep="source")
    await rest("DELETE /api/tasks/sources/{id}", "mapping.deleted", id=ids["source"])
    await rest("POST /api/webhook-mappings", "mapping.created", HOOK, keep="hook")
    await rest(
        "PUT /api/webhook-mappings/{id}", "mapping.updated", {"enabled": False}, id=ids["hook"]
    )
    await rest("DELETE /api/webhook-mappings/{id}", "mapping.deleted", id=ids["hook"])
    for place in (
        "agents",
        "agents/capabilities",
        "tasks",
        "tasks/triggers",
        "tasks/sources",
        "webhook-mappings",
        "tools",
    ):
        await rest(f"POST /api/{place}/seed", "seeded")
    delivered = await doors.deliver(issue_opened())
    await rest("POST /api/deliveries/{id}/replay", "delivery.replayed", id=delivered["delivery_id"])
    failed = [
        await execution(status="failed", task_id=task, delivery_id=900)
        for task in ("pm_analyze", "other")
    ]
    await rest("POST /api/task-executions/{id}/restart", "task.restarted", id=failed[1])
    await rest("POST /api/tasks/{id}/restart", "task.restarted", id="pm_analyze")
    await rest("POST /api/task-executions/{id}/cancel", "task.cancel_requested", id=failed[0])
    await rest("POST /api/approvals/{id}/approve", "approval.approved", id=await waiting())
    await rest("POST /api/approvals/{id}/refuse", "approval.refused", id=await waiting())
    await rest("POST /api/tools", "tool.created", TOOL, keep="tool")
    await rest("PUT /api/tools/{id}", "tool.updated", {"enabled": False}, id=ids["tool"])
    await rest("DELETE /api/tools/{id}", "tool.deleted", id=ids["tool"])
    server = {"name": "Docs", "url": walk.box.url, "headers": {"X-Key": "a-secret-0001"}}
    await rest("POST /api/mcp-servers", "mcp_server.created", server, keep="server")
    await rest("PUT /api/mcp-servers/{id}", "mcp_server.updated", {"name": "D"}, id=ids["server"])
    await rest("POST /api/mcp-servers/discover", "mcp_server.discovered")
    await changed(walk.box)
    await rest("POST /api/mcp-servers/discover", "mcp_server.discovered")
    await rest("POST /api/tools/{id}/confirm", "tool.confirmed", id=await mcp_tool())
    await rest("DELETE /api/mcp-servers/{id}", "mcp_server.deleted", id=ids["server"])
    await rest(
        "POST /api/memory", "memory.stored", {"key": "k", "content": "c", "scope": "project"}
    )
    await rest("DELETE /api/memory/{key}", "memory.deleted", key="k")
    walk.walked[-1] = "DELETE /api/memory/{key:path}"
    await rest("POST /api/llm/chat", "llm.chat", ASKED)
    integration = {"source": "github", "name": "I", "credentials": {"token": "ghp_0123456789"}}
    await rest("POST /api/integrations", "integration.created", integration, keep="integration")
    await rest(
        "PUT /api/integrations/{id}",
        "integration.updated",
        {"enabled": False},
        id=ids["integration"],
    )
    await rest("DELETE /api/integrations/{id}", "integration.deleted", id=ids["integration"])
    await rest("POST /api/poll-sources", "poll_source.created", POLLED, keep="poll")
    await rest(
        "PUT /api/poll-sources/{id}", "poll_source.updated", {"interval_minutes": 9}, id=ids["poll"]
    )
    await rest("POST /api/poll-sources/{id}/poll", "poll_source.polled", id=ids["poll"])
    await rest("DELETE /api/poll-sources/{id}", "poll_source.deleted", id=ids["poll"])
    await rest("DELETE /api/tasks/{id}", "task.deleted", id="pm_analyze")
    await rest("DELETE /api/projects/{id}", "project.deleted", id=ids["project"])
    await rest("DELETE /api/agents/{id}", "agent.deleted", id="pm_sarah")

    writes = {f"{one.method} {one.path}" for one in OPS if one.method != "GET"} - READS
    assert writes - set(walk.walked) == set()
    assert (await doors.get("/api/audit?action=delivery.replayed"))[0]["delivery_id"]
    [leaked] = await rows(
        """SELECT count(*) AS n FROM audit_entry
           WHERE detail::text LIKE '%a-secret-0001%' OR detail::text LIKE '%ghp_0123456789%'"""
    )
    assert leaked["n"] == 0


async def test_every_mutation_is_told_once_with_its_caller(walk: Walk) -> None:
    ask, ids, doors = walk.graphql, walk.ids, walk.doors
    id_of: Callable[[str], str] = lambda name: f'id: "{ids[name]}"'  # noqa: E731

    await ask(
        "agentCreate",
        "agent.created",
        'agentCreate(input: {id: "pm_sarah", name: "S", role: PM, prompt: "P"}) { id }',
    )
    await ask(
        "agentUpdate", "agent.updated", 'agentUpdate(id: "pm_sarah", changes: {name: "T"}) { id }'
    )
    await ask(
        "agentCapabilityAdd",
        "agent.capability_added",
        'agentCapabilityAdd(agentId: "pm_sarah", capability: "review") { id }',
        keep="one",
    )
    await ask(
        "agentCapabilityRemove",
        "agent.capability_removed",
        f'agentCapabilityRemove(agentId: "pm_sarah", {id_of("one")})',
    )
    await ask(
        "projectCreate",
        "project.created",
        'projectCreate(input: {name: "A", source: GITHUB, sourceProjectId: "a/b"}) { id }',
        keep="project",
    )
    await ask(
        "projectUpdate",
        "project.updated",
        f'projectUpdate({id_of("project")}, changes: {{name: "B"}}) {{ id }}',
    )
    await ask(
        "taskDefinitionCreate",
        "task.created",
        'taskDefinitionCreate(input: {id: "pm_analyze", name: "T", description: "D", '
        'actorId: "pm_sarah"}) { id }',
    )
    await ask(
        "taskDefinitionUpdate",
        "task.updated",
        'taskDefinitionUpdate(id: "pm_analyze", changes: {name: "U"}) { id }',
    )
    await ask(
        "triggerTaskMappingCreate",
        "mapping.created",
        'triggerTaskMappingCreate(input: {canonicalTrigger: "issue.created", '
        'taskId: "pm_analyze"}) { id }',
        keep="trigger",
    )
    await ask(
        "triggerTaskMappingUpdate",
        "mapping.updated",
        f"triggerTaskMappingUpdate({id_of('trigger')}, changes: {{minAssociation: NONE}}) {{ id }}",
    )
    await ask(
        "sourceEventMappingCreate",
        "mapping.created",
        'sourceEventMappingCreate(input: {source: JIRA, eventName: "x", '
        'canonicalTrigger: "a.b"}) { id }',
        keep="source",
    )
    await ask(
        "webhookMappingCreate",
        "mapping.created",
        'webhookMappingCreate(input: {source: GITHUB, eventType: "issues", '
        'jqFilter: "true", canonicalTrigger: "a.b"}) { id }',
        keep="hook",
    )
    await ask(
        "webhookMappingUpdate",
        "mapping.updated",
        f"webhookMappingUpdate({id_of('hook')}, changes: {{enabled: false}}) {{ id }}",
    )
    await ask("seed", "seeded", "seed(name: SOURCE_EVENT_MAPPINGS) { created }")
    delivered = await doors.deliver(issue_opened())
    await ask(
        "deliveryReplay",
        "delivery.replayed",
        f'deliveryReplay(id: "{delivered["delivery_id"]}") {{ id }}',
    )
    failed = [
        await execution(status="failed", task_id=task, delivery_id=900)
        for task in ("pm_analyze", "other")
    ]
    await ask(
        "taskExecutionRestart",
        "task.restarted",
        f'taskExecutionRestart(id: "{failed[1]}") {{ id }}',
    )
    await ask(
        "taskDefinitionRestart", "task.restarted", 'taskDefinitionRestart(id: "pm_analyze") { id }'
    )
    await ask(
        "taskExecutionCancel",
        "task.cancel_requested",
        f'taskExecutionCancel(id: "{failed[0]}") {{ id }}',
    )
    await ask(
        "approvalApprove", "approval.approved", f'approvalApprove(id: "{await waiting()}") {{ id }}'
    )
    await ask(
        "approvalRefuse",
        "approval.refused",
        f'approvalRefuse(id: "{await waiting()}", reason: "No.") {{ id }}',
    )
    await ask(
        "toolDefinitionCreate",
        "tool.created",
        'toolDefinitionCreate(input: {name: "mine", description: "M"}) { id }',
        keep="tool",
    )
    await ask(
        "toolDefinitionUpdate",
        "tool.updated",
        f"toolDefinitionUpdate({id_of('tool')}, changes: {{enabled: false}}) {{ id }}",
    )
    await ask("toolDefinitionDelete", "tool.deleted", f"toolDefinitionDelete({id_of('tool')})")
    await ask(
        "mcpServerCreate",
        "mcp_server.created",
        f'mcpServerCreate(input: {{name: "Docs", url: "{walk.box.url}"}}) {{ id }}',
        keep="server",
    )
    await ask(
        "mcpServerUpdate",
        "mcp_server.updated",
        f'mcpServerUpdate({id_of("server")}, changes: {{name: "D"}}) {{ id }}',
    )
    await ask("mcpServerDiscover", "mcp_server.discovered", "mcpServerDiscover { discovered }")
    await changed(walk.box)
    await ask("mcpServerDiscover", "mcp_server.discovered", "mcpServerDiscover { discovered }")
    await ask(
        "toolDefinitionConfirm",
        "tool.confirmed",
        f'toolDefinitionConfirm(id: "{await mcp_tool()}") {{ id }}',
    )
    await ask("mcpServerDelete", "mcp_server.deleted", f"mcpServerDelete({id_of('server')})")
    await ask(
        "memoryStore",
        "memory.stored",
        'memoryStore(input: {key: "k", content: "c", scope: PROJECT}) { key }',
    )
    await ask("memoryDelete", "memory.deleted", 'memoryDelete(key: "k")')
    await ask(
        "llmChat",
        "llm.chat",
        'llmChat(input: {messages: [{role: USER, content: "Why?"}]}) { content }',
    )
    await ask(
        "integrationCreate",
        "integration.created",
        'integrationCreate(input: {source: GITHUB, name: "I", '
        'credentials: {token: "ghp_0123456789"}}) { id }',
        keep="integration",
    )
    await ask(
        "integrationUpdate",
        "integration.updated",
        f"integrationUpdate({id_of('integration')}, changes: {{enabled: false}}) {{ id }}",
    )
    await ask(
        "integrationDelete", "integration.deleted", f"integrationDelete({id_of('integration')})"
    )
    await ask(
        "pollSourceCreate",
        "poll_source.created",
        'pollSourceCreate(input: {source: GITHUB, sourceProjectId: "a/b"}) { id }',
        keep="poll",
    )
    await ask(
        "pollSourceUpdate",
        "poll_source.updated",
        f"pollSourceUpdate({id_of('poll')}, changes: {{intervalMinutes: 9}}) {{ id }}",
    )
    await ask(
        "pollSourcePoll", "poll_source.polled", f"pollSourcePoll({id_of('poll')}) {{ status }}"
    )
    await ask("pollSourceDelete", "poll_source.deleted", f"pollSourceDelete({id_of('poll')})")
    await ask("webhookMappingDelete", "mapping.deleted", f"webhookMappingDelete({id_of('hook')})")
    await ask(
        "sourceEventMappingDelete",
        "mapping.deleted",
        f"sourceEventMappingDelete({id_of('source')})",
    )
    await ask(
        "triggerTaskMappingDelete",
        "mapping.deleted",
        f"triggerTaskMappingDelete({id_of('trigger')})",
    )
    await ask("taskDefinitionDelete", "task.deleted", 'taskDefinitionDelete(id: "pm_analyze")')
    await ask("projectDelete", "project.deleted", f"projectDelete({id_of('project')})")
    await ask("agentDelete", "agent.deleted", 'agentDelete(id: "pm_sarah")')

    mutations = whole_schema()._schema.mutation_type
    assert mutations is not None
    reads = {"simulateDelivery"}  # as the endpoint does
    assert set(mutations.fields) - set(walk.walked) - reads == set()


async def test_reading_leaves_nothing_in_the_log(walk: Walk) -> None:
    doors = walk.doors
    for one in ("agents", "tasks", "tools", "tasks/sources"):
        await doors.post(f"/api/{one}/seed", status=200)
    delivered = await doors.deliver(issue_opened())
    before = await newest()

    for op in OPS:
        if op.method == "GET":
            path = op.path.replace(":path", "").format(
                id=delivered["delivery_id"], key="k", source="github", capability_id=1
            )
            await doors.client.get(path, timeout=30)
    await doors.post("/api/memory/search", {"query": "x"}, 200)
    await doors.ask("{ agents { id } deliveries { id } toolDefinitions { id } usage { agentId } }")

    assert await newest() == before


async def test_a_refused_write_leaves_nothing_in_the_log(walk: Walk) -> None:
    before = await newest()

    await walk.doors.refused("POST", "/api/agents", {"id": "Bad Id"}, 400)
    await walk.doors.refused("DELETE", "/api/projects/77", None, 404)

    assert await newest() == before


async def test_the_log_can_be_neither_changed_nor_emptied(database: str) -> None:
    await rows("INSERT INTO audit_entry (action) VALUES ('agent.updated')")
    connection = await asyncpg.connect(database)
    try:
        for statement in (
            "UPDATE audit_entry SET action = 'x'",
            "DELETE FROM audit_entry",
            "TRUNCATE audit_entry",
        ):
            with pytest.raises(asyncpg.RaiseError, match="append-only"):
                await connection.execute(statement)
    finally:
        await connection.close()

    assert await newest() == 1
