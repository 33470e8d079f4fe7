"""The aside: a child process for what this process must not load or do itself.

The web process answers webhooks in milliseconds with 60 MB; LiteLLM alone takes seconds and
200 MB. What needs it is asked here, of one child that starts at the first call and ends when it
has been idle. What a child can do: ``aether/aside_child.py``.
"""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextvars import Context
from typing import Any, Final

from aether.aside_process import Child, start, unavailable
from aether.aside_wire import restored
from aether.config import Settings
from aether.errors import UnavailableError

log = logging.getLogger(__name__)

COMMAND: Final = (sys.executable, "-P", "-m", "aether.aside_child")
IDLE_SECONDS: Final = 600.0
LOOK_SECONDS: Final = 5.0
HANG_SECONDS: Final = 30.0
"""How long the child's loop may be silent while calls are under way."""

STOPPING: Final = "this server is stopping; try again"
FIRST_DELAY_SECONDS: Final = 0.5
LONGEST_DELAY_SECONDS: Final = 10.0


class Aside:
    """One child process and the calls that are under way in it. Belongs to one event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        command: Sequence[str] = COMMAND,
        idle_seconds: float = IDLE_SECONDS,
        hang_seconds: float = HANG_SECONDS,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Nothing is started yet; ``command`` must end when its standard input does."""
        self._settings = settings
        self._command = tuple(command)
        self._idle_seconds = idle_seconds
        self._hang_seconds = hang_seconds
        self._look_seconds = look_seconds
        self._starting: asyncio.Task[Child] | None = None
        self._watching: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._not_before = 0.0
        self._delay = FIRST_DELAY_SECONDS

    @property
    def pid(self) -> int | None:
        """The child that runs, if one does."""
        child = self._running()
        return None if child is None else child.pid

    async def call(self, job: str, arguments: Mapping[str, Any]) -> Any:
        """What the job gives back, as JSON knows it. Cancelling the caller cancels the job.

        Raises:
            AetherError: as the job raised it.
            UnavailableError: the child did not start or ended in mid-call, or too much is under
                way; the job may have been done.
            AsideFailedError: the job failed for a reason that is a bug.
        """
        child = await self._child()
        under_way = child.begin(job, arguments)
        try:
            while (frame := await under_way.next()).keys() & {"item"}:
                child.allow(under_way)
            if "error" in frame:
                raise restored(frame["error"])
            return frame.get("result")
        finally:
            child.finish(under_way)

    async def stream(self, job: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """What the job yields, while it goes on; closing this ends the job. Raises as ``call``.

        A reader that is slow holds the job up, 64 items behind it.
        """
        child = await self._child()
        under_way = child.begin(job, arguments)
        try:
            while (frame := await under_way.next()).keys() & {"item"}:
                child.allow(under_way)
                yield frame["item"]
            if "error" in frame:
                raise restored(frame["error"])
        finally:
            child.finish(under_way)

    async def close(self) -> None:
        """End the child, and every call with it; further calls are refused."""
        self._is_closed = True
        if self._starting is not None:
            self._starting.cancel()  # one that has started is seen out by its watch
            await asyncio.wait([self._starting])
        child = self._running()
        if child is not None:
            child.hang_up()
        if self._watching:
            await asyncio.wait(tuple(self._watching))

    def _running(self) -> Child | None:
        task = self._starting
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result() if task.result().is_alive else None

    async def _child(self) -> Child:
        if self._is_closed:
            raise UnavailableError(STOPPING)
        if self._starting is not None and self._starting.done() and self._running() is None:
            self._starting = None
        if self._starting is None:
            wait = self._not_before - time.monotonic()
            if wait > 0:
                raise unavailable("its process does not start", wait)
            # a context of its own: what the first caller logs about is not the child's matter
            self._starting = asyncio.create_task(self._start(), context=Context())
            self._starting.add_done_callback(_failure)  # also if no caller is left to hear of it
        starting = self._starting
        try:
            # shield: a caller that is cancelled leaves the new child to the next one
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if starting.cancelled():  # by close(), and not the caller
                raise UnavailableError(STOPPING) from None
            raise

    async def _start(self) -> Child:
        try:
            child = await start(self._command, self._settings)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            self._not_before = time.monotonic() + self._delay
            self._delay = min(2 * self._delay, LONGEST_DELAY_SECONDS)
            log.error("the aside does not start: %r", error)  # noqa: TRY400 # no trace of a bug
            raise unavailable("its process does not start", self._delay) from error
        self._delay = FIRST_DELAY_SECONDS
        watching = asyncio.create_task(self._watch(child))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        return child

    async def _watch(self, child: Child) -> None:
        """Until the child is to end or has ended; then see it out."""
        while child.is_alive:
            await child.wait_for_end(self._look_seconds)
            silent = time.monotonic() - child.heard_at
            if not child.calls and silent >= self._idle_seconds:
                log.info("the aside has been idle for %.0f s and is ended", silent)
                break
            if child.calls and silent >= self._hang_seconds:
                log.error("the aside has been silent for %.0f s and is killed", silent)
                child.kill()
            child.ping()
        await child.end()


def _failure(starting: "asyncio.Task[Child]") -> BaseException | None:
    return None if starting.cancelled() else starting.exception()


class _Holder:
    current: Aside | None = None


def install(aside: Aside | None) -> None:
    """Make ``aside`` this process's own; None takes it away."""
    _Holder.current = aside


def is_installed() -> bool:
    """Whether this process has an aside; one that does the work itself has none."""
    return _Holder.current is not None


def _installed() -> Aside:
    if _Holder.current is None:
        raise RuntimeError("no aside is installed")
    return _Holder.current


async def call(job: str, arguments: Mapping[str, Any]) -> Any:
    """``Aside.call`` of this process's aside."""
    return await _installed().call(job, arguments)


def stream(job: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
    """``Aside.stream`` of this process's aside; close it (``contextlib.aclosing``)."""
    return _installed().stream(job, arguments)
