"""The reference in users' hands: every endpoint is there, every example works as it is printed."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Match, Route

from aether.config import Settings
from aether.embedded.postgres import Postgres
from aether.embedded.valkey import Valkey
from rest_compat import exception_handlers, middleware, rest_routes
from tests.conftest import emptied, make_database
from tests.contract.reference import COPY, ORIGINAL, Endpoint, called, copied, endpoints
from tests.e2e.system import System, system

ENDPOINTS: Final = endpoints(COPY.read_text(encoding="utf-8"))
BY_NAME: Final = {one.name: one for one in ENDPOINTS}

PENDING: Final[frozenset[str]] = frozenset()
"""Of the reference, but not built yet. A test fails once one of them is there and still named."""

BEYOND: Final = frozenset(
    {
        # deliveries and executions, beyond the reference
        "GET /api/deliveries",
        "GET /api/deliveries/{}",
        "POST /api/deliveries/{}/replay",
        "GET /api/task-executions",
        "GET /api/task-executions/{}",
        "GET /openapi.json",
        # the rest of a resource that the reference shows in part
        "POST /api/task-executions/{}/restart",
        "POST /api/task-executions/{}/cancel",
        "PUT /api/tasks/{}",
        "DELETE /api/tasks/{}",
        "PUT /api/tasks/triggers/{}",
        "DELETE /api/tasks/triggers/{}",
        "DELETE /api/tasks/sources/{}",
        "GET /api/webhook-mappings/{}",
        "PUT /api/webhook-mappings/{}",
        "DELETE /api/webhook-mappings/{}",
        "GET /api/tools/{}",
        "PUT /api/tools/{}",
        "DELETE /api/tools/{}",
        "POST /api/tools/{}/confirm",
        "GET /api/mcp-servers/{}",
        "PUT /api/mcp-servers/{}",
        "DELETE /api/mcp-servers/{}",
        "GET /api/poll-sources/{}",
        # what the reference has no word for
        "POST /api/deliveries/simulate",
        "GET /api/approvals",
        "GET /api/approvals/{}",
        "POST /api/approvals/{}/approve",
        "POST /api/approvals/{}/refuse",
        "GET /api/usage/report",
        "GET /api/audit",
        # pages
        "GET /",
        "GET /docs",
        "GET /docs/",
        "GET /docs/static/{}",
        "GET /favicon.ico",
    }
)

THERE: Final = [one for one in ENDPOINTS if one.name not in PENDING]
EXAMPLES: Final = [one for one in ENDPOINTS if one.curl is not None]


@cache
def routes() -> list[Route]:
    return rest_routes()


@cache
def served() -> dict[str, set[str]]:
    """By path, its parameters without names, the methods that it takes; HEAD is GET's."""
    return {
        re.sub(r"{[^}]*}", "{}", route.path): set(route.methods or ()) - {"HEAD"}
        for route in routes()
    }


# --- the list -----------------------------------------------------------------------------


def test_the_copy_is_what_the_reference_says() -> None:
    if not ORIGINAL.exists():
        pytest.skip(f"the reference itself is not here: {ORIGINAL}")
    original = ORIGINAL.read_text(encoding="utf-8")

    assert COPY.read_text(encoding="utf-8") == "\n".join(copied(original))
    assert endpoints(original) == ENDPOINTS


def test_the_reference_has_57_endpoints_and_32_examples() -> None:
    assert len(ENDPOINTS) == len(BY_NAME) == 57
    assert len(EXAMPLES) == 32
    assert BY_NAME.keys() >= PENDING


def test_every_endpoint_has_a_route_and_every_route_is_an_endpoint() -> None:
    ours = {f"{method} {path}" for path, methods in served().items() for method in methods}
    promised = {f"{one.method} {one.pattern}" for one in THERE}

    assert promised - ours == set()
    assert ours - promised == BEYOND


