"""Tests of bodies: what is refused, by which name, and that nothing came of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from aether.errors import InvalidInputError, TooLargeError, UnavailableError
from rest_compat import wire
from rest_compat.wire import MAX_BODY_BYTES, Room, body_of, json_object
from tests.rest_compat import table

JSON = {"content-type": "application/json"}
GOOD = '"id": "a", "name": "A", "role_id": "pm"'


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{}", "id: required"),
        ('{"id": "a", "name": "A"}', "role_id: required"),
        (
            '{"id": "a", "name": "A", "role_id": "boss"}',
            "role_id: one of pm, ta, qa, dev, hub",
        ),
        ('{"id": "A b", "name": "A", "role_id": "pm"}', "id: must be snake_case, such as pm_sarah"),
        ('{"id": 7, "name": "A", "role_id": "pm"}', "id: must be text"),
        ('{"id": "a", "name": "", "role_id": "pm"}', "name: must not be empty"),
        ('{"id": "a", "name": " ", "role_id": "pm"}', "name: must not be blank"),
        (
            '{"id": "a", "name": "' + "n" * 201 + '", "role_id": "pm"}',
            "name: must have at most 200 characters",
        ),
        ("{" + GOOD + ', "weight": "5"}', "weight: must be a whole number"),
        ("{" + GOOD + ', "weight": true}', "weight: must be a whole number"),
        ("{" + GOOD + ', "weight": 5.5}', "weight: must be a whole number"),
        ("{" + GOOD + ', "weight": -1}', "weight: must be at least 0"),
        ("{" + GOOD + ', "weight": 1e12}', "weight: must be at most 2147483647"),
        ("{" + GOOD + ', "weight": 1e999}', "body: holds a number that is too large"),
        ("{" + GOOD + ', "weight": NaN}', "body: not valid JSON: NaN is not a number there"),
        ("{" + GOOD + ', "credentials": {"token": 5}}', "credentials.token: must be text"),
        ("{" + GOOD + ', "credentials": []}', "credentials: must be an object"),
        ("{" + GOOD + ', "colour": 1}', "colour: unknown field"),
        ("{" + GOOD + ', "' + "x" * 5000 + '": 1}', "x" * 100 + ": unknown field"),
        (
            "{" + GOOD + ', "address": "file:///x"}',
            "address: must be an http:// or https:// address",
        ),
        (
            "{" + GOOD + ', "address": "http://me:pw@host"}',
            "address: must not hold a user name or a password",
        ),
        ("{" + GOOD + ', "id": "b"}', "id: given twice"),
        ("{" + GOOD + ', "prompt": "a\\u0000b"}', "prompt: must not hold a NUL character"),
        ("{" + GOOD + ', "prompt": "\\ud83d"}', "prompt: must not hold a lone surrogate"),
        (
            "{" + GOOD + ', "credentials": {"token": "\\uDE00"}}',
            "credentials.token: must not hold a lone surrogate",
        ),
        (
            "{" + GOOD + ', "parameters": {"enum": ["x", "\\u0000"]}}',
            "parameters.enum.1: must not hold a NUL character",
        ),
        ("{" + GOOD + ', "a\\u0000": 1}', "a\ufffd: must not hold a NUL character"),
        (
            "{" + GOOD + ', "' + "k" * 500_000 + '": [' + '"x",' * 60_000 + '"\\u0000"]}',
            "k" * 100 + ": must not hold a NUL character",
        ),
        ("[" * 20_000 + "]" * 20_000, "body: nested too deeply"),
        (
            "{" + GOOD + ', "parameters": {"a": ' + "[" * 200 + "]" * 200 + "}}",
            "body: nested too deeply",
        ),
        ('{"id": ' + "9" * 5000 + "}", "body: holds a number with too many digits"),
        ("[]", "body: must be a JSON object"),
        ("null", "body: must be a JSON object"),
        ('"x"', "body: must be a JSON object"),
        ("", "body: not valid JSON: Expecting value at line 1, column 1"),
        ('{"id": ', "body: not valid JSON: Expecting value at line 1, column 8"),
    ],
)
async def test_a_wrong_body_is_refused_by_the_fields_name_and_nothing_is_written(
    client: httpx.AsyncClient, body: str, error: str
) -> None:
    answer = await client.post("/api/things", content=body, headers=JSON)

    assert (answer.status_code, answer.json()) == (400, {"error": error})
    assert table.ROWS == {}


async def test_invalid_utf_8_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/things", content=b'{"id": "\xff"}', headers=JSON)

    assert (answer.status_code, answer.json()) == (400, {"error": "body: not valid UTF-8"})


async def test_text_that_only_looks_like_an_escape_and_pairs_are_kept(
    client: httpx.AsyncClient,
) -> None:
    body = "{" + GOOD + ', "prompt": "\\\\u0000 \\ud83d\\ude00 \\\\ud83d"}'

    answer = await client.post("/api/things", content=body, headers=JSON)

    assert (answer.status_code, answer.json()["prompt"]) == (201, "\\u0000 😀 \\ud83d")


async def test_an_integral_float_is_an_integer(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/things", content="{" + GOOD + ', "weight": 5.0}', headers=JSON)

    assert '"weight":5,' in answer.text


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])  # fmt: skip  # noqa: E501
async def test_what_a_foreign_page_can_post_unasked_is_refused(
    client: httpx.AsyncClient, kind: str
) -> None:
    headers = {"content-type": kind}

    answer = await client.post("/api/things", content="{" + GOOD + "}", headers=headers)

    assert answer.json() == {"error": "content-type: must be application/json"}
    assert (answer.status_code, table.ROWS) == (400, {})


@pytest.mark.parametrize(
    "kind", [None, "application/json; charset=utf-8", "application/problem+JSON"]
)
def test_json_may_be_called_by_its_other_names(kind: str | None) -> None:
    assert json_object(b"\xef\xbb\xbf{}", kind) == {}


async def test_an_announced_body_over_the_limit_is_refused_unread(
    client: httpx.AsyncClient,
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 65536

    headers = {**JSON, "content-length": str(MAX_BODY_BYTES + 1)}
    answer = await client.post("/api/things", content=endless(), headers=headers)

    assert (answer.status_code, answer.json()) == (413, {"error": "body: more than 1048576 bytes"})
    assert read == 0


async def test_a_body_of_unknown_length_is_bounded_while_it_is_read(
    client: httpx.AsyncClient,
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65536
            yield b" " * 65536

    answer = await client.post("/api/things", content=endless(), headers=JSON)

    assert (answer.status_code, answer.json()) == (413, {"error": "body: more than 1048576 bytes"})
    assert read == MAX_BODY_BYTES + 65536


async def test_a_body_of_just_the_limit_is_read(client: httpx.AsyncClient) -> None:
    body = ("{" + GOOD + "}").ljust(MAX_BODY_BYTES)

    assert (await client.post("/api/things", content=body, headers=JSON)).status_code == 201


def request_of(messages: list[dict[str, Any]], **headers: str) -> Request:
    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_all_bodies_together_have_a_limit_and_the_room_is_given_back() -> None:
    room = Room(10)
    async with body_of(request_of([part(b"1234567", more=False)]), room=room) as first:
        with pytest.raises(UnavailableError) as refused:
            async with body_of(request_of([part(b"1234", more=False)]), room=room):
                pass

        assert (first, room.held, refused.value.retry_after) == (b"1234567", 7, 5)
    assert room.held == 0

    with pytest.raises(TooLargeError):
        async with body_of(request_of([part(b"123")]), 2, room=room):
            pass
    assert room.held == 0


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "READ_SECONDS", 0.01)
    room = Room(10)

    with pytest.raises(InvalidInputError, match="body: did not arrive within 0 seconds"):
        async with body_of(request_of([part(b"12")]), room=room):
            pass

    assert room.held == 0


@pytest.mark.parametrize("length", ["9" * 5000, "1048577"])
async def test_an_announcement_of_any_length_is_understood(length: str) -> None:
    with pytest.raises(TooLargeError):
        async with body_of(request_of([], content_length=length)):
            pass
