"""The signals that end ``aether up``, as something its loop can wait for."""

import contextlib
import select
import signal
import socket
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Counts requests to stop, and wakes the waiter; SIGCHLD wakes it, too.

    Main thread only: Python delivers signals there. Within ``interrupting`` the first request
    raises KeyboardInterrupt, so that a long wait in a start ends at once.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._interrupts = False
        self._restore = contextlib.ExitStack()
        self._reader, self._writer = socket.socketpair()

    def __enter__(self) -> Self:
        for end in (self._reader, self._writer):
            end.setblocking(False)
            self._restore.callback(end.close)
        before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._restore.callback(signal.set_wakeup_fd, before)
        for number in STOP_SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started by nohup
            self._restore.callback(signal.signal, number, signal.signal(number, self._requested))
        earlier = signal.signal(signal.SIGCHLD, lambda *_: None)  # the wake-up is all we need
        self._restore.callback(signal.signal, signal.SIGCHLD, earlier)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore.close()

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a request to stop raise KeyboardInterrupt in the block; at once if one is open."""
        self._interrupts = True
        try:
            if self.requests:
                raise KeyboardInterrupt
            yield
        finally:
            self._interrupts = False

    def wait(self, limit_seconds: float) -> None:
        """Sleep until a signal comes, at most ``limit_seconds``."""
        if select.select([self._reader], [], [], max(limit_seconds, 0.0))[0]:
            with contextlib.suppress(BlockingIOError):
                while self._reader.recv(4096):
                    continue

    def _requested(self, _number: int, _frame: FrameType | None) -> None:
        self.requests += 1
        if self._interrupts:
            self._interrupts = False
            raise KeyboardInterrupt