def test_what_is_called_pending_is_not_there() -> None:
    ours = {f"{method} {path}" for path, methods in served().items() for method in methods}

    assert {name for name in PENDING if re.sub(r":\w+", "{}", name) in ours} == set()


# --- routes -------------------------------------------------------------------------------

VALUES: Final = ("1", "pm_sarah", "github", "seed", "auth-decision-feb-2026")


@pytest.mark.parametrize("one", THERE, ids=lambda one: one.name)
def test_every_documented_path_answers_with_its_own_route(one: Endpoint) -> None:
    for value in VALUES:
        path = re.sub(r":\w+", value, one.path)
        scope = {"type": "http", "method": one.method, "path": path, "root_path": ""}

        found = next(
            (route for route in routes() if route.matches(scope)[0] is not Match.NONE), None
        )

        assert found is not None
        if path in {other.path for other in ENDPOINTS} - {one.path}:
            continue  # the value is a word that is a path of its own: agents may not be called so
        assert re.sub(r"{[^}]*}", "{}", found.path) == one.pattern


@pytest.fixture(scope="module")
def application() -> Starlette:
    app = Starlette(
        routes=routes(),
        middleware=middleware(Settings.from_environment({})),
        exception_handlers=exception_handlers(()),
    )
    app.router.redirect_slashes = False
    return app


@pytest.mark.parametrize("path", sorted({one.path for one in THERE}))
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_another_method_is_a_405_that_names_those_of_this_path(
    application: Starlette, path: str, method: str
) -> None:
    allowed = served()[re.sub(r":\w+", "{}", path)]
    if method in allowed or path == "/api/memory/search":  # GET, DELETE: the memory "search"
        return
    address = re.sub(r":\w+", "1", path)

    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.request(method, address)

    shown = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
    assert answer.status_code == 405
    assert answer.headers["allow"] == shown
    assert answer.json() == {"error": f"not allowed here; allowed: {shown}"}


# --- examples -----------------------------------------------------------------------------

TIME: Final = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")
Kind = type | UnionType


@dataclass(frozen=True, kw_only=True)
class Documented:
    """What an example needs, and what the reference says, or we say, of its answer."""

    before: tuple[str, ...] = ()  # names of other examples
    rows: tuple[str, ...] = ()  # what a worker has left, as SQL
    status: int = 200
    fields: Mapping[str, Kind] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)  # determined, beyond what was sent
    is_list: bool = False
    echoes: bool = False  # the answer holds what was sent


SEEDED: Final = Documented(fields={"created": int, "skipped": int}, values={"skipped": 0})
AGENT: Final[dict[str, Kind]] = {
    "id": str, "name": str, "role_id": str, "description": str | None, "prompt": str,
    "context": str | None, "identity": str | None, "responsibilities": list, "constraints": list,
    "communication_style": str | None, "created_at": str,
}  # fmt: skip
MEMORY: Final[dict[str, Kind]] = {
    "key": str, "content": str, "scope": str, "agent_id": str | None, "project_id": int | None,
    "created_at": str, "updated_at": str,
}  # fmt: skip
POLL_SOURCE: Final[dict[str, Kind]] = {
    "id": int, "source": str, "project_id": str, "interval_minutes": int, "enabled": bool,
}  # fmt: skip

