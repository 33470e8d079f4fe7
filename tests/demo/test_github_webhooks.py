"""Webhooks look and verify as GitHub's own do."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aether.demo.github import (
    GitHubStandIn,
    deployment_status_payload,
    is_signed,
    issue_comment_payload,
    issue_opened_payload,
    pull_request_payload,
    signed_delivery,
)
from aether.demo.serving import serving
from tests.demo.conftest import REPO

SECRET = "gh-hook-secret"


class Receiver:
    """Keeps every delivery that it was sent."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self.app = Starlette(routes=[Route("/webhook/github", self.take, methods=["POST"])])

    async def take(self, request: Request) -> Response:
        self.deliveries.append((dict(request.headers), await request.body()))
        return JSONResponse({"status": "accepted"}, self.status)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def hook_url(receiver: Receiver) -> Iterator[str]:
    with serving(receiver.app) as url:
        yield f"{url}/webhook/github"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 5 s"
        pause.wait(0.005)


def test_githubs_published_vector_verifies() -> None:
    headers = {
        "X-Hub-Signature-256": "sha256="
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    }

    assert is_signed(headers, b"Hello, World!", "It's a Secret to Everybody")
    assert not is_signed(headers, b"Hello, World?", "It's a Secret to Everybody")
    assert not is_signed({}, b"Hello, World!", "It's a Secret to Everybody")


def test_a_delivery_carries_githubs_headers_and_its_signature() -> None:
    headers, body = signed_delivery("issues", issue_opened_payload(), SECRET, "guid-1", hook_id=7)

    assert is_signed(headers, body, SECRET)
    assert headers["X-Hub-Signature"].startswith("sha1=")
    assert headers["X-GitHub-Event"] == "issues"
    assert headers["X-GitHub-Delivery"] == "guid-1"
    assert headers["X-GitHub-Hook-ID"] == "7"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body)["action"] == "opened"
    assert b'": ' not in body  # compact, as GitHub sends it


def test_each_delivery_has_a_guid_of_its_own_and_no_secret_means_no_signature() -> None:
    first, _ = signed_delivery("ping", {"zen": "x"}, None)
    second, _ = signed_delivery("ping", {"zen": "x"}, None)

    assert first["X-GitHub-Delivery"] != second["X-GitHub-Delivery"]
    assert "X-Hub-Signature-256" not in first


def test_a_form_is_signed_as_it_is_sent() -> None:
    payload = issue_opened_payload(title="Ä & = +")

    headers, body = signed_delivery("issues", payload, SECRET, form=True)

    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert is_signed(headers, body, SECRET)
    assert json.loads(parse_qs(body.decode())["payload"][0]) == payload


def corpus(name: str) -> dict[str, Any]:
    """A published example of GitHub's, from the shared corpus if it lies beside the project."""
    path = Path(__file__).parents[3] / "shared" / "payloads" / "github" / name
    if not path.exists():
        pytest.skip("the corpus of payloads is not here")
    told: dict[str, Any] = json.loads(path.read_bytes())
    return told


@pytest.mark.parametrize(
    ("name", "ours", "inside"),
    [
        ("issues.opened.1.json", issue_opened_payload(), "issue"),
        ("issue_comment.created.1.json", issue_comment_payload(), "comment"),
        ("pull_request.closed.1.json", pull_request_payload("closed"), "pull_request"),
        ("deployment_status.created.1.json", deployment_status_payload(), "deployment_status"),
    ],
)
def test_our_bodies_have_every_member_of_githubs_examples(
    name: str, ours: dict[str, Any], inside: str
) -> None:
    theirs = corpus(name)
    theirs.pop("installation", None)

    assert theirs.keys() <= ours.keys()
    for member in (inside, "repository", "sender"):
        extra = {"draft"} if inside == "issue" else set()  # older examples show it on issues
        assert theirs[member].keys() - extra <= ours[member].keys(), member


def test_the_builders_say_what_they_are_told() -> None:
    opened = issue_opened_payload("o/r", 7, "T", None, "dev[bot]", author_type="Bot", labels=["a"])
    comment = issue_comment_payload("o/r", 7, 501, "C", "dev", association="NONE", on_pull=True)
    merged = pull_request_payload("closed", True, "o/r", 8)
    deployed = deployment_status_payload("failure", "o/r", "staging")
    labeled = issue_opened_payload(action="labeled", label={"name": "bug"})

    assert (opened["issue"]["number"], opened["issue"]["body"]) == (7, None)
    assert (opened["sender"]["login"], opened["sender"]["type"]) == ("dev[bot]", "Bot")
    assert opened["repository"]["full_name"] == "o/r"
    assert "installation" not in opened
    assert (comment["comment"]["id"], comment["comment"]["body"]) == (501, "C")
    assert comment["comment"]["author_association"] == "NONE"
    assert "pull_request" in comment["issue"]
    assert (merged["number"], merged["pull_request"]["merged"]) == (8, True)
    assert merged["pull_request"]["state"] == "closed"
    assert deployed["deployment_status"]["state"] == "failure"
    assert deployed["deployment"]["environment"] == "staging"
    assert (labeled["action"], labeled["label"]) == ("labeled", {"name": "bug"})


