"""Installs the counterparts, starts them, and sees to it that none was started in vain."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from aether.embedded.valkey import Valkey
from tests.counterparts import install, mcp_servers, models
from tests.counterparts.github import Emulate, emulate
from tests.counterparts.install import Browser, GraphQLClients, McpPrograms, NodePrograms
from tests.counterparts.mcp_servers import World
from tests.counterparts.models import AiMock, aimock
from tests.counterparts.programs import Program, Started
from tests.e2e.system import System, system

T = TypeVar("T")
LAST_CHARACTERS = 6_000

MakeSystem = Callable[..., AbstractContextManager[System]]
MakeEmulate = Callable[..., AbstractContextManager[Emulate]]
MakeAiMock = Callable[..., AbstractContextManager[AiMock]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of every process's log with a failure."""
    report = yield
    if report.failed:
        for log in _logs(item):
            told = log.read_text(errors="replace")[-LAST_CHARACTERS:]
            report.sections.append((f"the end of {log}", told))
    return report


def _logs(item: pytest.Item) -> list[Path]:
    used: dict[str, Any] = item.funcargs if isinstance(item, pytest.Function) else {}
    own = used["tmp_path"].rglob("*.log") if "tmp_path" in used else ()
    shared = {log for one in used.values() if isinstance(log := getattr(one, "log", None), Path)}
    return sorted({*own, *shared})


def or_skip(installed: Callable[[], T]) -> T:
    """What ``installed`` gives; the test is skipped where a registry is out of reach."""
    try:
        return installed()
    except install.RegistryUnreachableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def node_programs() -> NodePrograms:
    """Node with emulate and aimock."""
    return or_skip(install.node_programs)


@pytest.fixture(scope="session")
def graphql_clients() -> GraphQLClients:
    """Node with Apollo's client and urql's."""
    return or_skip(install.graphql_clients)


@pytest.fixture(scope="session")
def browser() -> Browser:
    """Chromium, and what drives it."""
    return or_skip(install.browser)


@pytest.fixture(scope="session")
def mcp_programs() -> McpPrograms:
    """Two MCP servers."""
    return or_skip(install.mcp_programs)


@pytest.fixture
def make_everything(
    mcp_programs: McpPrograms, started: Started, tmp_path: Path
) -> Callable[[str], AbstractContextManager[Program]]:
    """Starts the protocol's example server for one of its transports."""
    return lambda transport: mcp_servers.everything(mcp_programs, started, tmp_path, transport)


@pytest.fixture
def make_myworld(
    mcp_programs: McpPrograms, started: Started, tmp_path: Path
) -> Callable[[], AbstractContextManager[World]]:
    """Starts a Jira behind MCP."""
    return lambda: mcp_servers.myworld(mcp_programs, started, tmp_path / "myworld")


@pytest.fixture(scope="session")
def started() -> Iterator[Started]:
    """What was started; a program that nothing of ours ever called is a failure."""
    noted = Started()
    yield noted
    assert noted.in_vain == [], "started, and nobody called it"


@pytest.fixture
def make_system(own_database_url: str, valkey: Valkey, tmp_path: Path) -> MakeSystem:
    """Builds a system; its processes are started by the test."""

    def build(**environment: str) -> AbstractContextManager[System]:
        return system(own_database_url, valkey.url, tmp_path, **environment)

    return build


@pytest.fixture
def make_emulate(node_programs: NodePrograms, started: Started, tmp_path: Path) -> MakeEmulate:
    """Starts a GitHub of this test's own, empty each time."""

    def build(*, port: int, **told: Any) -> AbstractContextManager[Emulate]:
        return emulate(node_programs, started, tmp_path / "emulate", port=port, **told)

    return build


@pytest.fixture
def make_aimock(node_programs: NodePrograms, started: Started, tmp_path: Path) -> MakeAiMock:
    """Starts a model that plays the given fixtures."""

    def build(*fixtures: dict[str, Any]) -> AbstractContextManager[AiMock]:
        return aimock(node_programs, started, tmp_path / "aimock", fixtures)

    return build


@pytest.fixture(scope="session")
def litellm(started: Started, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The LiteLLM proxy, once: it takes ten seconds to start."""
    command = or_skip(install.litellm_proxy)
    with models.litellm_proxy(command, started, tmp_path_factory.mktemp("litellm")) as program:
        yield program
