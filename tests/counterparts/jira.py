"""Jira as others wrote it: a Data Center 8.20, and Atlassian's own document of Cloud's REST v3."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.counterparts.install import Prism
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


@contextmanager
def prism(programs: Prism, started: Started, folder: Path) -> Iterator[Program]:
    """A server that refuses (400) what the document does not allow."""
    port = free_port()
    command: list[str | Path] = [programs.node, programs.prism, "mock", "-h", LOOPBACK]
    command += ["-p", str(port), programs.jira_document]
    ready = "/rest/api/3/serverInfo"
    with running("prism", command, port=port, ready=ready, folder=folder, seconds=60) as program:
        try:
            yield program
        finally:
            started.stopped("prism", is_used="/comment" in program.log.read_text())
