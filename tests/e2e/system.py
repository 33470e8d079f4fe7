"""The whole of Aether as its real processes, with stand-ins for GitHub and the model."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from aether.demo.github import GitHubStandIn
from aether.demo.github_payloads import issue_opened_payload, signed_delivery
from aether.demo.model import ScriptedModel
from aether.demo.serving import serving
from tests.fakes import Replaceable

SECRET: Final = "webhook-secret-of-the-tests"
TOKEN: Final = "ghp_a_token_of_the_tests_0001"
ROOT: Final = Path(__file__).parents[2]
FINAL: Final = ("succeeded", "failed", "cancelled")

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], *, seconds: float = 30, what: str = "") -> T:
    """The first truthy value of ``condition``, asked again and again for ``seconds`` at most."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}")
        time.sleep(0.02)  # between two looks; the condition ends the wait


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class System:
    """Processes of Aether over one database and one queue, and how to talk to them."""

    environment: dict[str, str]
    github: GitHubStandIn
    model: ScriptedModel
    doors: tuple[Replaceable, Replaceable]
    log: Path
    port: int = 0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The first web process."""
        return f"http://127.0.0.1:{self.port}"

    def renew(self) -> None:
        """Put a new GitHub and a new model, which know nothing, where the old ones stand."""
        self.github, self.model = _stand_ins()
        self.doors[0].app, self.doors[1].app = self.github.app, self.model.app

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start ``aether COMMAND``, or any module where the command begins with ``-m``."""
        arguments = command if command[0] == "-m" else ("-m", "aether", *command)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env={**self.environment, **environment},
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_web(self, **environment: str) -> str:
        """Start a web process on a port of its own and wait until it is well; its address."""
        port = free_port()
        self.start("web", PORT=str(port), **environment)
        url = f"http://127.0.0.1:{port}"

        def is_well() -> bool:
            try:
                return httpx.get(f"{url}/health", timeout=2).status_code == 200
            except httpx.HTTPError:
                return False

        wait_for(is_well, what=f"a web process on {port}; its log: {self.log}")
        self.port = self.port or port
        return url

    def stop(self, process: subprocess.Popen[bytes], *, kill: bool = False) -> None:
        """End one process and reap it."""
        if process.poll() is None:
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        process.wait(timeout=15)
        self.processes.remove(process)

    def stop_all(self) -> None:
        """End every process."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in list(self.processes):
            try:
                process.wait(timeout=12)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=5)
        self.processes.clear()

    def call(self, method: str, path: str, **told: Any) -> Any:
        """One REST call; its JSON. Any status from 400 on is a failure of the test."""
        answer = httpx.request(method, f"{self.url}{path}", timeout=10, **told)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def deliver(
        self,
        payload: Mapping[str, Any],
        *,
        event: str = "issues",
        url: str = "",
        secret: str = SECRET,
        **signing: Any,
    ) -> httpx.Response:
        """Send one signed delivery."""
        headers, body = signed_delivery(event, payload, secret, **signing)
        address = f"{url or self.url}/webhook/github"
        return httpx.post(address, headers=headers, content=body, timeout=15)

    def open_issue(
        self, repo: str, number: int = 7, title: str = "It breaks", body: str = "On start."
    ) -> list[int]:
        """Put an issue at GitHub and deliver that it was opened; the executions it started."""
        self.github.add_issue(repo, number, title, body)
        payload = self.github.opened_payload(repo, number)
        told = self.deliver(payload).json()
        assert told["status"] == "accepted", told
        return list(told["executions"])

    def execution(self, execution_id: int) -> dict[str, Any]:
        """One execution as REST shows it."""
        found: dict[str, Any] = self.call("GET", f"/api/task-executions/{execution_id}")
        return found

    def finished(self, execution_id: int, *, seconds: float = 40) -> dict[str, Any]:
        """The execution once it has ended."""

        def ended() -> dict[str, Any] | None:
            found = self.execution(execution_id)
            return found if found["status"] in FINAL else None

        return wait_for(ended, seconds=seconds, what=f"the end of execution {execution_id}")

    def one_task(self, trigger: str = "issue.created") -> None:
        """Seed mappings and tools, and map ``trigger`` to one task of one agent."""
        for what in ("tasks/sources", "tools"):
            self.call("POST", f"/api/{what}/seed")
        self.call("POST", "/api/agents", json={
            "id": "pm_sarah", "name": "Sarah (PM)", "role_id": "pm", "prompt": "You are Sarah.",
        })  # fmt: skip
        self.call("POST", "/api/tasks", json={
            "id": "triage", "name": "Triage", "description": "Say what it is.",
            "actor_id": "pm_sarah",
        })  # fmt: skip
        self.call("POST", "/api/tasks/triggers", json={
            "canonical_trigger": trigger, "task_id": "triage",
        })  # fmt: skip


def _stand_ins() -> tuple[GitHubStandIn, ScriptedModel]:
    return GitHubStandIn({TOKEN: "aether-person"}), ScriptedModel()


@contextmanager
def system(
    database_url: str, broker_url: str, folder: Path, **environment: str
) -> Iterator[System]:
    """A system without processes yet: ``start_web`` and ``start`` what the test needs."""
    github, model = _stand_ins()
    doors = (Replaceable(github.app), Replaceable(model.app))
    with serving(doors[0]) as github_url, serving(doors[1]) as model_url:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in {"PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH"}
        }
        made = System(
            environment={
                **inherited,
                "DATABASE_URL": database_url,
                "BROKER_URL": broker_url,
                "AETHER_HOME": str(folder),
                "GITHUB_API_URL": github_url,
                "GITHUB_TOKEN": TOKEN,
                "GITHUB_WEBHOOK_SECRET": SECRET,
                "LLM_BASE_URL": f"{model_url}/v1",
                "LLM_API_KEY": model.key,
                "LLM_MODEL": model.models[0],
                "WATCHDOG_ENABLED": "true",
                **environment,
            },
            github=github,
            model=model,
            doors=doors,
            log=folder / "processes.log",
        )
        try:
            yield made
        finally:
            made.stop_all()


__all__ = ["SECRET", "System", "issue_opened_payload", "system", "wait_for"]
