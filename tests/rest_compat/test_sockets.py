"""Tests over real sockets and uvicorn: what only a server in between can get wrong."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

MIB = 1_048_576


@dataclass
class Server:
    port: int
    process: psutil.Process
    log: Path

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("serve") / "log"
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("w") as errors:
        fd = listener.fileno()
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.rest_compat.serve", str(fd)],
            pass_fds=[fd],
            stderr=errors,
            stdout=errors,
        )
        try:
            port = listener.getsockname()[1]
            httpx.get(f"http://127.0.0.1:{port}/health", timeout=30).raise_for_status()
            yield Server(port, psutil.Process(child.pid), log)
        finally:
            child.terminate()
            child.wait(10)


def sent_raw(server: Server, request: bytes) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request)
        answer = whole_answer(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def whole_answer(connection: socket.socket) -> bytes:
    """One whole answer with a Content-Length."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.mark.slow
@pytest.mark.parametrize("announced", [False, True])
def test_200_megabytes_are_refused_early_with_flat_memory_and_a_live_server(
    server: Server, announced: bool
) -> None:
    before = peak = server.process.memory_info().rss
    length = b"Content-Length: 209715200" if announced else b"Transfer-Encoding: chunked"
    head = b"POST /webhook/github HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n"
    piece = bytes(MIB) if announced else b"100000\r\n" + bytes(MIB) + b"\r\n"
    sent_before_answer: list[int] = []

    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        answers: list[bytes] = []
        reader = threading.Thread(target=lambda: answers.append(whole_answer(connection)))
        reader.start()
        connection.sendall(head)
        for number in range(200):
            connection.sendall(piece)
            peak = max(peak, server.process.memory_info().rss)
            if answers and not sent_before_answer:
                sent_before_answer.append(number)
            if number % 20 == 0:
                assert httpx.get(f"{server.base}/health", timeout=5).status_code == 200
        reader.join(20)

    [answer] = answers
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'\r\n\r\n{"error":"body: more than 26214400 bytes"}')
    assert sent_before_answer
    assert sent_before_answer[0] < 100
    assert peak - before < 50 * MIB


def test_24_megabytes_are_received_whole(server: Server) -> None:
    answer = httpx.post(f"{server.base}/webhook/github", content=bytes(24_000_000), timeout=20)

    assert (answer.status_code, answer.json()["delivery_id"]) == (200, 24_000_000)


def test_a_sender_that_hangs_up_midway_leaves_no_traceback(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(
            b"POST /webhook/github HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
        )

    assert httpx.get(f"{server.base}/health").status_code == 200
    assert server.log.read_text() == ""


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/api/notes/%ff%fe", 200),
        (b"/api/notes/%", 200),
        (b"/api/notes/%zz%00", 404),
        (b"/api/things?limit=%ff", 400),
        (b"/api/things?%ff=%00", 400),
        (b"http://evil.example/api/things", 200),
        (b"/..%2f..%2fetc/passwd", 404),
        (b"//api/things", 404),
        (b"/api/things%0a", 404),
        (b"/api/things;x", 404),
        (b"*", 404),
    ],
)
def test_no_target_however_malformed_is_a_500(server: Server, target: bytes, status: int) -> None:
    got, body = sent_raw(server, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert got == status
    assert isinstance(json.loads(body), dict | list)


def test_raw_bytes_in_a_target_are_the_servers_own_400(server: Server) -> None:
    got, _ = sent_raw(server, b"GET /api/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert got == 400


@pytest.mark.parametrize("host", [b"evil.example", b"localhost\r\nOrigin: http://evil.example"])
def test_a_strangers_socket_is_answered_with_403(server: Server, host: bytes) -> None:
    got, body = sent_raw(
        server,
        b"GET /graphql HTTP/1.1\r\nHost: " + host + b"\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    )

    assert (got, list(json.loads(body))) == (403, ["error"])
