"""GraphQL: Project, its queries and mutations."""

from datetime import datetime
from typing import Annotated

import strawberry

from resolvers import projects
from schema import rows
from schema.arguments import chosen, described_like
from schema.enums import SourceName
from schema.inputs import input_from_model, row_id
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset
from schema.scalars import BigInt

ProjectId = Annotated[strawberry.ID, strawberry.argument(description="The project's id.")]


@strawberry.type(description="Groups configuration for one repository or board of a source.")
class Project:
    id: strawberry.ID = strawberry.field(description="Its number.")
    name: str = strawberry.field(description="Its display name, at most 200 characters.")
    description: str | None = strawberry.field(description="What it is, for people to read.")
    source: SourceName = strawberry.field(description="The platform that it is on.")
    source_project_id: strawberry.ID = strawberry.field(
        description="What the source calls it: `myorg/api-service`, `PROJ`; at most 400 characters."
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
    enabled: bool = strawberry.field(
        description="Whether its deliveries start anything; if not, they are stored and ignored."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")


@described_like(Project)
@input_from_model(description="A project to create.")
class ProjectInput(projects.NewProject):
    pass


@described_like(Project)
@input_from_model(description="What to change of a project; what is left out stays.")
class ProjectChangesInput(projects.ProjectChanges):
    pass


@strawberry.type
class Query:
    @strawberry.field(description="Projects, oldest first.")
    async def projects(
        self,
        source: Annotated[
            SourceName | None, strawberry.argument(description="Only those on this platform.")
        ] = None,
        enabled: Annotated[
            bool | None, strawberry.argument(description="Only those that are, or are not.")
        ] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[Project]:
        wanted = chosen(
            projects.ProjectFilter, source=source, enabled=enabled, limit=limit, offset=offset
        )
        return rows.many(Project, await projects.list_projects(wanted))

    @strawberry.field(description="One project; null, with NOT_FOUND, if there is none.")
    async def project(self, id: ProjectId) -> Project | None:
        return rows.one(Project, await projects.get_project(row_id("project", id)))


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Create a project; CONFLICT if there is one for this project of the source."
    )
    async def project_create(
        self, input: Annotated[ProjectInput, strawberry.argument(description="The project.")]
    ) -> Project | None:
        return rows.one(Project, await projects.create_project(input))

    @strawberry.mutation(
        description="Change a project; CONFLICT if another is that project of the source."
    )
    async def project_update(
        self,
        id: ProjectId,
        changes: Annotated[ProjectChangesInput, strawberry.argument(description="What to change.")],
    ) -> Project | None:
        return rows.one(Project, await projects.update_project(row_id("project", id), changes))

    @strawberry.mutation(
        description="Delete a project with its integrations; its history stays. Gives its id."
    )
    async def project_delete(self, id: ProjectId) -> strawberry.ID | None:
        await projects.delete_project(row_id("project", id))
        return id
