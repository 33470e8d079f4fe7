"""Names what happened in Jira, so that every telling of one change gets one name.

Server tells a comment twice (``comment_created`` and ``jira:issue_updated``), several hooks may
match one act, a body may be replayed, and a poll may see what a webhook told: all agree on the
id of the comment, of the changelog entry, or of the new issue.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from aether.sources.jira.shapes import moment
from aether.sources.reading import key, mapping

_OF_THE_HOOK: Final = frozenset({"matchedWebhookIds"})
"""What differs between the deliveries of several hooks about one act."""


def comment_key(comment: Mapping[str, Any], act: str = "created") -> str | None:
    """The key of a comment's creation, edit or deletion, or None where its id is not told.

    ``act`` is created, updated or deleted. Each edit counts for itself, so it needs its moment.
    """
    identity = key(comment.get("id"))
    if identity is None:
        return None
    if act != "updated":
        return f"comment:{identity}:{act}"
    edited = _epoch(comment.get("updated"))
    return f"comment:{identity}:updated:{edited}" if edited else None


def creation_key(issue: Mapping[str, Any]) -> str | None:
    """The key of the issue's creation, or None where its number is not told."""
    identity = key(issue.get("id"))
    return f"issue:{identity}:created" if identity else None


def changelog_key(issue: Mapping[str, Any], changelog: Mapping[str, Any]) -> str | None:
    """The key of one entry of the changelog (a history, as REST has it); None without its id.

    Jira numbers them throughout, stand-ins for it issue by issue.
    """
    parts = ("changelog", key(issue.get("id")), key(changelog.get("id")))
    return ":".join(part for part in parts if part) if parts[-1] else None


def transition_key(issue: Mapping[str, Any], transition: str) -> str | None:
    """The key of a transition that no changelog entry tells of, by when the issue changed."""
    identity = key(issue.get("id"))
    changed = _epoch(mapping(issue.get("fields")).get("updated"))
    return f"issue:{identity}:{transition}:{changed}" if identity and changed else None


def body_key(event_name: str, payload: Mapping[str, Any]) -> str:
    """The key of anything else: its content."""
    told = {name: value for name, value in payload.items() if name not in _OF_THE_HOOK}
    canonical = json.dumps([event_name, told], sort_keys=True, separators=(",", ":"))
    return f"body:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _epoch(value: object) -> str | None:
    """A moment in milliseconds, since REST tells it in the asking account's zone."""
    told = moment(value)
    return str(round(told.timestamp() * 1000)) if told else None
