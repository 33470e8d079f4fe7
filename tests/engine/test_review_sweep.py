"""The sweep reads unfinished rows only; pruning keeps unfinished work whole; neither stops."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aether import queue as queue_module
from aether import scheduler
from aether.config import Settings
from aether.db import pool, row, rows
from aether.embedded.postgres import Postgres
from aether.engine import sweep as stage
from aether.queue import Job, Queue
from tests.conftest import make_database
from tests.fakes import RecordingQueue
from tests.filling import fill_table

HISTORY = """
INSERT INTO task_execution (delivery_id, task_id, canonical_trigger, source, status, agent_id,
  project_id, created_at, finished_at)
SELECT n, 'task_' || n % 40, 'issue.created', 'github',
  CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'succeeded' END, 'agent_' || n % 20, n % 10,
  now() - interval '90 days' + n * interval '20 seconds', now()
FROM generate_series(1, 300000) AS n
"""


async def plan_of(sql: str, *parameters: Any) -> str:
    found = await rows(f"EXPLAIN (FORMAT JSON) {sql}", *parameters)
    told = found[0]["QUERY PLAN"]
    return told if isinstance(told, str) else json.dumps(told)


@pytest.fixture(scope="module")
def long_history(postgres: Postgres) -> str:
    """A database of this module's own with many runs, made once; its address."""

    async def made() -> str:
        url = await make_database(postgres, "long_history")
        async with pool(url, size=1):
            await fill_table("task_execution", HISTORY)
            await rows("ANALYZE task_execution")
        return url

    return asyncio.run(made())


@pytest.fixture
async def history(long_history: str) -> AsyncIterator[None]:
    async with pool(long_history, size=2):
        yield


@pytest.mark.slow
async def test_the_sweep_reads_unfinished_rows_only_however_long_the_history(
    history: None,
) -> None:
    for unfinished in (0, 2_000):
        await rows(
            """INSERT INTO task_execution (delivery_id, task_id, canonical_trigger, source)
               SELECT 1000000 + n, 'late', 'issue.created', 'github'
               FROM generate_series(1, $1::int) AS n""",
            unfinished,
        )
        plan = await plan_of(stage.DUE, 10.0, 45.0, 10.0, 500)
        assert "task_execution_unfinished" in plan


@pytest.mark.parametrize(
    "where",
    [
        "true", "task_id = 'task_3'", "agent_id = 'agent_3'", "project_id = 3",
        "delivery_id = 77", "status = 'running'", "status = 'failed'",
    ],
)  # fmt: skip
async def test_every_list_of_executions_is_read_from_an_index(history: None, where: str) -> None:
    plan = await plan_of(
        f"SELECT * FROM task_execution WHERE {where} ORDER BY id DESC LIMIT 50"  # noqa: S608
    )

    assert '"Seq Scan"' not in plan


async def test_history_is_pruned_whole_and_unfinished_work_keeps_everything(database: str) -> None:
    for number, status in enumerate(("succeeded", "retrying", "failed"), start=1):
        await rows(
            """INSERT INTO delivery (id, source, slug, delivery_key, change_key, event_name,
                 status, event, payload, received_at)
               VALUES ($1::bigint, 'github', 'github', $1::text, $1::text, 'issues', 'routed',
                 '{}', '{}', now() - interval '40 days')""",
            number,
        )
        await rows(
            """INSERT INTO task_execution (id, delivery_id, task_id, canonical_trigger, source,
                 status, created_at)
               VALUES ($1, $1, 'triage', 'issue.created', 'github', $2::text,
                 now() - CASE WHEN $2::text = 'failed' THEN interval '29 days'
                         ELSE interval '40 days' END)""",
            number, status,
        )  # fmt: skip
        await rows(
            """INSERT INTO execution_message (execution_id, run, position, message, created_at)
               VALUES ($1, 1, 0, '{}', now() - interval '40 days')""",
            number,
        )
        await rows(
            """INSERT INTO effect (execution_id, key, kind, source, project_key, item_kind,
                 item_key, content, content_hash, marker, touched_at)
               VALUES ($1::bigint, 'answer', 'comment', 'github', 'acme/api', 'issue', '7',
                 '{}', '', $1::text, now() - interval '40 days')""",
            number,
        )
    await rows(
        """INSERT INTO delivery (id, source, slug, delivery_key, change_key, event_name, status,
             event, payload, received_at)
           VALUES (9, 'github', 'github', 'i', 'i', 'push', 'ignored', '{}', '{}',
             now() - interval '40 days')"""
    )
    await rows(
        """INSERT INTO audit_entry (action, created_at) VALUES
             ('agent.updated', now() - interval '40 days'),
             ('agent.created', now() - interval '29 days')"""
    )

    await stage.prune(Settings.from_environment({"RETENTION_DAYS": "30"}))
    await stage.prune(Settings.from_environment({"RETENTION_DAYS": "30"}))

    for table, column in (
        ("task_execution", "id"), ("execution_message", "execution_id"),
        ("effect", "execution_id"), ("delivery", "id"),
    ):  # fmt: skip
        left = await rows(f"SELECT {column} AS id FROM {table} ORDER BY 1")  # noqa: S608
        assert [one["id"] for one in left] == [2, 3], table
    kept = await rows("SELECT action, detail FROM audit_entry ORDER BY id")
    assert [one["action"] for one in kept] == ["agent.created", "history.pruned"]
    assert json.loads(kept[1]["detail"]) == {
        "retention_days": 30,
        "rows": {
            "task_execution": 1, "execution_message": 1, "effect": 1, "delivery": 2,
            "audit_entry": 1,
        },
    }  # fmt: skip


