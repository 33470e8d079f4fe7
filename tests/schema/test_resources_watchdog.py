"""The watchdog log over GraphQL."""

from collections.abc import AsyncIterator

import pytest

from aether.config import Settings
from aether.db import rows
from tests.schema.both import Doors, both_doors

ALL = "{ watchdogEntries { id } }"


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        ours.runtime.settings = Settings.from_environment({"WATCHDOG_ENABLED": "true"})
        await rows(
            """INSERT INTO watchdog_entry (level, component, message, message_hash, minute, detail)
               VALUES ('error', 'worker', 'execution 7 failed', 'a', now(), '{"execution_id": 7}'),
                      ('warn', 'web', 'a delivery was refused', 'b', now(), '{}')"""
        )
        yield ours


async def test_entries_are_listed_newest_first_by_level_by_words_and_in_pages(
    doors: Doors,
) -> None:
    fields = "id level component message detail count"

    told = await doors.ask(f"""{{
      all: watchdogEntries {{ {fields} }}
      errors: watchdogEntries(level: ERROR) {{ id }}
      found: watchdogEntries(search: "refused -execution") {{ id }}
      worker: watchdogEntries(component: "worker") {{ id }}
      paged: watchdogEntriesConnection(component: "web", first: 5) {{ nodes {{ id }} }}
      odd: watchdogEntries(search: "((:*") {{ id }}
      page: watchdogEntries(limit: 1, offset: 1) {{ id }} }}""")

    assert told["all"] == [
        {"id": "2", "level": "WARN", "component": "web", "message": "a delivery was refused",
         "detail": {}, "count": 1},
        {"id": "1", "level": "ERROR", "component": "worker", "message": "execution 7 failed",
         "detail": {"execution_id": 7}, "count": 1},
    ]  # fmt: skip
    assert told["errors"] == told["page"] == [{"id": "1"}]
    assert told["found"] == [{"id": "2"}]
    assert told["odd"] == []
    assert told["worker"] == [{"id": "1"}]
    assert told["paged"] == {"nodes": [{"id": "2"}]}


async def test_while_it_is_off_both_doors_name_the_setting(doors: Doors) -> None:
    doors.runtime.settings = Settings.from_environment({})

    told = await doors.refused_by_graphql(ALL)

    assert told == ("the watchdog log is off; WATCHDOG_ENABLED=true turns it on", "NOT_FOUND")
    assert await doors.refused("GET", "/api/watchdog", None, 404) == told[0]
