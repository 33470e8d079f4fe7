"""GraphQL: Health."""

from datetime import datetime

import strawberry

from resolvers import monitoring


@strawberry.type(description="That we are well.")
class Health:
    status: str = strawberry.field(description="`ok`.")
    timestamp: datetime = strawberry.field(description="The moment of the answer.")


@strawberry.type
class Query:
    @strawberry.field(description="We are well, or UNAVAILABLE: no database.")
    async def health(self) -> Health:
        found = await monitoring.health()
        return Health(status=found.status, timestamp=found.timestamp)
