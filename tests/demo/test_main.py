"""``aether demo`` keeps its promises, says so in its exit code, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from aether.demo import main, page
from aether.demo.doors import SEEDS
from aether.demo.scenario import ANALYSIS, demo_github
from rest_compat import OPS
from tests.embedded.rig import ROOT, family, is_gone

LIMIT: Final = 90
WORKING: Final = "the worker begins once"


@dataclass
class Demo:
    """A demo that runs, and what it has printed so far."""

    process: subprocess.Popen[str]
    temporary: Path
    lines: list[str] = field(default_factory=list)
    everybody: set[int] = field(default_factory=set)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def read_until(self, part: str) -> None:
        """Read until a line holds ``part``; notes who runs by then."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if part in line:
                self.everybody.update(family(self.process.pid))
                return
        raise AssertionError(f"it ended without {part!r}:\n{self.text}")

    def end(self) -> int:
        """Read the rest; the exit code."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        return self.process.wait(timeout=LIMIT)

    def left_behind(self) -> list[object]:
        """Processes and files that are still there."""
        processes = [pid for pid in self.everybody if not is_gone(pid)]
        return [*processes, *self.temporary.iterdir()]


@contextmanager
def running(tmp_path: Path, *arguments: str) -> Iterator[Demo]:
    temporary = tmp_path / "t"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "aether", "demo", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "TMPDIR": str(temporary),
            "COLUMNS": "100",
            "DATABASE_URL": "postgresql://db.test/not-to-be-used",
            "GITHUB_TOKEN": "not-to-be-used",
            "HTTP_PROXY": "http://proxy.test:1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Demo(process, temporary)
    finally:
        process.kill()
        with process:  # closes its pipe and waits for it
            pass


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Starts a demo that is ended with the test."""
    stack = []

    def start(*arguments: str) -> Demo:
        context = running(tmp_path, *arguments)
        stack.append(context)
        return context.__enter__()

    yield start
    for context in stack:
        context.__exit__(None, None, None)


@pytest.mark.slow
def test_the_whole_story_is_told_and_nothing_is_left_behind(demo: Callable[..., Demo]) -> None:
    told = demo()
    told.read_until(WORKING)

    code = told.end()

    assert code == 0, told.text
    for line in (
        "GitHub and the language model are stand-ins",
        "5 agents",
        "routing  issues/opened → issue.created → triage_initial_intent",
        '"status": "accepted"',
        "The prompt of ",
        "aether[bot] commented, for ",
        "labels  bug, payments, priority: critical",
        "checks held",
    ):
        assert line in told.text
    assert told.text.count('"status": "duplicate"') == 2
    assert re.search(r"task executions, by GraphQL +2 +2$", told.text, re.MULTILINE)
    assert re.search(r"requests to post one +2 +2$", told.text, re.MULTILINE)
    assert "\x1b" not in told.text  # no control codes where output is no terminal
    assert len(told.everybody) >= 5
    assert told.left_behind() == []


@pytest.mark.slow
def test_kept_it_serves_what_it_names_until_ctrl_c(demo: Callable[..., Demo]) -> None:
    with contextless_listener(main.USUAL_PORT):
        told = demo("--keep")
        told.read_until("Ctrl-C ends it")
        assert f"port {main.USUAL_PORT} is taken" in told.text
        addresses = dict(re.findall(r"(GraphiQL|REST|OpenAPI|the issue) +(http://\S+)", told.text))
        agents = httpx.get(addresses["REST"])
        schema = httpx.get(addresses["OpenAPI"])
        query = httpx.post(addresses["GraphiQL"], json={"query": "{ health { status } }"})
        issue = httpx.get(addresses["the issue"])

        told.process.send_signal(signal.SIGINT)
        code = told.end()

    assert len(agents.json()) == 5
    assert schema.status_code == 200
    assert query.json() == {"data": {"health": {"status": "ok"}}}
    assert "Technical analysis" in issue.text
    assert code == 0
    assert told.left_behind() == []


@contextmanager
def contextless_listener(port: int) -> Iterator[None]:
    """Somebody listens on ``port``: this test, or whoever does already."""
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError:
        yield
        return
    with listener:
        yield


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_in_the_middle_leaves_nothing_behind(
    demo: Callable[..., Demo], number: signal.Signals
) -> None:
    told = demo()
    told.read_until(WORKING)

    told.process.send_signal(number)
    code = told.end()

    assert code == main.INTERRUPTED
    assert told.lines[-1].strip() == "stopped; nothing is left behind"
    assert told.left_behind() == []


@pytest.mark.slow
def test_a_part_that_dies_is_named_with_the_end_of_its_log(demo: Callable[..., Demo]) -> None:
    told = demo()
    told.read_until(WORKING)
    [worker] = [
        pid for pid in told.everybody if "aether.demo.warm" in psutil.Process(pid).cmdline()
    ]

    os.kill(worker, signal.SIGKILL)
    code = told.end()

    assert code == 1
    assert "the worker process has ended" in told.text
    assert "The end of the log of worker" in told.text
    assert told.left_behind() == []


def test_the_commands_to_try_lead_to_operations_that_there_are() -> None:
    paths = {re.sub(r"\{\w+\}", r"[^/]+", one.path) for one in OPS if one.method == "GET"}

    for command in main.TO_TRY:
        path = urlsplit(command.split("{web}")[1].strip("'")).path
        assert any(re.fullmatch(known, path) for known in paths), command


def test_every_seed_s_path_is_an_operation() -> None:
    known = {one.path for one in OPS if one.method == "POST"}

    assert set(SEEDS.values()) <= known
    assert len(SEEDS) == 7


def test_no_setting_no_key_and_no_proxy_reaches_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "OPENAI_API_KEY", "HTTPS_PROXY", "LLM_MODEL", "PGHOST"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    inherited = main._inherited()

    assert inherited["LC_ALL"] == "C.UTF-8"
    assert {name for name, value in inherited.items() if value == "x"} == set()


def test_a_taken_usual_port_gives_a_free_one() -> None:
    with contextless_listener(main.USUAL_PORT):
        port = main._port()

    assert port != main.USUAL_PORT
    socket.create_server(("127.0.0.1", port)).close()


def test_the_page_shows_the_issue_with_its_comments_and_runs_nothing_in_them() -> None:
    github = demo_github("token")
    github.add_comment("acme/checkout-service", 482, ANALYSIS, "aether[bot]")
    github.add_comment("acme/checkout-service", 482, "<script>alert(1)</script>", "eve")
    github.add_comment("acme/checkout-service", 482, "a & b <img src=x> [red]x", "eve")

    html = page.html(github)

    assert "Customer is charged twice" in html
    assert "Technical analysis" in html
    assert "<script" not in html
    assert "<img" not in html
    assert "a &amp; b" in html
    assert "[red]x" in html
