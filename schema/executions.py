"""GraphQL: TaskExecution with its messages and what it used; its queries, restart and cancel."""

from datetime import datetime
from typing import Annotated, Any, cast

import strawberry

from resolvers import agents, approvals, deliveries, executions, projects, tasks, tools
from resolvers.fields import Page
from schema import rows
from schema.agents import Agent
from schema.approvals import Approval
from schema.arguments import chosen, number
from schema.connections import After, Before, Connection, First, Last, connection, window_of
from schema.context import Info
from schema.deliveries import Delivery
from schema.enums import ExecutionStatus, SourceName
from schema.inputs import row_id
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset
from schema.projects import Project
from schema.scalars import BigInt
from schema.tasks import TaskDefinition
from schema.tools import ToolExecution

OfTask = Annotated[
    strawberry.ID | None, strawberry.argument(description="Only those of the task with this id.")
]
OfAgent = Annotated[
    strawberry.ID | None, strawberry.argument(description="Only those of the agent with this id.")
]
OfProject = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="Only those of our project with this id."),
]
OfDelivery = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="Only those for the delivery with this id."),
]
OfStatus = Annotated[
    ExecutionStatus | None, strawberry.argument(description="Only those that stand here.")
]
ExecutionId = Annotated[strawberry.ID, strawberry.argument(description="The task execution's id.")]


@strawberry.type(description="One message of a run's conversation with the model.")
class ExecutionMessage:
    position: int = strawberry.field(description="Its place, from 0: the system prompt.")
    message: dict[str, Any] = strawberry.field(description="The message, in OpenAI's chat form.")
    model: str | None = strawberry.field(description="The model that wrote it; null: none did.")
    prompt_tokens: BigInt = strawberry.field(description="What the model read to write it.")
    completion_tokens: BigInt = strawberry.field(description="What the model wrote.")
    cost_usd: float = strawberry.field(description="What it cost, in US dollars.")
    unpriced: bool = strawberry.field(
        description="Whether its price was not known, so that `costUsd` is 0."
    )
    created_at: datetime = strawberry.field(description="When it was stored.")


@strawberry.type(description="What a task execution has used, all its runs together.")
class ExecutionUsage:
    llm_calls: int = strawberry.field(description="How often the model was called.")
    tool_calls: int = strawberry.field(description="How many tool calls were run.")
    prompt_tokens: BigInt = strawberry.field(description="What the model read.")
    completion_tokens: BigInt = strawberry.field(description="What the model wrote.")
    cost_usd: float = strawberry.field(description="What it cost, in US dollars.")
    unpriced_calls: int = strawberry.field(
        description="How many of the calls `costUsd` is without: their price was not known."
    )

    @strawberry.field(description="What the model read and wrote.")
    def total_tokens(self) -> BigInt:
        return BigInt(self.prompt_tokens + self.completion_tokens)


@strawberry.type(description="One doing of one task definition for one delivery.")
class TaskExecution:
    id: strawberry.ID = strawberry.field(description="Its number; grows with time.")
    status: ExecutionStatus = strawberry.field(description="Where it stands.")
    canonical_trigger: str = strawberry.field(description="What started it: `issue.created`.")
    source: SourceName = strawberry.field(description="The platform that its delivery came from.")
    project_key: str = strawberry.field(
        description="What the source calls the project: `myorg/api-service`; may be empty."
    )
    item_kind: str | None = strawberry.field(description="What it is about: `issue`, `pr`.")
    item_key: str | None = strawberry.field(description="What the source calls that item: `7`.")
    agent_reason: str | None = strawberry.field(description="Why this agent; null: not begun.")
    model: str | None = strawberry.field(description="The language model that it speaks through.")
    run: int = strawberry.field(description="Which run this is, from 1; a restart begins the next.")
    tries: int = strawberry.field(description="How often this run has failed.")
    error: str | None = strawberry.field(description="Why it failed last.")
    error_code: str | None = strawberry.field(description="The code of that failure.")
    answer: str | None = strawberry.field(
        description="Its whole closing text, however much of it was posted."
    )
    answer_url: str | None = strawberry.field(description="Where the answer was posted.")
    cancel_requested: bool = strawberry.field(description="Whether someone asked it to stop.")
    run_after: datetime | None = strawberry.field(
        description="When it is tried, at the earliest; null: now."
    )
    created_at: datetime = strawberry.field(description="When it was started by its delivery.")
    started_at: datetime | None = strawberry.field(description="When a worker first began.")
    finished_at: datetime | None = strawberry.field(description="When it ended.")
    task_id: strawberry.ID = strawberry.field(
        description="The task's id, also once the task is deleted."
    )
    agent_id: strawberry.ID | None = strawberry.field(
        description="The agent's id, also once the agent is deleted; null: not begun, or the "
        "fallback prompt spoke."
    )
    delivery_id: strawberry.ID = strawberry.field(description="The id of what it is done for.")
    project_id: strawberry.ID | None = strawberry.field(
        description="The id of our project, also once the project is deleted."
    )

    @strawberry.field(description="What is done; null once the task is deleted.")
    async def task(self, info: Info) -> TaskDefinition | None:
        found = await info.context.loaders.load(tasks.tasks_of, str(self.task_id))
        return rows.one(TaskDefinition, found)

    @strawberry.field(
        description="Who does it; null: not begun, the fallback prompt spoke, or deleted since."
    )
    async def agent(self, info: Info) -> Agent | None:
        if self.agent_id is None:
            return None
        found = await info.context.loaders.load(agents.agents_of, str(self.agent_id))
        return rows.one(Agent, found)

    @strawberry.field(description="What it is done for; null once that is pruned.")
    async def delivery(self, info: Info) -> Delivery | None:
        found = await info.context.loaders.load(deliveries.deliveries_of, int(self.delivery_id))
        return rows.one(Delivery, found)

    @strawberry.field(description="Our project that it belongs to; null: none, or deleted since.")
    async def project(self, info: Info) -> Project | None:
        if self.project_id is None:
            return None
        found = await info.context.loaders.load(projects.projects_of, int(self.project_id))
        return rows.one(Project, found)

    @strawberry.field(description="What it has used.")
    def usage(self) -> ExecutionUsage:
        return rows.one(ExecutionUsage, self)

    @strawberry.field(
        description="What the model was sent and said in the current run, in order. Some 32 MiB "
        "of messages are given at once; for further executions of a list it is null, with "
        "INVALID_INPUT."
    )
    async def messages(self, info: Info) -> list[ExecutionMessage] | None:
        key = (int(self.id), self.run)
        found = await info.context.loaders.load(executions.messages_of, key)
        return cast("list[ExecutionMessage]", found)  # an error is raised by the loader

    @strawberry.field(description="The tool calls that it ran, all its runs, oldest first.")
    async def tool_executions(
        self, info: Info, limit: Limit = DEFAULT_PAGE, offset: Offset = 0
    ) -> list[ToolExecution]:
        wanted = chosen(Page, limit=limit, offset=offset)
        key = (int(self.id), wanted.limit, wanted.offset)
        return rows.many(
            ToolExecution, await info.context.loaders.load(tools.tool_executions_of, key)
        )

    @strawberry.field(description="What it asked a person about, newest first.")
    async def approvals(
        self, info: Info, limit: Limit = DEFAULT_PAGE, offset: Offset = 0
    ) -> list[Approval]:
        wanted = chosen(Page, limit=limit, offset=offset)
        key = (int(self.id), wanted.limit, wanted.offset)
        return rows.many(Approval, await info.context.loaders.load(approvals.approvals_of, key))


