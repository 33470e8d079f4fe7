"""GraphQL: Delivery, its queries and its replay."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import strawberry

from resolvers import deliveries, executions, projects
from schema import rows
from schema.arguments import chosen, number
from schema.connections import After, Before, Connection, First, Last, connection, window_of
from schema.context import Info
from schema.enums import DeliveryStatus, SourceName
from schema.inputs import row_id
from schema.limits import DEFAULT_PAGE
from schema.paging import InnerLimit, Limit, Offset, inner_page
from schema.projects import Project

if TYPE_CHECKING:
    from schema.executions import TaskExecution

DeliveryId = Annotated[strawberry.ID, strawberry.argument(description="The delivery's id.")]
OfSource = Annotated[
    SourceName | None, strawberry.argument(description="Only those from this platform.")
]
OfStatus = Annotated[
    DeliveryStatus | None, strawberry.argument(description="Only those that this became of.")
]
OfProject = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="Only those of our project with this id."),
]


@strawberry.type(description="One verified webhook or one polled change, stored once.")
class Delivery:
    id: strawberry.ID = strawberry.field(description="Its number; grows with time.")
    source: SourceName = strawberry.field(description="The platform that it came from.")
    slug: str = strawberry.field(description="The last part of the address that it was sent to.")
    event_name: str = strawberry.field(description="The event, in the source's word: `issues`.")
    action: str | None = strawberry.field(
        description="What was done, in the source's word: `opened`."
    )
    status: DeliveryStatus = strawberry.field(description="What became of it.")
    reason: str | None = strawberry.field(
        description="Why it was ignored, or which tasks were held back and why."
    )
    canonical_triggers: list[str] = strawberry.field(
        description="What the mappings made of it: `issue.created`."
    )
    project_key: str = strawberry.field(
        description="What the source calls the project: `myorg/api-service`; may be empty."
    )
    item_kind: str | None = strawberry.field(description="What it is about: `issue`, `pr`.")
    item_key: str | None = strawberry.field(description="What the source calls that item: `7`.")
    title: str = strawberry.field(description="That item's title; may be empty.")
    actor: str | None = strawberry.field(description="Who did it, by their name at the source.")
    actor_is_bot: bool = strawberry.field(description="Whether that is a program.")
    is_verified: bool = strawberry.field(
        description="Whether its signature was proven; false: let in by ALLOW_UNSIGNED."
    )
    delivery_key: str = strawberry.field(description="The same whenever the source sends it again.")
    change_key: str = strawberry.field(description="What happened, whoever tells of it.")
    received_at: datetime = strawberry.field(description="When it was received.")
    project_id: strawberry.ID | None = strawberry.field(
        description="The id of our project, also once the project is deleted."
    )
    replay_of: strawberry.Private[int | None]

    @strawberry.field(description="Our project that it belongs to; null: none, or deleted since.")
    async def project(self, info: Info) -> Project | None:
        if self.project_id is None:
            return None
        found = await info.context.loaders.load(projects.projects_of, int(self.project_id))
        return rows.one(Project, found)

    @strawberry.field(name="replayOf", description="The delivery that it repeats; null: none.")
    async def replayed(self, info: Info) -> "Delivery | None":
        if self.replay_of is None:
            return None
        found = await info.context.loaders.load(deliveries.deliveries_of, self.replay_of)
        return rows.one(Delivery, found)

    @strawberry.field(description="What it started, oldest first.")
    async def executions(
        self, info: Info, limit: InnerLimit = None, offset: Offset = 0
    ) -> list[Annotated["TaskExecution", strawberry.lazy("schema.executions")]]:
        key = (int(self.id), *inner_page(limit, offset))
        found = await info.context.loaders.load(executions.executions_of_deliveries, key)
        return cast("list[TaskExecution]", found)

    @strawberry.field(
        description="What the source sent, untouched but for secrets of ours, which are masked. "
        "Some 32 MiB of payloads are given at once; for further ones of a list it is null, with "
        "INVALID_INPUT."
    )
    async def payload(self, info: Info) -> dict[str, Any] | None:
        return (await _content(self, info)).payload

    @strawberry.field(description="What we read from the payload; null where `payload` would be.")
    async def event(self, info: Info) -> dict[str, Any] | None:
        return (await _content(self, info)).event

    @strawberry.field(
        description="What webhook mappings extracted for the prompt, by name; null where "
        "`payload` would be."
    )
    async def extracted(self, info: Info) -> dict[str, Any] | None:
        return (await _content(self, info)).extracted


async def _content(delivery: Delivery, info: Info) -> deliveries.Content:
    found = await info.context.loaders.load(deliveries.contents_of, int(delivery.id))
    return cast("deliveries.Content", found)  # an error is raised by the loader


def _wanted(
    source: SourceName | None,
    status: DeliveryStatus | None,
    project_id: strawberry.ID | None,
    **page: int,
) -> deliveries.DeliveryFilter:
    return chosen(
        deliveries.DeliveryFilter,
        source=source,
        status=status,
        project_id=number("projectId", project_id),
        **page,
    )


@strawberry.type
class Query:
    @strawberry.field(description="Deliveries, newest first.")
    async def deliveries(
        self,
        source: OfSource = None,
        status: OfStatus = None,
        project_id: OfProject = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[Delivery] | None:
        wanted = _wanted(source, status, project_id, limit=limit, offset=offset)
        return rows.many(Delivery, await deliveries.list_deliveries(wanted))

    @strawberry.field(description="Deliveries by cursors, newest first.")
    async def deliveries_connection(
        self,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        source: OfSource = None,
        status: OfStatus = None,
        project_id: OfProject = None,
    ) -> Connection[Delivery] | None:
        wanted = _wanted(source, status, project_id)
        part = window_of("delivery", first, after, last, before)
        found = await deliveries.slice_deliveries(wanted, part)
        return connection(Delivery, "delivery", found)

    @strawberry.field(description="One delivery; null, with NOT_FOUND, if there is none.")
    async def delivery(self, id: DeliveryId) -> Delivery | None:
        return rows.one(Delivery, await deliveries.find_delivery(row_id("delivery", id)))


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Route a stored delivery once more, as a new one that names it. Gives the new "
        "one."
    )
    async def delivery_replay(self, id: DeliveryId) -> Delivery | None:
        receipt = await deliveries.replay_delivery(row_id("delivery", id))
        return rows.one(Delivery, await deliveries.find_delivery(receipt.delivery_id))
