"""GitLab's part of the conformance tests."""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from aether.demo.serving import serving
from aether.events import Subject
from aether.sources.gitlab import GitLab
from tests.sources.gitlab.hooks import delivery
from tests.sources.gitlab.stand_in import GitLabStandIn
from tests.sources.gitlab.state import Item
from tests.sources.kit import Kit, Request

PROJECT: Final = "acme/backend/api"
TOKEN: Final = "glpat-a-token-of-the-tests-01"
SIGNING: Final = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER: Final = "whsec_" + base64.b64encode(b"o" * 32).decode()
EVENTS: Final = {"issue.commented": "Note Hook"}


def payloads() -> Mapping[str, Any]:
    gitlab = GitLabStandIn()
    issue = gitlab.add_issue(PROJECT, "It breaks", "On start.")
    note = gitlab.add_note(issue, "And now?", "bob")
    _, opened = gitlab.told(PROJECT, issue, "open")
    issue.state, issue.closed_at = "closed", gitlab.tick()
    return {
        "issue.created": opened,
        "issue.closed": gitlab.told(PROJECT, issue, "close")[1],
        "issue.commented": gitlab.told_note(PROJECT, issue, note)[1],
    }


def request(trigger: str, payload: Any, secret: str) -> Request:
    headers, body = delivery(
        EVENTS.get(trigger, "Issue Hook"), payload, signing_token=secret, delivery_id="d-1"
    )
    return {name.lower(): value for name, value in headers.items()}, body


def with_comment_text(payload: Any, text: str) -> Any:
    return {**payload, "object_attributes": {**payload["object_attributes"], "note": text}}


@dataclass(frozen=True, kw_only=True)
class GitLabWorld:
    """One issue at the GitLab that stands in."""

    gitlab: GitLabStandIn
    issue: Item
    url: str
    subject: Subject
    headers: Mapping[str, str]

    def comments(self) -> list[str]:
        return [note.body for note in self.issue.notes]

    def titles(self) -> list[str]:
        return [one.title for one in self.gitlab.project(PROJECT).issues.values()]


@contextmanager
def world() -> Iterator[GitLabWorld]:
    gitlab = GitLabStandIn(prefix="/git")
    gitlab.accept(TOKEN, "aether-person")
    issue = gitlab.add_issue(PROJECT, "It breaks", "On start.")
    subject = Subject(kind="issue", project=PROJECT, key="1", title="It breaks")
    with serving(gitlab.app) as url:
        yield GitLabWorld(
            gitlab=gitlab, issue=issue, url=f"{url}/git", subject=subject,
            headers={"PRIVATE-TOKEN": TOKEN},
        )  # fmt: skip


KIT: Final = Kit(
    source=GitLab(),
    secret=SIGNING,
    other_secret=OTHER,
    proof="webhook-signature",
    payloads=payloads(),
    request=request,
    with_comment_text=with_comment_text,
    world=world,
)
