"""Composition root of the aside: runs jobs for the process that started it, and ends with it.

Started by ``aether/aside.py`` with a socket as its standard input; the settings are its first
frame, so that it has its parent's and no secret is in an argument. The environment is the
parent's.
"""

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aether.aside_wire import WINDOW, encoded, error_frame, read
from aether.config import Settings
from aether.credentials import Credentials
from aether.db import UNAVAILABLE, close_pool, open_pool
from aether.engine import chat_jobs
from aether.engine.filters import FilterPool
from aether.engine.runtime import Runtime, install
from aether.errors import OUT_OF_REACH, AetherError, UnavailableError
from aether.llm import aside_jobs as llm
from aether.llm import chat
from aether.queue import Queue, build_broker
from aether.redact import redact
from aether.tools import mcp_servers as mcp
from aether.watchdog import Watchdog, configure_logging

log = logging.getLogger(__name__)

POOL: Final = 4
CLOSE_SECONDS: Final = 3.0

_PR_SET_PDEATHSIG: Final = 1

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """What a caller may ask for: a coroutine's result, or what an async generator yields.

    What comes and goes must be JSON. ``run`` is cancelled when its caller leaves.
    """

    name: str
    run: Callable[[Settings, Arguments], Awaitable[Any] | AsyncGenerator[Any, None]]


JOBS: Final[tuple[Job, ...]] = (
    Job("embed.describe", llm.describe_embedder),
    Job("embed.texts", llm.embed_texts),
    Job("llm.unpriced", llm.unpriced_models),
    Job("mcp.discover", mcp.discover),
    Job("llm.chat", chat_jobs.chat),
    Job("llm.chat_pieces", chat_jobs.chat_pieces),
)


def main(jobs: Sequence[Job] = JOBS) -> int:
    """Serve until the parent closes the socket or dies."""
    _die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a terminal's, a service manager's: the parent's
    connection = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # no library shall read our frames
    os.close(nothing)
    asyncio.run(_serve(connection, jobs))
    return 0


def _die_with_parent() -> None:
    """Linux tells us of a parent's death even when our loop hangs; else the socket's end does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def _serve(connection: socket.socket, jobs: Sequence[Job]) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    try:
        settings = Settings.model_validate((await read(reader))["settings"])
    except (asyncio.IncompleteReadError, OSError):
        return
    redacting = partial(redact, settings=settings)
    configure_logging("aside", redact=redacting)
    watchdog = Watchdog(settings, component="aside", redact=redacting)
    runtime = await _open(settings)
    watchdog.start()
    writer.write(encoded({"ready": True}))
    work = Work(settings, jobs, writer)
    try:
        await work.serve(reader)
    finally:
        await work.cancel_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await _close(runtime, watchdog)


async def _open(settings: Settings) -> Runtime | None:
    """The pool, whose first connection comes with the first query, and the runtime."""
    if settings.database_url is None or settings.broker_url is None:
        return None  # only jobs that need neither can be done
    await open_pool(settings.database_url, pool=POOL)
    runtime = Runtime(
        settings=settings,
        queue=Queue(build_broker(settings.broker_url)),
        filters=FilterPool(),
        credentials=Credentials(settings, redact=partial(redact, settings=settings)),
    )
    install(runtime)
    return runtime


async def _close(runtime: Runtime | None, watchdog: Watchdog) -> None:
    await chat.close()
    await watchdog.close()
    if runtime is not None:
        install(None)
        await runtime.queue.close()
        await runtime.filters.close()
        await runtime.credentials.close()
        await close_pool()


class Work:
    """The jobs under way, each in a task of its own."""

    def __init__(
        self, settings: Settings, jobs: Sequence[Job], writer: asyncio.StreamWriter
    ) -> None:
        self._settings = settings
        self._jobs = {job.name: job for job in jobs}
        self._writer = writer
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._room: dict[int, asyncio.Semaphore] = {}

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Do what is asked until the other side is gone."""
        while True:
            try:
                frame = await read(reader)
            except (asyncio.IncompleteReadError, OSError):
                return
            number = frame.get("id")
            if "ping" in frame:
                await self._send({"pong": True})
            elif not isinstance(number, int):
                continue
            elif "job" in frame:
                self._room[number] = asyncio.Semaphore(WINDOW)
                self._tasks[number] = asyncio.create_task(self._do(number, frame))
            elif "cancel" in frame and number in self._tasks:
                self._tasks[number].cancel()
            elif number in self._room:
                for _ in range(int(frame.get("more", 0))):
                    self._room[number].release()

    async def cancel_all(self) -> None:
        """Cancel every job and wait for them, for a bounded time."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    async def _do(self, number: int, frame: Mapping[str, Any]) -> None:
        name = str(frame["job"])
        try:
            await self._answer(number, self._jobs[name], frame["arguments"])
        except AetherError as error:
            await self._send({"id": number, "error": error_frame(error)})
        except UNAVAILABLE as error:
            log.warning("out of reach in %s: %r", name, error)
            told = error_frame(UnavailableError(OUT_OF_REACH))
            await self._send({"id": number, "error": told})
        except Exception:  # a door; also for a result that is no JSON
            log.exception("the job %s failed", name)
            await self._send({"id": number, "error": {}})
        finally:
            self._tasks.pop(number, None)
            self._room.pop(number, None)

    async def _answer(self, number: int, job: Job, arguments: Arguments) -> None:
        begun = job.run(self._settings, arguments)
        if not isinstance(begun, AsyncGenerator):
            await self._send({"id": number, "result": await begun})
            return
        room = self._room[number]
        async with aclosing(begun) as items:
            async for item in items:
                await room.acquire()
                await self._send({"id": number, "item": item})
        await self._send({"id": number, "end": True})

    async def _send(self, frame: dict[str, Any]) -> None:
        with suppress(OSError):  # nobody listens any more; the reader will notice
            self._writer.write(encoded(frame))
            await self._writer.drain()


if __name__ == "__main__":
    sys.exit(main())
