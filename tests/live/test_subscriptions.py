"""The subscriptions of lists over GraphQL: what they tell, their filters, what they refuse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from aether.config import Settings
from aether.engine.runtime import install
from aether.live.hub import Hub
from schema.context import Context
from schema.limits import MAX_DEPTH
from tests.live.conftest import deliver, start, until
from tests.schema.both import Doors, both_doors, statements, whole_schema

DELIVERED = """subscription ($source: SourceName, $projectId: ID, $canonicalTrigger: String,
  $status: DeliveryStatus, $after: String) {
  deliveryReceived(source: $source, projectId: $projectId, canonicalTrigger: $canonicalTrigger,
    status: $status, after: $after) { cursor delivery { id source status } } }"""
CHANGED = """subscription ($id: ID, $taskId: ID, $agentId: ID, $projectId: ID,
  $status: ExecutionStatus) {
  taskExecutionChanged(id: $id, taskId: $taskId, agentId: $agentId, projectId: $projectId,
    status: $status) { status run tries agentId execution { id status } } }"""
APPROVED = """subscription ($status: ApprovalStatus, $executionId: ID, $agentId: ID, $taskId: ID,
  $projectId: ID) {
  approvalChanged(status: $status, executionId: $executionId, agentId: $agentId, taskId: $taskId,
    projectId: $projectId) { status approval { id status tool executionId } } }"""
WATCHED = """subscription ($level: WatchdogLevel, $component: String) {
  watchdogEntry(level: $level, component: $component) { cursor entry { level message count } } }"""


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        settings = Settings.from_environment({"WATCHDOG_ENABLED": "true"})
        hub = Hub(database)
        install(replace(ours.runtime, live=hub, settings=settings))
        yield Doors(ours.client, replace(ours.runtime, live=hub))
        await hub.close()


class Told:
    """A subscription that is read; ``take`` gives the value of its only field."""

    def __init__(self, results: Any) -> None:
        self.results = results
        self._next: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        self._next = self._next or asyncio.ensure_future(anext(self.results))

    async def take(self) -> Any:
        self.begin()
        assert self._next is not None
        async with asyncio.timeout(15):
            result = await self._next
        self._next = None
        assert result.errors is None, result.errors
        [value] = result.data.values()
        return value

    async def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self.results.aclose()


@asynccontextmanager
async def subscribed(doors: Doors, query: str, **variables: Any) -> AsyncIterator[Told]:
    """A subscription that the hub has taken in."""
    hub = doors.runtime.live
    assert hub is not None
    before = hub.count
    told = Told(await whole_schema().stream(query, variables, context_value=Context()))
    told.begin()
    try:
        if "after" not in variables:
            await until(lambda: hub.count > before)
        yield told
    finally:
        await told.close()


async def refused(query: str, **variables: Any) -> tuple[str, str]:
    """Text and code of the one error that a subscription ends with at once."""
    results: Any = await whole_schema().stream(query, variables, context_value=Context())
    [only] = [one async for one in results]
    [error] = only.errors
    return error.message, error.extensions["code"]


async def test_a_delivery_is_told_with_its_row_and_only_to_whom_it_concerns(
    doors: Doors, connection: asyncpg.Connection
) -> None:
    async with (
        subscribed(doors, DELIVERED) as every,
        subscribed(doors, DELIVERED, source="JIRA") as jira,
        subscribed(doors, DELIVERED, projectId="7") as seventh,
        subscribed(doors, DELIVERED, canonicalTrigger="pr.opened") as opened,
        subscribed(doors, DELIVERED, status="IGNORED") as ignored,
    ):
        ids = [
            await deliver(connection),
            await deliver(connection, source="jira"),
            await deliver(connection, project_id=7),
            await deliver(connection, triggers=("issue.created", "pr.opened")),
            await deliver(connection, status="ignored"),
        ]

        told = [(await every.take())["delivery"]["id"] for _ in ids]
        filtered = [await one.take() for one in (jira, seventh, opened, ignored)]

    assert told == [str(one) for one in ids]
    assert [one["delivery"] for one in filtered] == [
        {"id": str(ids[1]), "source": "JIRA", "status": "ROUTED"},
        {"id": str(ids[2]), "source": "GITHUB", "status": "ROUTED"},
        {"id": str(ids[3]), "source": "GITHUB", "status": "ROUTED"},
        {"id": str(ids[4]), "source": "GITHUB", "status": "IGNORED"},
    ]


async def test_an_execution_is_told_at_each_change_and_only_to_whom_it_concerns(
    doors: Doors, connection: asyncpg.Connection
) -> None:
    async with (
        subscribed(doors, CHANGED) as every,
        subscribed(doors, CHANGED, taskId="review") as review,
        subscribed(doors, CHANGED, agentId="qa_lisa") as lisas,
        subscribed(doors, CHANGED, projectId="7") as seventh,
        subscribed(doors, CHANGED, status="FAILED") as failed,
    ):
        first = await start(connection)
        other = await start(connection, task_id="review", agent_id="qa_lisa", project_id=7)
        async with subscribed(doors, CHANGED, id=str(first)) as by_id:
            await connection.execute(
                "UPDATE task_execution SET status = 'failed', tries = 1 WHERE id = $1", first
            )
            changed = await by_id.take()
        told = [await every.take() for _ in range(3)]
        filtered = [await one.take() for one in (review, lisas, seventh, failed)]

    assert changed == {
        "status": "FAILED",
        "run": 1,
        "tries": 1,
        "agentId": None,
        "execution": {"id": str(first), "status": "FAILED"},
    }
    assert [(one["execution"]["id"], one["status"]) for one in told] == [
        (str(first), "QUEUED"),
        (str(other), "QUEUED"),
        (str(first), "FAILED"),
    ]
    assert [one["execution"]["id"] for one in filtered] == [str(other)] * 3 + [str(first)]


async def test_the_watchdog_log_is_told_as_it_is_written(
    doors: Doors, connection: asyncpg.Connection
) -> None:
    insert = """INSERT INTO watchdog_entry (level, component, message, message_hash, minute)
      VALUES ($1, $2, $3::text, $3::text, '2026-02-18T10:00:00Z')
      ON CONFLICT (minute, level, component, message_hash) DO UPDATE SET count = 2"""
    async with (
        subscribed(doors, WATCHED) as every,
        subscribed(doors, WATCHED, level="ERROR") as errors,
        subscribed(doors, WATCHED, component="worker") as workers,
    ):
        for entry in (
            ("warn", "web", "slow"),
            ("warn", "web", "slow"),
            ("error", "web", "gone"),
            ("warn", "worker", "late"),
        ):
            await connection.execute(insert, *entry)

        told = [(await every.take())["entry"]["message"] for _ in range(3)]
        filtered = [(await one.take())["entry"]["message"] for one in (errors, workers)]

    assert told == ["slow", "gone", "late"]
    assert filtered == ["gone", "late"]


async def test_the_watchdog_log_is_not_found_while_it_is_off(doors: Doors) -> None:
    install(replace(doors.runtime, settings=Settings.from_environment({})))

    assert await refused(WATCHED) == (
        "the watchdog log is off; WATCHDOG_ENABLED=true turns it on", "NOT_FOUND",
    )  # fmt: skip


async def test_a_cursor_of_now_joins_a_list_and_what_follows_it(
    doors: Doors, connection: asyncpg.Connection
) -> None:
    listed = await deliver(connection)
    now = (await doors.ask("{ liveCursor }"))["liveCursor"]
    missed = await deliver(connection)

    async with subscribed(doors, DELIVERED, after=now) as told:
        first = await told.take()
        later = await deliver(connection)
        second = await told.take()
    async with subscribed(doors, DELIVERED, after=first["cursor"]) as again:
        repeated = await again.take()

    assert listed < missed
    assert [one["delivery"]["id"] for one in (first, second, repeated)] == [
        str(missed), str(later), str(later),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"after": "nonsense"}, "after: must be the cursor of an event, as it was told"),
        ({"after": ""}, "after: must be the cursor of an event, as it was told"),
        ({"projectId": "x"}, "projectId: must be a whole number"),
        ({"canonicalTrigger": ""}, "canonicalTrigger: must not be empty"),
    ],
)
async def test_an_argument_that_cannot_be_read_is_refused_by_its_name(
    doors: Doors, variables: dict[str, str], text: str
) -> None:
    assert await refused(DELIVERED, **variables) == (text, "INVALID_INPUT")
    assert doors.runtime.live is not None
    assert doors.runtime.live.count == 0


async def test_a_cursor_that_was_pruned_away_names_after_and_the_hours(
    doors: Doors, connection: asyncpg.Connection
) -> None:
    now = (await doors.ask("{ liveCursor }"))["liveCursor"]
    await deliver(connection)
    await connection.execute(
        "WITH gone AS (DELETE FROM live_event RETURNING tx)"
        " UPDATE live_state SET pruned = (SELECT tx FROM gone)"
    )

    text, code = await refused(DELIVERED, after=now)

    assert code == "INVALID_INPUT"
    assert text.startswith("after: is too old: events are kept for 6 hours")


async def test_the_limits_hold_for_subscriptions(doors: Doors) -> None:
    deep = "executions { delivery { " * MAX_DEPTH + "id" + " } }" * MAX_DEPTH
    query = f"subscription {{ deliveryReceived {{ delivery {{ {deep} }} }} }}"

    results: Any = await whole_schema().stream(query, context_value=Context())
    [only] = [one async for one in results]

    assert {one.extensions["code"] for one in only.errors} == {"INVALID_INPUT"}
    assert f"the query has {2 * MAX_DEPTH + 3} levels of fields" in only.errors[0].message


async def test_a_client_that_reads_too_slowly_is_told_the_code_and_how_to_come_back(
    doors: Doors, database: str, connection: asyncpg.Connection
) -> None:
    hub = Hub(database, most_waiting=5)
    slow = Doors(doors.client, replace(doors.runtime, live=hub))
    install(slow.runtime)
    async with subscribed(slow, DELIVERED) as told:
        await deliver(connection)
        await told.take()
        for _ in range(7):
            await deliver(connection)
        await until(lambda: hub.count == 0)

        async with asyncio.timeout(10):
            ended = [one async for one in told.results]
    await hub.close()

    [error] = ended[-1].errors
    assert error.extensions == {"code": "RATE_LIMITED"}
    assert "subscribe again with the last cursor as `after`" in error.message


async def test_two_followers_of_one_event_load_its_row_once(
    doors: Doors, connection: asyncpg.Connection
) -> None:
    async with subscribed(doors, DELIVERED) as a, subscribed(doors, DELIVERED) as b:
        with statements() as sent:
            await deliver(connection)
            await asyncio.gather(a.take(), b.take())
        of_rows = [one for one in sent if 'FROM "delivery"' in one]

    assert len(of_rows) == 1


async def test_what_an_event_shows_beyond_its_row_is_as_it_is_by_then(
    doors: Doors, connection: asyncpg.Connection
) -> None:
    query = "subscription { deliveryReceived { delivery { id executions { status } } } }"
    async with subscribed(doors, query) as told:
        for status in ("queued", "running"):
            delivery_id = await deliver(connection)
            execution_id = await start(connection, status=status)
            await connection.execute(
                "UPDATE task_execution SET delivery_id = $2 WHERE id = $1",
                execution_id, delivery_id,
            )  # fmt: skip
        found = [(await told.take())["delivery"]["id"] for _ in range(2)]

    assert found == [str(delivery_id - 1), str(delivery_id)]


async def test_what_waits_for_a_person_is_told_as_it_is_asked_and_decided(
    doors: Doors, connection: asyncpg.Connection
) -> None:
    async def ask(execution_id: int, **values: object) -> int:
        told: dict[str, object] = {
            "execution_id": execution_id, "run": 1, "key": "1:1:c1", "kind": "tool",
            "tool": "add_labels", "arguments": "{}", "task_id": "triage", "status": "pending",
            **values,
        }  # fmt: skip
        names = ", ".join(told)
        places = ", ".join(f"${number}" for number in range(1, len(told) + 1))
        made = await connection.fetchval(
            f"""INSERT INTO approval ({names}, created_at, expires_at)
                VALUES ({places}, now(), now() + interval '1 hour') RETURNING id""",  # noqa: S608
            *told.values(),
        )
        return int(made)

    async with (
        subscribed(doors, APPROVED) as every,
        subscribed(doors, APPROVED, status="REFUSED") as refusals,
        subscribed(doors, APPROVED, agentId="ta_leo") as of_leo,
        subscribed(doors, APPROVED, projectId="7") as seventh,
        subscribed(doors, APPROVED, executionId="42") as of_42,
    ):
        first = await ask(41, agent_id="pm_sarah")
        await connection.execute("UPDATE approval SET status = 'refused' WHERE id = $1", first)
        await connection.execute("UPDATE approval SET reason = 'No.' WHERE id = $1", first)
        second = await ask(42, agent_id="ta_leo", project_id=7)

        told = [await every.take() for _ in range(3)]
        assert [(one["status"], one["approval"]["id"]) for one in told] == [
            ("PENDING", str(first)), ("REFUSED", str(first)), ("PENDING", str(second)),
        ]  # fmt: skip
        refused_one = await refusals.take()
        assert (refused_one["status"], refused_one["approval"]["id"]) == ("REFUSED", str(first))
        for told_of_second in (of_leo, seventh, of_42):
            assert (await told_of_second.take())["approval"] == {
                "id": str(second), "status": "PENDING", "tool": "add_labels", "executionId": "42",
            }  # fmt: skip
