"""Subscriptions as clients hold them: real processes, real sockets, both transports."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing, asynccontextmanager
from typing import Any, Final

import asyncpg
import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportConnectionFailed, TransportQueryError
from gql.transport.websockets import WebsocketsTransport
from websockets.exceptions import ConnectionClosedError

from aether.demo.model import Reply, ToolCallScript, by_turn
from aether.live.hub import NAME
from tests.e2e.system import System, wait_for

REPO: Final = "acme/api"
VANISHING: Final = 500
STREAM: Final = """subscription ($id: ID!, $after: String) {
  taskExecutionStream(id: $id, after: $after) { __typename cursor
    ... on ExecutionSoFar { status }
    ... on ExecutionStatusChange { status }
    ... on ExecutionReply { text toolCalls { tool } }
    ... on ExecutionText { offset text }
    ... on ExecutionToolResult { toolExecution { tool status } }
    ... on ExecutionEnd { status answer answerUrl } } }"""
DELIVERED: Final = """subscription ($after: String) {
  deliveryReceived(after: $after) { cursor delivery { id title status } } }"""
CHANGED: Final = "subscription { taskExecutionChanged { cursor status execution { id } } }"

MakeSystem = Callable[..., AbstractContextManager[System]]
Json = dict[str, Any]


@asynccontextmanager
async def over_socket(url: str, query: str, **variables: Any) -> AsyncIterator[AsyncIterator[Json]]:
    """A subscription by gql, over graphql-transport-ws."""
    transport = WebsocketsTransport(
        url=url.replace("http", "ws") + "/graphql",
        subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
    )
    async with Client(transport=transport) as session:
        request = GraphQLRequest(query, variable_values=variables)
        async with aclosing(session.subscribe(request)) as results:
            yield results


@asynccontextmanager
async def over_events(url: str, query: str, **variables: Any) -> AsyncIterator[AsyncIterator[Json]]:
    """A subscription over server-sent events, distinct connections mode."""
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream(
            "POST",
            f"{url}/graphql",
            json={"query": query, "variables": variables},
            headers={"Accept": "text/event-stream"},
        ) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")

        async def results() -> AsyncIterator[Json]:
            event = ""
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "data" and event == "next":
                    told = json.loads(value)
                    assert "errors" not in told, told
                    yield told["data"]
                elif event == "complete":
                    return

        async with aclosing(results()) as told:  # type: ignore[type-var]
            yield told


async def take(results: AsyncIterator[Json], count: int, seconds: float = 30) -> list[Any]:
    """The only field's value of the next ``count`` results."""
    taken: list[Any] = []
    async with asyncio.timeout(seconds):
        while len(taken) < count:
            [value] = (await anext(results)).values()
            taken.append(value)
    return taken


async def to_end(results: AsyncIterator[Json], seconds: float = 40) -> list[Json]:
    """The values of all results; the subscription completes."""
    async with asyncio.timeout(seconds):
        return [next(iter(one.values())) async for one in results]


def kinds(events: list[Json]) -> list[str]:
    """The types of a stream's events but for text, which is as many pieces as time gave."""
    names = [one["__typename"].removeprefix("Execution") for one in events]
    return [one for one in names if one != "Text"]


@pytest.mark.slow
async def test_a_run_is_followed_by_both_transports_at_two_processes_and_again_with_a_cursor(
    running: System,
) -> None:
    other = await asyncio.to_thread(running.start_web)
    running.model.say(
        by_turn(
            [
                Reply.calls(ToolCallScript("add_labels", {"labels": ["bug"]}, "c1")),
                Reply.text("It is the parser, and nothing but the parser.").paced(0.1),
            ]
        )
    )
    async with (
        over_events(other, DELIVERED) as deliveries,
        over_socket(running.url, CHANGED) as changes,
    ):
        first = asyncio.create_task(take(changes, 1))
        await followers(running, 2)
        [execution_id] = await asyncio.to_thread(running.open_issue, REPO)
        async with (
            over_socket(running.url, STREAM, id=execution_id) as one,
            over_events(other, STREAM, id=execution_id) as two,
        ):
            by_socket, by_events = await asyncio.gather(to_end(one), to_end(two))
        [delivered] = await take(deliveries, 1)
        statuses = [one["status"] for one in await first]
        while statuses[-1] != "SUCCEEDED":
            statuses += [one["status"] for one in await take(changes, 1)]

    for events in (by_socket, by_events):
        assert events[0]["__typename"] == "ExecutionSoFar"
        assert (events[-1]["status"], events[-1]["answer"]) == (
            "SUCCEEDED", "It is the parser, and nothing but the parser.",
        )  # fmt: skip
        said = "".join(one["text"] for one in events if one["__typename"] == "ExecutionText")
        assert said
        assert events[-1]["answer"].startswith(said)
    assert delivered["delivery"]["title"] == "It breaks"
    assert (statuses[0], statuses[-1]) == ("QUEUED", "SUCCEEDED")
    assert "RUNNING" in statuses

    replies = [one for one in by_socket if one["__typename"] == "ExecutionReply"]
    async with over_events(other, STREAM, id=execution_id, after=replies[0]["cursor"]) as back:
        rest = await to_end(back)
    place = by_socket.index(replies[0])
    assert kinds(rest) == kinds(by_socket[place + 1 :]) == ["ToolResult", "Reply", "End"]


