"""MCP servers over GraphQL, and that both doors say the same and show no secret."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from aether.config import Settings
from tests.doors.calls import TA_LEO, actions, column, counts
from tests.mcp.toolbox import Toolbox
from tests.schema.both import Doors, both_doors

KEY: Final = "key-key-key-key-key-key-key-key-key-key"
SECRET: Final = "Bearer sk-0123456789abcdef1234"
SENT: Final[dict[str, Any]] = {
    "name": "Docs", "url": "http://mcp-server:8080", "agentId": "ta_leo", "transport": "SSE",
    "headers": {"Authorization": SECRET},
}  # fmt: skip
FIELDS: Final = "id name url agentId transport headers enabled error discoveredAt"
CREATE: Final = f"mutation ($i: McpServerInput!) {{ mcpServerCreate(input: $i) {{ {FIELDS} }} }}"
UPDATE: Final = f"""mutation ($id: ID!, $c: McpServerChangesInput!) {{
  mcpServerUpdate(id: $id, changes: $c) {{ {FIELDS} }} }}"""
DISCOVER: Final = """mutation ($id: ID) {
  mcpServerDiscover(serverId: $id) { discovered tools errors } }"""
CONFIRM: Final = """mutation ($id: ID!, $f: String) {
  toolDefinitionConfirm(id: $id, fingerprint: $f) { description pending { fingerprint } } }"""


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        ours.runtime.settings = Settings.from_environment(
            {"ENCRYPTION_KEY": KEY, "OUTBOUND_ALLOW": "127.0.0.1"}
        )
        await ours.post("/api/agents", TA_LEO)
        yield ours


async def test_a_server_is_registered_changed_listed_and_deleted_without_showing_a_secret(
    doors: Doors,
) -> None:
    made = (await doors.ask(CREATE, i=SENT))["mcpServerCreate"]
    back = {name: one for name, one in made.items() if name not in {"id", "error", "discoveredAt"}}
    same = await doors.ask(UPDATE, id=made["id"], c=back)
    changed = await doors.ask(UPDATE, id=made["id"], c={"name": "N", "headers": {"X-A": "b"}})
    listed = await doors.ask(f'{{ mcpServers(agentId: "ta_leo", enabled: true) {{ {FIELDS} }} }}')
    one = await doors.ask(
        f'{{ mcpServer(id: "{made["id"]}") {{ agent {{ name }} tools {{ name }} }} }}'
    )
    by_rest = await doors.get("/api/mcp-servers")
    deleted = await doors.ask(f'mutation {{ mcpServerDelete(id: "{made["id"]}") }}')

    masked = {"Authorization": "••••1234"}
    assert back == SENT | {"headers": masked, "enabled": True}
    assert same == {"mcpServerUpdate": made}
    expected = made | {"name": "N", "headers": masked | {"X-A": "••••"}}
    assert changed == {"mcpServerUpdate": expected}
    assert listed == {"mcpServers": [expected]}
    assert one == {"mcpServer": {"agent": {"name": "Leo"}, "tools": []}}
    assert (by_rest[0]["headers"], by_rest[0]["transport"]) == (expected["headers"], "sse")
    assert deleted == {"mcpServerDelete": made["id"]}
    assert await counts("mcp_server") == [0]
    assert (await actions())[1:] == [
        "mcp_server.created", "mcp_server.updated", "mcp_server.deleted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "text", "code"),
    [
        ({"url": "http://localhost"},
         "url: localhost is an inner address; OUTBOUND_ALLOW can allow it", "INVALID_INPUT"),
        ({"agentId": "nobody"}, "agentId: agent 'nobody' does not exist", "INVALID_INPUT"),
        ({"headers": {"Host": "x"}}, "headers.Host: is sent by the protocol itself",
         "INVALID_INPUT"),
    ],
)  # fmt: skip
async def test_what_is_refused_is_refused_in_the_same_words(
    doors: Doors, change: dict[str, Any], text: str, code: str
) -> None:
    assert await doors.refused_by_graphql(CREATE, i=SENT | change) == (text, code)
    assert await counts("mcp_server") == [0]


async def test_tools_are_discovered_held_back_and_confirmed(doors: Doors) -> None:
    box = Toolbox()
    box.put_search()
    with box.served():
        made = await doors.post(
            "/api/mcp-servers", {"name": "Docs", "url": box.url, "agent_id": "ta_leo"}
        )
        first = await doors.ask(DISCOVER, id=str(made["id"]))
        box.put_search("Otherwise.")
        second = await doors.ask(DISCOVER)
        [tool] = (
            await doors.ask(
                """{ toolDefinitions(category: "mcp") { id name mcpToolName unavailableReason
                     mcpServer { name tools(limit: 1) { name } }
                     pending { description effect isHeld fingerprint parameters } } }"""
            )
        )["toolDefinitions"]
        wrong = await doors.refused_by_graphql(CONFIRM, id=tool["id"], f="x")
        confirmed = await doors.ask(CONFIRM, id=tool["id"], f=tool["pending"]["fingerprint"])
        again = await doors.refused_by_graphql(CONFIRM, id=tool["id"])

    name = "mcp_docs_search"
    assert first == {"mcpServerDiscover": {"discovered": 1, "tools": [name], "errors": []}}
    assert "waits to be confirmed" in second["mcpServerDiscover"]["errors"][0]
    assert (tool["name"], tool["mcpToolName"], tool["unavailableReason"]) == (name, "search", None)
    assert tool["mcpServer"] == {"name": "Docs", "tools": [{"name": name}]}
    pending = tool["pending"]
    assert (pending["description"], pending["effect"], pending["isHeld"]) == (
        "Otherwise.", "READS", False,
    )  # fmt: skip
    assert wrong == (f"tool '{name}' has changed again; look at it first", "CONFLICT")
    assert confirmed == {"toolDefinitionConfirm": {"description": "Otherwise.", "pending": None}}
    assert again == (f"tool '{name}' has nothing to confirm", "CONFLICT")


async def test_a_server_that_fails_or_is_not_there_is_told_with_its_code(doors: Doors) -> None:
    box = Toolbox(required={"x-key": "right"})
    with box.served():
        made = await doors.post(
            "/api/mcp-servers",
            {"name": "Docs", "url": box.url, "headers": {"X-Key": "a wrong key of ours"}},
        )
        refused = await doors.refused_by_graphql(DISCOVER, id=str(made["id"]))

    assert refused == (
        'MCP server "Docs": refuses us (401); see its headers', "UPSTREAM_FAILED",
    )  # fmt: skip
    assert (await doors.refused_by_graphql(DISCOVER, id="99"))[1] == "INVALID_INPUT"
    assert (await doors.refused_by_graphql(DISCOVER, id="x"))[1] == "INVALID_INPUT"
    for query in (
        '{ mcpServer(id: "99") { id } }',
        'mutation { mcpServerDelete(id: "99") }',
        'mutation { toolDefinitionConfirm(id: "99") { id } }',
    ):
        assert (await doors.refused_by_graphql(query))[1] == "NOT_FOUND"
    assert column(await doors.get("/api/mcp-servers"), "error") == [refused[0]]
