"""Every error carries a code, on every transport; a bug carries no text and is logged once."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketTestSession

from tests.schema.small import SECRET

PROTOCOL = ["graphql-transport-ws"]

CASES = {
    "{": "INVALID_INPUT",
    "{ nothing }": "INVALID_INPUT",
    "{ agent(id: []) { id } }": "INVALID_INPUT",
    '{ after(moment: "2026-01-02") }': "INVALID_INPUT",
    "{ bug }": "INTERNAL",
    "{ conflict }": "CONFLICT",
}


def code_of(errors: list[dict[str, Any]]) -> str:
    [error] = errors
    assert list(error["extensions"]) == ["code"]
    code: str = error["extensions"]["code"]
    return code


def asked(socket: WebSocketTestSession, query: str) -> dict[str, Any]:
    socket.send_json({"type": "connection_init"})
    assert socket.receive_json() == {"type": "connection_ack"}
    socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
    answer: dict[str, Any] = socket.receive_json()
    return answer


@pytest.mark.parametrize(("query", "code"), CASES.items())
def test_an_error_has_its_code_over_post_and_get(client: TestClient, query: str, code: str) -> None:
    posted = client.post("/graphql", json={"query": query})
    got = client.get("/graphql/", params={"query": query})

    assert (posted.status_code, got.status_code) == (200, 200)
    assert code_of(posted.json()["errors"]) == code
    assert got.json() == posted.json()


@pytest.mark.parametrize(("query", "code"), list(CASES.items())[1:])
def test_an_error_has_its_code_over_a_socket(client: TestClient, query: str, code: str) -> None:
    with client.websocket_connect("/graphql", PROTOCOL) as socket:
        answer = asked(socket, query)

    payload = answer["payload"]
    assert code_of(payload if answer["type"] == "error" else payload["errors"]) == code


@pytest.mark.parametrize(("query", "code"), CASES.items())
def test_an_error_has_its_code_over_server_sent_events(
    client: TestClient, query: str, code: str
) -> None:
    answer = client.post("/graphql", json={"query": query}, headers={"Accept": "text/event-stream"})

    first = answer.text.split("\n")
    assert first[0] == "event: next"
    assert code_of(json.loads(first[1].removeprefix("data: "))["errors"]) == code
    assert answer.text.rstrip().endswith("event: complete\ndata:")


def test_a_syntax_error_closes_a_socket_with_the_message(client: TestClient) -> None:
    with client.websocket_connect("/graphql", PROTOCOL) as socket:
        socket.send_json({"type": "connection_init"})
        socket.receive_json()
        socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": "{ %" + "x" * 300}})
        message = socket.receive()

    assert (message["type"], message["code"]) == ("websocket.close", 4400)
    assert message["reason"].startswith("Syntax Error")
    assert len(message["reason"].encode()) <= 123


def test_a_bug_is_hidden_and_logged_once(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.post("/graphql", json={"query": "{ bug }"})

    [error] = answer.json()["errors"]
    assert error["message"] == "internal error"
    assert SECRET not in answer.text
    assert [record.name for record in caplog.records if record.exc_info] == ["schema.errors"]


def test_a_bug_in_the_middle_of_a_subscription_is_hidden(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with client.websocket_connect("/graphql", PROTOCOL) as socket:
        first = asked(socket, "subscription { breaks }")
        second = socket.receive_json()
        third = socket.receive_json()

    assert first["payload"] == {"data": {"breaks": 1}}
    [error] = second["payload"]["errors"]
    assert (error["message"], error["extensions"]) == ("internal error", {"code": "INTERNAL"})
    assert third["type"] == "complete"
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_an_expected_failure_keeps_its_text_and_is_not_logged(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.post("/graphql", json={"query": "{ conflict }"}).json()

    assert answer["data"] == {"conflict": None}
    assert answer["errors"][0]["message"] == "agent 'pm_sarah' already exists"
    assert caplog.records == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"1", "JSON must be an object"),
        (b'"x"', "JSON must be an object"),
        (b"null", "JSON must be an object"),
        (b"\xff{}", "Unable to parse request body as JSON"),
        (b'{"query": NaN}', "Unable to parse request body as JSON"),
        (b"[" * 100_000, "Unable to parse request body as JSON"),
        (b"{}", "query: missing"),
        (b'[{"query": "{ conflict }"}]', "Batching is not enabled"),
        (b'{"query": 5}', "The GraphQL operation's `query` must be a string or null, if provided."),
        (b'{"query": "{ conflict }", "operationName": 5}', None),
        (b'{"query": "{ conflict }", "operationName": "No"}', 'Unknown operation named "No".'),
    ],
)
def test_a_body_that_is_no_operation_is_refused_as_json_with_a_code(
    client: TestClient, body: bytes, text: str | None
) -> None:
    answer = client.post("/graphql", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert code_of(answer.json()["errors"]) == "INVALID_INPUT"
    assert answer.json()["errors"][0]["message"] == text or text is None


def test_paths_and_methods_that_are_not_served_have_codes(client: TestClient) -> None:
    missing = client.get("/graphql/nothing")
    put = client.put("/graphql/")

    assert (missing.status_code, code_of(missing.json()["errors"])) == (404, "NOT_FOUND")
    assert (put.status_code, code_of(put.json()["errors"])) == (405, "METHOD_NOT_ALLOWED")