DOCUMENTED: Final[dict[str, Documented]] = {
    "GET /health": Documented(values={"status": "ok"}),
    "GET /api/agents": Documented(before=("POST /api/agents",), fields=AGENT, is_list=True,
        values={"id": "pm_sarah", "name": "Sarah (PM)", "role_id": "pm",
                "description": "Product Manager for requirements analysis"}),
    "GET /api/agents/:id": Documented(before=("POST /api/agents",), fields=AGENT,
        values={"id": "pm_sarah"}),
    "POST /api/agents": Documented(status=201, fields=AGENT, echoes=True),
    "PUT /api/agents/:id": Documented(before=("POST /api/agents",), fields=AGENT, echoes=True,
        values={"id": "pm_sarah", "name": "Sarah (PM)"}),
    "DELETE /api/agents/:id": Documented(before=("POST /api/agents",), fields={"deleted": str},
        values={"deleted": "pm_sarah"}),
    "POST /api/agents/seed": Documented(values={"created": 5, "skipped": 0}),
    "GET /api/agents/:id/capabilities": Documented(is_list=True,
        before=("POST /api/agents/seed", "POST /api/agents/:id/capabilities"),
        fields={"id": int, "capability": str}, values={"capability": "code_review"}),
    "POST /api/agents/:id/capabilities": Documented(before=("POST /api/agents/seed",), status=201,
        fields={"id": int, "capability": str}, echoes=True),
    "POST /api/agents/capabilities/seed": Documented(before=("POST /api/agents/seed",),
        fields=SEEDED.fields, values=SEEDED.values),
    "GET /api/agents/:id/audit": Documented(is_list=True,
        before=("POST /api/agents/seed", "POST /api/agents/:id/capabilities"),
        fields={"id": int, "agent_id": str, "action": str, "execution_id": int | None,
                "detail": dict, "created_at": str},
        values={"agent_id": "ta_leo"}),
    "POST /api/projects": Documented(status=201, echoes=True,
        fields={"id": int, "name": str, "description": str | None, "source": str,
                "source_project_id": str}),
    "POST /api/tasks": Documented(status=201, echoes=True,
        fields={"id": str, "name": str, "description": str, "actor_id": str,
                "actor_fallback": str | None}),
    "POST /api/tasks/seed": Documented(before=("POST /api/agents/seed",),
        values={"created": 9, "skipped": 0}),
    "POST /api/tasks/triggers": Documented(before=("POST /api/tasks",), status=201, echoes=True,
        fields={"id": int, "canonical_trigger": str, "task_id": str}),
    "POST /api/tasks/triggers/seed": Documented(before=("POST /api/tasks/seed",),
        fields=SEEDED.fields, values=SEEDED.values),
    "POST /api/tasks/sources": Documented(status=201, echoes=True,
        fields={"id": int, "source": str, "event_name": str, "action": str | None,
                "canonical_trigger": str}),
    "POST /api/tasks/sources/seed": SEEDED,
    "POST /api/webhook-mappings": Documented(status=201, echoes=True,
        fields={"id": int, "source": str, "event_type": str, "jq_filter": str,
                "canonical_trigger": str}),
    "POST /api/integrations": Documented(status=201,
        fields={"id": int, "source": str, "name": str, "credentials": dict},
        values={"source": "github", "name": "Project A GitHub Integration",
                "credentials": {"token": "••••"}}),
    "GET /api/integrations/:source/test": Documented(values={"status": "ok", "source": "github"}),
    "GET /api/tool-executions": Documented(is_list=True,
        rows=("""INSERT INTO tool_execution (execution_id, run, round, call_id, tool, status,
                   agent_id, arguments, result)
                 VALUES (1, 1, 1, 'c', 'add_comment', 'succeeded', 'ta_leo', '{}', 'done')""",),
        fields={"id": int, "tool": str, "agent_id": str, "execution_id": int, "arguments": dict,
                "result": str | None, "status": str, "error": str | None, "duration_ms": int,
                "prompt_tokens": int, "completion_tokens": int, "created_at": str},
        values={"agent_id": "ta_leo", "tool": "add_comment"}),
    "POST /api/memory/search": Documented(before=("POST /api/memory",), is_list=True,
        values={"key": "auth-decision-feb-2026", "scope": "project", "agent_id": "ta_leo",
                "project_id": 42}),
    "GET /api/memory": Documented(before=("POST /api/memory",), fields=MEMORY, is_list=True,
        values={"key": "auth-decision-feb-2026", "project_id": 42}),
    "GET /api/memory/:key": Documented(before=("POST /api/memory",), fields=MEMORY,
        values={"key": "auth-decision-feb-2026"}),
    "POST /api/memory": Documented(status=201, fields=MEMORY,
        values={"key": "auth-decision-feb-2026", "agent_id": "ta_leo", "project_id": 42,
                "scope": "project"}),
    "GET /api/watchdog": Documented(is_list=True,
        rows=("""INSERT INTO watchdog_entry (level, component, message, message_hash, minute)
                 VALUES ('error', 'web', 'it broke', 'h', now())""",),
        fields={"id": int, "level": str, "component": str, "message": str, "detail": dict,
                "created_at": str},
        values={"level": "error", "message": "it broke"}),
    "GET /api/usage": Documented(is_list=True,
        rows=("""INSERT INTO task_execution (delivery_id, task_id, canonical_trigger, source,
                   status, agent_id, llm_calls, prompt_tokens, completion_tokens)
                 VALUES (1, 't', 'issue.created', 'github', 'succeeded', 'ta_leo', 1, 5, 7)""",),
        fields={"agent_id": str, "tasks": int, "tasks_completed": int, "tasks_failed": int,
                "llm_calls": int, "tool_calls": int, "prompt_tokens": int,
                "completion_tokens": int, "total_tokens": int, "cost_usd": float},
        values={"agent_id": "ta_leo", "tasks": 1, "total_tokens": 12}),
    # --- pending
    "POST /api/poll-sources": Documented(status=201, fields=POLL_SOURCE, echoes=True),
    "POST /api/poll-sources/:id/poll": Documented(before=("POST /api/poll-sources",),
        fields={"poll_source_id": int, "status": str},
        values={"poll_source_id": 1, "status": "queued"}),
    "POST /api/llm/chat": Documented(before=("POST /api/agents/seed",),
        fields={"agent_id": str, "model": str, "message": dict, "usage": dict,
                "cost_usd": float | None},
        values={"agent_id": "ta_leo"}),
    "POST /api/mcp-servers": Documented(before=("POST /api/agents/seed",), status=201, echoes=True,
        fields={"id": int, "name": str, "url": str, "agent_id": str | None}),
}  # fmt: skip
"""Where a reference's answer is printed, its keys and types are taken from there, too."""


