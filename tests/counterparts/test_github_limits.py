"""GitHub's rate limit as emulate keeps it: nothing is sent before the reset, one answer after."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aether.demo.faults import Door, Faults
from aether.demo.serving import serving
from tests.counterparts.conftest import MakeAiMock, MakeEmulate, MakeSystem
from tests.counterparts.github import REPO, USER, USER_TOKEN, Emulate
from tests.counterparts.models import says
from tests.counterparts.test_github_emulate import BROKEN, executions, start, words
from tests.e2e.system import SECRET, free_port, wait_for

pytestmark = pytest.mark.counterparts

AT_ONCE: Final = 8
BUDGET: Final = 5_000
BUDGET_SECONDS: Final = 45  # the calls that use it up take some 10 of them
KEPT: Final = ("content-type", "link", "retry-after", "x-ratelimit-")
SENT: Final = frozenset({"authorization", "accept", "content-type", "x-github-api-version"})


@contextmanager
def watched(port: int) -> Iterator[tuple[str, Door]]:
    """An address that leads to ``port``, and the door that every call comes by."""

    async def forward(request: Request) -> Response:
        headers = {name: one for name, one in request.headers.items() if name in SENT}
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.request(
                request.method,
                f"http://127.0.0.1:{port}{request.url.path}",
                params=dict(request.query_params),
                content=await request.body(),
                headers=headers,
            )
        kept = {name: one for name, one in answer.headers.items() if name.startswith(KEPT)}
        return Response(answer.content, answer.status_code, kept)

    methods = ["GET", "POST", "PATCH", "PUT", "DELETE"]
    door = Door(Starlette(routes=[Route("/{path:path}", forward, methods=methods)]), Faults())
    with serving(door) as url:
        yield url, door


def use_up(github: Emulate) -> httpx.Response:
    """Ask with the token under test until it is refused; GitHub's own words for that."""
    headers = {"Authorization": f"Bearer {USER_TOKEN}"}

    with httpx.Client(base_url=github.url, headers=headers, timeout=30) as client:

        def ask(_: int) -> httpx.Response:
            for _ in range(BUDGET):
                answer = client.get(f"/repos/{REPO}")
                if answer.status_code != 200:
                    break
            return answer

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return next(iter(pool.map(ask, range(AT_ONCE))))


def test_nothing_is_sent_before_the_reset_and_the_run_is_answered_once_after_it(
    make_system: MakeSystem, make_emulate: MakeEmulate, make_aimock: MakeAiMock
) -> None:
    port = free_port()
    with (
        watched(port) as (url, door),
        make_aimock(says("It is the parser.", userMessage=BROKEN)) as model,
        make_system(GITHUB_API_URL=url, GITHUB_TOKEN=USER_TOKEN, **model.environment) as system,
    ):
        address = start(system)
        with make_emulate(port=port, budget_seconds=BUDGET_SECONDS) as github:
            github.hook(address, SECRET)
            refused = use_up(github)
            reset = int(refused.headers["x-ratelimit-reset"])
            opens_at = time.monotonic() + reset - time.time()
            number = github.open_issue("It breaks", BROKEN)

            def waiting() -> dict[str, Any] | None:
                found = system.call("GET", "/api/task-executions")
                return found[0] if found and found[0]["status"] == "retrying" else None

            limited = wait_for(waiting, seconds=30, what="a run that meets the limit")
            [done] = executions(system, 1)
            answered = words(github, number)

        assert (refused.status_code, refused.headers.get("retry-after")) == (403, None)
        assert refused.json()["message"] == "API rate limit exceeded"
        assert "answered 403, API rate limit exceeded" in str(limited["error"])
        assert done["status"] == "succeeded"
        assert answered == [(USER, "User", "It is the parser.")]
        first, *others = door.calls
        assert (first.method, first.status) == ("POST", 403)
        assert [one.status for one in others if one.method == "POST"] == [201]
        assert len(others) <= 3  # the look for our marker, and the one comment
        assert min(one.at for one in others) >= opens_at