def test_the_same_issue_has_the_same_id_wherever_it_is_told(stand_in: GitHubStandIn) -> None:
    built = issue_opened_payload(REPO, 482)
    held = stand_in.opened_payload(REPO, 482)

    assert held["issue"]["id"] == built["issue"]["id"] == stand_in.issue(REPO, 482).id
    assert held["issue"]["title"] == "Charged twice"
    assert held["sender"]["login"] == "mia-ops"


def test_what_is_written_through_the_api_is_told_to_the_hook(
    stand_in: GitHubStandIn, github: httpx.Client, receiver: Receiver, hook_url: str
) -> None:
    stand_in.hook(hook_url, SECRET)

    made = github.post("/issues/482/comments", json={"body": "from the bot"}).json()
    until(lambda: [sent.done for sent in stand_in.webhooks] == [True])

    [(headers, body)] = receiver.deliveries
    payload = json.loads(body)
    assert is_signed(headers, body, SECRET)
    assert (headers["x-github-event"], payload["action"]) == ("issue_comment", "created")
    assert payload["comment"] == made
    assert (payload["sender"]["login"], payload["sender"]["type"]) == ("aether[bot]", "Bot")
    assert stand_in.webhooks[0].status == 200


def test_one_webhook_a_change_in_the_order_they_happened(
    stand_in: GitHubStandIn, github: httpx.Client, receiver: Receiver, hook_url: str
) -> None:
    stand_in.hook(hook_url, SECRET)

    changes = {"title": "New", "labels": ["bug", "x", "y"], "state": "closed"}
    github.patch("/issues/482", json=changes)
    until(lambda: len(receiver.deliveries) == 4)

    told = [json.loads(body) for _, body in receiver.deliveries]
    assert [one["action"] for one in told] == ["edited", "labeled", "labeled", "closed"]
    assert told[0]["changes"] == {"title": {"from": "Charged twice"}}
    assert [one["label"]["name"] for one in told[1:3]] == ["x", "y"]
    assert [len(one["issue"]["labels"]) for one in told] == [1, 2, 3, 3]


def test_a_change_to_a_pull_request_is_told_as_its_own_event(
    stand_in: GitHubStandIn, github: httpx.Client, receiver: Receiver, hook_url: str
) -> None:
    stand_in.add_pull(REPO, 483, "Keep the key")
    stand_in.hook(hook_url, SECRET, ["pull_request", "pull_request_review"])

    github.post("/issues/483/labels", json={"labels": ["bug"]})
    github.post("/issues/483/comments", json={"body": "not wanted"})
    github.post("/pulls/483/reviews", json={"event": "COMMENT", "body": "Hm."})
    until(lambda: len(receiver.deliveries) == 2)

    events = sorted(headers["x-github-event"] for headers, _ in receiver.deliveries)
    assert events == ["pull_request", "pull_request_review"]
    review = next(sent for sent in stand_in.webhooks if sent.event == "pull_request_review")
    assert review.payload["review"]["state"] == "commented"


def test_a_refused_write_and_an_unchanged_one_are_not_told(
    stand_in: GitHubStandIn, github: httpx.Client, receiver: Receiver, hook_url: str
) -> None:
    stand_in.hook(hook_url, SECRET)

    github.post("/issues/482/comments", json={"body": " "})
    github.post("/issues/482/labels", json={"labels": ["bug"]})
    github.patch("/issues/482", json={"state": "open"})

    assert stand_in.webhooks == []


def test_a_failed_delivery_is_not_sent_again(
    stand_in: GitHubStandIn, github: httpx.Client, receiver: Receiver, hook_url: str
) -> None:
    receiver.status = 500
    stand_in.hook(hook_url, SECRET)
    stand_in.hook("http://127.0.0.1:9/nobody", SECRET)

    github.post("/issues/482/comments", json={"body": "hi"})
    until(lambda: [sent.done for sent in stand_in.webhooks] == [True, True])

    assert [sent.status for sent in stand_in.webhooks] == [500, None]
    assert "ConnectError" in stand_in.webhooks[1].error
    assert len(receiver.deliveries) == 1


def test_a_removed_hook_is_told_nothing(
    stand_in: GitHubStandIn, github: httpx.Client, hook_url: str
) -> None:
    hook = stand_in.hook(hook_url, SECRET)
    stand_in.unhook(hook)

    github.post("/issues/482/comments", json={"body": "hi"})

    assert stand_in.webhooks == []
    assert SECRET not in repr(hook)
