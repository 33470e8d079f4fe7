"""The web process as a whole: what it says when it listens, when it cannot, when it stops."""

import asyncio
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
import uvicorn
from starlette.responses import Response
from uvicorn.server import ServerState

from aether import main

HANDSHAKE = (
    b"GET /api/agents HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@contextmanager
def web(database_url: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": database_url}
    process = subprocess.Popen(
        [sys.executable, "-m", "aether", "web"],
        env={**environment, "BROKER_URL": "redis://127.0.0.1:1", **settings},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_a_refused_socket_and_a_request_cut_short_leave_no_error_in_the_log(
    database_url: str,
) -> None:
    with web(database_url, PORT="0", API_TOKEN="t0ken") as process:
        assert process.stderr is not None
        listening = re.search(r"listening on http://127.0.0.1:(\d+)$", process.stderr.readline())
        assert listening is not None
        address = ("127.0.0.1", int(listening[1]))

        with socket.create_connection(address, timeout=10) as refused:
            refused.sendall(HANDSHAKE)
            assert refused.recv(100).startswith(b"HTTP/1.1 401 ")
        page = httpx.get(f"http://localhost:{address[1]}/graphql", headers={"accept": "text/html"})
        with socket.create_connection(address, timeout=10) as slow:
            slow.sendall(
                b"POST /api/agents HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t0ken\r\n"
                b"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
            )
            httpx.get(f"http://localhost:{address[1]}/health")
            process.send_signal(signal.SIGTERM)
            cut_short = b"".join(iter(lambda: slow.recv(1000), b""))
        said = process.communicate(timeout=10)[1]

    assert page.status_code == 200
    assert cut_short.startswith(b"HTTP/1.1 503 ")
    assert cut_short.endswith(b'{"error":"this server is stopping; try again"}')
    assert "without completing handshake" not in said
    assert "Traceback" not in said


def test_a_port_in_use_is_told_and_never_said_to_be_listened_on(database_url: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        web(database_url, PORT=str(other.getsockname()[1])) as process,
    ):
        said = process.communicate(timeout=30)[1]

    assert process.returncode != 0
    assert "address already in use" in said
    assert "listening" not in said
    assert "Traceback" not in said


CHUNKED = (
    b"POST /webhook/github HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\n"
)
LINE = b"X-A: " + b"a" * 1_000 + b"\r\n"


def sent_until_answered(port: int, begin: bytes, piece: bytes) -> tuple[int, bytes]:
    """``begin``, then ``piece`` again and again; the bytes that were sent, and the answer."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        with suppress(ConnectionError):
            client.sendall(begin)
            while sent < 20_000_000 and not select.select([client], [], [], 0.001)[0]:
                client.sendall(piece)
                sent += len(piece)
        with suppress(ConnectionError):
            return sent, client.recv(1_000)
    return sent, b""


def test_a_head_or_a_trailer_without_end_is_not_kept_in_memory(database_url: str) -> None:
    with web(database_url, PORT="0") as process:
        assert process.stderr is not None
        listening = re.search(r"listening on http://127.0.0.1:(\d+)$", process.stderr.readline())
        assert listening is not None
        port = int(listening[1])

        large = {f"x-{number}": "a" * 1_000 for number in range(40)}
        usual = httpx.get(f"http://localhost:{port}/api/agents", headers=large)
        heads = [
            sent_until_answered(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n", LINE * 20),
            sent_until_answered(port, b"GET /health HTTP/1.1\r\nX-A: ", b"a" * 20_000),
            sent_until_answered(port, b"GET /", b"a" * 20_000),
        ]
        sent, answer = sent_until_answered(port, CHUNKED, LINE * 20)
        after = httpx.get(f"http://localhost:{port}/health")

    assert (usual.status_code, after.status_code) == (200, 200)
    assert all(answer.startswith(b"HTTP/1.1 431 ") for _, answer in heads)
    assert all(answer.endswith(b'{"error": "the head is too large"}') for _, answer in heads)
    assert all(number < 5_000_000 for number, _ in heads)
    assert (sent < 5_000_000, answer) == (True, b"")


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (b"", 0),
        (b"GET / HTTP/1.1\r\nHost: loc", 0),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGE", 1),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1POST / HTTP/1.1\r\n", 1),
    ],
)
async def test_a_connection_that_never_tells_a_whole_head_is_closed(
    sent: bytes, answers: int
) -> None:
    class Quick(main._Protocol):
        head_seconds = 0.2

    config = uvicorn.Config(Response(b"here"), lifespan="off", ws="none", log_config=None)
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: Quick(config=config, server_state=ServerState(), app_state={}), "127.0.0.1", 0
    )
    async with server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(sent)
        answer = b""
        with suppress(ConnectionError):
            while part := await reader.read(1_000):
                answer += part
        writer.close()

    assert answer.count(b"200 OK") == answers
