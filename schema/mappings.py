"""GraphQL: the three kinds of mappings, their queries and mutations."""

from datetime import datetime
from typing import Annotated

import strawberry

from resolvers import mappings, tasks
from schema import rows
from schema.arguments import chosen, described_like
from schema.context import Info
from schema.enums import Association, SourceName
from schema.inputs import input_from_model, row_id
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset
from schema.scalars import JSON
from schema.tasks import TaskDefinition

MappingId = Annotated[strawberry.ID, strawberry.argument(description="The mapping's id.")]
OfTrigger = Annotated[
    str | None, strawberry.argument(description="Only those of this canonical trigger.")
]
OfSource = Annotated[
    SourceName | None, strawberry.argument(description="Only those of this platform.")
]
TRIGGER = (
    "The canonical trigger: lower-case words joined by dots, such as `issue.created`; at most 100 "
    "characters."
)
_JQ = "jq over the payload, with the event as `$event`"


@strawberry.type(description="A canonical trigger starts a task definition.")
class TriggerTaskMapping:
    id: strawberry.ID = strawberry.field(description="Its number.")
    canonical_trigger: str = strawberry.field(description=TRIGGER)
    task_id: strawberry.ID = strawberry.field(description="The id of the task that it starts.")
    condition: str | None = strawberry.field(
        description=f"The task is started only where this is true: {_JQ}; null: always."
    )
    min_association: Association | None = strawberry.field(
        description="The task is started only by authors who stand at least this close; null: by "
        "anyone."
    )
    created_at: datetime = strawberry.field(description="When it was created.")

    @strawberry.field(description="The task that it starts; null if that does not exist.")
    async def task(self, info: Info) -> TaskDefinition | None:
        found = await info.context.loaders.load(tasks.tasks_of, str(self.task_id))
        return rows.one(TaskDefinition, found)


@strawberry.type(description="An event of a source is a canonical trigger.")
class SourceEventMapping:
    id: strawberry.ID = strawberry.field(description="Its number.")
    source: SourceName = strawberry.field(description="The platform.")
    event_name: str = strawberry.field(description="The event, in the source's word: `issues`.")
    action: str | None = strawberry.field(
        description="What was done, in the source's word: `opened`; null: whatever it is."
    )
    canonical_trigger: str = strawberry.field(description=TRIGGER)
    created_at: datetime = strawberry.field(description="When it was created.")


@strawberry.type(description="An event of a source that a jq filter accepts is a trigger, too.")
class WebhookMapping:
    id: strawberry.ID = strawberry.field(description="Its number.")
    source: SourceName = strawberry.field(description="The platform.")
    event_type: str = strawberry.field(description="The event, in the source's word: `issues`.")
    jq_filter: str = strawberry.field(description=f"What must be true: {_JQ}.")
    canonical_trigger: str = strawberry.field(description=TRIGGER)
    name: str | None = strawberry.field(description="Its display name.")
    slug: str | None = strawberry.field(
        description="Deliveries to `/webhook/<slug>` are taken, too; lower-case letters, digits, "
        "`-` and `_`."
    )
    extract: JSON = strawberry.field(
        description=f"Name to {_JQ}; what each finds is offered to the prompt by its name; at "
        "most 50."
    )
    enabled: bool = strawberry.field(description="Whether it is asked.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")


@described_like(TriggerTaskMapping)
@input_from_model(description="A trigger-task mapping to create.")
class TriggerTaskMappingInput(mappings.NewTriggerMapping):
    pass


@described_like(TriggerTaskMapping)
@input_from_model(description="What to change of a trigger-task mapping; what is left out stays.")
class TriggerTaskMappingChangesInput(mappings.TriggerMappingChanges):
    pass


@described_like(SourceEventMapping)
@input_from_model(description="A source event mapping to create.")
class SourceEventMappingInput(mappings.NewSourceMapping):
    pass


@described_like(WebhookMapping)
@input_from_model(description="A webhook mapping to create.")
class WebhookMappingInput(mappings.NewWebhookMapping):
    pass


@described_like(WebhookMapping)
@input_from_model(description="What to change of a webhook mapping; what is left out stays.")
class WebhookMappingChangesInput(mappings.WebhookMappingChanges):
    pass


