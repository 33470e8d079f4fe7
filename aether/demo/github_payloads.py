"""Webhooks as GitHub sends them: the bodies of events, signed deliveries.

Signing: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
Bodies:  https://docs.github.com/en/webhooks/webhook-events-and-payloads

The builders below make a whole body from a few words; ids follow from names and numbers, so
that they agree with a stand-in that holds the same issue.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from aether.clock import to_wire
from aether.demo import github_shapes as shapes
from aether.demo.github_shapes import GITHUB, Addresses, Json
from aether.demo.github_state import (
    Account,
    AccountType,
    Comment,
    Issue,
    Pull,
    Repository,
    moment,
    new_issue,
    stable_id,
)

FIRST_HOOK_ID: Final = 485_000_001
TITLE: Final = "Customers are charged twice"


def signed_delivery(
    event: str,
    payload: Mapping[str, Any],
    secret: str | None,
    delivery_id: str | None = None,
    form: bool = False,
    hook_id: int = FIRST_HOOK_ID,
) -> tuple[dict[str, str], bytes]:
    """One webhook request: its headers and its body.

    Without ``secret`` the signature headers are absent, as for a hook that has none. Without
    ``delivery_id`` a new GUID is made. With ``form`` the body is form-encoded, and signed so.
    """
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    if form:
        body = urlencode({"payload": body}).encode()
    headers = {
        "Accept": "*/*",
        "Content-Type": "application/x-www-form-urlencoded" if form else "application/json",
        "User-Agent": "GitHub-Hookshot/8254dd5",
        "X-GitHub-Delivery": delivery_id or str(uuid.uuid4()),
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": str(hook_id),
        "X-GitHub-Hook-Installation-Target-ID": str(payload.get("repository", {}).get("id", 0)),
        "X-GitHub-Hook-Installation-Target-Type": "repository",
    }
    if secret is not None:
        for name, algorithm in (("X-Hub-Signature", "sha1"), ("X-Hub-Signature-256", "sha256")):
            digest = hmac.new(secret.encode(), body, algorithm).hexdigest()
            headers[name] = f"{algorithm}={digest}"
    return headers, body


def event_payload(
    action: str, repository: Repository, sender: Account, at: Addresses, **about: Any
) -> Json:
    """The frame of an event's body, with what it is ``about`` between action and repository."""
    return {
        "action": action,
        **about,
        "repository": shapes.repository(repository, at),
        "sender": shapes.account(sender, at),
    }


def issue_payload(
    action: str, repository: Repository, issue: Issue, sender: Account, at: Addresses, **more: Any
) -> Json:
    """An ``issues`` event about an issue of the stand-in; ``more`` such as label or changes."""
    told = shapes.issue(repository, issue, at)
    return event_payload(action, repository, sender, at, issue=told, **more)


def comment_payload(
    action: str,
    repository: Repository,
    issue: Issue,
    comment: Comment,
    sender: Account,
    at: Addresses,
    **more: Any,
) -> Json:
    """An ``issue_comment`` event about a comment of the stand-in."""
    about = {
        "issue": shapes.issue(repository, issue, at),
        "comment": shapes.comment(repository, issue, comment, at),
        **more,
    }
    return event_payload(action, repository, sender, at, **about)


def _known(
    repo: str, number: int, title: str, body: str | None, author: Account, **more: Any
) -> tuple[Repository, Issue]:
    repository = Repository(full_name=repo)
    issue = new_issue(repo, number, title, body, author, **more)
    repository.issues[number] = issue
    return repository, issue


def issue_opened_payload(
    repo: str = "acme/checkout-service",
    number: int = 482,
    title: str = TITLE,
    body: str | None = "Two charges for one order.",
    author: str = "mia-ops",
    *,
    author_type: AccountType = "User",
    issue_id: int | None = None,
    labels: Iterable[str] = (),
    association: str = "CONTRIBUTOR",
    action: str = "opened",
    created_at: datetime | None = None,
    addresses: Addresses = GITHUB,
    **more: Any,
) -> Json:
    """The body of an ``issues`` event.

    ``action`` may be any other of that event; ``more`` are then its extra members, such as
    ``label={"name": "bug"}`` or ``changes={"title": {"from": "…"}}``. ``closed`` closes the issue.
    """
    sender = Account(author, author_type)
    repository, issue = _known(
        repo,
        number,
        title,
        body,
        sender,
        id=issue_id,
        labels=labels,
        association=association,
        at=created_at,
    )
    if action == "closed":
        issue.state, issue.state_reason, issue.closed_at = "closed", "completed", moment()
    return issue_payload(action, repository, issue, sender, addresses, **more)


