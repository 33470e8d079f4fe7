"""The web process as a whole: what it says when it listens, when it cannot, when it stops."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

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
