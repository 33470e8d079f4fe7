"""GraphQL: seeds."""

from typing import Annotated

import strawberry

from resolvers import seeding
from schema import rows
from schema.enums import SeedName


@strawberry.type(description="What a seed did.")
class Seeded:
    created: int = strawberry.field(description="How many rows it made.")
    skipped: int = strawberry.field(description="How many were there already.")


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Create what is missing of one seed; what exists stays as it is. May be "
        "repeated."
    )
    async def seed(
        self, name: Annotated[SeedName, strawberry.argument(description="Which seed.")]
    ) -> Seeded | None:
        return rows.one(Seeded, await seeding.seed(name))
