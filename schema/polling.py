"""GraphQL: PollSource, its queries and mutations."""

from datetime import datetime
from typing import Annotated

import strawberry

from resolvers import integrations, polling
from schema import rows
from schema.arguments import chosen, described_like
from schema.context import Info
from schema.enums import PollStatus, SourceName
from schema.inputs import input_from_model, row_id
from schema.integrations import Integration
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset
from schema.projects import Project

PollSourceId = Annotated[strawberry.ID, strawberry.argument(description="The poll source's id.")]


@strawberry.type(description="A source's project that is asked on a schedule what happened.")
class PollSource:
    id: strawberry.ID = strawberry.field(description="Its number.")
    source: SourceName = strawberry.field(description="The platform that is asked.")
    source_project_id: strawberry.ID = strawberry.field(
        description="What the source calls the project: `myorg/api-service`, `PROJ`; at most 400 "
        "characters. With another one the poll source begins anew."
    )
    interval_minutes: int = strawberry.field(
        description="Minutes from one poll to the next, 1 to 10080."
    )
    enabled: bool = strawberry.field(
        description="Whether it is polled on schedule; it can be by hand in any case."
    )
    integration_id: strawberry.ID | None = strawberry.field(
        description="The id of the integration whose credentials are used; null: those of the "
        "project, the source or the environment, in this order."
    )
    status: PollStatus = strawberry.field(description="Where it stands.")
    last_polled_at: datetime | None = strawberry.field(
        description="When a poll last saw all that there was; null: never yet."
    )
    next_poll_at: datetime = strawberry.field(description="When the next poll is due.")
    failures: int = strawberry.field(description="How many polls have failed in a row.")
    error: str | None = strawberry.field(description="Why the last one failed; null: it did not.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When its configuration was last changed.")

    @strawberry.field(description="That integration; null if none is named, or it is gone.")
    async def integration(self, info: Info) -> Integration | None:
        if self.integration_id is None:
            return None
        key = int(self.integration_id)
        found = await info.context.loaders.load(integrations.integrations_of, key)
        return rows.one(Integration, found)

    @strawberry.field(description="Our project for it; null if there is none.")
    async def project(self, info: Info) -> Project | None:
        key = (self.source, str(self.source_project_id))
        return rows.one(Project, await info.context.loaders.load(polling.projects_named, key))


@strawberry.type(description="A poll that was asked for.")
class WantedPoll:
    poll_source_id: strawberry.ID = strawberry.field(description="The poll source's id.")
    status: PollStatus = strawberry.field(description="`QUEUED`.")


@described_like(PollSource)
@input_from_model(description="A poll source to create.")
class PollSourceInput(polling.NewPollSource):
    pass


@described_like(PollSource)
@input_from_model(description="What to change of a poll source; what is left out stays.")
class PollSourceChangesInput(polling.PollSourceChanges):
    pass


@strawberry.type
class Query:
    @strawberry.field(description="Poll sources, oldest first.")
    async def poll_sources(
        self,
        source: Annotated[
            SourceName | None, strawberry.argument(description="Only those on this platform.")
        ] = None,
        enabled: Annotated[
            bool | None, strawberry.argument(description="Only those that are, or are not.")
        ] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[PollSource] | None:
        wanted = chosen(
            polling.PollSourceFilter, source=source, enabled=enabled, limit=limit, offset=offset
        )
        return rows.many(PollSource, await polling.list_poll_sources(wanted))

    @strawberry.field(description="One poll source; null, with NOT_FOUND, if there is none.")
    async def poll_source(self, id: PollSourceId) -> PollSource | None:
        return rows.one(PollSource, await polling.get_poll_source(row_id(polling.NOUN, id)))


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Create a poll source; its first poll is due at once. CONFLICT if the "
        "project has one."
    )
    async def poll_source_create(
        self,
        input: Annotated[PollSourceInput, strawberry.argument(description="The poll source.")],
    ) -> PollSource | None:
        return rows.one(PollSource, await polling.create_poll_source(input))

    @strawberry.mutation(
        description="Change a poll source; it goes on from where it stood. CONFLICT if another "
        "one has the project."
    )
    async def poll_source_update(
        self,
        id: PollSourceId,
        changes: Annotated[
            PollSourceChangesInput, strawberry.argument(description="What to change.")
        ],
    ) -> PollSource | None:
        one = await polling.update_poll_source(row_id(polling.NOUN, id), changes)
        return rows.one(PollSource, one)

    @strawberry.mutation(description="Delete a poll source. Gives its id.")
    async def poll_source_delete(self, id: PollSourceId) -> strawberry.ID | None:
        await polling.delete_poll_source(row_id(polling.NOUN, id))
        return id

    @strawberry.mutation(
        description="Poll now, also one that is not enabled; CONFLICT while it is being polled."
    )
    async def poll_source_poll(self, id: PollSourceId) -> WantedPoll | None:
        return rows.one(WantedPoll, await polling.poll_now(row_id(polling.NOUN, id)))
