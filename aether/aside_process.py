"""The aside's process: started, spoken to in frames, and ended."""

import asyncio
import contextlib
import json
import logging
import socket
import time
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import SecretStr

from aether.aside_wire import WINDOW, encoded, read
from aether.config import Settings
from aether.errors import UnavailableError

log = logging.getLogger(__name__)

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 5.0
MOST_CALLS: Final = 256


class Call:
    """One job under way: the frames that came for it and were not yet taken."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_over = False
        self.taken = 0
        self._frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()  # WINDOW bounds it

    def put(self, frame: dict[str, Any]) -> None:
        self.is_over = "item" not in frame
        self._frames.put_nowait(frame)

    async def next(self) -> dict[str, Any]:
        return await self._frames.get()


class Child:
    """A child that has said it is ready."""

    def __init__(
        self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.calls: dict[int, Call] = {}
        self.heard_at = time.monotonic()
        self._process = process
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return not self._reading.done() and not self._writer.is_closing()

    def begin(self, job: str, arguments: Mapping[str, Any]) -> Call:
        """Send the job.

        Raises:
            UnavailableError: as many are under way as may be, or the child has just ended.
        """
        if not self.is_alive:
            raise unavailable("its process has just ended", 1)
        if len(self.calls) >= MOST_CALLS:
            raise unavailable(f"{MOST_CALLS} calls are under way in it", 1)
        self._number += 1
        frame = encoded({"id": self._number, "job": job, "arguments": dict(arguments)})
        if not self.calls:
            self.heard_at = time.monotonic()
        call = self.calls[self._number] = Call(self._number)
        self._writer.write(frame)
        return call

    def allow(self, call: Call) -> None:
        """Tell the job that its items are being taken."""
        call.taken += 1
        if call.taken % (WINDOW // 2) == 0:
            self._send({"id": call.number, "more": WINDOW // 2})

    def finish(self, call: Call) -> None:
        """Forget a call, and cancel the job if it is not over."""
        self.calls.pop(call.number, None)
        if not self.calls:
            self.heard_at = time.monotonic()
        if not call.is_over:
            self._send({"id": call.number, "cancel": True})

    def ping(self) -> None:
        if self.calls:
            self._send({"ping": True})

    async def wait_for_end(self, seconds: float) -> None:
        """Wait until the child has gone, for ``seconds`` at most."""
        await asyncio.wait([self._reading], timeout=seconds)

    def kill(self) -> None:
        """End it at once; the calls under way fail."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def hang_up(self) -> None:
        """Close the connection, which ends the child."""
        self._writer.close()

    async def end(self) -> None:
        """See the child out; kill it where the end of the connection does not end it."""
        self.hang_up()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                code = await self._process.wait()
        except TimeoutError:
            self.kill()
            code = await self._process.wait()
        await asyncio.wait([self._reading])
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        if code:
            log.error("the aside ended with code %s", code)

    def _send(self, frame: dict[str, Any]) -> None:
        if self.is_alive:
            self._writer.write(encoded(frame))

    async def _read(self) -> None:
        try:
            while True:
                frame = await read(self._reader)
                self.heard_at = time.monotonic()
                call = self.calls.get(frame.get("id", 0))
                if call is not None:
                    call.put(frame)
        except (asyncio.IncompleteReadError, OSError):
            pass
        except ValueError:
            log.exception("the aside sent what cannot be read")
            self.kill()
        finally:
            self._writer.close()
            gone = {"error": _gone_frame()}
            for call in self.calls.values():
                if not call.is_over:
                    call.put(gone)


def _gone_frame() -> dict[str, Any]:
    text = "the process that talks to the model ended in mid-call; try again"
    return {"kind": "UnavailableError", "code": "UNAVAILABLE", "text": text, "retry_after": 1}


def unavailable(why: str, seconds: float) -> UnavailableError:
    error = UnavailableError(f"the process that talks to the model is not to be had: {why}")
    error.retry_after = seconds
    return error


async def start(command: Sequence[str], settings: Settings) -> Child:
    """Start a child and wait until it is ready; the settings go over the socket, not its argv."""
    ours, theirs = socket.socketpair()
    process: Process | None = None
    writer: asyncio.StreamWriter | None = None
    try:
        with ours, theirs:
            process = await asyncio.create_subprocess_exec(*command, stdin=theirs.fileno())
            reader, writer = await asyncio.open_unix_connection(sock=ours.dup())
        writer.write(encoded({"settings": _told(settings)}))
        async with asyncio.timeout(START_SECONDS):
            while "ready" not in await read(reader):
                pass
    except BaseException:
        await _clear_away(process, writer)
        raise
    return Child(process, reader, writer)


async def _clear_away(process: Process | None, writer: asyncio.StreamWriter | None) -> None:
    """What is left of a start that failed."""
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if writer is not None:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _told(settings: Settings) -> dict[str, Any]:
    """The settings in full, secrets too: only the child's end of the socket reads them."""
    told: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, tuple | frozenset):
            value = sorted(value) if isinstance(value, frozenset) else list(value)
        elif isinstance(value, Mapping):
            value = json.dumps({key: one.model_dump(mode="json") for key, one in value.items()})
        told[name] = value if isinstance(value, bool | int | float | list | None) else str(value)
    return told
