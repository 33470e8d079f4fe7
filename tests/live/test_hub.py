"""Whoever follows misses nothing and gets nothing twice, whatever happens on the way."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import pytest

from aether.config import Settings
from aether.engine.sweep import prune
from aether.errors import InvalidInputError, RateLimitedError, UnavailableError
from aether.live import events as table
from aether.live.cursors import Position, Snapshot
from aether.live.events import Interest, LiveKind, cursor_of_now
from aether.live.hub import NAME, Hub
from tests.live.conftest import DELIVERIES, Hubs, deliver, following, start, until
from tests.plans import counted, looked_at, nodes
from tests.plans import kept as sent

ANY = Interest(frozenset(LiveKind))


async def listening(connection: Any) -> int:
    """How many hubs are connected."""
    counted: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = $1 AND datname = current_database()",
        NAME,
    )
    return counted


async def test_what_commits_late_is_told_though_its_id_is_the_lower(
    database: str, hub: Hub, connection: asyncpg.Connection
) -> None:
    late = await asyncpg.connect(database)
    async with following(hub) as reader:
        held = late.transaction()
        await held.start()
        first = await deliver(late)
        second = await deliver(connection)

        [told] = await reader.take()
        async with following(hub, after=told.cursor) as again:
            await held.commit()
            [then] = await reader.take()
            [resumed] = await again.take()
    await late.close()

    assert first < second
    assert (told.row_id, then.row_id, resumed.row_id) == (second, first, first)


async def test_a_rolled_back_transaction_tells_nothing(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    async with following(hub) as reader:
        undone = connection.transaction()
        await undone.start()
        await deliver(connection)
        await undone.rollback()
        kept = await deliver(connection)

        [told] = await reader.take()

    assert told.row_id == kept
    assert await connection.fetchval("SELECT count(*) FROM live_event") == 1


async def test_two_hubs_tell_the_same_to_each_that_follows(
    hubs: Hubs, connection: asyncpg.Connection
) -> None:
    one, other = hubs(), hubs()
    async with following(one) as a, following(one) as b, following(other) as c:
        ids = [await deliver(connection) for _ in range(3)]

        told = [[event.row_id for event in await reader.take(3)] for reader in (a, b, c)]

    assert told == [ids, ids, ids]


async def test_a_lost_ear_is_opened_anew_and_nothing_is_lost_or_told_twice(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    async with following(hub) as reader:
        ids = []
        for number in range(60):
            ids.append(await deliver(connection))
            if number in (20, 40):
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = $1",
                    NAME,
                )
            await asyncio.sleep(0)

        told = await reader.take(60)
        marker = await deliver(connection)
        [last] = await reader.take()

    assert [event.row_id for event in told] == ids
    assert last.row_id == marker


async def test_a_client_that_comes_back_at_any_event_has_each_once(
    hubs: Hubs, connection: asyncpg.Connection
) -> None:
    async with following(hubs()) as reader:
        async with connection.transaction():
            ids = [await deliver(connection) for _ in range(5)]
        ids += [await deliver(connection) for _ in range(5)]
        told = await reader.take(10)
    assert [event.row_id for event in told] == ids

    later = [await deliver(connection) for _ in range(3)]
    for number, event in enumerate(told):
        rest = [*ids[number + 1 :], *later]
        async with following(hubs(), after=event.cursor) as back:
            found = await back.take(len(rest))
        assert [one.row_id for one in found] == rest


async def test_clients_that_keep_leaving_while_many_write_have_each_event_once(
    database: str, hubs: Hubs
) -> None:
    writers = [await asyncpg.connect(database) for _ in range(4)]
    start_cursor = await cursor_of_now()

    async def write(connection: Any) -> list[int]:
        ids = []
        for number in range(50):
            async with connection.transaction():
                ids.append(await deliver(connection))
                if number % 3 == 0:
                    await connection.execute("SELECT pg_sleep(0.002)")  # others overtake it
                ids.append(await deliver(connection))
        return ids

    async def read(hub: Hub, stride: int) -> list[int]:
        cursor, had = start_cursor, list[int]()
        while len(had) < 400:
            async with following(hub, after=cursor) as reader:
                for event in await reader.take(min(stride, 400 - len(had))):
                    had.append(event.row_id)
                    cursor = event.cursor
        return had

    readers = [read(hubs(), 7), read(hubs(), 31), read(hubs(), 1000)]
    found = await asyncio.gather(*readers, *(write(one) for one in writers))
    for one in writers:
        await one.close()

    written = sorted(one for ids in found[3:] for one in ids)
    for had in found[:3]:
        assert sorted(had) == written


async def test_a_burst_of_a_thousand_reaches_everybody_in_order(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    async with following(hub) as a, following(hub) as b:
        async with connection.transaction():
            ids = [await deliver(connection) for _ in range(1000)]

        told = [await reader.take(1000, seconds=30) for reader in (a, b)]

    for had in told:
        assert [event.row_id for event in had] == ids


async def test_a_reader_that_is_too_slow_is_told_so_and_comes_back_with_its_cursor(
    hubs: Hubs, connection: asyncpg.Connection
) -> None:
    hub = hubs(most_waiting=10)
    async with following(hub) as slow, following(hub) as quick:
        ids = [await deliver(connection)]
        [first] = await slow.take()
        await quick.take()
        for _ in range(12):
            ids.append(await deliver(connection))
            await quick.take()

        with pytest.raises(RateLimitedError, match=r"more than 10 events waited.*`after`"):
            await slow.take()
        assert hub.count == 1
        async with following(hub, after=first.cursor) as back:
            rest = await back.take(12)

    assert [event.row_id for event in rest] == ids[1:]


async def test_a_reader_is_offered_only_what_it_is_interested_in(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    mine = await start(connection)
    about_mine = Interest(frozenset({LiveKind.EXECUTION}), execution_id=mine)
    jira = Interest(frozenset({LiveKind.DELIVERY}), lambda one: one.about["source"] == "jira")
    async with following(hub, about_mine) as by_id, following(hub, jira) as by_source:
        await start(connection)
        await deliver(connection)
        wanted = await deliver(connection, source="jira")
        await connection.execute("UPDATE task_execution SET status = 'running'")

        [changed] = await by_id.take()
        [delivered] = await by_source.take()

    assert (changed.row_id, changed.about["status"]) == (mine, "running")
    assert delivered.row_id == wanted


async def test_a_row_is_loaded_once_for_all_who_follow_and_together_with_its_page(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    asked: list[list[int]] = []

    async def load(ids: list[int]) -> list[str]:
        asked.append(ids)
        return [f"row {one}" for one in ids]

    only_jira = Interest(frozenset({LiveKind.DELIVERY}), lambda one: one.about["source"] == "jira")
    async with following(hub, only_jira) as a, following(hub, only_jira) as b:
        async with connection.transaction():
            await deliver(connection)
            ids = [await deliver(connection, source="jira") for _ in range(3)]

        told = [await reader.take(3) for reader in (a, b)]
        rows = [[await event.row(load) for event in had] for had in told]

    assert rows == [[f"row {one}" for one in ids]] * 2
    assert asked == [ids]


async def test_who_left_while_a_row_was_loaded_takes_nothing_from_the_others(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    goes_on = asyncio.Event()

    async def load(ids: list[int]) -> list[int]:
        await goes_on.wait()
        return ids

    async with following(hub) as reader:
        row_id = await deliver(connection)
        [event] = await reader.take()
        first = asyncio.create_task(event.row(load))
        second = asyncio.create_task(event.row(load))
        await asyncio.sleep(0)
        first.cancel()
        goes_on.set()

        assert await second == row_id


async def test_nobody_listens_and_nobody_is_notified_while_nobody_follows(
    hubs: Hubs, connection: asyncpg.Connection
) -> None:
    hub = hubs(linger_seconds=0.05)
    assert await listening(connection) == 0
    async with following(hub):
        assert await listening(connection) == 1
        assert hub.is_listening
    await until(lambda: not hub.is_listening)
    while await listening(connection):  # noqa: ASYNC110 # the server ends it a moment later
        await asyncio.sleep(0.01)

    await connection.execute("UPDATE live_state SET listened_until = now()")
    heard: list[str] = []
    await connection.add_listener("aether_live", lambda *told: heard.append(told[3]))
    await deliver(connection)
    await connection.execute("UPDATE live_state SET listened_until = now() + interval '1 minute'")
    async with connection.transaction():
        await deliver(connection)
        await start(connection)
    await connection.execute("SELECT 1")

    assert heard == [""]


async def test_writers_that_do_not_know_that_somebody_listens_are_heard_all_the_same(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    async with following(hub) as reader:
        await connection.execute("UPDATE live_state SET listened_until = NULL")
        row_id = await deliver(connection)

        [told] = await reader.take()

    assert told.row_id == row_id


async def test_a_hub_that_is_out_of_reach_says_so_and_keeps_no_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aether.live.hub.ATTACH_SECONDS", 0.3)
    hub = Hub("postgresql://nobody@127.0.0.1:1/none")

    with pytest.raises(UnavailableError, match="live events are out of reach"):
        await hub.attach(DELIVERIES)

    assert hub.count == 0
    await until(lambda: not hub.is_listening)


async def test_a_cursor_of_another_database_is_refused(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    ours = await cursor_of_now()
    await connection.execute("UPDATE live_state SET epoch = 'ba9876543210'")

    with pytest.raises(InvalidInputError, match=r"^after: is a cursor of another database"):
        async with following(hub, after=ours) as reader:
            await reader.take()
    assert hub.count == 0


async def test_a_transaction_that_stays_open_makes_no_cursor_too_old_until_what_it_wrote_is_gone(
    hub: Hub, connection: asyncpg.Connection, database: str
) -> None:
    aged = "UPDATE live_event SET created_at = now() - interval '7 hours'"
    other = await asyncpg.connect(database)
    try:
        forgotten = other.transaction()
        await forgotten.start()
        await deliver(other)
        await deliver(connection)
        ours = await cursor_of_now()
        await connection.execute(aged)
        assert await table.prune() == 1

        async with following(hub, after=ours) as reader:
            kept = await deliver(connection)
            assert [one.row_id for one in await reader.take()] == [kept]

        await forgotten.commit()
        await connection.execute(f"{aged} WHERE row_id <> $1", kept)
        assert await table.prune() == 1
    finally:
        await other.close()
    with pytest.raises(InvalidInputError, match=r"^after: is too old"):
        async with following(hub, after=ours) as reader:
            await reader.take()


async def test_while_a_transaction_stays_open_no_read_looks_at_what_was_told_already(
    database: str, connection: asyncpg.Connection
) -> None:
    looked_at: list[int] = []

    async def fetch(sql: str, *given: Any) -> Sequence[Mapping[str, Any]]:
        told = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *given)
        looked_at.append(counted(list(nodes(json.loads(told)[0]["Plan"])))["live_event"])
        found: list[Mapping[str, Any]] = await connection.fetch(sql, *given)
        return found

    other = await asyncpg.connect(database)
    forgotten = other.transaction()
    await forgotten.start()
    late = await deliver(other)
    for _ in range(300):
        await deliver(connection)
    await connection.execute("ANALYZE live_event")
    read = Position.at(
        Snapshot.read(await connection.fetchval("SELECT pg_current_snapshot()::text"))
    )
    new = [await deliver(connection) for _ in range(3)]

    page = await table.read(fetch, read)
    await forgotten.commit()
    last = await table.read(fetch, page.position)
    await other.close()

    assert [one.row_id for one in page.events] == new
    assert [one.row_id for one in last.events] == [late]
    assert looked_at == [3, 1]


async def test_a_cursor_whose_events_are_gone_is_refused_and_a_newer_one_is_not(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    before = await cursor_of_now()
    for _ in range(3):
        await deliver(connection)
    between = await cursor_of_now()
    kept = await deliver(connection)
    await connection.execute(
        "UPDATE live_event SET created_at = now() - interval '7 hours' WHERE row_id < $1", kept
    )

    pruned = await table.prune()

    assert (pruned, await connection.fetchval("SELECT count(*) FROM live_event")) == (3, 1)
    with pytest.raises(InvalidInputError, match=r"^after: is too old: events are kept for 6 hours"):
        async with following(hub, after=before) as reader:
            await reader.take()
    async with following(hub, after=between) as reader:
        assert [one.row_id for one in await reader.take()] == [kept]


async def test_pruning_looks_at_no_more_than_a_batch_of_what_is_kept(
    database: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "PRUNE_BATCH", 10)
    other = await asyncpg.connect(database)
    async with other.transaction():
        late = await deliver(other)
        for _ in range(25):
            await deliver(connection)
        await connection.execute("UPDATE live_event SET created_at = now() - interval '7 hours'")
    await other.close()
    await connection.execute(
        """INSERT INTO live_event (kind, row_id, about)
           SELECT 'delivery', n, '{}' FROM generate_series(1001, 3000) AS n"""
    )
    await connection.execute("ANALYZE live_event")

    with sent() as statements:
        pruned = await table.prune()

    left = await connection.fetch("SELECT row_id FROM live_event ORDER BY row_id")
    assert (pruned, [one["row_id"] for one in left]) == (25, [late, *range(1001, 3001)])
    looks = [(await looked_at(*one))["live_event"] for one in statements]
    assert (len(looks), looks[-1]) == (4, 10)


async def test_the_hourly_pruning_takes_old_events_along(
    database: str, connection: asyncpg.Connection
) -> None:
    await deliver(connection)
    await connection.execute("UPDATE live_event SET created_at = now() - interval '7 hours'")
    kept = await deliver(connection)

    await prune(Settings.from_environment({"DATABASE_URL": database}))

    left = await connection.fetch("SELECT row_id FROM live_event")
    assert [one["row_id"] for one in left] == [kept]


async def test_a_restored_dump_of_another_server_is_not_told_as_news(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    old = await cursor_of_now()
    await deliver(connection)
    await connection.execute("UPDATE live_event SET tx = (tx::text::bigint + 1000000)::text::xid8")

    async with following(hub) as reader:
        row_id = await deliver(connection)
        [told] = await reader.take()

    assert told.row_id == row_id
    with pytest.raises(InvalidInputError, match="another database"):
        async with following(hub, after=old) as reader:
            await reader.take()


async def test_a_lease_that_is_renewed_tells_nothing_and_each_change_of_state_does(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    row_id = await start(connection)
    async with following(hub, ANY) as reader:
        for change in (
            "lease_until = now()",
            "status = 'running', lease_token = 1",
            "lease_until = now(), llm_calls = 5",
            "agent_id = 'pm_sarah'",
            "lease_token = 2, tries = 1",
            "cancel_requested = true",
            "status = 'cancelled'",
        ):
            await connection.execute(f"UPDATE task_execution SET {change} WHERE id = $1", row_id)  # noqa: S608 # our own words
        told = await reader.take(5)
        assert (await connection.fetchval("SELECT count(*) FROM live_event")) == 6

    assert [(one.about["status"], one.about["agent_id"], one.about["tries"]) for one in told] == [
        ("running", None, 0),
        ("running", "pm_sarah", 0),
        ("running", "pm_sarah", 1),
        ("running", "pm_sarah", 1),
        ("cancelled", "pm_sarah", 1),
    ]


async def test_a_redelivery_that_routes_a_delivery_is_told_and_its_taking_back_is_not(
    hub: Hub, connection: asyncpg.Connection
) -> None:
    async with following(hub) as reader:
        row_id = await deliver(connection, status="ignored")
        await connection.execute("UPDATE delivery SET reason = 'a ping'")
        await connection.execute("UPDATE delivery SET status = 'routed'")
        await connection.execute("UPDATE delivery SET status = 'ignored'")
        last = await deliver(connection)

        told = await reader.take(3)

    assert [(one.row_id, one.about["status"]) for one in told] == [
        (row_id, "ignored"),
        (row_id, "routed"),
        (last, "routed"),
    ]


async def test_a_hub_that_is_closed_takes_nobody_in(hub: Hub) -> None:
    await hub.close()

    with pytest.raises(UnavailableError, match="stopping"):
        await hub.attach(DELIVERIES)
