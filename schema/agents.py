"""GraphQL: Agent and its capabilities, their queries and mutations."""

from datetime import datetime
from typing import Annotated

import strawberry

from resolvers import agents, audit
from resolvers.fields import Page, read
from schema import rows
from schema.arguments import chosen, described_like
from schema.audit import AuditEntry
from schema.connections import After, Before, Connection, First, Last, connection, window_of
from schema.context import Info
from schema.enums import AgentRole
from schema.inputs import input_from_model, row_id
from schema.limits import DEFAULT_PAGE
from schema.paging import InnerLimit, Limit, Offset, inner_page
from schema.scalars import BigInt

AgentId = Annotated[strawberry.ID, strawberry.argument(description="The agent's id.")]


@strawberry.type(description="A label that an agent declares and routing selects it by.")
class AgentCapability:
    id: strawberry.ID = strawberry.field(description="Its number.")
    capability: str = strawberry.field(description="The label, such as `code_review`.")
    created_at: datetime = strawberry.field(description="When it was declared.")


@strawberry.type(description="An AI persona: whom a task execution speaks as.")
class Agent:
    id: strawberry.ID = strawberry.field(
        description="Chosen by whoever creates it: snake_case, at most 64 characters."
    )
    name: str = strawberry.field(description="Its display name, at most 200 characters.")
    role: AgentRole = strawberry.field(description="What it is in the team.")
    description: str | None = strawberry.field(description="What it is for, for people to read.")
    prompt: str = strawberry.field(description="Its system prompt.")
    context: str | None = strawberry.field(description="What stands before the prompt.")
    identity: str | None = strawberry.field(description="Who it is, for the system prompt.")
    responsibilities: list[str] = strawberry.field(
        description="What it answers for, for the system prompt; at most 200."
    )
    constraints: list[str] = strawberry.field(
        description="What it never does, for the system prompt; at most 200."
    )
    communication_style: str | None = strawberry.field(
        description="How it speaks, for the system prompt."
    )
    model: str | None = strawberry.field(
        description="The language model it speaks through; null: the one that is configured."
    )
    fallback_models: list[str] = strawberry.field(
        description="Models that are asked in this order where that one fails, at most 10."
    )
    tools: list[str] | None = strawberry.field(
        description="Names of the tools that it may use, at most 200; null: all."
    )
    max_tokens_per_day: BigInt | None = strawberry.field(
        description="What its models may read and write in a day, in UTC; null: no bound."
    )
    max_tokens_per_month: BigInt | None = strawberry.field(
        description="What its models may read and write in a month, in UTC; null: no bound."
    )
    max_cost_usd_per_day: float | None = strawberry.field(
        description="What it may cost in a day, in US dollars; null: no bound."
    )
    max_cost_usd_per_month: float | None = strawberry.field(
        description="What it may cost in a month, in US dollars; null: no bound."
    )
    max_concurrent_runs: int | None = strawberry.field(
        description="How many of its executions run at once; further ones wait. Null: no bound."
    )
    enabled: bool = strawberry.field(description="Whether task executions are given to it.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")

    @strawberry.field(description="The labels that it declares, oldest first.")
    async def capabilities(
        self, info: Info, limit: InnerLimit = None, offset: Offset = 0
    ) -> list[AgentCapability]:
        key = (str(self.id), *inner_page(limit, offset))
        found = await info.context.loaders.load(agents.capabilities_of, key)
        return rows.many(AgentCapability, found)

    @strawberry.field(description="What it did and what was done to it, newest first.")
    async def audit(
        self, info: Info, limit: Limit = DEFAULT_PAGE, offset: Offset = 0
    ) -> list[AuditEntry]:
        wanted = chosen(Page, limit=limit, offset=offset)
        key = (str(self.id), wanted.limit, wanted.offset)
        return rows.many(AuditEntry, await info.context.loaders.load(audit.audit_of, key))

    @strawberry.field(description="What it did and what was done to it, by cursors, newest first.")
    async def audit_connection(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[AuditEntry] | None:
        load, agent_id = info.context.loaders.load, str(self.id)
        part = window_of("audit", first, after, last, before)
        return connection(
            AuditEntry,
            "audit",
            await load(audit.audit_slices_of, (agent_id, part)),
            count=lambda: load(audit.audit_counts_of, agent_id),
        )


@described_like(Agent)
@input_from_model(description="An agent to create.")
class AgentInput(agents.NewAgent):
    pass


@described_like(Agent)
@input_from_model(description="What to change of an agent; what is left out stays.")
class AgentChangesInput(agents.AgentChanges):
    pass


@strawberry.type
class Query:
    @strawberry.field(description="Agents, oldest first.")
    async def agents(
        self,
        role: Annotated[
            AgentRole | None, strawberry.argument(description="Only those of this role.")
        ] = None,
        enabled: Annotated[
            bool | None, strawberry.argument(description="Only those that are, or are not.")
        ] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[Agent]:
        wanted = chosen(agents.AgentFilter, role=role, enabled=enabled, limit=limit, offset=offset)
        return rows.many(Agent, await agents.list_agents(wanted))

    @strawberry.field(description="One agent; null, with NOT_FOUND, if there is none.")
    async def agent(self, id: AgentId) -> Agent | None:
        return rows.one(Agent, await agents.get_agent(id))


@strawberry.type
class Mutation:
    @strawberry.mutation(description="Create an agent; CONFLICT if its id is taken.")
    async def agent_create(
        self, input: Annotated[AgentInput, strawberry.argument(description="The agent.")]
    ) -> Agent | None:
        return rows.one(Agent, await agents.create_agent(input))

    @strawberry.mutation(
        description="Change an agent; executions under way keep what they began with."
    )
    async def agent_update(
        self,
        id: AgentId,
        changes: Annotated[AgentChangesInput, strawberry.argument(description="What to change.")],
    ) -> Agent | None:
        return rows.one(Agent, await agents.update_agent(id, changes))

    @strawberry.mutation(
        description="Delete an agent with its capabilities, integrations and MCP servers; its "
        "history stays. Gives its id."
    )
    async def agent_delete(self, id: AgentId) -> strawberry.ID | None:
        await agents.delete_agent(id)
        return id

    @strawberry.mutation(
        description="Declare a capability of an agent; CONFLICT if the agent has it already."
    )
    async def agent_capability_add(
        self,
        agent_id: AgentId,
        capability: Annotated[
            str, strawberry.argument(description="The label, 1 to 64 characters.")
        ],
    ) -> AgentCapability | None:
        new = read(agents.NewCapability, {"capability": capability})
        return rows.one(AgentCapability, await agents.add_capability(agent_id, new))

    @strawberry.mutation(description="Take a capability from an agent. Gives its id.")
    async def agent_capability_remove(
        self,
        agent_id: AgentId,
        id: Annotated[strawberry.ID, strawberry.argument(description="The capability's id.")],
    ) -> strawberry.ID | None:
        await agents.remove_capability(agent_id, row_id("capability", id))
        return id
