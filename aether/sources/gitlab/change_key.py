"""Names what happened on GitLab, so that every telling of one change gets one name.

Hooks of the project, of its groups and of the system, a replay under a fresh id, and a poll of
the same change agree. Ids are followed by the moment they were given, or by the project: two
instances count alike.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from aether.events import Candidate
from aether.sources.gitlab.item import Item
from aether.sources.gitlab.told import BOOKKEEPING, moment
from aether.sources.reading import key, mapping, text

BODY: Final = "body:"
"""How the key of a delivery begins that names no act, so that only its words tell it."""


def change_key(sharpest: Candidate, kind: str, payload: Mapping[str, Any], item: Item) -> str:
    """What ``payload`` tells of: at most one run follows from each change.

    ``sharpest`` is the event's first candidate, ``kind`` its ``object_kind``.
    """
    action = sharpest.action
    found = None
    if kind == "note":
        found = _of_note(payload)
    elif kind == "deployment":
        found = deployment_key(item, text(payload.get("status")))
    elif item.kind is not None:
        found = _of_item(action, payload, item)
    return found or _of_body(sharpest.event_name, payload)


def creation_key(kind: str, told: Mapping[str, Any]) -> str | None:
    """The key of an item's creation; ``told`` is it as the API or a webhook shows it."""
    return _named(kind, told, "created", told.get("created_at"))


def closing_key(kind: str, told: Mapping[str, Any]) -> str | None:
    """The key of its closing, None where the moment is not told (a merge request's webhook)."""
    return _named(kind, told, "closed", told.get("closed_at")) if told.get("closed_at") else None


def merge_key(told: Mapping[str, Any]) -> str | None:
    """The key of a merge, which happens once: followed by when the request was opened."""
    return _named("pr", told, "merged", told.get("created_at"))


def comment_key(note: Mapping[str, Any]) -> str | None:
    """The key of a comment's creation."""
    return _named("note", note, "created", note.get("created_at"))


def deployment_key(item: Item, status: str) -> str | None:
    """The key of a deployment's reaching a state, in which it comes once."""
    project = item.project_names[0] if item.project_names else ""
    if not (item.id and status and project):
        return None
    return f"deployment:{project}:{item.id}:{status.lower()}"


def _of_note(payload: Mapping[str, Any]) -> str | None:
    note = mapping(payload.get("object_attributes"))
    action = text(note.get("action"))
    if action in {"", "create"}:
        return comment_key(note)
    words = hashlib.sha256(text(note.get("note")).encode()).hexdigest()[:16]
    updated = _named("note", note, action, note.get("updated_at"))
    return f"{updated}:{words}" if updated and moment(note.get("updated_at")) else None


def _of_item(action: str | None, payload: Mapping[str, Any], item: Item) -> str | None:
    kind, told = item.kind or "", item.told
    if action == "open":
        return creation_key(kind, told)
    if action == "merge":
        return merge_key(told)
    if action == "close" and (closed := closing_key(kind, told)):
        return closed
    if action is None or moment(told.get("updated_at")) is None:
        return None
    # No id names this act: a poll, which has other words for it, compares moments instead.
    named = _named(kind, told, action, told.get("updated_at"))
    who = text(mapping(payload.get("user")).get("username"))
    changes = mapping(payload.get("changes"))
    changed = {name: one for name, one in changes.items() if name not in BOOKKEEPING}
    return f"{BODY}{_digest([named, who, text(told.get('oldrev')), changed])}" if named else None


def _of_body(event_name: str, payload: Mapping[str, Any]) -> str:
    return f"{BODY}{_digest([event_name, payload])}"


def _digest(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _named(noun: str, thing: Mapping[str, Any], action: str | None, at: object) -> str | None:
    identity = key(thing.get("id"))
    if identity is None:
        return None
    number = key(thing.get("iid"))  # a note has none
    named = f"{identity}.{number}" if number else identity
    return ":".join(part for part in (noun, named, action, moment(at)) if part)
