"""Tests of who may call."""

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from aether.config import Settings
from aether.errors import NotConfiguredError
from rest_compat import middleware
from rest_compat.guard import Guard
from schema.view import graphql_app
from tests.rest_compat.conftest import client_of

CALLS: list[str] = []
TOKEN = {"API_TOKEN": "tökén-1"}
FRONT = {"FRONTEND_ORIGINS": "https://front.example/, http://localhost:5173"}
BEARER = {"authorization": b"Bearer t\xc3\xb6k\xc3\xa9n-1"}


async def note(request: Any) -> JSONResponse:
    CALLS.append(f"{request.method} {request.url.path}")
    return JSONResponse({})


async def note_mounted(scope: Scope, receive: Receive, send: Send) -> None:
    await (await note(Request(scope)))(scope, receive, send)


async def echo(socket: WebSocket) -> None:
    CALLS.append("socket")
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def application(environment: dict[str, str]) -> Starlette:
    CALLS.clear()
    app = Starlette(
        routes=[
            Route("/health", note),
            Route("/webhook/{slug}", note, methods=["POST"]),
            Route("/api/things", note, methods=["GET", "POST", "DELETE"]),
            Route("/graphql", note, methods=["GET", "POST"]),
            WebSocketRoute("/graphql", echo),
            Mount("/graphql", app=note_mounted),
        ],
        middleware=middleware(Settings.from_environment(environment)),
    )
    app.router.redirect_slashes = False
    return app


async def ask(
    environment: dict[str, str], method: str, path: str, headers: dict[str, Any]
) -> httpx.Response:
    raw = [
        (name.encode(), v if isinstance(v, bytes) else v.encode()) for name, v in headers.items()
    ]
    async with client_of(application(environment)) as client:
        return await client.request(method, path, headers=raw)


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:80", "[::1]", "[::1]:9",
     "aether.localhost:8000", "localhost."],
)  # fmt: skip
async def test_without_a_token_a_loopback_host_may_call(host: str) -> None:
    answer = await ask({}, "POST", "/api/things", {"host": host})

    assert (answer.status_code, CALLS) == (200, ["POST /api/things"])
    assert not [name for name in answer.headers if name.startswith(("access-control", "vary"))]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "abc.ngrok.app:443", "127.0.0.1.evil.example", "localhost.evil.example",
     "", " ", "10.0.0.1", "0.0.0.0", "[::1", "[::ffff:10.0.0.1]", "localhost:80:80",
     "localhost@evil.example", "evil.example/localhost", "127.1", "2130706433", b"\xff\xfe",
     "localhost:999999", "[fe80::1%25lo]"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_without_a_token_any_other_host_is_refused(host: Any, method: str) -> None:
    answer = await ask({}, method, "/api/things", {"host": host})

    assert (answer.status_code, CALLS) == (403, [])
    assert answer.json() == {
        "error": "Host: only localhost may be addressed while API_TOKEN is not set"
    }


@pytest.mark.parametrize("headers", [[], [(b"host", b"localhost"), (b"host", b"evil.example")]])
async def test_without_a_token_a_missing_or_doubled_host_is_refused(
    headers: list[tuple[bytes, bytes]],
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/api/things", "headers": headers}
    guard = Guard(application({}), Settings.from_environment({}))
    await guard(scope, lambda: None, send)  # type: ignore[arg-type, return-value]

    assert (sent[0]["status"], CALLS) == (403, [])


@pytest.mark.parametrize("environment", [{}, TOKEN])
@pytest.mark.parametrize(("method", "path"), [("POST", "/webhook/github"), ("GET", "/health")])
async def test_webhooks_and_health_are_open_to_all(
    environment: dict[str, str], method: str, path: str
) -> None:
    headers = {"host": "abc.ngrok.app", "origin": "https://evil.example"}

    answer = await ask(environment, method, path, headers)

    assert (answer.status_code, CALLS) == (200, [f"{method} {path}"])


@pytest.mark.parametrize(
    "path",
    ["/webhook", "/webhook/", "/webhook/a/b", "/webhook/..%2fapi/things", "/healthz", "/health/x",
     "/health%0A", "//health", "/api/things%00", "/%ff%fe"],
)  # fmt: skip
@pytest.mark.parametrize(("environment", "status"), [({}, 403), (TOKEN, 401)])
async def test_paths_that_only_resemble_the_open_ones_are_not(
    path: str, environment: dict[str, str], status: int
) -> None:
    async with client_of(application(environment), "abc.ngrok.app") as client:
        answer = await client.post(f"http://abc.ngrok.app{path}")

    assert (answer.status_code, CALLS) == (status, [])


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic tökén-1", "tökén-1", "Bearer tökén-12",
     "Bearer tökén-", b"Bearer \xff\xfe", b"Bearer t\xf6k\xe9n-1"],
)  # fmt: skip
async def test_with_a_token_nobody_else_may_call(given: str | bytes | None) -> None:
    headers = {} if given is None else {"authorization": given}

    answer = await ask(TOKEN, "GET", "/api/things", headers)

    assert (answer.status_code, CALLS) == (401, [])
    assert answer.json() == {"error": "Authorization: Bearer with the API_TOKEN is needed"}
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER   "])
async def test_with_a_token_its_bearer_may_call_by_any_host(scheme: bytes) -> None:
    headers = {"host": "aether.example", "authorization": scheme + "tökén-1".encode()}

    answer = await ask(TOKEN, "DELETE", "/api/things", headers)

    assert (answer.status_code, CALLS) == (200, ["DELETE /api/things"])