@strawberry.type
class Query:
    @strawberry.field(description="Which trigger starts which task, oldest first.")
    async def trigger_task_mappings(
        self,
        canonical_trigger: OfTrigger = None,
        task_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the task with this id."),
        ] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[TriggerTaskMapping] | None:
        wanted = chosen(
            mappings.TriggerMappingFilter,
            canonical_trigger=canonical_trigger,
            task_id=task_id,
            limit=limit,
            offset=offset,
        )
        return rows.many(TriggerTaskMapping, await mappings.list_trigger_mappings(wanted))

    @strawberry.field(description="Which event of a source is which trigger, oldest first.")
    async def source_event_mappings(
        self,
        source: OfSource = None,
        event_name: Annotated[
            str | None, strawberry.argument(description="Only those of this event.")
        ] = None,
        canonical_trigger: OfTrigger = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[SourceEventMapping] | None:
        wanted = chosen(
            mappings.SourceMappingFilter,
            source=source,
            event_name=event_name,
            canonical_trigger=canonical_trigger,
            limit=limit,
            offset=offset,
        )
        return rows.many(SourceEventMapping, await mappings.list_source_mappings(wanted))

    @strawberry.field(description="The jq rules, oldest first.")
    async def webhook_mappings(
        self,
        source: OfSource = None,
        enabled: Annotated[
            bool | None, strawberry.argument(description="Only those that are, or are not.")
        ] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[WebhookMapping]:
        wanted = chosen(
            mappings.WebhookMappingFilter,
            source=source,
            enabled=enabled,
            limit=limit,
            offset=offset,
        )
        return rows.many(WebhookMapping, await mappings.list_webhook_mappings(wanted))

    @strawberry.field(description="One webhook mapping; null, with NOT_FOUND, if there is none.")
    async def webhook_mapping(self, id: MappingId) -> WebhookMapping | None:
        found = await mappings.get_webhook_mapping(row_id("webhook mapping", id))
        return rows.one(WebhookMapping, found)


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Make a trigger start a task; INVALID_INPUT if there is no such task, CONFLICT "
        "if the trigger starts it already."
    )
    async def trigger_task_mapping_create(
        self,
        input: Annotated[TriggerTaskMappingInput, strawberry.argument(description="The mapping.")],
    ) -> TriggerTaskMapping | None:
        return rows.one(TriggerTaskMapping, await mappings.create_trigger_mapping(input))

    @strawberry.mutation(
        description="Change what a trigger starts, or the gates before it; fails as its creation "
        "does."
    )
    async def trigger_task_mapping_update(
        self,
        id: MappingId,
        changes: Annotated[
            TriggerTaskMappingChangesInput, strawberry.argument(description="What to change.")
        ],
    ) -> TriggerTaskMapping | None:
        changed = await mappings.update_trigger_mapping(row_id("mapping", id), changes)
        return rows.one(TriggerTaskMapping, changed)

    @strawberry.mutation(description="Stop a trigger from starting a task. Gives the mapping's id.")
    async def trigger_task_mapping_delete(self, id: MappingId) -> strawberry.ID | None:
        await mappings.delete_trigger_mapping(row_id("mapping", id))
        return id

    @strawberry.mutation(
        description="Give a source's event a trigger; CONFLICT if it has one, with this action."
    )
    async def source_event_mapping_create(
        self,
        input: Annotated[SourceEventMappingInput, strawberry.argument(description="The mapping.")],
    ) -> SourceEventMapping | None:
        return rows.one(SourceEventMapping, await mappings.create_source_mapping(input))

    @strawberry.mutation(description="Take an event's trigger away. Gives the mapping's id.")
    async def source_event_mapping_delete(self, id: MappingId) -> strawberry.ID | None:
        await mappings.delete_source_mapping(row_id("mapping", id))
        return id

    @strawberry.mutation(
        description="Add a jq rule, compiled now: INVALID_INPUT says what jq cannot read, CONFLICT "
        "that the rule or its slug is taken."
    )
    async def webhook_mapping_create(
        self,
        input: Annotated[WebhookMappingInput, strawberry.argument(description="The mapping.")],
    ) -> WebhookMapping | None:
        return rows.one(WebhookMapping, await mappings.create_webhook_mapping(input))

    @strawberry.mutation(description="Change a jq rule; fails as its creation does.")
    async def webhook_mapping_update(
        self,
        id: MappingId,
        changes: Annotated[
            WebhookMappingChangesInput, strawberry.argument(description="What to change.")
        ],
    ) -> WebhookMapping | None:
        changed = await mappings.update_webhook_mapping(row_id("webhook mapping", id), changes)
        return rows.one(WebhookMapping, changed)

    @strawberry.mutation(description="Take a jq rule away. Gives its id.")
    async def webhook_mapping_delete(self, id: MappingId) -> strawberry.ID | None:
        await mappings.delete_webhook_mapping(row_id("webhook mapping", id))
        return id
