"""Names what happened on GitHub, so that every telling of one change gets one name.

Several hooks on one repository, a replay under a fresh delivery id, and a poll of the same
change agree. Ids are followed by the moment they were given, where it is told: stand-ins for
GitHub count from 1 again when they restart.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from aether.events import Candidate
from aether.sources.reading import key, mapping, text

_OF_THE_HOOK: Final = frozenset({"installation", "organization", "enterprise", "hook", "hook_id"})
"""What differs between a repository's, an organisation's and an App's telling of one act."""


def change_key(
    sharpest: Candidate, payload: Mapping[str, Any], kind: str, item: Mapping[str, Any]
) -> str:
    """What ``payload`` tells of: at most one run follows from each change.

    ``sharpest`` is the event's first candidate (``pull_request``/``merged`` and not
    ``closed``), ``kind`` and ``item`` are the subject's.
    """
    name, action = sharpest.event_name, sharpest.action
    return (
        _of_comment(name, action, mapping(payload.get("comment")))
        or _of_review(name, action, mapping(payload.get("review")))
        or _of_deployment(name, action, mapping(payload.get("deployment_status")))
        or _of_item(name, action, kind, item)
        or _of_milestone(name, action, payload, item)
        or _of_body(name, payload)
    )


def creation_key(kind: str, item: Mapping[str, Any]) -> str | None:
    """The key of the item's creation, or None where GitHub's own id of it is not told.

    A pull request's id here is the one that ``/pulls`` and its own events give; ``/issues``
    lists pull requests under another.
    """
    return _named(kind, item, "created", item.get("created_at"))


def comment_key(comment: Mapping[str, Any]) -> str | None:
    """The key of the comment's creation, or None where its id is not told."""
    return _named("comment", comment, "created", comment.get("created_at"))


def _of_comment(event_name: str, action: str | None, comment: Mapping[str, Any]) -> str | None:
    # Comments on lines, commits and discussions have ids of their own.
    noun = "comment" if event_name in {"issue_comment", "pull_request_comment"} else event_name
    if action == "created":
        return _named(noun, comment, action, comment.get("created_at"))
    moment = comment.get("updated_at")
    if action == "edited" and not moment:
        return None  # a second edit must not be taken for the first
    return _named(noun, comment, action, moment) if action in {"edited", "deleted"} else None


def _of_review(event_name: str, action: str | None, review: Mapping[str, Any]) -> str | None:
    if (event_name, action) != ("pull_request_review", "submitted"):
        return None
    return _named("review", review, None, review.get("submitted_at"))


def _of_deployment(event_name: str, state: str | None, status: Mapping[str, Any]) -> str | None:
    if event_name != "deployment_status":
        return None
    return _named(event_name, status, state, status.get("created_at"))


def _of_item(event_name: str, action: str | None, kind: str, item: Mapping[str, Any]) -> str | None:
    if event_name not in {"issues", "pull_request"}:
        return None
    if action == "opened":
        return creation_key(kind, item)
    moment = item.get("closed_at") or item.get("updated_at")
    if action not in {"closed", "merged", "reopened"} or not moment:
        return None
    return _named(kind, item, action, moment)


def _of_milestone(
    event_name: str, action: str | None, payload: Mapping[str, Any], item: Mapping[str, Any]
) -> str | None:
    # A milestone set on a pull request is told twice, as issues and as pull_request.
    if event_name != "pull_request" or action not in {"milestoned", "demilestoned"}:
        return None
    moment = item.get("updated_at")
    node = text(item.get("node_id"))  # one for both tellings, unlike the id
    milestone = key(mapping(payload.get("milestone")).get("id"))
    return f"pr:{node}:{action}:{milestone}:{moment}" if node and milestone and moment else None


def _of_body(event_name: str, payload: Mapping[str, Any]) -> str:
    told = {name: value for name, value in payload.items() if name not in _OF_THE_HOOK}
    canonical = json.dumps([event_name, told], sort_keys=True, separators=(",", ":"))
    return f"body:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _named(noun: str, thing: Mapping[str, Any], action: str | None, moment: object) -> str | None:
    identity = key(thing.get("id"))
    if identity is None:
        return None
    return ":".join(part for part in (noun, identity, action, text(moment)) if part)
