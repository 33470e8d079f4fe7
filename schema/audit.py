"""GraphQL: AuditEntry, and the audit log of an agent."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import strawberry

from resolvers import agents, audit, executions
from resolvers.fields import Page
from schema import rows
from schema.arguments import chosen, number
from schema.connections import After, Before, Connection, First, Last, connection, window_of
from schema.context import Info
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset

if TYPE_CHECKING:
    from schema.agents import Agent
    from schema.executions import TaskExecution


AgentId = Annotated[strawberry.ID, strawberry.argument(description="The agent's id.")]


@strawberry.type(description="One act of an agent, or one thing done to it; outlives the agent.")
class AuditEntry:
    id: strawberry.ID = strawberry.field(description="Its number; grows with time.")
    action: str = strawberry.field(
        description="What was done, such as `task.started` or `agent.updated`."
    )
    detail: dict[str, Any] = strawberry.field(
        description="What belongs to the action; of a change what was `before` and `after`."
    )
    created_at: datetime = strawberry.field(description="When it was done.")
    agent_id: strawberry.ID | None = strawberry.field(
        description="The agent's id, also once the agent is deleted."
    )
    execution_id: strawberry.ID | None = strawberry.field(
        description="The id of the task execution that it belongs to, if any."
    )
    delivery_id: strawberry.ID | None = strawberry.field(
        description="The id of the delivery that it belongs to, if any."
    )

    caller: str | None = strawberry.field(
        description="`api`: a person or program asked for it; null: Aether did it by itself."
    )
    origin: str | None = strawberry.field(
        description="The door and the network address that the caller came from: "
        "`graphql 127.0.0.1`; `cli`: the command line."
    )

    @strawberry.field(description="The agent; null once it is deleted.")
    async def agent(
        self, info: Info
    ) -> Annotated["Agent", strawberry.lazy("schema.agents")] | None:
        if self.agent_id is None:
            return None
        found = await info.context.loaders.load(agents.agents_of, str(self.agent_id))
        return cast("Agent | None", found)

    @strawberry.field(description="The task execution that it belongs to, if any.")
    async def execution(
        self, info: Info
    ) -> Annotated["TaskExecution", strawberry.lazy("schema.executions")] | None:
        if self.execution_id is None:
            return None
        found = await info.context.loaders.load(executions.executions_of, int(self.execution_id))
        return cast("TaskExecution | None", found)


OfAgent = Annotated[
    strawberry.ID | None, strawberry.argument(description="Only those of the agent with this id.")
]
OfExecution = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="Only those of the task execution with this id."),
]
OfDelivery = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="Only those of the delivery with this id."),
]
OfCaller = Annotated[
    str | None,
    strawberry.argument(description="Only those of this caller: `api` for people and programs."),
]
OfAction = Annotated[
    str | None, strawberry.argument(description="Only those of this action: `agent.updated`.")
]
Since = Annotated[datetime | None, strawberry.argument(description="Those from then on.")]
Until = Annotated[datetime | None, strawberry.argument(description="Those before.")]


def _wanted(
    agent_id: strawberry.ID | None,
    execution_id: strawberry.ID | None,
    delivery_id: strawberry.ID | None,
    **others: Any,
) -> audit.AuditFilter:
    return chosen(
        audit.AuditFilter,
        agent_id=agent_id,
        execution_id=number("executionId", execution_id),
        delivery_id=number("deliveryId", delivery_id),
        **others,
    )


@strawberry.type
class Query:
    @strawberry.field(
        description="The whole audit log, newest first: every effect on a platform, every change "
        "by a person or program, every refusal."
    )
    async def audit_log(
        self,
        agent_id: OfAgent = None,
        execution_id: OfExecution = None,
        delivery_id: OfDelivery = None,
        caller: OfCaller = None,
        action: OfAction = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[AuditEntry] | None:
        wanted = _wanted(
            agent_id,
            execution_id,
            delivery_id,
            caller=caller,
            action=action,
            since=since,
            until=until,
            limit=limit,
            offset=offset,
        )
        return rows.many(AuditEntry, await audit.list_audit(wanted))

    @strawberry.field(description="The whole audit log by cursors, newest first.")
    async def audit_log_connection(
        self,
        agent_id: OfAgent = None,
        execution_id: OfExecution = None,
        delivery_id: OfDelivery = None,
        caller: OfCaller = None,
        action: OfAction = None,
        since: Since = None,
        until: Until = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[AuditEntry] | None:
        part = window_of("log", first, after, last, before)
        wanted = _wanted(
            agent_id, execution_id, delivery_id, caller=caller, action=action, since=since,
            until=until,
        )  # fmt: skip
        return connection(AuditEntry, "log", await audit.slice_audit(wanted, part))

    @strawberry.field(
        description="The audit log of an agent, newest first, also of one that is deleted; "
        "NOT_FOUND if there is no such agent and nothing was ever recorded of one."
    )
    async def audit_entries(
        self,
        agent_id: AgentId,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[AuditEntry] | None:
        wanted = chosen(Page, limit=limit, offset=offset)
        return rows.many(AuditEntry, await audit.list_agent_audit(agent_id, wanted))

    @strawberry.field(
        description="The audit log of an agent by cursors, newest first, also of one that is "
        "deleted; NOT_FOUND if there is no such agent and nothing was ever recorded of one."
    )
    async def audit_entries_connection(
        self,
        agent_id: AgentId,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[AuditEntry] | None:
        part = window_of("audit", first, after, last, before)
        found = await audit.slice_agent_audit(agent_id, part)
        return connection(AuditEntry, "audit", found)
