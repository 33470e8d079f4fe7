"""GraphQL: what each agent has used."""

from datetime import datetime
from typing import Annotated

import strawberry

from resolvers import agents, usage
from schema import rows
from schema.agents import Agent
from schema.arguments import chosen
from schema.context import Info
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset
from schema.scalars import BigInt


@strawberry.type(description="What one agent has used.")
class Usage:
    agent_id: strawberry.ID | None = strawberry.field(
        description="The agent's id, also once the agent is deleted; null: no agent spoke."
    )
    tasks: BigInt = strawberry.field(description="How many task executions it has had.")
    tasks_completed: BigInt = strawberry.field(description="How many of them succeeded.")
    tasks_failed: BigInt = strawberry.field(description="How many of them failed.")
    llm_calls: BigInt = strawberry.field(description="How often the model was called.")
    tool_calls: BigInt = strawberry.field(description="How many tool calls were run.")
    prompt_tokens: BigInt = strawberry.field(description="What the model read.")
    completion_tokens: BigInt = strawberry.field(description="What the model wrote.")
    total_tokens: BigInt = strawberry.field(description="What the model read and wrote.")
    cost_usd: float = strawberry.field(description="What it cost, in US dollars.")

    @strawberry.field(description="The agent; null: no agent spoke, or deleted since.")
    async def agent(self, info: Info) -> Agent | None:
        if self.agent_id is None:
            return None
        return rows.one(
            Agent, await info.context.loaders.load(agents.agents_of, str(self.agent_id))
        )


@strawberry.type
class Query:
    @strawberry.field(
        description="What each agent has used, by its id; last what was used without one. Counts "
        "task executions and chats by when they were created."
    )
    async def usage(
        self,
        since: Annotated[
            datetime | None, strawberry.argument(description="Those created from then on.")
        ] = None,
        until: Annotated[
            datetime | None, strawberry.argument(description="Those created before.")
        ] = None,
        agent_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the agent with this id."),
        ] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[Usage] | None:
        wanted = chosen(usage.UsageFilter, since=since, until=until, agent_id=agent_id)
        found = await usage.list_usage(wanted)  # whole: it is one row an agent
        return rows.many(Usage, found[offset : offset + limit])
