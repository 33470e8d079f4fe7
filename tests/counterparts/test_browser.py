"""The pages that a browser opens, in Chromium: GraphiQL and the page of the REST API."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.counterparts.conftest import MakeSystem
from tests.counterparts.install import Browser
from tests.e2e.test_subscriptions import followers

pytestmark = pytest.mark.counterparts

SCRIPT: Final = Path(__file__).with_name("browser.mjs")
METHODS: Final = ("get", "post", "put", "patch", "delete")
SECONDS: Final = 180.0
TITLE: Final = "The sign is wrong"
QUERY: Final = 'query Sarah { agent(id: "pm_sarah") { name prompt } }'
SUBSCRIPTION: Final = "subscription Told { deliveryReceived { delivery { source title status } } }"

Use = Callable[..., Any]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Use:
    """Opens a page in a browser that has never run; its pictures stay in the test's folder."""

    @contextmanager
    def opening(use: str, **told: Any) -> Iterator[subprocess.Popen[str]]:
        asked = {
            "use": use,
            "folder": str(browser.folder),
            "chromium": str(browser.chromium),
            "profile": str(tmp_path_factory.mktemp("profile")),
            "pictures": str(tmp_path),
            **told,
        }
        with subprocess.Popen(
            [browser.node, SCRIPT, json.dumps(asked)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.terminate()  # Playwright takes the browser along

    return opening


def seen(process: subprocess.Popen[str], url: str) -> dict[str, Any]:
    """What the page showed, once it has been used; it asked nobody but us."""
    out, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    told: dict[str, Any] = json.loads(out)
    assert {one.split("//")[1].split("/")[0] for one in told["asked"]} == {url.split("//")[1]}
    return told


def test_graphiql_answers_a_query_and_shows_the_delivery_of_a_signed_webhook(
    make_system: MakeSystem, opened: Use
) -> None:
    with make_system() as made:
        url = made.start_web()
        made.one_task()

        asked = {"query": QUERY, "subscription": SUBSCRIPTION, "title": TITLE}
        with opened("graphiql", url=url, **asked) as page:
            listening = page.stdout.readline()
            asyncio.run(followers(made, 1))
            executions = made.open_issue("acme/api", title=TITLE)
            told = seen(page, url)

    assert listening == "listening\n"
    assert told["complaints"] == []
    assert told["answer"] == {"data": {"agent": {"name": "Sarah (PM)", "prompt": "You are Sarah."}}}
    assert len(executions) == 1
    assert told["event"] == {
        "data": {
            "deliveryReceived": {
                "delivery": {"source": "GITHUB", "title": TITLE, "status": "ROUTED"}
            }
        }
    }
    assert f"{url.replace('http', 'ws')}/graphql" in told["asked"]


@pytest.mark.parametrize("token", ["", "a-token-of-the-tests"])
def test_the_page_of_the_rest_api_lists_every_operation_and_tries_two(
    make_system: MakeSystem, opened: Use, token: str
) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    tries = [
        {"method": "POST", "path": "/api/agents", "parameters": []},
        {"method": "GET", "path": "/api/agents/{id}", "parameters": ["pm_sarah"]},
    ]
    with make_system(**({"API_TOKEN": token} if token else {})) as made:
        url = made.start_web()
        document = made.call("GET", "/openapi.json", headers=headers)

        with opened("docs", url=url, token=token, tries=tries) as page:
            told = seen(page, url)
        agent = made.call("GET", "/api/agents/pm_sarah", headers=headers)

    assert len(told["operations"]) > 80
    assert {tuple(one) for one in told["operations"]} == {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if method in METHODS
    }
    assert told["tried"] == [{"status": "201", "body": agent}, {"status": "200", "body": agent}]
    refused = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
    assert told["complaints"] == ([refused] if token else [])  # of the first look, without it
