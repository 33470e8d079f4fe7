"""Reads a Jira delivery into a SourceEvent; Cloud's, Server's and Data Center's alike.

https://developer.atlassian.com/cloud/jira/platform/webhooks/
https://developer.atlassian.com/server/jira/platform/webhooks/
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from aether.errors import InvalidInputError
from aether.events import Actor, Candidate, SourceEvent, Subject
from aether.sources.base import Headers
from aether.sources.jira import audience, shapes, texts
from aether.sources.jira import change_key as keys
from aether.sources.reading import clean, decode_json, key, mapping, sequence, text
from aether.vocabulary import SourceName

UPDATED: Final = "jira:issue_updated"
CREATED: Final = "jira:issue_created"
COMMENT_CREATED: Final = "comment_created"
TRANSITION: Final = "transition"
"""How we call the post of a workflow's post function, which has no name of its own."""

CLOSED: Final = "closed"

_LONGEST_NAME: Final = 200
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._:-]{8,200}")
_EDITS: Final = frozenset({"issue_comment_edited", "issue_comment_deleted"})
_CLASSIC_CLOSES: Final = frozenset({"issue_resolved", "issue_closed"})
_COMMENT_ACTS: Final = {
    COMMENT_CREATED: "created",
    "comment_updated": "updated",
    "comment_deleted": "deleted",
    "issue_comment_edited": "updated",
    "issue_comment_deleted": "deleted",
}
_WRITERS: Final = ("comment", "worklog", "attachment")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a delivery says happened: the names to look for, and the key of the change."""

    candidates: tuple[Candidate, ...]
    stops: bool = False
    change_key: str | None = None
    is_comment: bool = False  # somebody commented


def extract(headers: Headers, body: bytes) -> SourceEvent:
    """Read one delivery.

    Raises:
        InvalidInputError: no JSON object in the body, or nothing in it says what happened.
    """
    payload = decode_json(body)
    event_name = text(payload.get("webhookEvent")).strip()[:_LONGEST_NAME]
    if not event_name and isinstance(payload.get("transition"), dict):
        event_name = TRANSITION
    if not event_name:
        raise InvalidInputError(
            "webhookEvent", "is missing: this is no webhook of Jira, nor a post of a workflow"
        )
    return read(payload, event_name, delivery_key=_delivery_key(headers, body))


def read(payload: Mapping[str, Any], event_name: str, *, delivery_key: str) -> SourceEvent:
    """The event that a payload in the shape of a webhook's tells of."""
    action = text(payload.get("issue_event_type_name")).strip()[:_LONGEST_NAME] or None
    issue = mapping(payload.get("issue"))
    comment = mapping(payload.get("comment"))
    told = what_happened(event_name, action, payload)
    issue_text = texts.read(mapping(issue.get("fields")).get("description"))
    is_about_comment = bool(comment) and (
        told.is_comment or event_name in _COMMENT_ACTS or action in _EDITS
    )
    return SourceEvent(
        source=SourceName.JIRA,
        delivery_key=delivery_key,
        change_key=told.change_key or keys.body_key(event_name, payload),
        event_name=event_name,
        action=action,
        candidates=told.candidates,
        stops=told.stops,
        project_names=_project_names(payload, issue),
        subject=_subject(issue, comment, issue_text, is_about_comment=is_about_comment),
        actor=_actor(event_name, payload),
        text=texts.read(comment.get("body")) if is_about_comment else issue_text,
        comment_id=key(comment.get("id")) if told.is_comment else None,
        change=_change(event_name, payload),
        happened_at=_happened_at(payload, issue, comment if is_about_comment else {}),
        payload=payload,
    )


def what_happened(event_name: str, action: str | None, payload: Mapping[str, Any]) -> Told:
    """Under which names the event may be mapped, sharpest first, and whether that is all."""
    issue, comment = mapping(payload.get("issue")), mapping(payload.get("comment"))
    changelog = mapping(payload.get("changelog"))
    own = Candidate(event_name=event_name, action=action)
    if event_name == UPDATED:
        return _of_update(own, issue, comment, changelog)
    if event_name == CREATED:
        return Told(candidates=(own,), change_key=keys.creation_key(issue))
    if event_name in _COMMENT_ACTS:
        is_new = event_name == COMMENT_CREATED
        return Told(
            candidates=(own,),
            stops=not is_new,
            change_key=keys.comment_key(comment, _COMMENT_ACTS[event_name]),
            is_comment=is_new and bool(comment),
        )
    return Told(candidates=(own,))


