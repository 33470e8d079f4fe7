"""A real web process, and what it and its aside have loaded."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import psutil  # type: ignore[import-untyped]

from tests.e2e.system import wait_for

LITELLM: Final = "_tiktoken"
"""LiteLLM's import maps this library; no other package of ours does."""


@dataclass
class Web:
    """A web process that listens."""

    url: str
    process: psutil.Process
    log: Path
    client: httpx.Client = field(repr=False)

    @property
    def aside(self) -> psutil.Process | None:
        """Its aside, while one runs."""
        children = self.process.children()
        return next((one for one in children if "aether.aside_child" in one.cmdline()), None)


def has_litellm(process: psutil.Process) -> bool:
    """Whether a process has LiteLLM loaded."""
    return any(LITELLM in one.path for one in process.memory_maps())


@contextmanager
def web(database_url: str, folder: Path, **settings: str) -> Iterator[Web]:
    """Serve on a port of its own; the end is in order."""
    log = folder / "web.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "aether", "web"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                "DATABASE_URL": database_url,
                "BROKER_URL": "redis://127.0.0.1:1",
                "PORT": "0",
                **settings,
            },
            stderr=output,
        )
    try:
        url = _listening(child, log)
        with httpx.Client(base_url=url, timeout=60) as client:
            yield Web(url, psutil.Process(child.pid), log, client)
    finally:
        child.terminate()
        try:
            child.wait(timeout=15)
        finally:
            child.kill()
            child.wait()


def _listening(child: "subprocess.Popen[bytes]", log: Path) -> str:
    def address() -> str | None:
        assert child.poll() is None, log.read_text()
        found = re.search(r"listening on (http://127.0.0.1:\d+)\n", log.read_text())
        return found[1] if found else None

    return wait_for(address, seconds=60, what=f"a web process; its log: {log}")
