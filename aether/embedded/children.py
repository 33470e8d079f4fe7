"""One supervised child: started again after a death, given up when it keeps dying."""

import logging
import os
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence

from aether.embedded.processes import signal_group, spawn
from aether.errors import UnavailableError

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0
HEALTHY_SECONDS = 60.0
DEATHS_TO_GIVE_UP = 5


class Backoff:
    """When to start something again that died: 0.2 s, doubling to 10 s; reset by 60 s of health."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._deaths: deque[float] = deque(maxlen=DEATHS_TO_GIVE_UP)
        self._delay = FIRST_DELAY_SECONDS

    def died(self, now: float, *, lived_seconds: float) -> float:
        """Note a death at ``now`` (monotonic seconds); the moment to start again.

        Raises:
            UnavailableError: the fifth death within 60 s.
        """
        self._deaths.append(now)
        if len(self._deaths) == DEATHS_TO_GIVE_UP and now - self._deaths[0] <= HEALTHY_SECONDS:
            raise UnavailableError(
                f"{self._name} ended {DEATHS_TO_GIVE_UP} times within {HEALTHY_SECONDS:.0f} s; "
                "giving up"
            )
        if lived_seconds >= HEALTHY_SECONDS:
            self._delay = FIRST_DELAY_SECONDS
        delay = self._delay
        self._delay = min(2 * delay, LONGEST_DELAY_SECONDS)
        return now + delay


class Child:
    """One part of Aether (web, worker, scheduler) as a child process in a session of its own."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._argv = tuple(argv)
        self._environment = environment
        self._backoff = Backoff(name)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self.due_at: float | None = 0.0  # when to start; None while it runs

    @property
    def pid(self) -> int | None:
        """The process that runs, if one does."""
        return None if self._process is None else self._process.pid

    def tend(self, now: float) -> bool:
        """Notice a death, start when it is time; whether another process runs than before.

        Raises:
            UnavailableError: it keeps dying, or cannot be started.
        """
        changed = False
        if self._process is not None and self._has_ended(self._process):
            code = self._process.returncode
            self._process = None
            self.due_at = self._backoff.died(now, lived_seconds=now - self._started_at)
            log.warning(
                "%s ended (%s); starting it again in %.1f s",
                self.name,
                _exit_text(code),
                self.due_at - now,
            )
            changed = True
        if self.due_at is not None and now >= self.due_at:
            self._process = spawn(
                self._argv,
                death_signal=signal.SIGTERM,
                environment=self._environment,
                folder=None,
            )
            self._started_at, self.due_at = now, None
            changed = True
        return changed

    def ask_to_stop(self) -> None:
        """Send SIGTERM; it is not started again."""
        self.due_at = None
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def is_stopped(self) -> bool:
        """Whether nothing of it runs any more."""
        return self._process is None or self._has_ended(self._process)

    def kill(self) -> None:
        """End it and whatever it started, now."""
        if self._process is not None:
            if self._process.returncode is None:
                signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _has_ended(self, process: "subprocess.Popen[bytes]") -> bool:
        """Whether it ended; then also whatever it left running in its session is ended.

        The dead child is looked at before it is reaped: until then its number, which is also its
        group's, cannot belong to anybody else.
        """
        if process.returncode is not None:
            return True
        if hasattr(os, "waitid"):
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, process.pid, flags) is None:
                return False
            signal_group(process.pid, signal.SIGKILL)
        return process.poll() is not None


def all_stopped(children: Sequence[Child]) -> bool:
    """Whether none runs any more; each is asked, so that each dead one is reaped."""
    return sum(not child.is_stopped() for child in children) == 0


def _exit_text(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"exit code {code}"