def status_change(changelog: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The entry of a changelog that moves the issue to another status, or None."""
    for item in map(mapping, sequence(changelog.get("items"))):
        if item.get("fieldtype") == "custom":  # somebody may call a field of his own "status"
            continue
        name = text(item.get("fieldId")) or text(item.get("field"))
        if name.lower() == "status" and (not key(item.get("to")) or item["to"] != item.get("from")):
            return item
    return None


def _of_update(
    own: Candidate,
    issue: Mapping[str, Any],
    comment: Mapping[str, Any],
    changelog: Mapping[str, Any],
) -> Told:
    closed = (Candidate(event_name=UPDATED, action=CLOSED), own)
    logged = keys.changelog_key(issue, changelog)
    if status_change(changelog) is not None:
        if _is_closed(own.action, issue):
            return Told(candidates=closed, change_key=logged or keys.transition_key(issue, CLOSED))
        return Told(candidates=(own,), change_key=logged)
    if comment and _is_new_comment(own.action, comment):
        return Told(
            candidates=(Candidate(event_name=COMMENT_CREATED), own),
            stops=True,  # a comment is no update, also where comments are not mapped
            change_key=keys.comment_key(comment),
            is_comment=True,
        )
    has_changes = bool(sequence(changelog.get("items")))
    if own.action in _EDITS:
        key_of_edit = keys.comment_key(comment, _COMMENT_ACTS[own.action]) if comment else None
        return Told(candidates=(own,), stops=True, change_key=key_of_edit)
    if own.action is None and not has_changes and (comment or not changelog):
        # How old Servers tell of a comment that was edited, or deleted: no change at all.
        return Told(candidates=(own,), stops=True)
    if own.action in _CLASSIC_CLOSES and not has_changes and _is_closed(own.action, issue):
        return Told(candidates=closed, change_key=logged or keys.transition_key(issue, CLOSED))
    return Told(candidates=(own,), change_key=logged)


def _is_closed(action: str | None, issue: Mapping[str, Any]) -> bool:
    """Whether the status is now of the category "done"; the type tells where none is told."""
    status = mapping(mapping(issue.get("fields")).get("status"))
    category = text(mapping(status.get("statusCategory")).get("key"))
    return category == shapes.DONE if category else action in _CLASSIC_CLOSES


def _is_new_comment(action: str | None, comment: Mapping[str, Any]) -> bool:
    if action is not None:
        return action == "issue_commented"
    created = shapes.moment(comment.get("created"))
    return created is not None and created == shapes.moment(comment.get("updated"))


def _delivery_key(headers: Headers, body: bytes) -> str:
    # One for all retries of a delivery. Server sends none, and sends each delivery once.
    sent = clean(headers.get("x-atlassian-webhook-identifier", "")).strip()
    if _IDENTIFIER.fullmatch(sent):
        return sent
    return f"body:{hashlib.sha256(body).hexdigest()}"


def _project_names(payload: Mapping[str, Any], issue: Mapping[str, Any]) -> tuple[str, ...]:
    project = mapping(mapping(issue.get("fields")).get("project"))
    if not issue:
        project = mapping(payload.get("project"))
    name = text(project.get("key")) or shapes.project_of_key(text(issue.get("key")))
    return tuple(dict.fromkeys(one for one in (name, key(project.get("id"))) if one))


def _subject(
    issue: Mapping[str, Any],
    comment: Mapping[str, Any],
    body: str,
    *,
    is_about_comment: bool,
) -> Subject | None:
    fields = mapping(issue.get("fields"))
    issue_key = text(issue.get("key")).strip()
    if not issue_key:
        # Server's comment_created names no issue; Jira.complete asks for it.
        known = shapes.issue_id(comment) if is_about_comment else None
        return Subject(kind="issue", project="", key="") if known else None
    names = _project_names({}, issue)
    visibility, restricted_to = audience.read(issue, comment if is_about_comment else {})
    writers = (fields.get("creator"), fields.get("reporter"))
    author = next((one for one in writers if shapes.login(one)), None)
    return Subject(
        kind="issue",
        project=names[0] if names else "",
        key=issue_key,
        title=text(fields.get("summary")),
        body=body,
        url=shapes.browse_url(issue.get("self"), issue_key),
        state=text(mapping(fields.get("status")).get("name")) or None,
        author=shapes.login(author),
        author_association=shapes.association(author),
        labels=tuple(one for one in map(text, sequence(fields.get("labels"))) if one),
        visibility=visibility,
        restricted_to=restricted_to,
    )


def _actor(event_name: str, payload: Mapping[str, Any]) -> Actor | None:
    wrote = [mapping(payload.get(name)) for name in _WRITERS]
    last = event_name.endswith("_updated")
    names = ("updateAuthor", "author") if last else ("author", "updateAuthor")
    writers = [one.get(name) for one in wrote for name in names]
    users = [payload.get("user")]
    told = [*writers, *users] if event_name in _COMMENT_ACTS else [*users, *writers]
    return next((actor for one in told if (actor := shapes.actor(one))), None)


def _change(event_name: str, payload: Mapping[str, Any]) -> str | None:
    """What the status, or else the first changed field, is now, as people read it."""
    if event_name != UPDATED:
        return None
    changelog = mapping(payload.get("changelog"))
    changed = status_change(changelog) or next(iter(sequence(changelog.get("items"))), None)
    return text(mapping(changed).get("toString"))[:_LONGEST_NAME] or None


def _happened_at(
    payload: Mapping[str, Any], issue: Mapping[str, Any], comment: Mapping[str, Any]
) -> str | None:
    """When the item last changed, by Jira's clock."""
    changed = (comment.get("updated"), mapping(issue.get("fields")).get("updated"))
    known = [one for one in map(shapes.moment, changed) if one]
    last = max(known) if known else shapes.moment(payload.get("timestamp"))
    return last.astimezone(UTC).isoformat().replace("+00:00", "Z") if last else None
