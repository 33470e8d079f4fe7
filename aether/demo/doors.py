"""The REST API and GraphQL as the demo uses them: like any other client, over HTTP."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import httpx

from aether.demo.parts import Parts

CALL_SECONDS: Final = 15.0
READY_SECONDS: Final = 40.0
LOOK_SECONDS: Final = 0.03

SEEDS: Final[Mapping[str, str]] = {
    "agents": "/api/agents/seed",
    "capabilities": "/api/agents/capabilities/seed",
    "tasks": "/api/tasks/seed",
    "trigger mappings": "/api/tasks/triggers/seed",
    "source event mappings": "/api/tasks/sources/seed",
    "webhook mappings": "/api/webhook-mappings/seed",
    "tools": "/api/tools/seed",
}


class Doors:
    """A client of one web process; a failure carries the end of that process's log."""

    def __init__(self, base_url: str, parts: Parts) -> None:
        self.base_url = base_url
        self._parts = parts
        # no proxy of this machine's environment stands between us and loopback
        self._client = httpx.Client(base_url=base_url, timeout=CALL_SECONDS, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def wait_until_ready(self, ping: tuple[dict[str, str], bytes]) -> None:
        """Wait for our web process to answer; ``ping`` is a delivery that it alone lets in.

        Raises:
            PartFailedError: a part ended, as the web process does where somebody else listens on
                its port; or the time is over.
        """
        deadline = time.monotonic() + READY_SECONDS
        is_somebody_else = False
        while time.monotonic() < deadline:
            self._parts.check()
            if not is_somebody_else and self._is_well():
                status, _, _ = self.deliver(*ping)
                if status == HTTPStatus.OK:
                    return
                is_somebody_else = True
            time.sleep(LOOK_SECONDS)
        raise self._parts.failed("web", f"the web process is not ready in {READY_SECONDS:.0f} s")

    def _is_well(self) -> bool:
        try:
            return self._client.get("/health", timeout=2.0).is_success
        except httpx.HTTPError:
            return False

    def call(self, method: str, path: str, **told: Any) -> Any:
        """One call; its JSON.

        Raises:
            PartFailedError: no answer, or one that is no success.
        """
        answer = self._send(method, path, **told)
        if not answer.is_success:
            raise self._parts.failed(
                "web", f"{method} {path}: {answer.status_code} {answer.text[:500]}"
            )
        return answer.json()

    def get(self, path: str, **query: Any) -> Any:
        """One GET; its JSON. Raises as ``call``."""
        return self.call("GET", path, params=query)

    def query(self, text: str) -> dict[str, Any]:
        """One GraphQL query; its data. Raises as ``call``, also for an answer with errors."""
        told: dict[str, Any] = self.call("POST", "/graphql", json={"query": text})
        if told.get("errors"):
            raise self._parts.failed("web", f"POST /graphql: {told['errors']}")
        data: dict[str, Any] = told["data"]
        return data

    def deliver(self, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, Any], float]:
        """Send one webhook; the status, the JSON, and the seconds it took.

        Raises:
            PartFailedError: no answer, or none in JSON.
        """
        answer = self._send("POST", "/webhook/github", headers=dict(headers), content=body)
        try:
            told = answer.json()
        except ValueError:
            text = f"POST /webhook/github: {answer.status_code} {answer.text[:500]}"
            raise self._parts.failed("web", text) from None
        return answer.status_code, told, answer.elapsed.total_seconds()

    def _send(self, method: str, path: str, **told: Any) -> httpx.Response:
        self._parts.check()
        try:
            return self._client.request(method, path, **told)
        except httpx.HTTPError as error:
            text = f"{method} {path}: {type(error).__name__}: {error}"
            raise self._parts.failed("web", text) from error