async def followers(system: System, hubs: int) -> None:
    """Wait until so many processes listen."""
    connection = await asyncpg.connect(system.environment["DATABASE_URL"])
    try:
        async with asyncio.timeout(15):
            while await listening(connection) < hubs:  # noqa: ASYNC110 # others' doing
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def listening(connection: asyncpg.Connection) -> int:
    """How many processes are connected to hear of live events."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = $1 AND datname = current_database()",
        NAME,
    )
    return found


async def test_gql_is_told_the_code_of_a_cursor_that_cannot_be_read(
    make_system: MakeSystem,
) -> None:
    with make_system() as made:
        url = made.start_web()
        async with over_socket(url, DELIVERED, after="nonsense") as results:
            with pytest.raises(TransportQueryError) as refused:
                await take(results, 1)

    assert refused.value.errors is not None
    [error] = refused.value.errors
    assert error["message"].startswith("after: must be the cursor")
    assert error["extensions"] == {"code": "INVALID_INPUT"}


@pytest.mark.parametrize("token", ["Bearer t0ken", "Bearer wrong"])
async def test_a_socket_needs_the_token_to_follow(make_system: MakeSystem, token: str) -> None:
    with make_system(API_TOKEN="t0ken") as made:
        url = made.start_web()
        transport = WebsocketsTransport(
            url=url.replace("http", "ws") + "/graphql",
            subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
            init_payload={"Authorization": token},
        )
        query = GraphQLRequest("{ liveCursor }")
        client = Client(transport=transport)
        if token.endswith("wrong"):
            with pytest.raises(TransportConnectionFailed) as refused:
                await client.execute_async(query)
            closed = refused.value.__cause__
            assert isinstance(closed, ConnectionClosedError)
            assert closed.rcvd is not None
            assert closed.rcvd.code == 4403
        else:
            assert (await client.execute_async(query))["liveCursor"]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["sockets", "events"])
def test_nothing_is_left_when_five_hundred_clients_vanish_without_a_word(
    make_system: MakeSystem, transport: str
) -> None:
    with make_system() as made:
        made.start_web()
        made.one_task()
        web = psutil.Process(made.processes[0].pid)
        vanish(made, transport, 20)  # what is made once, is made now
        wait_for(lambda: not ears(made), seconds=45, what="the end of listening")
        before = usage(web)
        for number in (7, 8):
            clients = [follow(made.port, transport) for _ in range(VANISHING)]
            assert ears(made) == 1
            made.open_issue(REPO, number)
            for one in clients:
                heard(one)
                reset(one)
            wait_for(lambda: not ears(made), seconds=45, what="the end of listening")
            wait_for(lambda: usage(web)[0] <= before[0], what="the end of every connection")
        after = usage(web)
        health = made.call("GET", "/health")
        log = made.log.read_text()

    assert health["status"] == "ok"
    assert after[1] - before[1] < 40_000_000, f"{before} became {after}"
    assert [one for one in ("Traceback", "never retrieved", "was destroyed") if one in log] == []


def usage(process: psutil.Process) -> tuple[int, int]:
    """Open TCP connections, and memory in bytes."""
    return len(process.net_connections("tcp")), int(process.memory_info().rss)


def ears(made: System) -> int:
    """How many processes are connected to hear of live events."""

    async def count() -> int:
        connection = await asyncpg.connect(made.environment["DATABASE_URL"])
        try:
            return await listening(connection)
        finally:
            await connection.close()

    return asyncio.run(count())


def vanish(made: System, transport: str, count: int) -> None:
    """So many clients come and are cut off."""
    for one in [follow(made.port, transport) for _ in range(count)]:
        reset(one)


def follow(port: int, transport: str) -> socket.socket:
    """One client by hand that follows deliveries, on a connection of its own."""
    held = socket.create_connection(("127.0.0.1", port), timeout=20)
    query = "subscription { deliveryReceived { cursor } }"
    if transport == "events":
        body = json.dumps({"query": query}).encode()
        held.sendall(
            b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        read_to(held, b"text/event-stream")
        return held
    held.sendall(
        b"GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    )
    read_to(held, b"\r\n\r\n")  # a server may drop what comes before its consent
    held.sendall(frame({"type": "connection_init"}))
    read_to(held, b"connection_ack")
    held.sendall(frame({"type": "subscribe", "id": "1", "payload": {"query": query}}))
    return held


def heard(held: socket.socket) -> None:
    """Read until the client has been told of the delivery."""
    read_to(held, b'"deliveryReceived":{"cursor"')


def read_to(held: socket.socket, mark: bytes) -> None:
    """Read until ``mark`` has come."""
    read = b""
    while mark not in read:
        part = held.recv(4096)
        assert part, f"closed after {read!r}"
        read += part


def frame(message: Json) -> bytes:
    """A text frame of a client, masked with zeros."""
    body = json.dumps(message).encode()
    short = len(body) < 126
    size = bytes([0x80 | len(body)]) if short else b"\xfe" + struct.pack(">H", len(body))
    return b"\x81" + size + b"\0\0\0\0" + body


def reset(held: socket.socket) -> None:
    """Cut the connection as a machine that dies: no closing frame, no orderly end."""
    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    held.close()
