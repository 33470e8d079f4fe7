"""GraphQL: WatchdogEntry, and the watchdog log."""

from datetime import datetime
from typing import Annotated, Any

import strawberry

from resolvers import watchdog
from schema import rows
from schema.arguments import chosen
from schema.connections import After, Before, Connection, First, Last, connection, window_of
from schema.enums import WatchdogLevel
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset

OfLevel = Annotated[
    WatchdogLevel | None, strawberry.argument(description="Only those of this level.")
]
OfComponent = Annotated[
    str | None,
    strawberry.argument(description="Only those of this process: `web`, `worker`, `scheduler`."),
]
OfWords = Annotated[
    str | None,
    strawberry.argument(
        description='Only those whose message has these words; `"a phrase"`, `-not`, `or`.'
    ),
]


@strawberry.type(description="One warning or error of ours; repeats of a minute are counted.")
class WatchdogEntry:
    id: strawberry.ID = strawberry.field(description="Its number; grows with time.")
    level: WatchdogLevel = strawberry.field(description="How bad it is.")
    component: str = strawberry.field(description="Which process told it: web, worker, scheduler.")
    message: str = strawberry.field(description="What happened.")
    detail: dict[str, Any] = strawberry.field(description="What belongs to it.")
    count: int = strawberry.field(description="How often it happened within that minute.")
    created_at: datetime = strawberry.field(description="When it was first stored.")


@strawberry.type
class Query:
    @strawberry.field(
        description="The watchdog log, newest first; NOT_FOUND while WATCHDOG_ENABLED is off."
    )
    async def watchdog_entries(
        self,
        level: OfLevel = None,
        component: OfComponent = None,
        search: OfWords = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[WatchdogEntry] | None:
        wanted = chosen(
            watchdog.WatchdogFilter,
            level=level,
            component=component,
            search=search,
            limit=limit,
            offset=offset,
        )
        return rows.many(WatchdogEntry, await watchdog.list_watchdog_entries(wanted))

    @strawberry.field(
        description="The watchdog log by cursors, newest first; NOT_FOUND while WATCHDOG_ENABLED "
        "is off."
    )
    async def watchdog_entries_connection(
        self,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        level: OfLevel = None,
        component: OfComponent = None,
        search: OfWords = None,
    ) -> Connection[WatchdogEntry] | None:
        wanted = chosen(watchdog.WatchdogFilter, level=level, component=component, search=search)
        part = window_of("watchdog", first, after, last, before)
        found = await watchdog.slice_watchdog_entries(wanted, part)
        return connection(WatchdogEntry, "watchdog", found)