@dataclass
class Reader:
    """Somebody who works through the reference against a running server."""

    made: System
    database_url: str

    def send(self, one: Endpoint) -> httpx.Response:
        """What its curl sends; the address is the one that the reference names."""
        assert one.curl is not None
        call = called(one.curl)
        headers = {"host": "localhost:8000", "accept": "*/*", "user-agent": "curl", **call.headers}
        return httpx.request(
            call.method, self.made.url + call.target, headers=headers, content=call.body, timeout=90
        )

    def prepare(self, told: Documented) -> None:
        asyncio.run(self._empty(told.rows))
        for name in told.before:
            for earlier in DOCUMENTED[name].before:
                if earlier not in told.before:
                    assert self.send(BY_NAME[earlier]).status_code < 300
            answer = self.send(BY_NAME[name])
            assert answer.status_code == DOCUMENTED[name].status, answer.text

    async def _empty(self, statements: tuple[str, ...]) -> None:
        await emptied(self.database_url)
        connection = await asyncpg.connect(self.database_url)
        for statement in (*statements, "UPDATE configuration_version SET version = version + 1"):
            await connection.execute(statement)
        await connection.close()


@pytest.fixture(scope="module")
def reader(
    postgres: Postgres, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    url = asyncio.run(make_database(postgres, "reference"))
    folder: Path = tmp_path_factory.mktemp("reference")
    settings = {"ENCRYPTION_KEY": "k" * 40, "OUTBOUND_ALLOW": "mcp-server"}
    with system(url, valkey.url, folder, **settings) as made:
        made.start_web()
        yield Reader(made, url)


def check(value: Any, kind: Kind, where: str) -> None:
    """That a value is of a kind; what is called a time looks like one."""
    if kind is float:
        kind = float | int
    assert isinstance(value, kind), (where, value)
    assert isinstance(value, bool) == (kind is bool), (where, value)
    if where.endswith("_at") or where == "timestamp":
        assert TIME.fullmatch(str(value)), (where, value)


def kinds_of(example: Mapping[str, Any]) -> dict[str, Kind]:
    return {name: type(value) for name, value in example.items()}


@pytest.mark.parametrize(
    "one", [one for one in EXAMPLES if one.name not in PENDING], ids=lambda one: one.name
)
def test_an_example_works_as_it_is_printed(reader: Reader, one: Endpoint) -> None:
    told = DOCUMENTED[one.name]
    reader.prepare(told)

    answer = reader.send(one)

    assert answer.status_code == told.status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    if told.is_list:
        assert isinstance(body, list)
        assert body
    shown = body[0] if told.is_list else body
    printed = one.answer[0] if isinstance(one.answer, list) else one.answer
    fields = dict(told.fields)
    if printed is not None:
        assert [name for name in shown if name in printed] == list(printed)  # in its order
        fields |= {name: kind for name, kind in kinds_of(printed).items() if name not in fields}
    for name, kind in fields.items():
        assert name in shown
        check(shown[name], kind, name)
    assert {name: shown[name] for name in told.values} == told.values
    if told.echoes:
        sent = httpx.Response(200, content=called(one.curl or "").body).json()
        assert {name: shown[name] for name in sent} == sent


def test_every_example_is_looked_at() -> None:
    assert {one.name for one in EXAMPLES} == DOCUMENTED.keys()


def test_a_seed_that_was_planted_skips_all(reader: Reader) -> None:
    for name in ("POST /api/agents/seed", "POST /api/tasks/seed"):
        reader.prepare(Documented(before=(*DOCUMENTED[name].before, name)))

        again = reader.send(BY_NAME[name]).json()

        assert again == {"created": 0, "skipped": BY_NAME[name].answer["created"]}


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("POST /api/agents", 409, "agent 'pm_sarah' already exists"),
        ("POST /api/memory", 409, "memory 'auth-decision-feb-2026' already exists"),
        (
            "POST /api/tasks/triggers",
            409,
            "mapping of 'issue.created' to task 'pm_analyze' already exists",
        ),
    ],
)
def test_a_second_time_is_the_conflict_of_the_reference(
    reader: Reader, name: str, status: int, text: str
) -> None:
    reader.prepare(Documented(before=(*DOCUMENTED[name].before, name)))

    answer = reader.send(BY_NAME[name])

    assert answer.status_code == status
    assert answer.json() == {"error": text}


@pytest.mark.parametrize(
    "name",
    ["GET /api/agents/:id", "PUT /api/agents/:id", "DELETE /api/agents/:id",
     "GET /api/memory/:key", "POST /api/agents/:id/capabilities"],
)  # fmt: skip
def test_what_is_not_there_is_the_404_of_the_reference(reader: Reader, name: str) -> None:
    reader.prepare(Documented())

    answer = reader.send(BY_NAME[name])

    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].endswith("not found")


def test_a_memory_is_deleted_with_204_and_then_not_found(reader: Reader) -> None:
    reader.prepare(Documented(before=("POST /api/memory",)))
    address = f"{reader.made.url}/api/memory/auth-decision-feb-2026"

    first, second = httpx.delete(address), httpx.delete(address)

    assert (first.status_code, first.content) == (204, b"")
    assert second.status_code == 404


def test_the_kinds_are_told_apart() -> None:
    with pytest.raises(AssertionError):
        check(True, int, "id")
    with pytest.raises(AssertionError):
        check("now", str, "created_at")
    with pytest.raises(AssertionError):
        check(None, str, "name")
    check(None, str | NoneType, "name")
    check(1, float, "cost_usd")
