"""Jira as others wrote it: a Data Center 8.20."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.counterparts.programs import LOOPBACK, Program, Started, running
from tests.e2e.system import free_port

NOW: Final = datetime(2026, 11, 27, 9, tzinfo=UTC)
"""Where its clock stands: nine o'clock of the day that it is told; what it holds hangs on that."""


@contextmanager
def jira820(command: Path, started: Started, folder: Path) -> Iterator[Program]:
    """A Data Center with one project of some 360 issues; any credential is good."""
    port = free_port()
    told = {
        "JIRA820_HOST": LOOPBACK, "JIRA820_PORT": str(port), "JIRA820_DATE": f"{NOW:%Y-%m-%d}"
    }  # fmt: skip
    ready = "/rest/api/2/serverInfo"
    with running(
        "jira820", [command], port=port, ready=ready, folder=folder, environment=told
    ) as program:
        try:
            yield program
        finally:
            started.stopped("jira820", is_used="/rest/api/2/issue" in program.log.read_text())
