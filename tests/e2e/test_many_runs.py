"""Many short runs in one worker: no connection leaks, no event loop is confused."""

import asyncio

import asyncpg
import pytest

from aether import main, scheduler, worker
from aether.demo.model import Reply
from tests.e2e.system import System

pytestmark = pytest.mark.slow

RUNS = 200
AFTERWARDS = 10
CONFUSED = ("different loop", "another operation is in progress", "never retrieved")


def test_two_hundred_short_runs_leave_one_worker_as_it_was(running: System) -> None:
    running.model.say(Reply.text("Short."))

    started = [
        execution
        for number in range(1, RUNS + 1)
        for execution in running.open_issue("acme/api", number)
    ]
    ended = [running.finished(one, seconds=120)["status"] for one in started]
    later = [
        running.finished(execution)["status"]
        for number in range(1000, 1000 + AFTERWARDS)
        for execution in running.open_issue("acme/api", number)
    ]

    assert ended == ["succeeded"] * RUNS
    assert later == ["succeeded"] * AFTERWARDS
    comments = [len(running.github.comments("acme/api", one)) for one in range(1, RUNS + 1)]
    assert comments == [1] * RUNS
    assert asyncio.run(connections_of(running)) <= main.POOL + worker.POOL + scheduler.POOL
    log = running.log.read_text()
    assert [words for words in CONFUSED if words in log] == []


async def connections_of(system: System) -> int:
    """How many connections the three processes hold together."""
    connection = await asyncpg.connect(system.environment["DATABASE_URL"])
    try:
        counted: int = await connection.fetchval(
            """SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'aether'"""
        )
    finally:
        await connection.close()
    return counted
