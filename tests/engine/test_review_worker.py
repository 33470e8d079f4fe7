"""A worker that is stopping takes nothing new: each claim then would cost a run a try."""

import asyncio
import threading

import pytest

from aether.actors import executions, under_way
from aether.config import Settings
from aether.db import rows
from aether.models import TaskExecution
from aether.watchdog import Watchdog
from aether.worker import _Process


async def test_a_worker_that_is_stopping_claims_no_further_run(
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claimed: list[int] = []

    async def execute(_runtime: object, execution_id: int) -> None:
        claimed.append(execution_id)

    monkeypatch.setattr(executions, "execute", execute)
    monkeypatch.setattr(executions, "runtime", lambda: None)
    settings = Settings.from_environment({})
    process = _Process(settings, Watchdog(settings, component="worker"))
    await asyncio.create_task(executions.run_task_execution(1))
    await rows(
        """INSERT INTO task_execution (id, delivery_id, task_id, canonical_trigger, source,
             enqueued_at)
           VALUES (2, 1, 'triage', 'issue.created', 'github', now())"""
    )

    monkeypatch.setattr(under_way, "STOPPING", threading.Event())
    under_way.STOPPING.set()
    await process.give_back()
    await asyncio.create_task(executions.run_task_execution(2))

    assert claimed == [1]
    left = await TaskExecution.get(id=2)
    assert (left.status, left.tries, left.enqueued_at) == ("queued", 0, None)
