"""GitHub's part of the conformance tests."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from aether.demo.github import GitHubStandIn
from aether.demo.github_payloads import issue_comment_payload, signed_delivery
from aether.demo.serving import serving
from aether.events import Subject
from aether.sources.github import GitHub
from tests.sources.kit import Kit, Request

REPO: Final = "acme/api"
TOKEN: Final = "ghp_a_token_of_the_tests_0001"
EVENTS: Final = {"issue.commented": "issue_comment"}


def payloads() -> Mapping[str, Any]:
    github = GitHubStandIn()
    github.add_issue(REPO, 7, "It breaks", "On start.")
    opened = github.opened_payload(REPO, 7)
    closed = {"state": "closed", "closed_at": "2026-02-18T11:00:00Z"}
    commented = issue_comment_payload(REPO, 7, 501, "And now?", "bob")
    return {
        "issue.created": opened,
        "issue.closed": {**opened, "action": "closed", "issue": {**opened["issue"], **closed}},
        "issue.commented": {**commented, "issue": opened["issue"]},
    }


def request(trigger: str, payload: Any, secret: str) -> Request:
    event = EVENTS.get(trigger, "issues")
    headers, body = signed_delivery(event, payload, secret, delivery_id="d-1")
    return {name.lower(): value for name, value in headers.items()}, body


def with_comment_text(payload: Any, text: str) -> Any:
    return {**payload, "comment": {**payload["comment"], "body": text}}


@dataclass(frozen=True, kw_only=True)
class GitHubWorld:
    """One issue at the GitHub that stands in."""

    github: GitHubStandIn
    url: str
    subject: Subject
    headers: Mapping[str, str]

    def comments(self) -> list[str]:
        return [one.body for one in self.github.comments(REPO, 7)]

    def titles(self) -> list[str]:
        return [one.title for one in self.github.repositories[REPO].issues.values()]


@contextmanager
def world() -> Iterator[GitHubWorld]:
    github = GitHubStandIn({TOKEN: "aether-person"})
    github.add_issue(REPO, 7, "It breaks", "On start.")
    subject = Subject(kind="issue", project=REPO, key="7", title="It breaks")
    with serving(github.app) as url:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        yield GitHubWorld(github=github, url=url, subject=subject, headers=headers)


KIT: Final = Kit(
    source=GitHub(),
    secret="a secret of the hook",
    other_secret="another secret",
    proof="x-hub-signature-256",
    payloads=payloads(),
    request=request,
    with_comment_text=with_comment_text,
    world=world,
)
