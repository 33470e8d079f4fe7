"""Reads a GitLab delivery into a SourceEvent.

https://docs.gitlab.com/user/project/integrations/webhook_events/
https://docs.gitlab.com/administration/system_hooks/

``X-Gitlab-Event`` tells neither an issue from a task nor one system event from another, so the
body's ``object_kind`` decides where it is told.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from aether.errors import InvalidInputError
from aether.events import Actor, Candidate, SourceEvent, Subject, Visibility
from aether.sources.base import Headers
from aether.sources.gitlab.change_key import change_key
from aether.sources.gitlab.item import NOTEABLES, Item, read_item
from aether.sources.gitlab.told import association, change_of, is_bot, moment, titles, usernames
from aether.sources.reading import clean, decode_json, key, mapping, text
from aether.vocabulary import SourceName

SYSTEM: Final = "System Hook"
HOOKS: Final[Mapping[str, str]] = {
    "issue": "Issue Hook",
    "work_item": "Issue Hook",
    "merge_request": "Merge Request Hook",
    "note": "Note Hook",
    "deployment": "Deployment Hook",
    "push": "Push Hook",
    "tag_push": "Tag Push Hook",
}
"""Under which event name each kind of object may be mapped."""

KINDS: Final[Mapping[str, str]] = {
    "Issue Hook": "issue",
    "Confidential Issue Hook": "issue",
    "Merge Request Hook": "merge_request",
    "Note Hook": "note",
    "Confidential Note Hook": "note",
    "Deployment Hook": "deployment",
}
"""What an event is about where a webhook template of its own left ``object_kind`` out."""

APPROVED: Final = frozenset({"approved", "approval"})
_LONGEST_NAME: Final = 100
_CREATED: Final = frozenset({None, "create"})  # no action was sent before 16.11


def extract(headers: Headers, body: bytes) -> SourceEvent:
    """Read one delivery.

    Raises:
        InvalidInputError: no ``X-Gitlab-Event`` (external status checks have none), or no JSON
            object in the body.
    """
    event_name = clean(headers.get("x-gitlab-event", "")).strip()
    if not event_name:
        raise InvalidInputError("X-Gitlab-Event", "the header is missing")
    if len(event_name) > _LONGEST_NAME:
        raise InvalidInputError("X-Gitlab-Event", f"longer than {_LONGEST_NAME} characters")
    payload = decode_json(body)
    return read_event(
        event_name, payload,
        delivery_key=_delivery_key(headers, event_name, body),
        instance=clean(headers.get("x-gitlab-instance", "")).strip(),
    )  # fmt: skip


def read_event(
    event_name: str, payload: dict[str, Any], *, delivery_key: str, instance: str = ""
) -> SourceEvent:
    """The event that ``payload`` tells of; ``instance`` is the address of that GitLab."""
    told = text(payload.get("object_kind"))
    kind = told or KINDS.get(event_name, "")
    item = read_item(kind, payload, instance)
    action = _action(event_name, payload)
    candidates, stops = _candidates(event_name, kind, action, payload)
    actor = _actor(payload)
    return SourceEvent(
        source=SourceName.GITLAB,
        delivery_key=delivery_key,
        change_key=change_key(candidates[0], kind, payload, item),
        event_name=event_name,
        action=action,
        candidates=candidates,
        stops=stops,
        # The hook's "Test" button sends the newest item there is, and no action.
        is_ping=kind in {"issue", "work_item", "merge_request"} and action is None,
        project_names=item.project_names,
        subject=_subject(event_name, payload, item, actor),
        actor=actor,
        text=_text(kind, payload, item),
        comment_id=_comment_id(kind, action, payload),
        change=_change(payload),
        outcome=_outcome(kind, action, payload),
        happened_at=_happened_at(payload, item),
        payload=payload,
    )


def _delivery_key(headers: Headers, event_name: str, body: bytes) -> str:
    # The signed id goes first: it is the same, and nobody can change it on the way.
    signed = headers.get("webhook-id", "") if headers.get("webhook-signature", "").strip() else ""
    sent = clean(signed).strip() or clean(headers.get("idempotency-key", "")).strip()
    if sent:
        return sent.lower()
    # Before 17.4 nothing names a delivery: the event's UUID is shared by all events of one
    # request, and the webhook's UUID is another with each attempt.
    digest = hashlib.sha256(event_name.encode() + b"\n" + body).hexdigest()
    return f"body:{digest}"


def _action(event_name: str, payload: Mapping[str, Any]) -> str | None:
    attributes = mapping(payload.get("object_attributes"))
    told = text(attributes.get("action")) or text(payload.get("action"))
    if not told and event_name == SYSTEM and not payload.get("object_kind"):
        told = text(payload.get("event_name"))
    return told[:_LONGEST_NAME] or None


def _candidates(
    event_name: str, kind: str, action: str | None, payload: Mapping[str, Any]
) -> tuple[tuple[Candidate, ...], bool]:
    """Under which names the event may be mapped, sharpest first, and whether that is all."""
    attributes = mapping(payload.get("object_attributes"))
    hook = HOOKS.get(kind, event_name)
    if kind == "note":
        if action not in _CREATED:
            return _named(event_name, hook, action), True
        noteable = text(attributes.get("noteable_type")).rpartition("::")[2]
        return _named(event_name, hook, NOTEABLES.get(noteable, noteable.lower()) or None), False
    if kind == "deployment":
        status = text(payload.get("status")).lower()[:_LONGEST_NAME]
        return _named(event_name, hook, status or action), False
    if kind in {"issue", "work_item"} and action == "close" and attributes.get("moved_to_id"):
        # It was moved: it lives on elsewhere, and is told there as opened.
        return _named(event_name, hook, "move"), True
    return _named(event_name, hook, action), False


def _named(event_name: str, hook: str, action: str | None) -> tuple[Candidate, ...]:
    """The header's own name goes first: who maps it means that and no other."""
    names = dict.fromkeys(name for name in (event_name, hook) if name != SYSTEM or hook == SYSTEM)
    return tuple(Candidate(event_name=name, action=action) for name in names)


