"""A counterpart as a running process: on loopback, ended by whoever started it, its log kept."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.e2e.system import wait_for

LOOPBACK: Final = "127.0.0.1"
STOP_SECONDS: Final = 10.0
INHERITED: Final = frozenset({"PATH", "LANG", "TMPDIR"})  # no secret, no setting of the machine


@dataclass(frozen=True, kw_only=True)
class Program:
    """A counterpart that answers at ``url``; ``log`` is what it printed."""

    name: str
    url: str
    log: Path


class Started:
    """Which programs this session started, and whether anything of ours ever called them."""

    def __init__(self) -> None:
        self._is_used: dict[str, bool] = {}

    def stopped(self, name: str, *, is_used: bool) -> None:
        """Note at the end of one process whether it was called."""
        self._is_used[name] = self._is_used.get(name, False) or is_used

    @property
    def in_vain(self) -> list[str]:
        """The programs that nobody called, however often they were started."""
        return sorted(name for name, is_used in self._is_used.items() if not is_used)


@contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    *,
    port: int,
    ready: str,
    folder: Path,
    ready_status: int = 200,
    environment: Mapping[str, str] | None = None,
    seconds: float = 30,
) -> Iterator[Program]:
    """Start ``command``, which listens on ``port``, and end it with all its children.

    ``ready`` is a path that it answers with ``ready_status`` once it serves; ``folder`` is its
    home.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    with log.open("ab") as told:
        process = subprocess.Popen(
            [str(part) for part in command],
            env={
                **{key: os.environ[key] for key in INHERITED if key in os.environ},
                "HOME": str(folder),
                **(environment or {}),
            },
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
        )
    try:
        url = f"http://{LOOPBACK}:{port}"
        wait_for(
            lambda: _answers(process, f"{url}{ready}", log, ready_status),
            seconds=seconds,
            what=f"{name} to serve; its log: {log}",
        )
        yield Program(name=name, url=url, log=log)
    finally:
        _end(process)


def _answers(process: subprocess.Popen[bytes], url: str, log: Path, status: int) -> bool:
    assert process.poll() is None, f"it ended at once:\n{log.read_text(errors='replace')[-4_000:]}"
    try:
        return httpx.get(url, timeout=2).status_code == status
    except httpx.HTTPError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process's group, which is its own: whatever it started goes with it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait(timeout=STOP_SECONDS)
