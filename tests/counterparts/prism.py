"""Prism: a server that refuses every call that a platform's own document does not allow."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.counterparts.install import Prism
from tests.counterparts.programs import LOOPBACK, Program, Started, running
from tests.e2e.system import free_port


@contextmanager
def prism(
    programs: Prism, document: Path, started: Started, folder: Path, *, ready: str
) -> Iterator[Program]:
    """Mocks the API of ``document``; ``ready`` is a path of it that anybody may ask for."""
    port = free_port()
    command: list[str | Path] = [programs.node, programs.prism, "mock", "-h", LOOPBACK]
    command += ["-p", str(port), document]
    with running("prism", command, port=port, ready=ready, folder=folder, seconds=90) as program:
        try:
            yield program
        finally:
            started.stopped("prism", is_used="/comment" in program.log.read_text())
