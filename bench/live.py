"""What live events cost and how fast they are: ``python bench/live.py [deliveries]``.

First new deliveries a second at one web process, in turn without the triggers, with them and nobody
following, and with one follower; what is quoted is each one's median and its ratio to the first.
Then the time from just before a row is written to its arrival at each of twenty sockets. Runs on
throw-away embedded services, like ``bench/accept.py``.
"""

import asyncio
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import asyncpg
from accept import delivery, rate, seed, web
from websockets.asyncio.client import ClientConnection, connect

from aether.config import Settings
from aether.db import migrate
from aether.embedded.services import embedded_services

ROUNDS = 9
CLIENTS = 20
EVENTS = 300
QUERY = "subscription { deliveryReceived { cursor delivery { id eventName } } }"
TABLES = ("delivery", "task_execution")
INSERT = """
INSERT INTO delivery (source, slug, delivery_key, change_key, event_name, status, event, payload)
VALUES ('github', 'github', $1, $1, $1, 'ignored', '{}', '{}')
"""


@asynccontextmanager
async def follower(port: int) -> AsyncIterator[ClientConnection]:
    """One socket that follows deliveries."""
    address = f"ws://127.0.0.1:{port}/graphql"
    async with connect(address, subprotocols=["graphql-transport-ws"]) as held:  # type: ignore[list-item]
        await held.send(json.dumps({"type": "connection_init"}))
        await held.recv()
        await held.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": QUERY}}))
        await asyncio.sleep(1)  # until it is heard
        yield held


async def read_on(held: ClientConnection) -> None:
    """Take what comes, and drop it."""
    async for _ in held:
        pass


async def accepted(port: int, database_url: str, number: int) -> dict[str, list[float]]:
    """New deliveries a second, round by round, in each of the three ways."""
    numbers = count(1)
    found: dict[str, list[float]] = {"without": [], "unheard": [], "heard": []}
    connection = await asyncpg.connect(database_url)
    for turn in range(ROUNDS):
        ways = list(found)
        for way in ways[turn % 3 :] + ways[: turn % 3]:
            switch = "DISABLE" if way == "without" else "ENABLE"
            for table in TABLES:
                await connection.execute(f"ALTER TABLE {table} {switch} TRIGGER USER")
            await connection.execute("UPDATE live_state SET listened_until = NULL")
            new = [delivery(next(numbers)) for _ in range(number)]
            if way == "heard":
                async with follower(port) as held:
                    reading = asyncio.create_task(read_on(held))
                    found[way].append(await rate(port, new))
                    reading.cancel()
                await asyncio.sleep(11)  # until the process has stopped listening
            else:
                found[way].append(await rate(port, new))
    await connection.close()
    return found


async def latency(port: int, database_url: str) -> list[float]:
    """Milliseconds from before the write to each client, one event every 20 ms."""
    connection = await asyncpg.connect(database_url)
    sent: dict[str, float] = {}
    taken: list[float] = []

    async def client() -> None:
        async with follower(port) as held:
            ready.release()
            for _ in range(EVENTS):
                told = json.loads(await held.recv())
                now = time.perf_counter()
                name = told["payload"]["data"]["deliveryReceived"]["delivery"]["eventName"]
                taken.append((now - sent[name]) * 1000)

    ready = asyncio.Semaphore(0)
    clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
    for _ in clients:
        await ready.acquire()
    for number in range(EVENTS):
        name = f"event-{number}"
        sent[name] = time.perf_counter()
        await connection.execute(INSERT, name)
        await asyncio.sleep(0.02)
    await asyncio.gather(*clients)
    await connection.close()
    return taken


def main(number: int) -> int:
    """Print both tables; 1 when a client missed an event."""
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        settings = Settings.from_environment({"AETHER_HOME": str(Path(folder) / "home")})
        with embedded_services(settings, holder="bench") as (database_url, broker_url):
            asyncio.run(migrate(database_url))
            with web(database_url, broker_url, port):
                seed(port)
                rates = asyncio.run(accepted(port, database_url, number))
                times = asyncio.run(latency(port, database_url))
    base = statistics.median(rates["without"])
    print(f"load average {os.getloadavg()[0]:.1f}, {ROUNDS} rounds of {number} deliveries")
    for way, told in rates.items():
        median = statistics.median(told)
        spread = f"{min(told):.0f} to {max(told):.0f}"
        print(f"{way:8} {median:6.0f} a second ({spread}), {median / base:.2f} of without")
    cuts = statistics.quantiles(times, n=100)
    told = f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms"
    print(f"from the write to {CLIENTS} sockets, {EVENTS} events: {told}")
    return 0 if len(times) == CLIENTS * EVENTS else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