def _actor(payload: Mapping[str, Any]) -> Actor | None:
    user = mapping(payload.get("user"))
    login, identity = text(user.get("username")), key(user.get("id"))
    if not login and text(payload.get("object_kind")) in {"push", "tag_push"}:
        login, identity = text(payload.get("user_username")), key(payload.get("user_id"))
    if not login:
        return None
    if identity is None and payload.get("object_kind") == "note":  # as old ones have it
        identity = key(mapping(payload.get("object_attributes")).get("author_id"))
    return Actor(login=login, is_bot=is_bot(login), id=identity, association=association(login))


def _subject(
    event_name: str, payload: Mapping[str, Any], item: Item, actor: Actor | None
) -> Subject | None:
    if item.kind is None or item.key is None:
        return None
    author = _author(payload, item, actor)
    return Subject(
        kind=item.kind,
        project=item.project_names[0] if item.project_names else "",
        key=item.key,
        title=item.title,
        body=item.body,
        url=item.url,
        state=item.state,
        author=author,
        author_association=association(author) if author else None,
        labels=item.labels,
        visibility=_visibility(event_name, payload, item),
    )


def _author(payload: Mapping[str, Any], item: Item, actor: Actor | None) -> str | None:
    """The item's author is told by number; the name only where that person is told as well."""
    if item.kind == "deployment":
        return actor.login if actor else None
    if item.author_id is None:
        return None
    people = [payload.get("user"), payload.get("assignee")]
    for name in ("assignees", "reviewers"):
        told = payload.get(name)
        people += told if isinstance(told, list) else []
    for one in map(mapping, people):
        if key(one.get("id")) == item.author_id:
            return text(one.get("username")) or None
    return actor.login if actor and actor.id == item.author_id else None


def _visibility(event_name: str, payload: Mapping[str, Any], item: Item) -> Visibility | None:
    note = mapping(payload.get("object_attributes")) if payload.get("object_kind") == "note" else {}
    if note.get("internal") is True or note.get("confidential") is True:
        return "internal"
    if item.is_confidential:
        return "confidential"
    # The older ones say that a note is internal by the event's name alone.
    is_internal = (
        event_name == "Confidential Note Hook" or payload.get("event_type") == "confidential_note"
    )
    return "internal" if is_internal else None


def _text(kind: str, payload: Mapping[str, Any], item: Item) -> str:
    attributes = mapping(payload.get("object_attributes"))
    return text(attributes.get("note")) if kind == "note" else item.body


def _comment_id(kind: str, action: str | None, payload: Mapping[str, Any]) -> str | None:
    if kind != "note" or action not in _CREATED:
        return None
    return key(mapping(payload.get("object_attributes")).get("id"))


def _change(payload: Mapping[str, Any]) -> str | None:
    """The value that an update set: a label that was put on or taken off, a person, a milestone."""
    changes = payload.get("changes")
    for name, read in (("labels", titles), ("assignees", usernames), ("reviewers", usernames)):
        told = change_of(changes, name)
        if told is not None:
            before, now = (list(read(one)) for one in told)
            added = [one for one in now if one not in before]
            changed = added or [one for one in before if one not in now]
            if changed:
                return changed[0]
    return None


def _outcome(kind: str, action: str | None, payload: Mapping[str, Any]) -> str | None:
    if kind == "deployment":
        return text(payload.get("status")).lower() or None
    return "approved" if kind == "merge_request" and action in APPROVED else None


def _happened_at(payload: Mapping[str, Any], item: Item) -> str | None:
    """When the item last changed, as far as it is told; a comment changes the item it is on."""
    attributes = mapping(payload.get("object_attributes"))
    told = (
        attributes.get("updated_at"),
        item.told.get("updated_at"),
        payload.get("status_changed_at") if item.kind == "deployment" else None,
    )
    return max((found for found in map(moment, told) if found), default=None)
