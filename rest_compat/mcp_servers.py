"""REST: MCP servers and the discovery of their tools. The reference, "MCP Servers"."""

from datetime import datetime
from typing import Any, Final

from aether.vocabulary import McpTransport
from resolvers import mcp_discovery, mcp_servers
from resolvers.mcp_discovery import DiscoveryOf
from resolvers.mcp_servers import McpServerChanges, McpServerFilter, NewMcpServer
from rest_compat.op import Call, Op, int_id
from rest_compat.shapes import DELETED, Shape

NOUN: Final = "MCP server"
MCP_SERVER: Final = Shape(
    "McpServer",
    id=int,
    name=str,
    url=str,
    agent_id=str | None,
    transport=McpTransport,
    headers=dict[str, str],
    enabled=bool,
    error=str | None,
    discovered_at=datetime | None,
    created_at=datetime,
    updated_at=datetime,
)
DISCOVERED: Final = Shape("Discovered", discovered=int, tools=list[str], errors=list[str])


async def list_mcp_servers(call: Call) -> Any:
    return await mcp_servers.list_mcp_servers(call.query)


async def get_mcp_server(call: Call) -> Any:
    return await mcp_servers.get_mcp_server(int_id(call, "id", NOUN))


async def create_mcp_server(call: Call) -> Any:
    return await mcp_servers.create_mcp_server(call.body)


async def update_mcp_server(call: Call) -> Any:
    return await mcp_servers.update_mcp_server(int_id(call, "id", NOUN), call.body)


async def delete_mcp_server(call: Call) -> Any:
    server_id = int_id(call, "id", NOUN)
    await mcp_servers.delete_mcp_server(server_id)
    return {"deleted": server_id}


async def discover_mcp_tools(call: Call) -> Any:
    return await mcp_discovery.discover_mcp_tools(call.body)


_SENT: Final = {"name": "My MCP Server", "url": "http://mcp-server:8080", "agent_id": "ta_leo"}
_SHOWN: Final[dict[str, Any]] = {
    "id": 1,
    **_SENT,
    "transport": "streamable_http",
    "headers": {},
    "enabled": True,
    "error": None,
    "discovered_at": None,
    "created_at": "2026-02-18T10:00:00Z",
    "updated_at": "2026-02-18T10:00:00Z",
}
_TAG: Final = "MCP Servers"
_READ_ONLY: Final = ("error", "discovered_at")

OPS: Final = (
    Op(
        "GET",
        "/api/mcp-servers",
        list_mcp_servers,
        summary="List MCP servers; masks stand for the values of their headers",
        tag=_TAG,
        query=McpServerFilter,
        out=[MCP_SERVER],
        answer=[_SHOWN],
    ),
    Op(
        "POST",
        "/api/mcp-servers",
        create_mcp_server,
        summary="Register an MCP server; its headers are encrypted with ENCRYPTION_KEY",
        tag=_TAG,
        body=NewMcpServer,
        out=MCP_SERVER,
        status=201,
        errors=(409,),
        ignored=_READ_ONLY,
        example=_SENT,
        answer=_SHOWN,
    ),
    Op(
        "GET",
        "/api/mcp-servers/{id}",
        get_mcp_server,
        summary="Get an MCP server",
        tag=_TAG,
        out=MCP_SERVER,
        answer=_SHOWN,
    ),
    Op(
        "PUT",
        "/api/mcp-servers/{id}",
        update_mcp_server,
        summary="Update an MCP server; headers merge name by name, masks change nothing",
        tag=_TAG,
        body=McpServerChanges,
        out=MCP_SERVER,
        errors=(409,),
        ignored=_READ_ONLY,
        example={"headers": {"Authorization": "Bearer ..."}},
        answer=_SHOWN | {"headers": {"Authorization": "••••1234"}},
    ),
    Op(
        "DELETE",
        "/api/mcp-servers/{id}",
        delete_mcp_server,
        summary="Delete an MCP server with its headers and tools",
        tag=_TAG,
        out=DELETED,
        answer={"deleted": 1},
    ),
    Op(
        "POST",
        "/api/mcp-servers/discover",
        discover_mcp_tools,
        summary="Ask one MCP server, or all that are enabled, for tools, and register them",
        tag=_TAG,
        body=DiscoveryOf,
        body_optional=True,
        out=DISCOVERED,
        errors=(409, 502),
        example={"server_id": 1},
        answer={"discovered": 1, "tools": ["mcp_my_mcp_server_search"], "errors": []},
    ),
)
