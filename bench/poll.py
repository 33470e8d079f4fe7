"""What a poll costs: ``python bench/poll.py [polls]``.

One repository with 500 old issues at a stand-in for GitHub, on a throw-away embedded PostgreSQL:
polls that find nothing, and polls that find one new issue. Told are requests, how many of them
GitHub would not count (304), SQL statements, and the median time of this machine.
"""

import asyncio
import logging
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from aether.config import Settings
from aether.credentials import Credentials
from aether.db import migrate, pool, rows
from aether.demo.github import GitHubStandIn
from aether.demo.github_state import moment
from aether.demo.serving import serving
from aether.embedded.services import embedded_services
from aether.engine.filters import FilterPool
from aether.engine.poll import poll_source
from aether.engine.runtime import Runtime
from aether.models import PollSource
from aether.queue import Queue, build_broker
from resolvers.seeding import seed

TOKEN = "a-token-of-the-bench"  # noqa: S105 # nothing real has it
REPO = "acme/api"


class _Statements(logging.Handler):
    """Counts what Tortoise tells of each statement."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


async def measure(github: GitHubStandIn, runtime: Runtime, polls: int) -> None:
    """Print one line for polls that find nothing, one for polls that find an issue."""
    await seed("source_event_mappings")
    source = await PollSource.create(source="github", source_project_id=REPO)
    heard = _Statements()
    logger = logging.getLogger("tortoise.db_client")
    logger.addHandler(heard)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False

    async def poll() -> float:
        await rows("UPDATE poll_source SET requested_at = now()")
        heard.count = 0
        started = time.perf_counter()
        await poll_source(runtime, source.id)
        return time.perf_counter() - started

    for _ in range(3):
        await poll()  # the first sees the history, the next stand still
    for kind in ("nothing", "one issue"):
        times, calls, statements = [], 0, 0
        statuses: Counter[int | None] = Counter()
        for number in range(polls):
            if kind != "nothing":
                github.add_issue(REPO, 1000 + number, "New", "It breaks.")
            before = len(github.calls)
            times.append(await poll())
            statements += heard.count
            told = github.calls[before:]
            calls += len(told)
            statuses.update(one.status for one in told)
        print(
            f"{kind:10} {calls / polls:.1f} requests ({statuses[304] / polls:.1f} not modified), "
            f"{statements / polls:.1f} statements, {1000 * statistics.median(times):.0f} ms"
        )


async def run(database_url: str, broker_url: str, polls: int) -> None:
    """Build what a worker has, and measure."""
    github = GitHubStandIn({TOKEN: "somebody"})
    for number in range(1, 501):
        issue = github.add_issue(REPO, number, "Old", "It broke.")
        issue.created_at = issue.updated_at = moment() - timedelta(days=2, seconds=number)
    with serving(github.app) as url:
        settings = Settings.from_environment({"GITHUB_API_URL": url, "GITHUB_TOKEN": TOKEN})
        async with pool(database_url, size=4):
            runtime = Runtime(
                settings=settings,
                queue=Queue(build_broker(SecretStr(broker_url))),
                filters=FilterPool(),
                credentials=Credentials(settings),
            )
            await measure(github, runtime, polls)
            await runtime.filters.close()
            await runtime.credentials.close()
            await runtime.queue.close()


def main(polls: int) -> int:
    """Print the two lines."""
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder:
        settings = Settings.from_environment({"AETHER_HOME": str(Path(folder) / "home")})
        with embedded_services(settings, holder="bench") as (database_url, broker_url):
            asyncio.run(migrate(database_url))
            print(f"load average {os.getloadavg()[0]:.1f}, {polls} polls of each kind")
            asyncio.run(run(database_url, broker_url, polls))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