def _wanted(
    task_id: strawberry.ID | None,
    agent_id: strawberry.ID | None,
    project_id: strawberry.ID | None,
    delivery_id: strawberry.ID | None,
    status: ExecutionStatus | None,
    **page: int,
) -> executions.ExecutionFilter:
    return chosen(
        executions.ExecutionFilter,
        task_id=task_id,
        agent_id=agent_id,
        project_id=number("projectId", project_id),
        delivery_id=number("deliveryId", delivery_id),
        status=status,
        **page,
    )


@strawberry.type
class Query:
    @strawberry.field(description="Task executions, newest first.")
    async def task_executions(
        self,
        task_id: OfTask = None,
        agent_id: OfAgent = None,
        project_id: OfProject = None,
        delivery_id: OfDelivery = None,
        status: OfStatus = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[TaskExecution] | None:
        wanted = _wanted(
            task_id, agent_id, project_id, delivery_id, status, limit=limit, offset=offset
        )
        return rows.many(TaskExecution, await executions.list_executions(wanted))

    @strawberry.field(description="Task executions by cursors, newest first.")
    async def task_executions_connection(
        self,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        task_id: OfTask = None,
        agent_id: OfAgent = None,
        project_id: OfProject = None,
        delivery_id: OfDelivery = None,
        status: OfStatus = None,
    ) -> Connection[TaskExecution] | None:
        wanted = _wanted(task_id, agent_id, project_id, delivery_id, status)
        part = window_of("execution", first, after, last, before)
        found = await executions.slice_executions(wanted, part)
        return connection(TaskExecution, "execution", found)

    @strawberry.field(description="One task execution; null, with NOT_FOUND, if there is none.")
    async def task_execution(self, id: ExecutionId) -> TaskExecution | None:
        found = await executions.get_execution(row_id("task execution", id))
        return rows.one(TaskExecution, found)


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Begin the next run of a failed task execution; CONFLICT if it is not failed, "
        "or its task or project is disabled."
    )
    async def task_execution_restart(self, id: ExecutionId) -> TaskExecution | None:
        restarted = await executions.restart_execution(row_id("task execution", id))
        return await _as_it_is_now(restarted.execution_id)

    @strawberry.mutation(
        description="Begin the next run of the newest failed execution of a task; CONFLICT if none "
        "is failed, NOT_FOUND if it was never executed. Gives that execution."
    )
    async def task_definition_restart(
        self,
        id: Annotated[strawberry.ID, strawberry.argument(description="The task definition's id.")],
    ) -> TaskExecution | None:
        restarted = await executions.restart_newest_failed(id)
        return await _as_it_is_now(restarted.execution_id)

    @strawberry.mutation(
        description="Cancel a task execution: at once, or, where a worker is at it, at its next "
        "step; CONFLICT if it has ended."
    )
    async def task_execution_cancel(self, id: ExecutionId) -> TaskExecution | None:
        execution_id = row_id("task execution", id)
        await executions.cancel_execution(execution_id)
        return await _as_it_is_now(execution_id)


async def _as_it_is_now(id: int) -> TaskExecution:
    return rows.one(TaskExecution, await executions.get_execution(id))