async def test_the_scheduler_goes_on_after_an_error_that_nobody_foresaw() -> None:
    called: list[str] = []
    done = asyncio.Event()

    async def work() -> None:
        called.append("tick")
        if len(called) == 1:
            raise RuntimeError("a failure of a kind that is not known")
        done.set()

    ticking = asyncio.create_task(scheduler._every(0.01, work))
    await asyncio.wait_for(done.wait(), 10)

    assert not ticking.done()
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)


async def test_a_queue_that_refuses_a_hint_is_logged_and_loses_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from redis.exceptions import ReadOnlyError

    def refuse(*_: Any) -> None:
        raise ReadOnlyError("You can't write against a read only replica.")

    monkeypatch.setattr(Queue, "_enqueue", refuse)
    sending = queue_module.Queue(RecordingQueue()._broker)

    sending.hint(Job.RUN_TASK_EXECUTION, [7])
    await sending.close()

    assert "the sweep will send" in caplog.text


async def test_a_hint_that_the_queue_refused_is_due_again(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rows(
        """INSERT INTO task_execution (delivery_id, task_id, canonical_trigger, source)
           VALUES (1, 'triage', 'issue.created', 'github')"""
    )

    async def refuse(*_: Any) -> None:
        raise OSError("no queue")

    queue = RecordingQueue()
    monkeypatch.setattr(queue, "send", refuse)
    with pytest.raises(OSError, match="no queue"):
        await stage.sweep(Settings.from_environment({}), queue)

    found = await row("SELECT enqueued_at <= now() AS marked, status FROM task_execution")
    assert found == {"marked": True, "status": "queued"}


async def test_what_the_queues_driver_raises_is_told_as_a_queue_out_of_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from redis.exceptions import ConnectionError as RedisConnectionError

    def refuse(*_: Any) -> None:
        raise RedisConnectionError("Connection refused.")

    monkeypatch.setattr(Queue, "_enqueue", refuse)

    with pytest.raises(scheduler.OUT_OF_REACH):
        await RecordingQueue().send(Job.RUN_TASK_EXECUTION, [7])


async def test_pruning_takes_expired_memories_and_old_watchdog_entries_and_no_others(
    database: str,
) -> None:
    await rows(
        """INSERT INTO memory (key, content, scope, expires_at) VALUES
             ('gone', 'c', 'agent', now() - interval '1 second'),
             ('later', 'c', 'agent', now() + interval '1 hour'), ('ever', 'c', 'agent', NULL)"""
    )
    await rows(
        """INSERT INTO watchdog_entry (level, component, message, message_hash, minute, created_at)
           VALUES ('warn', 'worker', 'old', 'o', now(), now() - interval '31 days'),
             ('warn', 'worker', 'new', 'n', now(), now() - interval '29 days')"""
    )

    await stage.prune(Settings.from_environment({}))

    memories = await rows("SELECT key FROM memory ORDER BY key")
    entries = await rows("SELECT message FROM watchdog_entry")
    assert [one["key"] for one in memories] == ["ever", "later"]
    assert [one["message"] for one in entries] == ["new"]


async def test_what_this_month_has_cost_is_kept_while_a_limit_counts_it(database: str) -> None:
    await rows(
        """INSERT INTO usage_day (day, agent_id, model, llm_calls, prompt_tokens,
             completion_tokens, cost_usd)
           SELECT day, 'pm_sarah', 'gpt-4o', 1, 10, 0, 1
           FROM unnest(ARRAY[date_trunc('month', now() AT TIME ZONE 'UTC')::date,
             (now() - interval '40 days')::date]) AS day"""
    )
    await rows(
        """INSERT INTO limit_notice (of, "limit", period, level, created_at)
           SELECT 'agent pm_sarah', 'max_tokens_per_month', to_char(at, 'YYYY-MM'), 'near', at
           FROM unnest(ARRAY[date_trunc('month', now()), now() - interval '40 days']) AS at"""
    )
    settings = Settings.from_environment({"DATABASE_URL": database, "RETENTION_DAYS": "1"})

    await stage.prune(settings)

    for table, column in (("usage_day", "day"), ("limit_notice", "created_at")):
        kept = await rows(
            f"SELECT {column} >= date_trunc('month', now()) AS is_counted FROM {table}"  # noqa: S608 # ours
        )
        assert [one["is_counted"] for one in kept] == [True]