def issue_comment_payload(
    repo: str = "acme/checkout-service",
    number: int = 482,
    comment_id: int = 3_000_000_001,
    body: str = "Seen again this morning.",
    author: str = "mia-ops",
    *,
    author_type: AccountType = "User",
    association: str | None = None,
    title: str = TITLE,
    issue_author: str = "mia-ops",
    on_pull: bool = False,
    action: str = "created",
    addresses: Addresses = GITHUB,
) -> Json:
    """The body of an ``issue_comment`` event; with ``on_pull`` the issue is a pull request."""
    sender = Account(author, author_type)
    repository, issue = _known(
        repo, number, title, "", Account(issue_author), pull=Pull() if on_pull else None
    )
    now = moment()
    comment = Comment(
        id=comment_id,
        issue_number=number,
        body=body,
        author=sender,
        created_at=now,
        updated_at=now,
    )
    issue.comments.append(comment)
    payload = comment_payload(action, repository, issue, comment, sender, addresses)
    if association is not None:
        payload["comment"]["author_association"] = association
    return payload


def pull_request_payload(
    action: str = "opened",
    merged: bool = False,
    repo: str = "acme/checkout-service",
    number: int = 483,
    title: str = "Reuse the idempotency key when a payment is retried",
    body: str | None = "Closes #482.",
    author: str = "jo-dev",
    *,
    author_type: AccountType = "User",
    association: str = "COLLABORATOR",
    draft: bool = False,
    pull_id: int | None = None,
    addresses: Addresses = GITHUB,
) -> Json:
    """The body of a ``pull_request`` event; ``closed`` with ``merged`` is a merge."""
    sender, now = Account(author, author_type), moment()
    pull = Pull(draft=draft, merged_at=now if merged else None)
    repository, issue = _known(
        repo, number, title, body, sender, id=pull_id, association=association, pull=pull
    )
    if action == "closed":
        issue.state, issue.closed_at, issue.closed_by = "closed", now, sender
    told = shapes.pull(repository, issue, pull, addresses)
    return event_payload(action, repository, sender, addresses, number=number, pull_request=told)


def deployment_status_payload(
    state: str = "success",
    repo: str = "acme/checkout-service",
    environment: str = "production",
    *,
    deployment_id: int = 2_145_988_746,
    ref: str = "main",
    author: str = "github-actions[bot]",
    author_type: AccountType = "Bot",
    description: str = "",
    target_url: str = "https://example.com/deployments/1",
    addresses: Addresses = GITHUB,
) -> Json:
    """The body of a ``deployment_status`` event; its ``action`` is always ``created``."""
    repository, sender = Repository(full_name=repo), Account(author, author_type)
    base, now = f"{addresses.api}/repos/{repo}", to_wire(moment())
    url, status_id = f"{base}/deployments/{deployment_id}", stable_id(deployment_id, state)
    common = {
        "environment": environment,
        "created_at": now,
        "updated_at": now,
        "repository_url": base,
        "creator": shapes.account(sender, addresses),
        "performed_via_github_app": shapes.app(sender, addresses),
    }
    deployment = {
        "url": url,
        "id": deployment_id,
        "node_id": shapes.node_id("Deployment", deployment_id),
        "task": "deploy",
        "original_environment": environment,
        "description": None,
        "statuses_url": f"{url}/statuses",
        "sha": f"{stable_id(ref):08x}" * 5,
        "ref": ref,
        "payload": {},
        "transient_environment": False,
        "production_environment": environment == "production",
        **common,
    }
    status = {
        "url": f"{url}/statuses/{status_id}",
        "id": status_id,
        "node_id": shapes.node_id("DeploymentStatus", status_id),
        "state": state,
        "description": description,
        "target_url": target_url,
        "log_url": target_url,
        "environment_url": "",
        "deployment_url": url,
        **common,
    }
    return event_payload(
        "created", repository, sender, addresses, deployment_status=status, deployment=deployment
    )


def is_signed(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether a request carries GitHub's SHA-256 signature of ``body`` with ``secret``."""
    told = {name.lower(): value for name, value in headers.items()}
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(told.get("x-hub-signature-256", "").encode(), expected.encode())
