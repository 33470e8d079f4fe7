"""Every kind of call that we make to GitHub, against GitHub's own document of its REST API."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from aether.demo.faults import Call
from aether.demo.github import GitHubStandIn
from aether.demo.github_state import PullFile
from aether.demo.serving import serving
from aether.events import Subject
from aether.http import Connection, HttpClients
from aether.markers import marker_comment
from aether.platform_auth import github_headers
from aether.sources.base import ItemChanges, LineComment, NewItem, NewReview
from aether.sources.github import GitHub
from tests.counterparts import install
from tests.counterparts.conftest import or_skip
from tests.counterparts.prism import prism
from tests.counterparts.programs import Program, Started

pytestmark = pytest.mark.counterparts

GITHUB: Final = GitHub()
REPO: Final = "acme/api"
TOKEN: Final = "ghp_a_token_of_the_tests_0001"
MARKER: Final = marker_comment("m" * 32)
SINCE: Final = "2026-01-01T00:00:00Z"
APP: Final = (
    ("GET", "/app", None),
    ("GET", "/app/installations", None),
    ("GET", f"/repos/{REPO}/installation", None),
    ("POST", "/app/installations/11/access_tokens", None),
    ("GET", "/user", None),
)
"""What ``aether.github_app`` and ``aether.platform_auth`` ask for, as tests/core tries."""


@pytest.fixture
def document(started: Started, tmp_path: Path) -> Iterator[Program]:
    programs = or_skip(install.prism)
    with prism(programs, programs.github_document, started, tmp_path, ready="/zen") as program:
        yield program


@pytest.fixture
async def clients() -> AsyncIterator[HttpClients]:
    async with HttpClients() as made:
        yield made


def connect(clients: HttpClients, url: str) -> Connection:
    async def headers() -> dict[str, str]:
        return github_headers({"token": TOKEN})

    return clients.connection(url, headers)


async def outgoing_calls(clients: HttpClients) -> list[Call]:
    """Every kind of call, as our own strict stand-in has recorded it."""
    github = GitHubStandIn({TOKEN: "aether-person"})
    github.add_repository(REPO, collaborators=["octocat"])
    github.add_issue(REPO, 7, "Boom", "It breaks.")
    github.add_pull(REPO, 8, "Mend it", "So.", files=[PullFile(filename="src/parser.py")])
    issue = Subject(kind="issue", project=REPO, key="7")
    pull = Subject(kind="pr", project=REPO, key="8")
    with serving(github.app) as url:
        client = connect(clients, url)
        for subject in (issue, pull):
            await GITHUB.read_item(client, subject)
            posted = await GITHUB.post_comment(client, subject, f"Late.\n\n{MARKER}", timeout=5)
            await GITHUB.edit_comment(client, subject, posted.id, "On time.", timeout=5)
            await GITHUB.list_comments(client, subject)
            await GITHUB.list_comments(client, subject, since=SINCE)
            for changes in (
                ItemChanges(title="Bang", body="It broke."),
                ItemChanges(add_labels=["a/b", "c"]),
                ItemChanges(remove_labels=["a/b"]),
                ItemChanges(add_assignees=["octocat"]),
                ItemChanges(state="closed", state_reason="not_planned"),
                ItemChanges(state="open"),
            ):
                await GITHUB.update_item(client, subject, changes, timeout=5)
        await GITHUB.update_item(
            client, issue, ItemChanges(state="closed", state_reason="duplicate"), timeout=5
        )
        new = NewItem(title="Part", body=f"Of it.\n\n{MARKER}", labels=["c"], assignees=["octocat"])
        await GITHUB.create_item(client, REPO, new, timeout=5)
        await GITHUB.find_item(client, REPO, MARKER, since=SINCE)
        remarks = (
            LineComment(path="src/parser.py", line=1, body="Here."),
            LineComment(path="src/parser.py", line=1, side="old", body="There."),
        )
        for verdict in ("comment", "approve", "request_changes"):
            review = NewReview(verdict=verdict, body=f"So.\n\n{MARKER}", comments=remarks)
            await GITHUB.submit_review(client, pull, review, since=None, timeout=5)
        await GITHUB.find_review(client, pull, MARKER, since=SINCE)
        now = datetime.now(UTC)
        cursor: dict[str, Any] = {}
        for _ in range(2):
            page = await GITHUB.poll(client, REPO, cursor, now=now, since=now - timedelta(hours=1))
            cursor = dict(page.cursor)
    return github.calls


def kind_of(call: Call) -> tuple[str, str]:
    """The method and the path below the repository, its numbers left out."""
    path = call.path.removeprefix(f"/repos/{REPO}")
    return call.method, "/".join("{n}" if one.isdigit() else one for one in path.split("/"))


async def test_github_s_own_document_allows_every_call_that_we_make(
    document: Program, clients: HttpClients
) -> None:
    calls = await outgoing_calls(clients)
    kinds = {kind_of(one) for one in calls}
    sent = [(one.method, one.path, one.query, one.json) for one in calls]
    sent += [
        ("GET", f"/repos/{REPO}/deployments/5", {}, None),
        ("GET", f"/repos/{REPO}/deployments/5/statuses", {"per_page": "1"}, None),
        *((method, path, {}, told) for method, path, told in APP),
    ]
    refused = []
    # The document names its answers application/json, GitHub's own name for it only in words.
    headers = {**github_headers({"token": TOKEN}), "Accept": "application/json"}

    async with httpx.AsyncClient(base_url=document.url, timeout=30, headers=headers) as client:
        for method, path, query, told in sent:
            # A label's name is one segment of a path, with its slash escaped.
            path = path.replace("/labels/a/b", "/labels/a%2Fb")  # noqa: PLW2901 # see above
            answer = await client.request(method, path, params=query, json=told)
            if answer.status_code >= 300:
                refused.append((method, path, answer.status_code, answer.text[:300]))
        bad = [
            await client.post(f"/repos/{REPO}/issues/7/comments", json={"body": 7}),
            await client.post(f"/repos/{REPO}/issues/7/comments", json={}),
            await client.post(f"/repos/{REPO}/pulls/8/reviews", json={"event": "MERGE"}),
            await client.patch(f"/repos/{REPO}/pulls/8", json={"state": "done"}),
            await client.get(f"/repos/{REPO}/issues", params={"state": "everything"}),
        ]

    assert refused == []
    assert [one.status_code for one in bad] == [422] * 5  # it does look at what it is sent
    assert kinds == {
        ("GET", ""),
        ("GET", "/issues"),
        ("POST", "/issues"),
        ("GET", "/issues/{n}"),
        ("PATCH", "/issues/{n}"),
        ("GET", "/issues/{n}/comments"),
        ("POST", "/issues/{n}/comments"),
        ("PATCH", "/issues/comments/{n}"),
        ("GET", "/issues/comments"),
        ("POST", "/issues/{n}/labels"),
        ("DELETE", "/issues/{n}/labels/a/b"),
        ("POST", "/issues/{n}/assignees"),
        ("GET", "/pulls"),
        ("GET", "/pulls/{n}"),
        ("PATCH", "/pulls/{n}"),
        ("GET", "/pulls/{n}/reviews"),
        ("POST", "/pulls/{n}/reviews"),
    }
