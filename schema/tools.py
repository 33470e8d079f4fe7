"""GraphQL: ToolDefinition and ToolExecution, their queries and mutations."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import strawberry

from resolvers import agents, executions, mcp_discovery, mcp_servers, tools
from schema import rows
from schema.agents import Agent
from schema.arguments import chosen, described_like, number
from schema.connections import After, Before, Connection, First, Last, connection, window_of
from schema.context import Info
from schema.enums import ToolEffect, ToolExecutionStatus
from schema.inputs import input_from_model, row_id
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset
from schema.scalars import JSON, BigInt

if TYPE_CHECKING:
    from schema.executions import TaskExecution
    from schema.mcp_servers import McpServer

ToolId = Annotated[strawberry.ID, strawberry.argument(description="The tool definition's id.")]
OfAgent = Annotated[
    strawberry.ID | None, strawberry.argument(description="Only those of the agent with this id.")
]
OfExecution = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="Only those of the task execution with this id."),
]
OfTool = Annotated[
    str | None, strawberry.argument(description="Only those of the tool of this name.")
]
OfStatus = Annotated[
    ToolExecutionStatus | None, strawberry.argument(description="Only those that this became of.")
]


@strawberry.type(description="What an MCP server tells of a tool since it was confirmed.")
class PendingToolDefinition:
    description: str = strawberry.field(description="What it is said to do.")
    parameters: dict[str, Any] = strawberry.field(description="The JSON Schema of its arguments.")
    effect: ToolEffect = strawberry.field(description="What it is said to do to the world.")
    fingerprint: str = strawberry.field(
        description="Changes with anything that is told; say it to confirm just this."
    )
    is_held: bool = strawberry.field(
        description="Whether the tool may not be called until it is confirmed; else it goes on as "
        "it was."
    )


@strawberry.type(description="What a model may call, as it is told.")
class ToolDefinition:
    id: strawberry.ID = strawberry.field(description="Its number.")
    name: str = strawberry.field(
        description="What the model calls it: 1 to 64 letters, digits, `_` and `-`."
    )
    description: str = strawberry.field(description="What it does, for the model to read.")
    category: str | None = strawberry.field(description="A label to list it by.")
    parameters: dict[str, Any] = strawberry.field(
        description="The JSON Schema of its arguments; empty: it takes none."
    )
    effect: ToolEffect = strawberry.field(
        description="What it does to the world; `WRITES` for every built-in tool that writes, "
        "whatever was said."
    )
    requires_approval: bool = strawberry.field(
        description="Whether a person has to approve each call of it first."
    )
    enabled: bool = strawberry.field(description="Whether agents are offered it.")
    mcp_server_id: strawberry.ID | None = strawberry.field(
        description="The id of the MCP server that offers it; null: it is built in."
    )
    mcp_tool_name: str | None = strawberry.field(
        description="What that server calls it; null: it is built in."
    )
    unavailable_reason: str | None = strawberry.field(
        description="Why it is not offered, though it is enabled; null: nothing is in the way."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")

    @strawberry.field(description="What its MCP server has changed, and nobody has confirmed yet.")
    def pending(self) -> PendingToolDefinition | None:
        found = tools.pending_of(self)
        return None if found is None else rows.one(PendingToolDefinition, found)

    @strawberry.field(description="The MCP server that offers it; null: it is built in.")
    async def mcp_server(
        self, info: Info
    ) -> Annotated["McpServer", strawberry.lazy("schema.mcp_servers")] | None:
        if self.mcp_server_id is None:
            return None
        found = await info.context.loaders.load(mcp_servers.mcp_servers_of, int(self.mcp_server_id))
        return cast("McpServer | None", found)


@strawberry.type(description="Our running of one tool call.")
class ToolExecution:
    id: strawberry.ID = strawberry.field(description="Its number; grows with time.")
    tool: str = strawberry.field(description="The name that the model called.")
    arguments: JSON | None = strawberry.field(
        description="What the model gave; text where it is not JSON."
    )
    result: str | None = strawberry.field(description="What the model was told.")
    status: ToolExecutionStatus = strawberry.field(description="What became of it.")
    error: str | None = strawberry.field(description="Why it failed or was refused.")
    run: int = strawberry.field(
        description="Which run of the task execution it belongs to; in a chat 1."
    )
    round: int = strawberry.field(
        description="Which reply of the model, in that run or chat, asked for it, from 1."
    )
    duration_ms: int = strawberry.field(description="How long it took, in milliseconds.")
    prompt_tokens: BigInt = strawberry.field(
        description="What the model read for the reply that asked for it."
    )
    completion_tokens: BigInt = strawberry.field(
        description="What the model wrote in the reply that asked for it."
    )
    created_at: datetime = strawberry.field(description="When it was run.")
    agent_id: strawberry.ID | None = strawberry.field(
        description="The id of the agent that called it, also once the agent is deleted."
    )
    execution_id: strawberry.ID | None = strawberry.field(
        description="The id of the task execution that it was called in; null: in a chat."
    )

    @strawberry.field(description="The agent that called it; null: none, or deleted since.")
    async def agent(self, info: Info) -> Agent | None:
        if self.agent_id is None:
            return None
        found = await info.context.loaders.load(agents.agents_of, str(self.agent_id))
        return rows.one(Agent, found)

    @strawberry.field(description="The task execution that it was called in; null: in a chat.")
    async def execution(
        self, info: Info
    ) -> Annotated["TaskExecution", strawberry.lazy("schema.executions")] | None:
        if self.execution_id is None:
            return None
        found = await info.context.loaders.load(executions.executions_of, int(self.execution_id))
        return cast("TaskExecution | None", found)


@described_like(ToolDefinition)
@input_from_model(
    description="A tool definition to create; it can be called where its name is that of a "
    "built-in tool."
)
class ToolDefinitionInput(tools.NewTool):
    pass


@described_like(ToolDefinition)
@input_from_model(description="What to change of a tool definition; what is left out stays.")
class ToolDefinitionChangesInput(tools.ToolChanges):
    pass


def _wanted(
    agent_id: strawberry.ID | None,
    execution_id: strawberry.ID | None,
    tool: str | None,
    status: ToolExecutionStatus | None,
    **page: int,
) -> tools.ToolExecutionFilter:
    return chosen(
        tools.ToolExecutionFilter,
        agent_id=agent_id,
        execution_id=number("executionId", execution_id),
        tool=tool,
        status=status,
        **page,
    )


@strawberry.type
class Query:
    @strawberry.field(description="Tool definitions, oldest first.")
    async def tool_definitions(
        self,
        category: Annotated[
            str | None, strawberry.argument(description="Only those of this category.")
        ] = None,
        enabled: Annotated[
            bool | None, strawberry.argument(description="Only those that are, or are not.")
        ] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[ToolDefinition] | None:
        wanted = chosen(
            tools.ToolFilter, category=category, enabled=enabled, limit=limit, offset=offset
        )
        return rows.many(ToolDefinition, await tools.list_tools(wanted))

    @strawberry.field(description="One tool definition; null, with NOT_FOUND, if there is none.")
    async def tool_definition(self, id: ToolId) -> ToolDefinition | None:
        return rows.one(ToolDefinition, await tools.get_tool(row_id("tool", id)))

    @strawberry.field(description="Tool executions, newest first.")
    async def tool_executions(
        self,
        agent_id: OfAgent = None,
        execution_id: OfExecution = None,
        tool: OfTool = None,
        status: OfStatus = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[ToolExecution] | None:
        wanted = _wanted(agent_id, execution_id, tool, status, limit=limit, offset=offset)
        return rows.many(ToolExecution, await tools.list_tool_executions(wanted))

    @strawberry.field(description="Tool executions by cursors, newest first.")
    async def tool_executions_connection(
        self,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        agent_id: OfAgent = None,
        execution_id: OfExecution = None,
        tool: OfTool = None,
        status: OfStatus = None,
    ) -> Connection[ToolExecution] | None:
        wanted = _wanted(agent_id, execution_id, tool, status)
        part = window_of("tool_execution", first, after, last, before)
        found = await tools.slice_tool_executions(wanted, part)
        return connection(ToolExecution, "tool_execution", found)


@strawberry.type
class Mutation:
    @strawberry.mutation(description="Create a tool definition; CONFLICT if its name is taken.")
    async def tool_definition_create(
        self,
        input: Annotated[
            ToolDefinitionInput, strawberry.argument(description="The tool definition.")
        ],
    ) -> ToolDefinition | None:
        return rows.one(ToolDefinition, await tools.create_tool(input))

    @strawberry.mutation(
        description="Change a tool definition; CONFLICT if another one has the name."
    )
    async def tool_definition_update(
        self,
        id: ToolId,
        changes: Annotated[
            ToolDefinitionChangesInput, strawberry.argument(description="What to change.")
        ],
    ) -> ToolDefinition | None:
        return rows.one(ToolDefinition, await tools.update_tool(row_id("tool", id), changes))

    @strawberry.mutation(
        description="Delete a tool definition; agents are offered it no more. Gives its id."
    )
    async def tool_definition_delete(self, id: ToolId) -> strawberry.ID | None:
        await tools.delete_tool(row_id("tool", id))
        return id

    @strawberry.mutation(
        description="Take over what the tool's MCP server has changed; CONFLICT if nothing has, or "
        "if it is not what was looked at."
    )
    async def tool_definition_confirm(
        self,
        id: ToolId,
        fingerprint: Annotated[
            str | None,
            strawberry.argument(description="`pending.fingerprint` as it was looked at."),
        ] = None,
    ) -> ToolDefinition | None:
        wanted = chosen(mcp_discovery.Confirmation, fingerprint=fingerprint)
        return rows.one(
            ToolDefinition, await mcp_discovery.confirm_tool(row_id("tool", id), wanted)
        )