async def test_a_doubled_authorization_header_is_refused() -> None:
    async with client_of(application(TOKEN)) as client:
        twice = [(b"authorization", BEARER["authorization"])] * 2
        answer = await client.get("/api/things", headers=twice)

    assert (answer.status_code, CALLS) == (401, [])


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost:5174", "http://127.0.0.1:8000", "",
     "https://localhost:8001", "localhost:8000", "http://localhost:8000.evil.example",
     "http://localhost:8000@evil.example"],
)  # fmt: skip
@pytest.mark.parametrize("environment", [{}, FRONT, {**TOKEN, **FRONT}])
async def test_a_foreign_page_changes_nothing(origin: str, environment: dict[str, str]) -> None:
    headers = {"host": "localhost:8000", "origin": origin, **BEARER}

    answer = await ask(environment, "POST", "/api/things", headers)

    assert (answer.status_code, CALLS) == (403, [])
    assert answer.json() == {"error": "Origin: not this server and not listed in FRONTEND_ORIGINS"}


@pytest.mark.parametrize(
    ("host", "origin"),
    [("localhost:8000", "http://localhost:8000"), ("localhost", "http://LOCALHOST:80"),
     ("localhost:443", "https://localhost"), ("localhost", "https://front.example"),
     ("localhost:8000", "http://localhost:5173")],
)  # fmt: skip
async def test_our_own_page_and_the_listed_ones_may_change_things(host: str, origin: str) -> None:
    answer = await ask(FRONT, "POST", "/api/things", {"host": host, "origin": origin})

    assert (answer.status_code, CALLS) == (200, ["POST /api/things"])


PREFLIGHT = {
    "origin": "https://front.example",
    "access-control-request-method": "PUT",
    "access-control-request-headers": "authorization, content-type",
}


async def test_a_listed_front_end_is_told_so_before_it_can_show_its_token() -> None:
    answer = await ask({**TOKEN, **FRONT}, "OPTIONS", "/api/things", PREFLIGHT)

    assert (answer.status_code, answer.content, CALLS) == (204, b"", [])
    assert answer.headers["access-control-allow-origin"] == "https://front.example"
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type"


async def test_a_listed_front_end_can_read_answers_and_refusals() -> None:
    headers = {"origin": "https://front.example"}

    refused = await ask({**TOKEN, **FRONT}, "GET", "/api/things", headers)
    answered = await ask({**TOKEN, **FRONT}, "GET", "/api/things", {**headers, **BEARER})

    assert (refused.status_code, answered.status_code) == (401, 200)
    for answer in (refused, answered):
        assert answer.headers["access-control-allow-origin"] == "https://front.example"
        assert "access-control-allow-credentials" not in answer.headers


async def test_an_unlisted_page_is_not_let_in_by_a_preflight() -> None:
    other = {**PREFLIGHT, "origin": "https://evil.example"}

    answer = await ask(FRONT, "OPTIONS", "/api/things", {"host": "localhost", **other})
    without = await ask({}, "OPTIONS", "/api/things", {"host": "localhost", **other})

    assert (answer.status_code, answer.json()) == (403, {"error": "Disallowed CORS origin"})
    assert without.status_code == 405
    for one in (answer, without):
        assert "access-control-allow-origin" not in one.headers


def test_every_origin_needs_a_token() -> None:
    with pytest.raises(NotConfiguredError, match=r"FRONTEND_ORIGINS: \* needs API_TOKEN"):
        Guard(application({}), Settings.from_environment({"FRONTEND_ORIGINS": "*"}))

    Guard(application({}), Settings.from_environment({"FRONTEND_ORIGINS": "*", **TOKEN}))


@pytest.mark.parametrize(
    ("environment", "headers", "status"),
    [
        ({}, {"host": "evil.example"}, 403),
        ({}, {"host": "localhost", "origin": "https://evil.example"}, 403),
        (FRONT, {"host": "localhost", "origin": "https://evil.example"}, 403),
        (TOKEN, {"host": "localhost", "authorization": "Bearer x"}, 401),
        (TOKEN, {"host": "localhost", "authorization": ""}, 401),
        (TOKEN, {"host": "localhost", "origin": "https://evil.example"}, 403),
    ],
)
def test_a_socket_of_a_stranger_is_refused(
    environment: dict[str, str], headers: dict[str, str], status: int
) -> None:
    client = TestClient(application(environment))

    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect("/graphql", headers=headers),
    ):
        pass

    answer = refused.value
    assert CALLS == []
    assert getattr(answer, "status_code", status) == status


