"""The actor that works on task executions; every actor by its job."""

from collections.abc import Awaitable, Callable
from typing import Final

import dramatiq

from aether.actors import under_way
from aether.actors.memories import embed_memories
from aether.actors.polls import poll_source
from aether.actors.summaries import summarize_run
from aether.engine.execute import execute
from aether.engine.runtime import runtime
from aether.leases import not_taken
from aether.queue import Job


async def run_task_execution(execution_id: int) -> None:
    """Work on one task execution to its end.

    The queue may deliver a message twice, or for a row that is done: the claim inside finds
    nothing then. The row decides about retries, so a message is never tried again by the queue.
    """
    if under_way.STOPPING.is_set():
        await not_taken(execution_id)
        return
    under_way.remember()
    await execute(runtime(), execution_id)


ACTORS: Final[dict[Job, Callable[[int], Awaitable[None]]]] = {
    Job.RUN_TASK_EXECUTION: run_task_execution,
    Job.POLL_SOURCE: poll_source,
    Job.SUMMARIZE_RUN: summarize_run,
    Job.EMBED_MEMORIES: embed_memories,
}
"""Every job has one actor; a test walks it."""


def declare(broker: dramatiq.Broker) -> None:
    """Declare every actor on ``broker``, each on the queue of its own name.

    Dramatiq's queues of delayed messages are left out: the database knows what is due when, and an
    idle worker would ask each of them several times a second.
    """
    for job, call in ACTORS.items():
        declared = dramatiq.actor(broker=broker, actor_name=job.value, queue_name=job.value)
        declared(call)
    broker.delay_queues.clear()
