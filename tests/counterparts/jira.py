"""Jira as others wrote it: a Data Center 8.20."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.counterparts.programs import LOOPBACK, Program, Started, running
from tests.e2e.system import free_port


@contextmanager
def jira820(command: Path, started: Started, folder: Path) -> Iterator[Program]:
    """A Data Center with one project of some 360 issues; any credential is good."""
    port = free_port()
    told = {"JIRA820_HOST": LOOPBACK, "JIRA820_PORT": str(port)}
    ready = "/rest/api/2/serverInfo"
    with running(
        "jira820", [command], port=port, ready=ready, folder=folder, environment=told
    ) as program:
        try:
            yield program
        finally:
            started.stopped("jira820", is_used="/rest/api/2/issue" in program.log.read_text())
