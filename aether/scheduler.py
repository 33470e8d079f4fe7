"""Composition root of the scheduler: the sweep and polls, what is out of time, the pruning.

It may run many times at once: each piece of work is taken under an advisory lock.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from dramatiq.errors import BrokerError

from aether.config import Settings
from aether.db import UNAVAILABLE, pool, wait_until_ready
from aether.engine import approvals
from aether.engine.due import prune_ticks, send_due_polls
from aether.engine.sweep import prune, sweep
from aether.errors import NotConfiguredError
from aether.memory.reembed import is_needed
from aether.queue import Job, Queue, build_broker
from aether.redact import redact
from aether.watchdog import Watchdog, configure_logging

log = logging.getLogger(__name__)

POOL: Final = 3
SWEEP_SECONDS: Final = 1.0
PRUNE_SECONDS: Final = 3600.0
EXPIRE_SECONDS: Final = 10.0
EMBED_SECONDS: Final = 60.0
LONGEST_BACK_OFF_SECONDS: Final = 30.0
OUT_OF_REACH: Final[tuple[type[Exception], ...]] = (*UNAVAILABLE, BrokerError, OSError)


def run(settings: Settings) -> int:
    """Tick until SIGTERM or SIGINT. Blocks.

    Raises:
        NotConfiguredError: DATABASE_URL or BROKER_URL is missing or cannot be read.
    """
    asyncio.run(_run(settings))
    return 0


async def _run(settings: Settings) -> None:
    if settings.database_url is None or settings.broker_url is None:
        raise NotConfiguredError("DATABASE_URL, BROKER_URL: the scheduler needs both")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    queue = Queue(build_broker(settings.broker_url))
    await wait_until_ready(settings.database_url)
    redacting = partial(redact, settings=settings)
    configure_logging("scheduler", redact=redacting)
    watchdog = Watchdog(settings, component="scheduler", redact=redacting)
    async with pool(settings.database_url, size=POOL):
        watchdog.start()
        ticking = [
            asyncio.create_task(_every(SWEEP_SECONDS, lambda: sweep(settings, queue))),
            asyncio.create_task(_every(SWEEP_SECONDS, lambda: send_due_polls(queue))),
            asyncio.create_task(_every(EMBED_SECONDS, _embedding(settings, queue))),
            asyncio.create_task(_every(EXPIRE_SECONDS, approvals.expire)),
            asyncio.create_task(_every(PRUNE_SECONDS, lambda: _prune(settings))),
        ]
        await stop.wait()
        for task in ticking:
            task.cancel()
        await asyncio.gather(*ticking, return_exceptions=True)
        await watchdog.close()
    await queue.close()


async def _prune(settings: Settings) -> None:
    await prune(settings)
    await prune_ticks()


def _embedding(settings: Settings, queue: Queue) -> Callable[[], Awaitable[None]]:
    """Has a worker embed what waits for the present embedder."""
    is_start = True

    async def work() -> None:
        nonlocal is_start
        if await is_needed(settings, is_start=is_start):
            await queue.send(Job.EMBED_MEMORIES, [0])
        is_start = False

    return work


async def _every(seconds: float, work: Callable[[], Awaitable[Any]]) -> None:
    """Call ``work`` again and again; a failure slows it down and never ends it."""
    wait = seconds
    while True:
        try:
            await work()
            wait = seconds
        except OUT_OF_REACH as error:
            wait = min(wait * 2, max(seconds, LONGEST_BACK_OFF_SECONDS))
            log.warning("out of reach (%s); next try in %.0f s", type(error).__name__, wait)
        except Exception:  # the scheduler's door: nobody else would send again what was lost
            wait = min(wait * 2, max(seconds, LONGEST_BACK_OFF_SECONDS))
            log.exception("the scheduler's work failed; next try in %.0f s", wait)
        await asyncio.sleep(wait)
