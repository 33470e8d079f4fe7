"""Tests of POST /webhook/{slug}: bytes and headers arrive as sent, and no more than 25 MiB."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from aether.errors import NotFoundError, SignatureError
from rest_compat import OPS
from rest_compat.deliveries import MAX_DELIVERY_BYTES
from rest_compat.wire import ROOM
from tests.rest_compat import table
from tests.rest_compat.conftest import client_of


@dataclass
class Receipt:
    """In another order than the wire's."""

    executions: list[int] = field(default_factory=lambda: [7])
    canonical_triggers: list[str] = field(default_factory=lambda: ["issue.created"])
    canonical_trigger: str | None = "issue.created"
    delivery_id: int = 3_000_000_000
    status: str = "accepted"


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    got: list[Any] = []

    async def receive_delivery(slug: str, headers: Mapping[str, str], body: bytes) -> Receipt:
        got.append((slug, headers, body))
        if slug == "nowhere":
            raise NotFoundError("webhook", slug)
        if slug == "forged":
            raise SignatureError("the signature does not match the body")
        return Receipt()

    monkeypatch.setattr("resolvers.deliveries.receive_delivery", receive_delivery)
    return got


@pytest.fixture
async def tracker() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(table.application(ops=OPS), "abc.ngrok.app") as client:
        yield client


async def test_a_delivery_arrives_as_it_was_sent_and_is_answered_in_the_contracts_order(
    tracker: httpx.AsyncClient, received: list[Any]
) -> None:
    headers = [
        (b"X-GitHub-Event", b"issues"),
        (b"X-Odd", b"\xe9"),
        (b"Content-Type", b"text/plain"),
    ]

    answer = await tracker.post(
        "/webhook/github?from=tracker&from=again", content=b"  \xff\x00{", headers=headers
    )

    assert answer.status_code == 200
    assert answer.text == (
        '{"status":"accepted","delivery_id":3000000000,"canonical_trigger":"issue.created",'
        '"canonical_triggers":["issue.created"],"executions":[7]}'
    )
    [(slug, told, body)] = received
    assert (slug, type(body), body) == ("github", bytes, b"  \xff\x00{")
    assert (told["x-github-event"], told["x-odd"]) == ("issues", "é")


@pytest.mark.parametrize(("slug", "status"), [("nowhere", 404), ("forged", 401)])
async def test_a_refusal_is_told_by_its_class(
    tracker: httpx.AsyncClient, received: list[Any], slug: str, status: int
) -> None:
    answer = await tracker.post(f"/webhook/{slug}", content=b"{}")

    assert (answer.status_code, list(answer.json()), len(received)) == (status, ["error"], 1)


@pytest.mark.parametrize("path", ["/webhook/", "/webhook", "/webhook/a/b", "/webhook/a%00"])
async def test_a_slug_that_cannot_be_is_a_404_or_refused(received: list[Any], path: str) -> None:
    async with client_of(table.application(ops=OPS)) as client:
        answer = await client.post(path, content=b"{}")

    assert (answer.status_code, received) == (404, [])


async def test_only_post_is_a_delivery(tracker: httpx.AsyncClient, received: list[Any]) -> None:
    answer = await tracker.get("/webhook/github")

    assert (answer.status_code, answer.headers["allow"], received) == (405, "POST", [])


@pytest.mark.parametrize("announced", [True, False])
async def test_a_delivery_over_25_mib_is_refused_before_it_is_read_whole(
    tracker: httpx.AsyncClient, received: list[Any], announced: bool
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1_048_576
            yield bytes(1_048_576)

    headers = {"content-length": "209715200"} if announced else {}
    answer = await tracker.post("/webhook/github", content=endless(), headers=headers)

    assert answer.json() == {"error": "body: more than 26214400 bytes"}
    assert (answer.status_code, received, ROOM.held) == (413, [], 0)
    assert read == (0 if announced else MAX_DELIVERY_BYTES + 1_048_576)


async def test_a_delivery_of_just_25_mib_is_taken(
    tracker: httpx.AsyncClient, received: list[Any]
) -> None:
    answer = await tracker.post("/webhook/github", content=bytes(MAX_DELIVERY_BYTES))

    assert answer.status_code == 200
    assert [len(body) for _, _, body in received] == [MAX_DELIVERY_BYTES]
    assert ROOM.held == 0


async def test_a_sender_that_leaves_midway_leaves_nothing_behind(
    received: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/webhook/github", "headers": []}
    await table.application(ops=OPS)(scope, receive, send)

    assert (sent, received, caplog.records, ROOM.held) == ([], [], [], 0)
