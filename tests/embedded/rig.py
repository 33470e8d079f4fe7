"""What the tests of this folder share: waiting, SQL, and programs that hold services."""

import asyncio
import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from aether.embedded.processes import Account, identity, is_reachable

ROOT = Path(__file__).parents[2]
IS_ROOT = os.geteuid() == 0


def until(condition: Callable[[], bool], what: str, limit_seconds: float = 15.0) -> None:
    """Wait for ``condition``; fail with ``what`` when it does not come true in time."""
    deadline = time.monotonic() + limit_seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {limit_seconds} s: not {what}"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether nothing runs as ``pid``; a zombie that nobody reaps runs nothing."""
    return identity(pid) is None


def family(pid: int) -> list[int]:
    """All descendants of ``pid`` (Linux)."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found = [pid]
    for known in found:  # grows while it is walked: each one's children follow
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


def sql(dsn: str, *statements: str) -> list[Any]:
    """Run statements on one connection; the first column of the last one's rows."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(dsn)
        try:
            rows: list[asyncpg.Record] = []
            for statement in statements:
                rows = await connection.fetch(statement)
            return [row[0] for row in rows]
        finally:
            await connection.close()

    return asyncio.run(run())


def everybodys_interpreter() -> Path | None:
    """A Python of our version that an ordinary user can start: ours, or the system's."""
    ordinary = Account(65534, 65534)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (Path(sys.executable), Path("/usr/local/bin") / name, Path("/usr/bin") / name):
        if path.exists() and is_reachable(path, ordinary):
            return path
    return None


@contextmanager
def running(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, user: str = ""
) -> Iterator["subprocess.Popen[str]"]:
    """A program of this folder as a child; ended by SIGKILL if the test leaves it running."""
    account = pwd.getpwnam(user) if user else None
    interpreter = everybodys_interpreter() if account else sys.executable
    process = subprocess.Popen(
        [str(interpreter), "-m", f"tests.embedded.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
    )
    try:
        yield process
    finally:
        process.kill()
        with process:  # closes its pipes and waits for it
            pass


def told(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The next line that the program says, as JSON."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        raise AssertionError(f"the program ended: {process.stderr.read()}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def told_lines(process: "subprocess.Popen[str]") -> list[str]:
    """What a program that ended has said."""
    assert process.stdout is not None
    return process.stdout.read().splitlines()
