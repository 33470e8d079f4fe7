"""Jira's part of the conformance tests: a Server, its statuses called as the tests have them."""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from aether.demo.serving import serving
from aether.events import Subject
from aether.sources.jira import Jira
from tests.sources.jira.site import BO, SECRET, Site
from tests.sources.jira.site_state import DONE, TO_DO, WORKFLOW, Issue
from tests.sources.jira.stand_in import JiraStandIn
from tests.sources.kit import Kit, Request

OPEN: Final = replace(TO_DO, name="open")
CLOSED: Final = replace(DONE, name="closed")


def payloads() -> Mapping[str, Any]:
    site = Site(is_cloud=True)
    issue = site.open("It breaks", body=None)
    site.say(issue, "And now?", BO)
    site.move(issue, DONE)
    opened, commented, closed = (json.loads(body) for _, body in site.webhooks)
    return {"issue.created": opened, "issue.closed": closed, "issue.commented": commented}


def request(trigger: str, payload: Any, secret: str) -> Request:
    body = json.dumps(payload).encode()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-hub-signature": f"sha256={digest}"}
    return headers | {"x-atlassian-webhook-identifier": f"the-delivery-of-{trigger}"}, body


def with_comment_text(payload: Any, text: str) -> Any:
    wiki = text.replace("<!-- aether:", "{anchor:aether-").replace(" -->", "}")
    return {**payload, "comment": {**payload["comment"], "body": wiki}}


@dataclass(frozen=True, kw_only=True)
class JiraWorld:
    """One issue at the Jira that stands in."""

    jira: JiraStandIn
    issue: Issue
    url: str
    subject: Subject
    headers: Mapping[str, str]

    def comments(self) -> list[str]:
        return [str(one.body) for one in self.issue.comments]

    def titles(self) -> list[str]:
        return [one.title for one in self.jira.issues.values()]


@contextmanager
def world() -> Iterator[JiraWorld]:
    jira = JiraStandIn(is_cloud=False)
    named = {TO_DO.id: OPEN, DONE.id: CLOSED}
    jira.workflow = tuple(replace(one, to=named.get(one.to.id, one.to)) for one in WORKFLOW)
    issue = jira.open("It breaks", body="On start.", status=OPEN)
    subject = Subject(kind="issue", project="OPS", key=issue.key, title="It breaks")
    with serving(jira.door) as url:
        jira.url = url + jira.prefix
        yield JiraWorld(
            jira=jira, issue=issue, url=jira.url, subject=subject,
            headers={"Authorization": jira.authorization},
        )  # fmt: skip


KIT: Final = Kit(
    source=Jira(),
    secret=SECRET,
    other_secret="another secret",
    proof="x-hub-signature",
    payloads=payloads(),
    request=request,
    with_comment_text=with_comment_text,
    world=world,
    event_field="webhookEvent",
    addressed_by="key",
)
