"""GraphQL: what each agent has used."""

from datetime import datetime
from typing import Annotated

import strawberry

from resolvers import agents, usage
from resolvers import usage_report as usage_reports
from schema import rows
from schema.agents import Agent
from schema.arguments import chosen, number
from schema.context import Info
from schema.enums import UsageBy
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
    unpriced_calls: BigInt = strawberry.field(
        description="How many of the calls `costUsd` is without: their price was not known."
    )

    @strawberry.field(description="The agent; null: no agent spoke, or deleted since.")
    async def agent(self, info: Info) -> Agent | None:
        if self.agent_id is None:
            return None
        return rows.one(
            Agent, await info.context.loaders.load(agents.agents_of, str(self.agent_id))
        )


@strawberry.type(
    description="A sum of what models were asked for, chats included; what it is not told apart by "
    "is null, as is what no agent, task or project had."
)
class UsageRow:
    day: str | None = strawberry.field(description="The day, in UTC: `2026-02-18`.")
    agent_id: strawberry.ID | None = strawberry.field(description="The agent's id.")
    task_id: strawberry.ID | None = strawberry.field(description="The task's id; a chat has none.")
    project_id: strawberry.ID | None = strawberry.field(description="The id of our project.")
    model: str | None = strawberry.field(description="The language model.")
    llm_calls: BigInt = strawberry.field(description="How often the model was called.")
    prompt_tokens: BigInt = strawberry.field(description="What the model read.")
    completion_tokens: BigInt = strawberry.field(description="What the model wrote.")
    total_tokens: BigInt = strawberry.field(description="What the model read and wrote.")
    cost_usd: float = strawberry.field(description="What it cost, in US dollars.")
    unpriced_calls: BigInt = strawberry.field(
        description="How many of the calls `costUsd` is without: their price was not known."
    )
    estimated_calls: BigInt = strawberry.field(
        description="How many of the calls had their tokens counted by us, since the provider did "
        "not tell them."
    )


@strawberry.type
class Query:
    @strawberry.field(
        description="What models were asked for, told apart by agent, task, project, model or day; "
        "newest day first, then the most expensive."
    )
    async def usage_report(
        self,
        by: Annotated[
            list[UsageBy], strawberry.argument(description="What it is told apart by, 1 to 5.")
        ],
        since: Annotated[
            datetime | None, strawberry.argument(description="From that moment's day on, in UTC.")
        ] = None,
        until: Annotated[
            datetime | None, strawberry.argument(description="The days before.")
        ] = None,
        agent_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only this agent's.")
        ] = None,
        task_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only this task's.")
        ] = None,
        project_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only our project's."),
        ] = None,
        model: Annotated[str | None, strawberry.argument(description="Only this model's.")] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[UsageRow] | None:
        wanted = chosen(
            usage_reports.UsageReportFilter,
            by=by,
            since=since,
            until=until,
            agent_id=agent_id,
            task_id=task_id,
            project_id=number("projectId", project_id),
            model=model,
            limit=limit,
            offset=offset,
        )
        return rows.many(UsageRow, await usage_reports.usage_report(wanted))

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
