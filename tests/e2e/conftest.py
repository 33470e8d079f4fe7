"""A system of real processes over a database of its own; slow, so shared where a test lets it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from aether.embedded.valkey import Valkey
from tests.e2e.system import System, system


@pytest.fixture
def make_system(
    own_database_url: str, valkey: Valkey, tmp_path: Path
) -> Callable[..., AbstractContextManager[System]]:
    """Builds a system; its processes are started by the test."""

    def build(**environment: str) -> AbstractContextManager[System]:
        # a queue database of its own would need another server: the rows decide, so sharing is fine
        return system(own_database_url, valkey.url, tmp_path, **environment)

    return build


@pytest.fixture
def running(make_system: Callable[..., AbstractContextManager[System]]) -> Iterator[System]:
    """Web, worker and scheduler with one task on ``issue.created``."""
    with make_system() as made:
        made.start("worker")
        made.start("scheduler")
        made.start_web()
        made.one_task()
        yield made
