"""Reads a Plane delivery into a SourceEvent, of whichever age.

https://developers.plane.so/dev-tools/intro-webhooks
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from aether.errors import InvalidInputError
from aether.events import Actor, Candidate, SourceEvent, Subject
from aether.sources.base import Headers
from aether.sources.plane import change_key as keys
from aether.sources.plane import dialects, shapes, texts
from aether.sources.plane.dialects import COMMENT, ITEM, Act
from aether.sources.reading import clean, decode_json, key, mapping, moment_text, sequence, text
from aether.vocabulary import SourceName

CREATED: Final = "issue.created"
UPDATED: Final = "issue.updated"
CLOSED: Final = "issue.closed"
COMMENTED: Final = "issue.commented"

_LONGEST_NAME: Final = 200
_PINGS: Final = frozenset({"ping", "test", "webhook.ping", "webhook.test"})
_SLUG: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


def extract(headers: Headers, body: bytes) -> SourceEvent:
    """Read one delivery.

    Raises:
        InvalidInputError: no JSON object in the body, or nothing in it says what happened.
    """
    payload = decode_json(body)
    header = clean(headers.get("x-plane-event", "")).strip()[:_LONGEST_NAME]
    event_name = text(payload.get("event")).strip()[:_LONGEST_NAME] or header
    if not event_name:
        raise InvalidInputError("event", "is missing: this is no webhook of Plane")
    return read(payload, event_name, header=header, delivery_key=_delivery_key(payload, body))


def read(
    payload: Mapping[str, Any], event_name: str, *, delivery_key: str, header: str = ""
) -> SourceEvent:
    """The event that a payload in the shape of a webhook's tells of."""
    told = dialects.understand(payload, event_name, header)
    action = key(payload.get("action"))
    own = Candidate(event_name=event_name, action=action[:_LONGEST_NAME] if action else None)
    is_closed = dialects.closes(told, payload)
    names = _names(told, is_closed=is_closed)
    comment = _comment(told)
    subject = _subject(payload, told, comment)
    is_new = told.thing == ITEM and told.act == "created"
    body = subject.body if subject else ""
    is_comment = told.thing == COMMENT
    return SourceEvent(
        source=SourceName.PLANE,
        delivery_key=delivery_key,
        change_key=_change_key(payload, told, comment, event_name, is_closed=is_closed),
        event_name=event_name,
        action=own.action,
        candidates=tuple(dict.fromkeys((*(Candidate(event_name=one) for one in names), own))),
        stops=not {CREATED, UPDATED, COMMENTED} & set(names),
        is_ping=event_name.lower() in _PINGS,
        project_names=_project_names(payload, told),
        subject=subject,
        actor=_actor(payload, told, comment),
        text=texts.marked(texts.comment_of(comment), comment) if is_comment
        else texts.marked(body, told.data) if is_new else body,
        comment_id=shapes.reference(comment) if COMMENTED in names else None,
        change=_change(told),
        happened_at=_happened_at(told, comment),
        payload=payload,
    )  # fmt: skip


def _names(told: Act, *, is_closed: bool) -> tuple[str, ...]:
    """The names under which mappings know an act, sharpest first."""
    if told.thing == COMMENT and told.act == "created":
        return (COMMENTED,)
    return (CLOSED, UPDATED) if is_closed else (told.name,)


def _delivery_key(payload: Mapping[str, Any], body: bytes) -> str:
    # X-Plane-Delivery is another one for each attempt; v2's event_id is not.
    event_id = shapes.uuid(payload.get("event_id"))
    hook = shapes.uuid(payload.get("webhook_id")) or ""
    return f"{event_id}:{hook}" if event_id else f"body:{hashlib.sha256(body).hexdigest()}"


def _change_key(
    payload: Mapping[str, Any],
    told: Act,
    comment: Mapping[str, Any],
    event_name: str,
    *,
    is_closed: bool,
) -> str:
    data, changed_at = told.data, told.data.get("updated_at")
    found = None
    if told.thing == COMMENT:
        edited = comment.get("edited_at")
        at = edited if shapes.is_set(edited) else comment.get("updated_at")
        found = keys.comment_key(comment, told.act, at)
    elif told.thing == ITEM and told.is_own and told.act in {"created", "deleted"}:
        created = keys.creation_key(data)
        found = created if told.act == "created" else created and f"{created[:-7]}deleted"
    elif is_closed:
        found = keys.state_key(data, "closed", changed_at)
    elif told.thing == ITEM and told.is_own and told.act == "updated":
        found = keys.update_key(data, told.changed, changed_at)
    return found or keys.body_key(event_name, payload)


def _comment(told: Act) -> Mapping[str, Any]:
    """The comment of an event about one; v2 tells it inside its item."""
    if told.thing != COMMENT:
        return {}
    nested = mapping(told.data.get("comment"))
    return nested if told.is_v2 and nested else told.data


