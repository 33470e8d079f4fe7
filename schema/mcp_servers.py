"""GraphQL: McpServer, its queries and mutations, and the discovery of tools."""

from datetime import datetime
from typing import Annotated, Any, Final

import strawberry

from resolvers import agents, mcp_discovery, mcp_servers
from resolvers.fields import Page
from schema import rows
from schema.agents import Agent
from schema.arguments import chosen, described_like, number
from schema.context import Info
from schema.enums import McpTransport
from schema.inputs import input_from_model, row_id
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset
from schema.tools import ToolDefinition

McpServerId = Annotated[strawberry.ID, strawberry.argument(description="The MCP server's id.")]
NOUN: Final = "MCP server"


@strawberry.type(description="A server that offers more tools.")
class McpServer:
    id: strawberry.ID = strawberry.field(description="Its number.")
    name: str = strawberry.field(description="Its display name, at most 200 characters; unique.")
    url: str = strawberry.field(
        description="Its address. Without a path the usual one is asked first: `/mcp`, or `/sse`. "
        "When the host changes, the headers have to be given again."
    )
    agent_id: strawberry.ID | None = strawberry.field(
        description="The id of the only agent that is offered its tools; null: every agent."
    )
    transport: McpTransport = strawberry.field(description="How it is spoken to.")
    headers: dict[str, Any] = strawberry.field(
        description="What is sent with each request, such as `Authorization`: names and masks, "
        "such as `••••1234`; a mask that is sent back changes nothing."
    )
    enabled: bool = strawberry.field(description="Whether its tools are offered.")
    error: str | None = strawberry.field(
        description="How the last discovery failed, or why its headers cannot be used."
    )
    discovered_at: datetime | None = strawberry.field(
        description="When it last told its tools; null: never."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")

    @strawberry.field(description="The only agent that is offered its tools; null: every agent.")
    async def agent(self, info: Info) -> Agent | None:
        if self.agent_id is None:
            return None
        found = await info.context.loaders.load(agents.agents_of, str(self.agent_id))
        return rows.one(Agent, found)

    @strawberry.field(description="Its tools as far as they were discovered, oldest first.")
    async def tools(
        self, info: Info, limit: Limit = DEFAULT_PAGE, offset: Offset = 0
    ) -> list[ToolDefinition]:
        wanted = chosen(Page, limit=limit, offset=offset)
        key = (int(self.id), wanted.limit, wanted.offset)
        found = await info.context.loaders.load(mcp_servers.tools_of_mcp_servers, key)
        return rows.many(ToolDefinition, found)


@strawberry.type(description="What MCP servers offer now.")
class Discovered:
    discovered: int = strawberry.field(description="How many tools there are.")
    tools: list[str] = strawberry.field(description="Their names, as models call them.")
    errors: list[str] = strawberry.field(
        description="One text for each server that failed, each tool that cannot be offered, and "
        "each that has changed and waits to be confirmed."
    )


@described_like(McpServer)
@input_from_model(description="An MCP server to register; its headers are encrypted.")
class McpServerInput(mcp_servers.NewMcpServer):
    pass


@described_like(McpServer)
@input_from_model(
    description="What to change of an MCP server; what is left out stays. Headers merge name by "
    "name; null removes one."
)
class McpServerChangesInput(mcp_servers.McpServerChanges):
    pass


@strawberry.type
class Query:
    @strawberry.field(description="MCP servers, oldest first.")
    async def mcp_servers(
        self,
        agent_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the agent with this id."),
        ] = None,
        enabled: Annotated[
            bool | None, strawberry.argument(description="Only those that are, or are not.")
        ] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[McpServer] | None:
        wanted = chosen(
            mcp_servers.McpServerFilter,
            agent_id=agent_id,
            enabled=enabled,
            limit=limit,
            offset=offset,
        )
        return rows.many(McpServer, await mcp_servers.list_mcp_servers(wanted))

    @strawberry.field(description="One MCP server; null, with NOT_FOUND, if there is none.")
    async def mcp_server(self, id: McpServerId) -> McpServer | None:
        return rows.one(McpServer, await mcp_servers.get_mcp_server(row_id(NOUN, id)))


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Register an MCP server; NOT_CONFIGURED for headers without ENCRYPTION_KEY, "
        "CONFLICT if the name is taken."
    )
    async def mcp_server_create(
        self,
        input: Annotated[McpServerInput, strawberry.argument(description="The MCP server.")],
    ) -> McpServer | None:
        return rows.one(McpServer, await mcp_servers.create_mcp_server(input))

    @strawberry.mutation(description="Change an MCP server; CONFLICT if another one has the name.")
    async def mcp_server_update(
        self,
        id: McpServerId,
        changes: Annotated[
            McpServerChangesInput, strawberry.argument(description="What to change.")
        ],
    ) -> McpServer | None:
        one = await mcp_servers.update_mcp_server(row_id(NOUN, id), changes)
        return rows.one(McpServer, one)

    @strawberry.mutation(
        description="Delete an MCP server with its headers and tools; history stays. Gives its id."
    )
    async def mcp_server_delete(self, id: McpServerId) -> strawberry.ID | None:
        await mcp_servers.delete_mcp_server(row_id(NOUN, id))
        return id

    @strawberry.mutation(
        description="Ask one MCP server, or all that are enabled, for tools, and register them. "
        "UPSTREAM_FAILED if the only one that was asked failed, CONFLICT if it is disabled."
    )
    async def mcp_server_discover(
        self,
        server_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="The MCP server to ask; left out: all."),
        ] = None,
    ) -> Discovered | None:
        wanted = chosen(mcp_discovery.DiscoveryOf, server_id=number("serverId", server_id))
        return rows.one(Discovered, await mcp_discovery.discover_mcp_tools(wanted))
