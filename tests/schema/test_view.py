"""What the endpoint lets in, what it refuses, and how it ends what is left open."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from schema.core import Schema
from schema.view import View
from schema.wire import decode, encode
from tests.schema.conftest import ORIGIN, mounted
from tests.schema.small import Calls

PROTOCOL = ["graphql-transport-ws"]
MUTATION = 'mutation { agentCreate(name: "a") { id } }'
FOREIGN = {"Origin": "https://evil.test"}


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (400, {"content": json.dumps({"query": MUTATION}), "headers": {"Content-Type": kind}})
        for kind in ("text/plain", "text/plain; a=application/json", "application/jsonx", "")
    ]
    + [
        (400, {"data": {"query": MUTATION}}),
        (400, {"files": {"operations": (None, json.dumps({"query": MUTATION}))}}),
        (403, {"json": {"query": MUTATION}, "headers": FOREIGN}),
        (403, {"json": {"query": MUTATION}, "headers": {"Origin": "null"}}),
    ],
)
def test_what_a_foreign_page_could_post_runs_nothing(
    client: TestClient, made: Calls, status: int, arguments: dict[str, Any]
) -> None:
    answer = client.post("/graphql", **arguments)

    assert answer.status_code == status
    code = "INVALID_INPUT" if status == 400 else "FORBIDDEN"
    assert [error["extensions"] for error in answer.json()["errors"]] == [{"code": code}]
    assert made.resolved == 0


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_a_mutation_over_get_runs_nothing(client: TestClient, made: Calls, accept: str) -> None:
    answer = client.get("/graphql", params={"query": MUTATION}, headers={"Accept": accept})

    assert "METHOD_NOT_ALLOWED" in answer.text
    assert answer.status_code == (405 if accept == "*/*" else 200)
    assert made.resolved == 0


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://testserver"}, {"Origin": ORIGIN}, {"Sec-Fetch-Site": "same-origin"}],
)
def test_own_and_allowed_origins_may_post(
    client: TestClient, made: Calls, headers: dict[str, str]
) -> None:
    answer = client.post("/graphql/", json={"query": MUTATION}, headers=headers)

    assert answer.json() == {"data": {"agentCreate": {"id": "1"}}}
    assert made.resolved == 1


def test_a_subscription_by_plain_post_is_refused(client: TestClient) -> None:
    answer = client.post("/graphql", json={"query": "subscription { ticks(to: 1) }"})

    assert answer.status_code == 405
    assert answer.json()["errors"][0]["extensions"] == {"code": "METHOD_NOT_ALLOWED"}


def test_a_subscription_runs_over_server_sent_events(client: TestClient, made: Calls) -> None:
    answer = client.post(
        "/graphql",
        json={"query": "subscription { ticks(to: 2) }"},
        headers={"Accept": "text/event-stream"},
    )

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.split("\n\n")[:3] == [
        'event: next\ndata: {"data":{"ticks":0}}',
        'event: next\ndata: {"data":{"ticks":1}}',
        "event: complete\ndata: ",
    ]
    assert made.closed == 1


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        # what urql sends with a query, and with a subscription
        ("application/graphql-response+json, application/graphql+json, application/json, "
         "text/event-stream, multipart/mixed", "application/graphql-response+json"),
        ("text/event-stream, multipart/mixed", "text/event-stream"),
        ("Text/Event-Stream;q=1", "text/event-stream"),
        ("text/event-stream, application/json", "text/event-stream"),
        ("application/json;q=0.9, text/event-stream", "application/json"),
        ("text/event-streams", "application/json"),
        ("", "application/json"),
    ],
)  # fmt: skip
def test_events_are_sent_to_those_who_do_not_ask_for_json_first(
    client: TestClient, made: Calls, accept: str, kind: str
) -> None:
    answer = client.post("/graphql", json={"query": MUTATION}, headers={"Accept": accept})

    assert answer.headers["content-type"].partition(";")[0] == kind
    assert '{"data":{"agentCreate":{"id":"1"}}}' in answer.text
    assert made.resolved == 1


def test_a_socket_of_a_foreign_origin_is_refused(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/graphql", PROTOCOL, headers=FOREIGN),
    ):
        pass


def test_a_socket_below_the_endpoint_is_refused(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/graphql/other", PROTOCOL),
    ):
        pass


def test_a_socket_runs_queries_in_text_frames(client: TestClient) -> None:
    with client.websocket_connect("/graphql", PROTOCOL, headers={"Origin": ORIGIN}) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive()["text"] == '{"type":"connection_ack"}'
        query = "subscription { ticks(to: 1) }"
        socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
        told = [socket.receive_json() for _ in range(2)]

    assert told == [
        {"id": "1", "type": "next", "payload": {"data": {"ticks": 0}}},
        {"id": "1", "type": "complete"},
    ]


@pytest.mark.parametrize(
    "message",
    [
        [],
        1,
        {},
        {"type": 5},
        {"type": "subscribe", "id": ["1"], "payload": {"query": "{ bug }"}},
        {"type": "subscribe", "id": "1", "payload": [1]},
        {"type": "subscribe", "id": "1", "payload": {"query": "{ bug }", "variables": [1]}},
        {"type": "subscribe", "id": "1", "payload": {}},
        {"type": "nothing"},
    ],
)
def test_an_odd_message_closes_the_socket_with_4400_and_no_traceback(
    client: TestClient, caplog: pytest.LogCaptureFixture, message: object
) -> None:
    with client.websocket_connect("/graphql", PROTOCOL) as socket:
        socket.send_json({"type": "connection_init"})
        socket.receive_json()
        socket.send_json(message)
        closed = socket.receive()

    assert (closed["type"], closed["code"]) == ("websocket.close", 4400)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("headers", "payload", "accepted"),
    [
        ({}, {}, False),
        ({"Authorization": "Bearer wrong"}, {}, False),
        ({}, {"Authorization": "Bearer t0ken"}, True),
        ({}, {"authorization": "Bearer t0ken"}, True),
        ({}, {"authorization": ["Bearer t0ken"]}, False),
        ({"Authorization": "Bearer t0ken"}, {}, True),
    ],
)
def test_a_socket_needs_the_token(
    schema: Schema,
    headers: dict[str, str],
    payload: dict[str, object],
    accepted: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = TestClient(mounted(View(schema, token="t0ken")))

    with client.websocket_connect("/graphql", PROTOCOL, headers=headers) as socket:
        socket.send_json({"type": "connection_init", "payload": payload})
        answer = socket.receive()

    if accepted:
        assert json.loads(answer["text"]) == {"type": "connection_ack"}
    else:
        assert (answer["type"], answer["code"]) == ("websocket.close", 4403)
    told = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    refused = "a socket without the API_TOKEN was refused (None)"
    assert told == ([] if accepted else [refused])


async def test_a_client_that_stops_reading_is_closed(schema: Schema, made: Calls) -> None:
    view = View(schema, send_timeout_seconds=0.05)
    query = json.dumps({"query": "subscription { ticks(to: 1000000) }"}).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"accept", b"text/event-stream")],
    }
    asked = [{"type": "http.request", "body": query, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        if asked:
            return asked.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async with asyncio.timeout(5):
        await view(scope, receive, send)
        while not made.closed:  # noqa: ASYNC110 # Python 3.13 ends the generator a turn later
            await asyncio.sleep(0.01)

    assert made.closed == 1


async def test_a_socket_that_stops_reading_is_closed(
    schema: Schema, made: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    view = View(schema, send_timeout_seconds=0.05)
    query = "subscription { ticks(to: 1000000) }"
    sent = [
        {"type": "websocket.connect"},
        *(
            {"type": "websocket.receive", "text": json.dumps(message)}
            for message in (
                {"type": "connection_init"},
                {"type": "subscribe", "id": "1", "payload": {"query": query}},
            )
        ),
    ]
    scope = {
        "type": "websocket",
        "path": "/graphql",
        "query_string": b"",
        "headers": [],
        "subprotocols": PROTOCOL,
    }

    async def receive() -> MutableMapping[str, Any]:
        if sent:
            return sent.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        if "next" in message.get("text", ""):
            await asyncio.Event().wait()

    async with asyncio.timeout(5):
        await view(scope, receive, send)

    assert made.closed == 1
    assert caplog.records == []


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64, -(2**70), 10**30])
def test_integers_of_any_size_keep_their_digits(number: int) -> None:
    assert decode(encode({"n": [number]})) == {"n": [number]}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_a_body_that_is_not_utf_8_is_refused(client: TestClient, encoding: str) -> None:
    body = '{"query": "{ conflict } # é"}'.encode(encoding)

    answer = client.post("/graphql", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"] == {"code": "INVALID_INPUT"}
