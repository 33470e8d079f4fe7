"""The demo's web, worker and scheduler: real child processes, each with a log of its own."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aether.embedded.children import Child, all_stopped
from aether.embedded.processes import log_since
from aether.embedded.supervisor import COMMAND
from aether.errors import UnavailableError

STOP_SECONDS: Final = 0.5  # nothing is under way that anybody will look for again
LOOK_SECONDS: Final = 0.02
TAIL_LINES: Final = 25


class PartFailedError(UnavailableError):
    """A part ended, or did not become ready; carries its name and the end of its log."""

    def __init__(self, text: str, *, part: str, log_tail: str) -> None:
        super().__init__(text)
        self.part = part
        self.log_tail = log_tail


class Parts:
    """Starts parts, notices that one ended, and ends all of them when its block ends.

    None outlives this process: on Linux each is told to stop when we die, however we die.
    Main thread only.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        *,
        is_stopping: Callable[[], bool] = lambda: False,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """No part runs yet.

        Args:
            environment: what every part gets, and nothing else.
            folder: where the logs go.
            is_stopping: whether somebody asked us to stop; ``check`` then ends the story.
            command: runs a part when its name is appended.
        """
        self._environment = dict(environment)
        self._folder = folder
        self._is_stopping = is_stopping
        self._command = tuple(command)
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def log_path(self, part: str) -> Path:
        """Where a part's output goes."""
        return self._folder / f"{part}.log"

    def start(self, part: str, command: Sequence[str] = (), **environment: str) -> None:
        """Start a part that runs until it is told to stop.

        Args:
            part: its name, for ``aether`` and for its log.
            command: what runs it instead of ``aether``.
            environment: more of it, for this part alone.
        """
        # A supervised child writes where we write; the shell sends it to a file and is gone.
        argv = ("/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1', str(self.log_path(part)))
        command = command or (*self._command, part)
        child = Child(part, (*argv, *command), self._environment | environment)
        self._children.append(child)
        child.tend(time.monotonic())

    def drop(self, part: str) -> None:
        """End a part at once and forget it."""
        for child in [one for one in self._children if one.name == part]:
            child.kill()
            self._children.remove(child)

    def check(self) -> None:
        """Fail when a part has ended, or somebody asked us to stop. Called in every wait.

        A handler that raises would do so anywhere, within logging's lock for one, which the
        stand-ins' threads then wait for for ever.

        Raises:
            PartFailedError: naming it.
            KeyboardInterrupt: we are to stop.
        """
        if self._is_stopping():
            raise KeyboardInterrupt
        for child in self._children:
            if child.is_stopped():
                raise self.failed(child.name, f"the {child.name} process has ended")

    def tend(self) -> None:
        """Start again what has ended, as ``aether up`` does.

        Raises:
            UnavailableError: one keeps ending.
        """
        for child in self._children:
            child.tend(time.monotonic())

    def failed(self, part: str, text: str) -> PartFailedError:
        """The error that tells of a part's failure, with the end of its log."""
        return PartFailedError(text, part=part, log_tail=tail(self.log_path(part)))

    def stop(self) -> None:
        """Ask all to stop, and end what has not after half a second: their data is thrown away."""
        for child in self._children:
            child.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        while not all_stopped(self._children) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        for child in self._children:
            child.kill()
        self._children.clear()


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log; empty when there is none."""
    return "\n".join(log_since(path, 0).splitlines()[-lines:])
