"""GraphQL: Approval, its queries, and the two things that a person can say."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import strawberry

from resolvers import agents, approvals, executions, tasks
from resolvers.approvals import ApprovalFilter, Approving, Refusing
from resolvers.fields import read
from schema import rows
from schema.agents import Agent
from schema.arguments import chosen, number
from schema.context import Info
from schema.enums import ApprovalKind, ApprovalStatus
from schema.inputs import row_id
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset
from schema.scalars import JSON
from schema.tasks import TaskDefinition

if TYPE_CHECKING:
    from schema.executions import TaskExecution

By = Annotated[
    str | None,
    strawberry.argument(description="Who decides: a name for the record; nobody checks it."),
]
ApprovalId = Annotated[strawberry.ID, strawberry.argument(description="The approval's id.")]


@strawberry.type(description="A tool call or an answer that waits, or waited, for a person.")
class Approval:
    id: strawberry.ID = strawberry.field(description="Its number; grows with time.")
    kind: ApprovalKind = strawberry.field(description="What it is about.")
    tool: str | None = strawberry.field(description="The tool to be called; null: an answer.")
    arguments: dict[str, Any] | None = strawberry.field(
        description="The arguments that the agent wants; null: an answer."
    )
    text: str | None = strawberry.field(
        description="The answer that the agent wants to post; null: a tool call."
    )
    status: ApprovalStatus = strawberry.field(description="What a person has said.")
    decided_arguments: dict[str, Any] | None = strawberry.field(
        description="The arguments that a person wants instead; null: the agent's."
    )
    decided_text: str | None = strawberry.field(
        description="The answer that a person wants instead; null: the agent's."
    )
    reason: str | None = strawberry.field(description="Why it was refused.")
    decided_by: str | None = strawberry.field(
        description="Who decided, by the name that they gave; null: they gave none."
    )
    agent_id: strawberry.ID | None = strawberry.field(
        description="The agent's id, also once the agent is deleted; null: the fallback prompt."
    )
    task_id: strawberry.ID = strawberry.field(
        description="The task's id, also once the task is deleted."
    )
    execution_id: strawberry.ID = strawberry.field(description="The id of what waits for it.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    expires_at: datetime = strawberry.field(
        description="Until when a person may decide; then the execution fails."
    )
    decided_at: datetime | None = strawberry.field(
        description="When it was decided, or ended otherwise."
    )

    @strawberry.field(description="What waits for it; null once that is pruned.")
    async def execution(
        self, info: Info
    ) -> Annotated["TaskExecution", strawberry.lazy("schema.executions")] | None:
        found = await info.context.loaders.load(executions.executions_of, int(self.execution_id))
        return cast("TaskExecution | None", found)

    @strawberry.field(description="Who wants it; null: the fallback prompt, or deleted since.")
    async def agent(self, info: Info) -> Agent | None:
        if self.agent_id is None:
            return None
        found = await info.context.loaders.load(agents.agents_of, str(self.agent_id))
        return rows.one(Agent, found)

    @strawberry.field(description="The task that it is part of; null once that is deleted.")
    async def task(self, info: Info) -> TaskDefinition | None:
        found = await info.context.loaders.load(tasks.tasks_of, str(self.task_id))
        return rows.one(TaskDefinition, found)


@strawberry.type
class Query:
    @strawberry.field(description="Approvals, newest first; PENDING ones wait for a person.")
    async def approvals(
        self,
        status: Annotated[
            ApprovalStatus | None, strawberry.argument(description="Only those that are this.")
        ] = None,
        execution_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the task execution with this id."),
        ] = None,
        agent_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the agent with this id."),
        ] = None,
        task_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the task with this id."),
        ] = None,
        project_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of our project with this id."),
        ] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[Approval] | None:
        wanted = chosen(
            ApprovalFilter,
            status=status,
            execution_id=number("executionId", execution_id),
            agent_id=agent_id,
            task_id=task_id,
            project_id=number("projectId", project_id),
            limit=limit,
            offset=offset,
        )
        return rows.many(Approval, await approvals.list_approvals(wanted))

    @strawberry.field(description="One approval; null, with NOT_FOUND, if there is none.")
    async def approval(self, id: ApprovalId) -> Approval | None:
        return rows.one(Approval, await approvals.get_approval(row_id("approval", id)))


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Let a tool call or an answer happen, as the agent wants it or changed. "
        "CONFLICT if it is not pending any more."
    )
    async def approval_approve(
        self,
        id: ApprovalId,
        arguments: Annotated[
            JSON | None, strawberry.argument(description="Other arguments for the tool call.")
        ] = None,
        text: Annotated[
            str | None, strawberry.argument(description="Another text for the answer.")
        ] = None,
        by: By = None,
    ) -> Approval | None:
        told = read(Approving, {"arguments": arguments, "text": text, "by": by})
        return rows.one(Approval, await approvals.approve(row_id("approval", id), told))

    @strawberry.mutation(
        description="Keep a tool call or an answer from happening; the agent reads the reason and "
        "goes on. CONFLICT if it is not pending any more."
    )
    async def approval_refuse(
        self,
        id: ApprovalId,
        reason: Annotated[
            str | None,
            strawberry.argument(description="Why, for the agent; at most 2,000 characters."),
        ] = None,
        by: By = None,
    ) -> Approval | None:
        told = read(Refusing, {"reason": reason, "by": by})
        return rows.one(Approval, await approvals.refuse(row_id("approval", id), told))