def _subject(payload: Mapping[str, Any], told: Act, comment: Mapping[str, Any]) -> Subject | None:
    """The work item that an event is about, or that what it is about hangs on."""
    data = told.data
    project = next(iter(_project_names(payload, told)), "")
    if told.thing == ITEM:
        return Subject(
            kind="issue",
            project=project,
            key=_item_key(payload, data, told) or "",
            title=text(data.get("name")),
            body=texts.body_of(data),
            state=shapes.state_name(data),
            author=_author(data),
            labels=shapes.label_names(data),
        )
    if told.thing != "intake_issue" and not told.thing.startswith(f"{ITEM}."):
        return None
    # Of what hangs on it only its id is told; old and polled ones tell a little more.
    item = mapping(data.get("issue_detail")) or mapping(data.get("issue"))
    is_nested = comment is not data and bool(comment)
    found = shapes.first(data, "issue", "issue_id") or shapes.first(comment, "issue", "issue_id")
    if found is None and is_nested:
        found = shapes.reference(data)
    if found is None and text(payload.get("entity_type")) == ITEM:
        found = shapes.reference(payload.get("entity_id"))
    return Subject(
        kind="issue",
        project=project,
        key=found or "",
        title=text(data.get("name")) if is_nested else text(item.get("name")),
        body=texts.body_of(item),
        state=shapes.state_name(item),
        author=_author(item),
        labels=shapes.label_names(item),
    )


def _author(item: Mapping[str, Any]) -> str | None:
    told = item.get("created_by")
    return (
        shapes.name_of(told) if mapping(told) else shapes.first(item, "created_by", "created_by_id")
    )


def _item_key(payload: Mapping[str, Any], data: Mapping[str, Any], told: Act) -> str | None:
    """The id; the key that people see only where nothing else is told, since hardly any do."""
    found = shapes.reference(data)
    if found is None and told.is_v2:
        found = shapes.reference(payload.get("entity_id"))
    if found is None:
        project = mapping(data.get("project_detail")) or mapping(data.get("project"))
        prefix, number = text(project.get("identifier")), key(data.get("sequence_id"))
        found = f"{prefix}-{number}" if prefix and number else None
    return found


def _project_names(payload: Mapping[str, Any], told: Act) -> tuple[str, ...]:
    """The project's id, then ``workspace/id`` and ``workspace/IDENTIFIER`` where they are told."""
    data = told.data
    if told.thing == "project":
        identity, identifier = shapes.reference(data), text(data.get("identifier"))
        if identity is None and told.is_v2:
            identity = shapes.reference(payload.get("entity_id"))
    else:
        identity = shapes.first(data, "project", "project_id", "project_detail")
        about = mapping(data.get("project_detail")) or mapping(data.get("project"))
        identifier = text(about.get("identifier"))
    if identity is None:
        return ()
    told_of = (data.get("workspace_detail"), data.get("workspace"), payload.get("workspace"))
    slugs = (text(mapping(one).get("slug")) for one in told_of)
    slug = next((one for one in slugs if _SLUG.fullmatch(one)), None)
    names = [identity, f"{slug}/{identity}"] if slug else [identity]
    return tuple([*names, f"{slug}/{identifier}"] if slug and identifier else names)


def _actor(payload: Mapping[str, Any], told: Act, comment: Mapping[str, Any]) -> Actor | None:
    activity = mapping(payload.get("activity"))
    found = shapes.actor(activity.get("actor"))
    if found is None and shapes.uuid(activity.get("actor")):
        return Actor(login=str(shapes.uuid(activity["actor"])), id=shapes.uuid(activity["actor"]))
    if found is not None or told.act == "deleted":
        return found  # a record of what is gone does not tell who took it away
    wrote = ("actor", "actor_id", "created_by", "created_by_id")
    names = wrote if told.act == "created" else ("updated_by", "updated_by_id")
    source = comment or told.data
    for name in names if not comment or told.act == "created" else ("actor", "actor_id", *names):
        if isinstance(source.get(name), dict) and (expanded := shapes.actor(source[name])):
            return expanded
        if identity := shapes.reference(source.get(name)):
            return Actor(login=identity, id=identity)
    return None


def _change(told: Act) -> str | None:
    """What the first changed aspect is now, as people read it."""
    for name, value in told.changed.items():
        if name == "state":
            return (shapes.state_name(told.data) or text(value))[:_LONGEST_NAME] or None
        if name in {"labels", "assignees"}:
            wanted = shapes.ids(value)
            people = (mapping(one) for one in sequence(told.data.get(name)))
            shown = [
                text(one.get("name")) or text(one.get("display_name"))
                for one in people
                if shapes.reference(one) in wanted
            ]
            return (shown[-1] if shown else text(value))[:_LONGEST_NAME] or None
        return None if name in keys.WORDY else text(value)[:_LONGEST_NAME] or None
    return None


def _happened_at(told: Act, comment: Mapping[str, Any]) -> str | None:
    """When the item, or the comment, last changed, by Plane's clock."""
    source = comment or told.data
    names = ("updated_at", "edited_at", "created_at")
    return next((at for name in names if (at := moment_text(source.get(name)))), None)
