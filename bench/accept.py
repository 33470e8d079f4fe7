"""How fast one web process takes webhooks in: ``python bench/accept.py [deliveries]``.

Four kinds of request in turn, three rounds, eight keep-alive clients on this machine: what is
quoted is each kind's median rate and its ratio to GET /health, since absolute figures of a
shared machine mean little. Everything runs on throw-away embedded services; the load goes to
loopback, is bounded, and ends by itself. Afterwards the rows are counted: accepted = stored.
"""

import asyncio
import hashlib
import hmac
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from aether.config import Settings
from aether.db import migrate
from aether.demo.github_payloads import issue_opened_payload
from aether.embedded.services import embedded_services

SECRET = "a-secret-of-the-bench"  # noqa: S105 # nothing real has it
CLIENTS = 8
ROUNDS = 3


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """One HTTP request, ready to send."""
    told = {"host": "127.0.0.1", "content-length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def delivery(number: int, event: str = "issues") -> bytes:
    """A signed issue-opened webhook of about 10 kB, for an issue of its own."""
    payload = issue_opened_payload("acme/api", number, body="It breaks.\n" * 300)
    body = json.dumps(payload).encode()
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return request(
        "POST",
        "/webhook/github",
        body,
        **{
            "content-type": "application/json",
            "x-github-event": event,
            "x-github-delivery": f"{event}-{number:012d}-cc78-11e3-81ab-4c9367dc0958",
            "x-hub-signature-256": f"sha256={digest}",
        },
    )


async def client(port: int, todo: Iterator[bytes]) -> None:
    """Send requests of the shared iterator one after another on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for one in todo:
        writer.write(one)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


async def rate(port: int, requests: list[bytes]) -> float:
    """Requests a second over all clients."""
    todo = iter(requests)
    started = time.perf_counter()
    await asyncio.gather(*(client(port, todo) for _ in range(CLIENTS)))
    return len(requests) / (time.perf_counter() - started)


@contextmanager
def web(database_url: str, broker_url: str, port: int) -> Iterator[None]:
    """One web process, ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aether", "web"],
        env={
            **os.environ,
            "DATABASE_URL": database_url,
            "BROKER_URL": broker_url,
            "PORT": str(port),
            "GITHUB_WEBHOOK_SECRET": SECRET,
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(15)


def seed(port: int) -> None:
    """The default configuration, as a user would make it."""
    for name in ("agents", "tasks", "tasks/triggers", "tasks/sources", "webhook-mappings"):
        urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}/api/{name}/seed", method="POST")
        )


async def measure(port: int, count: int) -> dict[str, list[float]]:
    """The rates of each kind, round by round."""
    found: dict[str, list[float]] = {"health": [], "new": [], "again": [], "unmapped": []}
    for turn in range(ROUNDS):
        numbers = range(1 + turn * count, 1 + (turn + 1) * count)
        new = [delivery(number) for number in numbers]
        unmapped = [delivery(number, "star") for number in numbers]
        found["health"].append(await rate(port, [request("GET", "/health")] * count))
        found["new"].append(await rate(port, new))
        found["again"].append(await rate(port, new))
        found["unmapped"].append(await rate(port, unmapped))
    return found


async def counted(database_url: str) -> tuple[Any, Any]:
    """Deliveries and executions in the database."""
    connection = await asyncpg.connect(database_url)
    try:
        return (
            await connection.fetchval("SELECT count(*) FROM delivery"),
            await connection.fetchval("SELECT count(*) FROM task_execution"),
        )
    finally:
        await connection.close()


def main(count: int) -> int:
    """Print the table; 1 when what was stored is not what was accepted."""
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        settings = Settings.from_environment({"AETHER_HOME": str(Path(folder) / "home")})
        with embedded_services(settings, holder="bench") as (database_url, broker_url):
            asyncio.run(migrate(database_url))
            with web(database_url, broker_url, port):
                seed(port)
                found = asyncio.run(measure(port, count))
            deliveries, executions = asyncio.run(counted(database_url))
    base = statistics.median(found["health"])
    print(f"load average {os.getloadavg()[0]:.1f}, {CLIENTS} clients, {ROUNDS} rounds of {count}")
    for kind, rates in found.items():
        median = statistics.median(rates)
        spread = f"{min(rates):.0f} to {max(rates):.0f}"
        print(f"{kind:9} {median:7.0f} a second ({spread}), {median / base:.2f} of health")
    wanted = (2 * ROUNDS * count, 2 * ROUNDS * count)
    print(f"stored: {deliveries} deliveries, {executions} executions; wanted {wanted}")
    return 0 if (deliveries, executions) == wanted else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
