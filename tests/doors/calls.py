"""A client of the REST door that asserts the status, and what the tests look up beside it."""

import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import httpx

from aether.clock import now
from aether.db import rows
from aether.engine.runtime import Runtime
from aether.queue import Job
from tests.fakes import RecordingQueue

SECRET: Final = "a secret of the tests"
TIME: Final = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")

PM_SARAH: Final = {
    "id": "pm_sarah",
    "name": "Sarah (PM)",
    "role_id": "pm",
    "description": "Product Manager for requirements analysis",
    "prompt": "You are Sarah, an experienced Product Manager. Analyze issues...",
}
TA_LEO: Final = {"id": "ta_leo", "name": "Leo", "role_id": "ta", "prompt": "You are Leo."}
PM_ANALYZE: Final = {
    "id": "pm_analyze",
    "name": "PM: Analyze Issue",
    "description": "Product Manager analyzes the issue for requirements",
    "actor_id": "pm_sarah",
    "actor_fallback": "You are a Product Manager. Analyze this issue.",
}


class Door:
    """``get``, ``post``, ``put``, ``delete``: the decoded answer, once its status is ``status``."""

    def __init__(self, client: httpx.AsyncClient, runtime: Runtime) -> None:
        self.client = client
        self.runtime = runtime

    async def get(self, path: str, status: int = 200) -> Any:
        return await self._call("GET", path, None, status)

    async def post(self, path: str, body: Any = None, status: int = 201) -> Any:
        return await self._call("POST", path, body, status)

    async def put(self, path: str, body: Any, status: int = 200) -> Any:
        return await self._call("PUT", path, body, status)

    async def delete(self, path: str, status: int = 200) -> Any:
        return await self._call("DELETE", path, None, status)

    async def refused(self, method: str, path: str, body: Any, status: int) -> str:
        """The text of an error."""
        told = await self._call(method, path, body, status)
        assert list(told) == ["error"]
        return str(told["error"])

    async def deliver(self, payload: dict[str, Any], *, event: str = "issues") -> Any:
        """What GitHub is answered for a signed delivery."""
        body = json.dumps(payload).encode()
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        answer = await self.client.post(
            "/webhook/github",
            content=body,
            headers={
                "content-type": "application/json",
                "x-github-event": event,
                "x-github-delivery": str(uuid.uuid4()),
                "x-hub-signature-256": f"sha256={signature}",
            },
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    @property
    def hints(self) -> list[tuple[Job, list[int]]]:
        queue = self.runtime.queue
        assert isinstance(queue, RecordingQueue)
        return queue.hints

    async def _call(self, method: str, path: str, body: Any, status: int) -> Any:
        answer = await self.client.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


def without(told: dict[str, Any], *names: str) -> dict[str, Any]:
    """``told`` without what differs from run to run; what of it is a time must look like one."""
    left = {}
    for name, value in told.items():
        if name in names:
            continue
        if name.endswith("_at"):
            assert value is None or TIME.fullmatch(value), (name, value)
            continue
        left[name] = value
    return left


def issue_opened(number: int = 7, *, association: str = "NONE") -> dict[str, Any]:
    """What GitHub sends for a new issue, as far as we read it."""
    author = {"login": "octocat", "id": 1, "type": "User"}
    return {
        "action": "opened",
        "issue": {
            "id": 1000 + number,
            "node_id": f"I_{number}",
            "number": number,
            "title": "Login fails after the update",
            "body": "It says 500.",
            "state": "open",
            "user": author,
            "labels": [],
            "author_association": association,
            "html_url": f"https://github.com/myorg/api-service/issues/{number}",
            "created_at": "2026-02-18T10:00:00Z",
            "updated_at": "2026-02-18T10:00:00Z",
        },
        "repository": {
            "id": 99,
            "name": "api-service",
            "full_name": "myorg/api-service",
            "owner": {"login": "myorg", "id": 2, "type": "Organization"},
        },
        "sender": author,
    }


async def count(table: str) -> int:
    """How many rows a table has."""
    [found] = await rows(f"SELECT count(*) AS n FROM {table}")  # noqa: S608 # the tests' own words
    return int(found["n"])


async def counts(*tables: str) -> list[int]:
    return [await count(table) for table in tables]


async def actions() -> list[str]:
    """What the audit log tells of, oldest first."""
    return [one["action"] for one in await rows("SELECT action FROM audit_entry ORDER BY id")]


async def details(action: str) -> list[dict[str, Any]]:
    """What the audit log tells of an action, oldest first."""
    found = await rows("SELECT detail FROM audit_entry WHERE action = $1 ORDER BY id", action)
    return [json.loads(one["detail"]) for one in found]


async def insert(table: str, **values: Any) -> int:
    """One row by SQL, as some worker has left it; its id."""
    names = ", ".join(values)
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    [made] = await rows(
        f"INSERT INTO {table} ({names}) VALUES ({places}) RETURNING id",  # noqa: S608
        *values.values(),
    )
    return int(made["id"])


def moments() -> dict[str, datetime]:
    """What tables of configuration want to be told by SQL."""
    return {"created_at": now(), "updated_at": now()}


async def execution(**values: Any) -> int:
    """A task execution that some worker has left."""
    defaults = {
        "delivery_id": (await rows("SELECT count(*) + 1 AS n FROM task_execution"))[0]["n"],
        "task_id": "pm_analyze",
        "canonical_trigger": "issue.created",
        "source": "github",
    }
    return await insert("task_execution", **(defaults | values))


def column(told: Iterable[dict[str, Any]], name: str) -> list[Any]:
    return [one[name] for one in told]
