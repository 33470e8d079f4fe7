"""What people do at a Jira site of the tests, and what it tells its webhooks of that."""

import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from tests.sources.jira.site_state import Comment, Issue, Person, Shapes, Status, utc_now

SECRET: Final = "jira_secret_of_the_tests"
HELPER: Final = Person(
    name="aether", display="Aether", account_id="712020:00000000-0000-4000-8000-0000000000ae",
    email="aether@example.com",
)  # fmt: skip
ANN: Final = Person(
    name="ann", display="Ann Tester", account_id="5f0000000000000000000aa1",
    email="ann@example.com",
)  # fmt: skip
BO: Final = Person(name="bo", display="Bo Tester", account_id="5f0000000000000000000bb2")


class Site:
    """``clock`` may be set; ``lag`` is how far the search index is behind.

    ``webhooks`` are the deliveries so far: headers and body.
    """

    def __init__(self, *, is_cloud: bool, helper: Person = HELPER) -> None:
        self.is_cloud = is_cloud
        self.people = {one.account_id: one for one in (helper, ANN, BO)}
        self.helper = helper
        self.url = ""
        self.shapes = Shapes(lambda: self.url, is_cloud=is_cloud, version=3 if is_cloud else 2)
        self.hooked = Shapes(lambda: self.url, is_cloud=is_cloud, version=2)
        self.issues: dict[str, Issue] = {}
        self.webhooks: list[tuple[dict[str, str], bytes]] = []
        self.clock: Callable[[], datetime] = utc_now
        self.lag = timedelta(0)
        self.last_id = 12_000

    def open(self, title: str = "Boom", by: Person = ANN, body: Any = None, **told: Any) -> Issue:
        now = self.clock()
        number = max((one.number for one in self.issues.values()), default=6) + 1
        issue = Issue(
            id=10_000 + self._next(), key=f"OPS-{number}", title=title, creator=by, created=now,
            updated=now, indexed_at=now + self.lag, description=body, **told,
        )  # fmt: skip
        self.issues[issue.key] = issue
        self._send("jira:issue_created", "issue_created", by, issue)
        return issue

    def say(self, issue: Issue, body: Any, by: Person = ANN, **told_of_it: Any) -> Comment:
        now = self.clock()
        comment = Comment(
            id=self._next(), author=by, body=body, created=now, updated=now, **told_of_it
        )
        issue.comments.append(comment)
        self._touch(issue)
        told = self.hooked.comment(issue, comment) | {"body": wiki(body)}
        if self.is_cloud:
            self._send_payload("comment_created", {"comment": told, "issue": self._short(issue)})
        else:
            self._send_payload("comment_created", {"comment": told})
            self._send("jira:issue_updated", "issue_commented", by, issue, comment=told)
        return comment

    def edited(self, issue: Issue, comment: Comment) -> None:
        """Tell of a comment whose text is another now."""
        told = self.hooked.comment(issue, comment) | {"body": wiki(comment.body)}
        more = {"issue": self._short(issue)} if self.is_cloud else {}
        self._send_payload("comment_updated", {"comment": told, **more})

    def move(self, issue: Issue, to: Status, by: Person = ANN, kind: str = "issue_generic") -> None:
        before, issue.status = issue.status, to
        item = _item("status", before.id, before.name, to.id, to.name)
        self._log(issue, by, [item], kind)

    def change(self, issue: Issue, by: Person, kind: str = "issue_updated", **fields: Any) -> None:
        items = []
        for name, value in fields.items():
            old = getattr(issue, name)
            setattr(issue, name, value)
            items.append(self._changed(name, old, value))
        self._log(issue, by, items, kind)

    # What it tells

    def _log(self, issue: Issue, by: Person, items: list[dict[str, Any]], kind: str) -> None:
        self._touch(issue)
        entry = {
            "id": str(self._next()), "author": self.shapes.person(by),
            "created": issue.updated, "items": items,
        }  # fmt: skip
        issue.history.append(entry)
        changelog = {"id": entry["id"], "items": items}
        self._send("jira:issue_updated", kind, by, issue, changelog=changelog)

    def _send(self, event: str, kind: str, by: Person, issue: Issue, **more: Any) -> None:
        told = self.hooked.issue(issue)
        told["fields"]["description"] = wiki(issue.description)
        told = {"issue_event_type_name": kind, "user": self.hooked.person(by), "issue": told}
        self._send_payload(event, told | more)

    def _send_payload(self, event: str, told: Mapping[str, Any]) -> None:
        stamp = round(self.clock().timestamp() * 1000)
        body = json.dumps({"timestamp": stamp, "webhookEvent": event, **told}).encode()
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-hub-signature": f"sha256={digest}"}
        if self.is_cloud:
            headers["x-atlassian-webhook-identifier"] = str(uuid.uuid4())
        self.webhooks.append((headers, body))

    def _short(self, issue: Issue) -> dict[str, Any]:
        whole = self.hooked.issue(issue)
        kept = ("summary", "issuetype", "project", "assignee", "priority", "status")
        return whole | {"fields": {name: whole["fields"][name] for name in kept}}

    def _touch(self, issue: Issue) -> None:
        issue.updated = self.clock()
        issue.indexed_at = issue.updated + self.lag

    def _next(self) -> int:
        self.last_id += 1
        return self.last_id

    def _changed(self, name: str, old: Any, new: Any) -> dict[str, Any]:
        if name == "labels":
            return _item("labels", None, " ".join(old), None, " ".join(new))
        if name == "assignee":
            ids = [self.identity(one) if one else None for one in (old, new)]
            shown = [one.display if one else None for one in (old, new)]
            return _item("assignee", ids[0], shown[0], ids[1], shown[1])
        if name == "description":
            return _item("description", None, wiki(old), None, wiki(new))
        return _item({"title": "summary"}.get(name, name), None, old, None, new)

    def identity(self, one: Person) -> str:
        return one.account_id if self.is_cloud else one.name


def wiki(body: Any) -> Any:
    """A document as webhooks tell it: wiki markup, of which this knows text and links."""
    if not isinstance(body, dict):
        return body
    return "\n\n".join(_wiki(block) for block in body["content"])


def _wiki(node: Mapping[str, Any]) -> str:
    inner = "".join(_wiki(one) for one in node.get("content", []))
    shown = f"{node.get('text', '')}{inner}"
    for mark in node.get("marks", []):
        if mark["type"] == "link":
            shown = f"[{shown}|{mark['attrs']['href']}]"
    return shown


def plain(body: Any) -> str:
    """What a reader sees of a comment or description."""
    shown = str(wiki(body) or "")
    shown = re.sub(r"\[\u200b\|[^\]]*\]|\{anchor:[^}]*\}", "", shown)
    return shown.strip()


def _item(field: str, old: Any, old_text: Any, new: Any, new_text: Any) -> dict[str, Any]:
    return {
        "field": field, "fieldtype": "jira", "fieldId": field, "from": old,
        "fromString": old_text, "to": new, "toString": new_text,
    }  # fmt: skip
