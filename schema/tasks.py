"""GraphQL: TaskDefinition, its queries and mutations."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, cast

import strawberry

from resolvers import agents, mappings, tasks
from schema import rows
from schema.agents import Agent
from schema.arguments import chosen, described_like
from schema.context import Info
from schema.enums import AnswerMode, MemoryScope, ToolReach
from schema.inputs import input_from_model
from schema.limits import DEFAULT_PAGE
from schema.paging import InnerLimit, Limit, Offset, inner_page
from schema.scalars import BigInt

if TYPE_CHECKING:
    from schema.mappings import TriggerTaskMapping

TaskId = Annotated[strawberry.ID, strawberry.argument(description="The task definition's id.")]


@strawberry.type(description="A unit of work that a canonical trigger starts.")
class TaskDefinition:
    id: strawberry.ID = strawberry.field(
        description="Chosen by whoever creates it: snake_case, at most 64 characters."
    )
    name: str = strawberry.field(description="Its display name, at most 200 characters.")
    description: str = strawberry.field(description="What to do, for the system prompt.")
    actor_id: strawberry.ID = strawberry.field(
        description="The id of the agent that it is for; that agent need not exist."
    )
    fallback_prompt: str | None = strawberry.field(
        description="The system prompt where that agent does not exist or is disabled, and no "
        "other has what is required."
    )
    required_capabilities: list[str] = strawberry.field(
        description="Capabilities that it needs, at most 200: where its agent has not all of them, "
        "whoever has most does it."
    )
    tools: list[str] | None = strawberry.field(
        description="Names of the tools allowed in it, at most 200; null: all."
    )
    tool_reach: ToolReach = strawberry.field(description="What its tools may act on.")
    memory_scopes: list[MemoryScope] = strawberry.field(
        description="Where its agent may remember and recall."
    )
    max_tool_rounds: int | None = strawberry.field(
        description="How many replies of the model may ask for tools, 0 to 100; null: as "
        "configured."
    )
    timeout_seconds: int | None = strawberry.field(
        description="How long a run may take, 1 to 86400 seconds; null: as configured."
    )
    answer_mode: AnswerMode = strawberry.field(
        description="What an answer does where the task has answered on the item before."
    )
    approve_answer: bool = strawberry.field(
        description="Whether a person has to approve the answer before it is posted."
    )
    approve_tools: list[str] = strawberry.field(
        description="Names of the tools whose calls a person has to approve first, at most 200; "
        "`*` stands for every tool that writes."
    )
    approval_timeout_minutes: int | None = strawberry.field(
        description="How long a person may take, 1 to 525600 minutes, before the execution fails; "
        "null: as configured."
    )
    cancel_on_close: bool = strawberry.field(
        description="Whether its executions are cancelled when their item is closed."
    )
    cancel_on_newer: bool = strawberry.field(
        description="Whether an execution is cancelled when a newer event of the same item starts "
        "the task again."
    )
    outsiders_may_act: bool = strawberry.field(
        description="Whether its tools may write though somebody without association to the "
        "project woke it; if not, such an execution may answer, and nothing else."
    )
    summarize: bool = strawberry.field(
        description="Whether a summary of each run is kept as a memory of the project."
    )
    max_tokens_per_run: BigInt | None = strawberry.field(
        description="What the model may read and write in one run; null: no bound."
    )
    max_cost_usd_per_run: float | None = strawberry.field(
        description="What one run may cost, in US dollars; null: no bound."
    )
    max_runs_per_item_hour: int | None = strawberry.field(
        description="How often it may be started on one item within an hour; null: no bound."
    )
    enabled: bool = strawberry.field(description="Whether triggers start it.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")

    @strawberry.field(description="The agent that it is for; null if that does not exist.")
    async def agent(self, info: Info) -> Agent | None:
        return rows.one(
            Agent, await info.context.loaders.load(agents.agents_of, str(self.actor_id))
        )

    @strawberry.field(description="What starts it, oldest first.")
    async def triggers(
        self, info: Info, limit: InnerLimit = None, offset: Offset = 0
    ) -> list[Annotated["TriggerTaskMapping", strawberry.lazy("schema.mappings")]]:
        key = (str(self.id), *inner_page(limit, offset))
        found = await info.context.loaders.load(mappings.trigger_mappings_of, key)
        return cast("list[TriggerTaskMapping]", found)


@described_like(TaskDefinition)
@input_from_model(description="A task definition to create.")
class TaskDefinitionInput(tasks.NewTask):
    pass


@described_like(TaskDefinition)
@input_from_model(description="What to change of a task definition; what is left out stays.")
class TaskDefinitionChangesInput(tasks.TaskChanges):
    pass


@strawberry.type
class Query:
    @strawberry.field(description="Task definitions, oldest first.")
    async def task_definitions(
        self,
        actor_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the agent with this id."),
        ] = None,
        enabled: Annotated[
            bool | None, strawberry.argument(description="Only those that are, or are not.")
        ] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[TaskDefinition] | None:
        wanted = chosen(
            tasks.TaskFilter, actor_id=actor_id, enabled=enabled, limit=limit, offset=offset
        )
        return rows.many(TaskDefinition, await tasks.list_tasks(wanted))

    @strawberry.field(description="One task definition; null, with NOT_FOUND, if there is none.")
    async def task_definition(self, id: TaskId) -> TaskDefinition | None:
        return rows.one(TaskDefinition, await tasks.get_task(id))


@strawberry.type
class Mutation:
    @strawberry.mutation(description="Create a task definition; CONFLICT if its id is taken.")
    async def task_definition_create(
        self,
        input: Annotated[
            TaskDefinitionInput, strawberry.argument(description="The task definition.")
        ],
    ) -> TaskDefinition | None:
        return rows.one(TaskDefinition, await tasks.create_task(input))

    @strawberry.mutation(
        description="Change a task definition; executions under way keep what they began with."
    )
    async def task_definition_update(
        self,
        id: TaskId,
        changes: Annotated[
            TaskDefinitionChangesInput, strawberry.argument(description="What to change.")
        ],
    ) -> TaskDefinition | None:
        return rows.one(TaskDefinition, await tasks.update_task(id, changes))

    @strawberry.mutation(
        description="Delete a task definition with its trigger-task mappings; its executions "
        "stay. Gives its id."
    )
    async def task_definition_delete(self, id: TaskId) -> strawberry.ID | None:
        await tasks.delete_task(id)
        return id
