"""Composition root of the worker: settings, broker, the actors, the pool on the actors' loop."""

import asyncio
import logging
import signal
import threading
from functools import partial
from typing import Any, Final

from aether.config import Settings
from aether.credentials import Credentials
from aether.db import close_pool, open_pool, wait_until_ready
from aether.engine.filters import FilterPool
from aether.engine.runtime import Runtime, install
from aether.errors import NotConfiguredError
from aether.llm import chat
from aether.queue import Queue, build_broker
from aether.redact import redact
from aether.watchdog import Watchdog, configure_logging

log = logging.getLogger(__name__)

POOL: Final = 16  # connections; runs wait for the model most of their time
WAKE_MS: Final = 250  # an idle worker asks the queue for each job this often
IDLE_SECONDS: Final = 1.0
"""A thread is woken by work itself; it looks up this often to see whether it is to stop. Each of 32
looking up every 250 ms would cost half a percent of a core."""
GIVE_BACK_SECONDS: Final = 4.0


def run(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; then give back what is under way. Blocks.

    Raises:
        NotConfiguredError: DATABASE_URL or BROKER_URL is missing or cannot be read.
    """
    if settings.database_url is None or settings.broker_url is None:
        raise NotConfiguredError("DATABASE_URL, BROKER_URL: a worker needs both")
    import dramatiq
    from dramatiq.middleware.asyncio import AsyncIO

    from aether.actors import executions, under_way

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    redacting = partial(redact, settings=settings)
    configure_logging("worker", redact=redacting)
    process = _Process(settings, Watchdog(settings, component="worker", redact=redacting))
    broker = build_broker(settings.broker_url, middleware=[AsyncIO(), process.middleware()])
    process.broker = broker
    dramatiq.set_broker(broker)
    executions.declare(broker)
    asyncio.run(wait_until_ready(settings.database_url))
    worker = dramatiq.Worker(broker, worker_threads=settings.worker_threads, worker_timeout=WAKE_MS)
    worker.queue_prefetch = settings.worker_threads  # more would starve a second worker
    worker.start()
    for thread in worker.workers:
        thread.timeout = IDLE_SECONDS
    log.info("working, up to %s runs at once", settings.worker_threads)
    stop.wait()
    log.info("stopping; runs under way are given back")
    under_way.STOPPING.set()
    for thread in worker.workers:
        thread.stop()  # before the runs are cancelled: a thread set free would take the next hint
    worker.stop(timeout=5_000)
    broker.close()
    return 0


class _Process:
    """Opens and closes what the actors use, on the event loop that Dramatiq gives them."""

    def __init__(self, settings: Settings, watchdog: Watchdog) -> None:
        self._settings = settings
        self._watchdog = watchdog
        self._runtime: Runtime | None = None
        self.broker: Any = None

    def middleware(self) -> Any:
        """A Dramatiq middleware; it must stand after AsyncIO, whose loop it uses."""
        from dramatiq.asyncio import get_event_loop_thread
        from dramatiq.middleware import Middleware

        process = self

        def on_loop(call: Any) -> None:
            thread = get_event_loop_thread()
            if thread is None:
                raise RuntimeError("the actors have no event loop")
            thread.run_coroutine(call)

        class Lifespan(Middleware):
            """Around the worker's life."""

            def before_worker_boot(self, _broker: Any, _worker: Any) -> None:
                on_loop(process.open())

            def before_worker_shutdown(self, _broker: Any, _worker: Any) -> None:
                on_loop(process.give_back())

            def after_worker_shutdown(self, _broker: Any, _worker: Any) -> None:
                on_loop(process.close())

        return Lifespan()

    async def open(self) -> None:
        """The pool, the outbound client, the runtime."""
        settings = self._settings
        if settings.database_url is None:
            raise NotConfiguredError("DATABASE_URL is missing")
        await open_pool(settings.database_url, pool=POOL)
        self._runtime = Runtime(
            settings=settings,
            queue=Queue(self.broker),
            filters=FilterPool(),
            credentials=Credentials(settings, redact=partial(redact, settings=settings)),
        )
        install(self._runtime)
        self._watchdog.start()

    async def give_back(self) -> None:
        """Cancel the runs under way; each gives its lease back."""
        from aether.actors.under_way import UNDER_WAY

        for task in tuple(UNDER_WAY):
            task.cancel()
        if UNDER_WAY:
            await asyncio.wait(tuple(UNDER_WAY), timeout=GIVE_BACK_SECONDS)

    async def close(self) -> None:
        """Everything that ``open`` opened."""
        if self._runtime is not None:
            install(None)
            await self._runtime.filters.close()
            await self._runtime.credentials.close()
        await chat.close()
        await self._watchdog.close()
        await close_pool()