@pytest.mark.parametrize(
    ("environment", "headers"),
    [
        ({}, {"host": "localhost"}),
        (FRONT, {"host": "localhost", "origin": "https://front.example"}),
        ({"API_TOKEN": "t"}, {"host": "aether.example", "authorization": "Bearer t"}),
    ],
)
def test_a_socket_of_ours_is_opened(environment: dict[str, str], headers: dict[str, str]) -> None:
    client = TestClient(application(environment))

    with client.websocket_connect("/graphql", headers=headers) as socket:
        assert socket.receive_text() == "hello"


@pytest.mark.parametrize("path", ["/graphql", "/graphql/"])
def test_with_a_token_a_browsers_socket_is_opened_and_the_view_asks_for_it(path: str) -> None:
    settings = Settings.from_environment({"API_TOKEN": "t0ken"})
    view = graphql_app(settings)
    routes = [WebSocketRoute("/graphql", view), Mount("/graphql", app=view)]
    client = TestClient(Starlette(routes=routes, middleware=middleware(settings)))

    answers = []
    for payload in ({"Authorization": "Bearer t0ken"}, {"Authorization": "Bearer x"}, {}):
        with client.websocket_connect(path, ["graphql-transport-ws"]) as socket:
            socket.send_json({"type": "connection_init", "payload": payload})
            answers.append(socket.receive())
    with client.websocket_connect(path, ["graphql-transport-ws"]) as socket:
        subscribe = {"id": "1", "type": "subscribe", "payload": {"query": "{ health { status } }"}}
        socket.send_json(subscribe)
        answers.append(socket.receive())

    assert answers[0]["text"] == '{"type":"connection_ack"}'
    assert [one["code"] for one in answers[1:]] == [4403, 4403, 4401]


@pytest.mark.parametrize("path", ["/api/things", "/graphql/x", "/graphqlx", "/"])
def test_with_a_token_no_other_socket_is_opened_without_it(path: str) -> None:
    client = TestClient(application(TOKEN))

    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect(path):
        pass

    assert (getattr(refused.value, "status_code", 401), CALLS) == (401, [])


PAGE = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.mark.parametrize(
    ("method", "target", "accept"),
    [
        ("GET", "/graphql", PAGE),
        ("HEAD", "/graphql/", PAGE),
        ("GET", "/graphql?q=%7B%20health%20%7D&variables=%7B%7D", PAGE),
        ("GET", "/graphql/static/graphiql/graphiql.min.js", "*/*"),
        ("HEAD", "/graphql/static/graphiql/plugin-explorer.css", "*/*"),
    ],
)
async def test_with_a_token_a_browser_gets_graphiql_without_it(
    method: str, target: str, accept: str
) -> None:
    answer = await ask(TOKEN, method, target, {"host": "aether.example", "accept": accept})

    assert (answer.status_code, CALLS) == (200, [f"{method} {target.partition('?')[0]}"])


@pytest.mark.parametrize(
    ("method", "target", "accept"),
    [
        ("GET", "/graphql", "*/*"),
        ("POST", "/graphql", PAGE),
        ("GET", "/graphql?query=%7B%20agents%20%7B%20id%20%7D%20%7D", PAGE),
        ("GET", "/graphql?q=1&%71uery=%7B%7D", PAGE),
        ("GET", "/graphql?query", PAGE),
        ("GET", "/graphql?extensions=%7B%7D", PAGE),
        ("POST", "/graphql/static/graphiql/graphiql.min.js", PAGE),
        ("GET", "/graphql/static/graphiql/../../view.py", PAGE),
        ("GET", "/graphql/static/graphiql/%2e%2e%2fview.py", PAGE),
        ("GET", "/graphql/static/graphiql/", PAGE),
        ("GET", "/api/things", PAGE),
        ("GET", "/openapi.json", PAGE),
    ],
)
async def test_with_a_token_a_browser_gets_nothing_else_without_it(
    method: str, target: str, accept: str
) -> None:
    answer = await ask(TOKEN, method, target, {"host": "aether.example", "accept": accept})

    assert (answer.status_code, CALLS) == (401, [])


async def test_a_wrong_token_is_told_so_even_where_none_is_needed() -> None:
    headers = {"accept": PAGE, "authorization": "Bearer wrong"}

    answer = await ask(TOKEN, "GET", "/graphql", headers)

    assert (answer.status_code, CALLS) == (401, [])


async def test_a_server_that_cannot_answer_a_socket_with_http_closes_it() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/graphql", "headers": [(b"host", b"evil.example")]}
    guard = Guard(application({}), Settings.from_environment({}))
    await guard(scope, lambda: None, send)  # type: ignore[arg-type, return-value]

    assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]
