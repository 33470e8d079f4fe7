"""Tests of /api/watchdog."""

import asyncio
from typing import Any

import pytest

from aether.config import Settings
from aether.db import rows
from tests.doors.calls import Door, column, insert, without
from tests.filling import fill_table

MINUTE = "2026-02-18 10:00:00+00"


def switch_on(door: Door) -> None:
    door.runtime.settings = Settings.from_environment({"WATCHDOG_ENABLED": "true"})


async def entry(message: str, level: str = "error", **values: Any) -> int:
    [moment] = await rows(f"SELECT timestamptz '{MINUTE}' AS minute")
    values = {"component": "worker"} | values
    return await insert(
        "watchdog_entry", level=level, message=message,
        message_hash=message[:64], minute=moment["minute"], **values,
    )  # fmt: skip


async def test_the_log_is_a_404_that_names_the_setting_while_it_is_off(door: Door) -> None:
    await entry("execution 7 failed")

    text = await door.refused("GET", "/api/watchdog?level=error&limit=100", None, 404)

    assert text == "the watchdog log is off; WATCHDOG_ENABLED=true turns it on"


async def test_the_references_query_gives_errors_newest_first(door: Door) -> None:
    switch_on(door)
    first = await entry("execution 7 failed", detail='{"execution_id": 7}')
    await entry("slow", "warn")
    last = await entry("execution 8 failed", count=3)

    told = await door.get("/api/watchdog?level=error&limit=100")

    assert column(told, "id") == [last, first]
    assert without(told[1]) == {
        "id": first,
        "level": "error",
        "component": "worker",
        "message": "execution 7 failed",
        "detail": {"execution_id": 7},
        "count": 1,
    }
    assert list(told[0]) == [
        "id", "level", "component", "message", "detail", "count", "created_at",
    ]  # fmt: skip
    assert told[0]["count"] == 3
    assert len(await door.get("/api/watchdog")) == 3
    assert await door.get("/api/watchdog?level=error&limit=1&offset=1") == told[1:]
    assert await door.get("/api/watchdog?level=info") == []
    web = await entry("execution 9 failed", component="web")
    assert column(await door.get("/api/watchdog?component=web"), "id") == [web]
    assert await door.get("/api/watchdog?component=web&level=warn") == []
    assert column(await door.get("/api/watchdog?component=worker&level=error"), "id") == [
        last, first,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("FAILED", [1, 0]),
        ("execution+failed", [0]),
        ('"execution+7"', [0]),
        ("failed+-execution", [1]),
        ("slow+or+execution", [2, 0]),
        ("/repos/acme/api", [1]),
        ("worker", [2, 1, 0]),
        ("nothing+of+this", []),
        ("", [2, 1, 0]),
        ("++", [2, 1, 0]),
    ],
)
async def test_messages_are_searched_by_their_words(
    door: Door, search: str, found: list[int]
) -> None:
    switch_on(door)
    ids = [
        await entry("execution 7 failed"),
        await entry("GET /repos/acme/api: failed, 502"),
        await entry("slow", "warn"),
    ]

    told = await door.get(f"/api/watchdog?search={search}")

    assert column(told, "id") == [ids[one] for one in found]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("acme/api", [0]),
        ("api", [2, 1, 0]),
        ("issues/7", [0]),
        ("my-group/site.docs", [1]),
        ("my-group%2Fsite.docs", [1]),
        ("docs", [1]),
        ("PROJ-12", [2]),
        ("/rest/api/2", [2]),
        ('"proj-12/comment: answered"', [2]),
        ("jira.example.com", [3]),
        ("example", [3]),
        ("bot@example.com", [3]),
        ("answered -acme/api", [2, 1]),
        ("answered -notes -2/issue", [0]),
        ("GITHUB_TOKEN or notes", [4, 1]),
        ("answered /", [2, 1, 0]),
        ("api/acme", []),
        ("acme/ap", []),
        ("/ . : @", []),
    ],
)
async def test_the_words_of_paths_keys_and_addresses_are_found(
    door: Door, search: str, found: list[int]
) -> None:
    switch_on(door)
    ids = [
        await entry("GET /repos/acme/api/issues/7: answered 502"),
        await entry("POST /api/v4/projects/my-group%2Fsite.docs/issues/3/notes: answered 403"),
        await entry("POST /rest/api/2/issue/PROJ-12/comment: answered 400"),
        await entry("no connection to https://jira.example.com/ as bot@example.com"),
        await entry("GITHUB_TOKEN: not set"),
    ]

    answer = await door.client.get("/api/watchdog", params={"search": search})

    assert column(answer.json(), "id") == [ids[one] for one in found]


@pytest.mark.parametrize(
    "search",
    ["it's", "a & | b", ":*", "((", "!", "<->", "\\", "'", '"', "-" * 5000, "- " * 2500,
     "word " * 1000, "日本", "%", "or or or", "or", '"" -'],
)  # fmt: skip
async def test_no_search_text_is_an_error(door: Door, search: str) -> None:
    switch_on(door)
    await entry("execution 7 failed")

    answer = await door.client.get("/api/watchdog", params={"search": search})

    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("limit=100000000", "limit: must be at most 500"),
        ("limit=abc", "limit: must be a whole number"),
        ("offset=-5", "offset: must be at least 0"),
        ("level=fatal", "level: one of info, warn, error"),
        ("search=a%00", "search: must not hold a NUL character"),
        (f"search={'a' * 5001}", "search: must have at most 5000 characters"),
        ("since=now", "since: unknown parameter"),
        ("component=", "component: must not be empty"),
    ],
)
async def test_a_query_that_is_not_valid_is_refused_naming_the_parameter(
    door: Door, query: str, text: str
) -> None:
    switch_on(door)

    assert await door.refused("GET", f"/api/watchdog?{query}", None, 400) == text


@pytest.mark.slow
async def test_a_page_far_down_two_hundred_thousand_entries_is_whole_and_no_more(
    door: Door,
) -> None:
    switch_on(door)
    await fill_table(
        "watchdog_entry",
        """INSERT INTO watchdog_entry (level, component, message, message_hash, minute)
           SELECT 'error', 'worker', 'execution ' || n || ' failed', n::text, now()
           FROM generate_series(1, 200000) AS n""",
    )

    async with asyncio.timeout(20):  # a limit, not a measure: bench/ measures
        page = await door.get("/api/watchdog?limit=500&offset=190000")
        found = await door.get("/api/watchdog?search=failed&limit=500&offset=190000")

    assert len(page) == 500
    assert found == page
