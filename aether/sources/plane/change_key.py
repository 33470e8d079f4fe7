"""Names what happened in Plane, so that every telling of one change gets one name.

Plane gives each attempt of a delivery a fresh id, sends one delivery to each hook, and one for
each field that an edit changed, some of which are one thing to a person (a description is told as
HTML, as JSON and as text). All agree on the id of the new item or comment, on when an item was
closed, or on what was changed to what, and when.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from aether.sources.plane.shapes import reference
from aether.sources.reading import moment_text

OF_THE_DELIVERY: Final = frozenset({"webhook_id", "delivery_id", "event_id"})
"""What differs between the deliveries of several hooks, or between attempts."""

ASPECTS: Final[Mapping[str, str]] = {
    "state_id": "state",
    "completed_at": "state",
    "label_ids": "labels",
    "label": "labels",
    "assignee_ids": "assignees",
    "assignee": "assignees",
    "parent_id": "parent",
    "type_id": "type",
    "estimate_point_id": "estimate_point",
    "description_html": "description",
    "description_json": "description",
    "description_stripped": "description",
    "description_binary": "description",
    "comment_html": "comment",
    "comment_json": "comment",
    "comment_stripped": "comment",
}
"""The fields that are one thing to a person, by every name that Plane's ages give them."""

WORDY: Final = frozenset({"description", "comment"})  # one text, told in several forms


def aspect(field: str) -> str:
    """What a field is about, whichever name it goes by."""
    return ASPECTS.get(field, field)


def creation_key(item: object) -> str | None:
    """The key of an item's creation, or None where its id is not told."""
    return f"issue:{identity}:created" if (identity := reference(item)) else None


def comment_key(comment: object, act: str, at: object) -> str | None:
    """The key of a comment's creation, edit or deletion; an edit is told apart by its moment."""
    identity = reference(comment)
    if identity is None:
        return None
    if act != "updated":
        return f"comment:{identity}:{act}"
    edited = moment_text(at)
    return f"comment:{identity}:updated:{edited}" if edited else None


def state_key(item: object, word: str, at: object) -> str | None:
    """The key of an item's having become ``word`` by the time of its last change."""
    identity, changed = reference(item), moment_text(at)
    return f"issue:{identity}:{word}:{changed}" if identity and changed else None


def update_key(item: object, changed: Mapping[str, Any], at: object) -> str | None:
    """The key of an edit: which aspects, to what, and when; None where that is not told."""
    identity, moment = reference(item), moment_text(at)
    if identity is None or moment is None or not changed:
        return None
    told = {name: None if name in WORDY else value for name, value in changed.items()}
    return _hashed(["update", identity, told, moment])


def body_key(event_name: str, payload: Mapping[str, Any]) -> str:
    """The key of anything else: its content."""
    told = {name: value for name, value in payload.items() if name not in OF_THE_DELIVERY}
    return _hashed([event_name, told])


def _hashed(told: Any) -> str:
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return f"body:{hashlib.sha256(canonical.encode()).hexdigest()}"
