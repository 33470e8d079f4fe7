"""Tests of failures: shape, status, headers, log."""

import asyncio
import logging
from typing import Any

import httpx
import pytest

from aether.errors import HTTP_STATUS, AetherError, ErrorCode
from rest_compat.errors import LastResort, told
from tests.rest_compat import table
from tests.rest_compat.conftest import client_of


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/nothing", "/api/things/", "/api/things/a/", "//"]
)
async def test_an_unknown_path_is_a_404_in_json_and_never_a_redirect(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(f"http://localhost:8000{path}")

    assert (answer.status_code, answer.json()) == (404, {"error": "no such path"})


async def test_a_wrong_method_names_the_right_ones(client: httpx.AsyncClient) -> None:
    one = await client.patch("/api/things/a")
    both = await client.delete("/api/things")
    literal = await client.patch("/api/things/seed")

    assert one.status_code == both.status_code == literal.status_code == 405
    assert one.json() == {"error": "not allowed here; allowed: DELETE, GET, HEAD, PUT"}
    assert both.headers["allow"] == "GET, HEAD, POST"
    assert literal.headers["allow"] == "POST"  # and none of those of things by their ids


async def test_a_taken_id_is_a_conflict(client: httpx.AsyncClient) -> None:
    leo = {"id": "ta_leo", "name": "Leo", "role_id": "ta"}
    await client.post("/api/things", json=leo)

    answer = await client.post("/api/things", json=leo)

    assert (answer.status_code, answer.json()) == (409, {"error": "thing 'ta_leo' already exists"})


async def test_what_the_far_side_asked_to_wait_is_told_in_whole_seconds(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/api/fail/upstream")

    assert (answer.status_code, answer.headers["retry-after"]) == (502, "3")
    assert answer.json() == {"error": "the tracker answered 429"}


async def test_a_driver_that_cannot_reach_its_server_is_a_503(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.get("/api/fail/driver")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {"error": "the database or the queue is out of reach; try again"}
    assert [(one.levelname, one.exc_info) for one in caplog.records] == [("WARNING", None)]


@pytest.mark.parametrize("how", ["bug", "secret"])
async def test_a_bug_is_a_500_without_its_text_and_logged_once(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    answer = await client.get(f"/api/fail/{how}")

    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
    assert [one.levelname for one in caplog.records if one.exc_info] == ["ERROR"]
    assert caplog.records[0].getMessage() == f"unhandled error at GET '/api/fail/{how}'"


async def test_a_bug_after_the_answer_began_ends_it_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent: list[str] = []

    async def broken(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("late")

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    await LastResort(broken)(scope, lambda: None, send)  # type: ignore[arg-type, return-value]

    assert sent == ["http.response.start"]
    assert [one.levelno for one in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_its_status_on_the_wire(code: ErrorCode) -> None:
    kind = type("SomeError", (AetherError,), {"code": code})

    answer = told(kind("what went wrong"))

    assert answer.status_code == HTTP_STATUS[code]
    assert bytes(answer.body) == b'{"error":"what went wrong"}'


async def test_the_client_that_left_while_sending_leaves_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent: list[Any] = []

    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/things",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    await table.application()(scope, gone, send)

    assert (sent, caplog.records) == ([], [])


async def test_a_refused_host_gets_the_same_shape() -> None:
    async with client_of(table.application(), "evil.example") as foreign:
        answer = await foreign.get("/api/things")

    assert answer.status_code == 403
    assert answer.json() == {
        "error": "Host: only localhost may be addressed while API_TOKEN is not set"
    }


async def test_a_request_that_a_stopping_server_cancels_is_a_503_in_our_shape(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waiting = asyncio.Event()
    sent: list[Any] = []

    async def never(*_: Any) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/webhook/github", "headers": []}
    asked = asyncio.create_task(LastResort(never)(scope, never, send))  # type: ignore[arg-type]
    await waiting.wait()
    asked.cancel()
    await asked

    assert (sent[0]["status"], sent[1]["body"]) == (
        503,
        b'{"error":"this server is stopping; try again"}',
    )
    [line] = caplog.records
    assert (line.levelno, line.exc_info) == (logging.WARNING, None)


async def test_an_answer_that_a_stopping_server_cuts_short_is_not_begun_anew() -> None:
    begun = asyncio.Event()
    sent: list[Any] = []

    async def half(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.set()
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "http", "method": "GET", "path": "/graphql", "headers": []}
    asked = asyncio.create_task(LastResort(half)(scope, send, send))  # type: ignore[arg-type]
    await begun.wait()
    asked.cancel()
    await asked

    assert sent == ["http.response.start"]
