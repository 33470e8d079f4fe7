"""MCP servers that others wrote: the protocol's own example, and a Jira with faults."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from tests.counterparts.install import McpPrograms
from tests.counterparts.programs import LOOPBACK, Program, Started, running
from tests.e2e.system import free_port

MYWORLD_TOKEN: Final = "token-of-the-myworld-0001"
ON_LOOPBACK: Final = Path(__file__).with_name("loopback.cjs")
TRANSPORTS: Final = {"streamable_http": ("streamableHttp", 400), "sse": ("sse", 404)}
"""The server's word for each transport, and what it answers to a GET of its root or ``/mcp``."""


@contextmanager
def everything(
    programs: McpPrograms, started: Started, folder: Path, transport: str
) -> Iterator[Program]:
    """``server-everything``, which listens on all interfaces unless it is kept from it."""
    port = free_port()
    word, status = TRANSPORTS[transport]
    with running(
        f"everything-{word}",
        [programs.node, "--require", ON_LOOPBACK, programs.everything, word],
        port=port,
        ready="/mcp",
        ready_status=status,
        folder=folder,
        environment={"PORT": str(port)},
    ) as program:
        yield program
        said = program.log.read_text(errors="replace")
        is_used = "Received MCP POST" in said or "Client Message from" in said
        started.stopped("everything", is_used=is_used)


@dataclass(frozen=True, kw_only=True)
class World:
    """The running myworld: one Jira, as its operator meets it."""

    url: str

    @property
    def mcp_url(self) -> str:
        """Where its MCP server is."""
        return f"{self.url}/instances/jira/mcp"

    def calls(self) -> list[dict[str, Any]]:
        """Every call of a tool, in order."""
        found: Any = self._ask("GET", "/instances/jira/calls")
        return list(found if isinstance(found, list) else found["calls"])

    def make(self, *faults: dict[str, Any]) -> None:
        """Start the Jira, with these faults."""
        told = {"service": "jira", "id": "jira", "faults": list(faults)}
        self._ask("POST", "/instances", told)

    def _ask(self, method: str, path: str, told: Any = None) -> Any:
        answer = httpx.request(
            method,
            f"{self.url}{path}",
            json=told,
            headers={"Authorization": f"Bearer {MYWORLD_TOKEN}"},
            timeout=15,
        )
        return answer.raise_for_status().json()


@contextmanager
def myworld(programs: McpPrograms, started: Started, folder: Path) -> Iterator[World]:
    """A simulated Jira behind MCP, which wants a bearer token."""
    port = free_port()
    command: list[str | Path] = [programs.myworld, "serve", "--host", LOOPBACK, "--port", str(port)]
    with running(
        "myworld",
        [*command, "--token", MYWORLD_TOKEN],
        port=port,
        ready="/healthz",
        folder=folder,
    ) as program:
        world = World(url=program.url)
        yield world
        started.stopped("myworld", is_used=bool(world.calls()))
