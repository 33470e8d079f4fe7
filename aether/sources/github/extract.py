"""Reads a GitHub delivery into a SourceEvent.

https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from aether.errors import InvalidInputError
from aether.events import Actor, Candidate, ItemKind, SourceEvent, Subject
from aether.sources.base import Headers
from aether.sources.github.change_key import change_key
from aether.sources.reading import (
    clean,
    decode_json,
    key,
    mapping,
    moment_text,
    number_key,
    sequence,
    text,
)
from aether.vocabulary import INSIDERS, SourceName

_FORM: Final = "application/x-www-form-urlencoded"
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LONGEST_NAME: Final = 100  # GitHub's own limit of a repository_dispatch's action
_CHANGES: Final = (
    ("label", "name"),
    ("assignee", "login"),
    ("milestone", "title"),
    ("requested_reviewer", "login"),
    ("requested_team", "slug"),
    ("type", "name"),
)


def extract(headers: Headers, body: bytes) -> SourceEvent:
    """Read one delivery: JSON, or a form with the JSON in its field ``payload``.

    Raises:
        InvalidInputError: no ``X-GitHub-Event``, or no JSON object in the body.
    """
    event_name = clean(headers.get("x-github-event", "")).strip()
    if not event_name:
        raise InvalidInputError("X-GitHub-Event", "the header is missing")
    if len(event_name) > _LONGEST_NAME:
        raise InvalidInputError("X-GitHub-Event", f"longer than {_LONGEST_NAME} characters")
    payload = _payload(headers, body)
    return read_event(event_name, payload, delivery_key=_delivery_key(headers, event_name, body))


def read_event(event_name: str, payload: Mapping[str, Any], *, delivery_key: str) -> SourceEvent:
    """The event that ``payload``, which has been made storable, tells of."""
    action = text(payload.get("action"))[:_LONGEST_NAME] or None
    kind, item = _item(event_name, payload)
    candidates, stops = _candidates(event_name, action, payload, kind, item)
    words = _words(payload, item)
    return SourceEvent(
        source=SourceName.GITHUB,
        delivery_key=delivery_key,
        change_key=change_key(candidates[0], payload, kind or "", item),
        event_name=event_name,
        action=action,
        candidates=candidates,
        stops=stops,
        is_ping=event_name == "ping",
        project_names=_project_names(payload),
        subject=_subject(payload, kind, item),
        actor=_actor(payload, words, item),
        text=text(words.get("body")) or text(words.get("description")),
        comment_id=_comment_id(action, payload),
        change=_change(payload),
        outcome=_outcome(payload),
        happened_at=moment_text(item.get("updated_at")) if kind != "deployment" else None,
        payload=payload,
    )


def _payload(headers: Headers, body: bytes) -> dict[str, Any]:
    if not headers.get("content-type", "").strip().lower().startswith(_FORM):
        return decode_json(body)
    try:
        fields = parse_qs(body.decode(), errors="strict", max_num_fields=100)
    except ValueError:
        raise InvalidInputError("body", "is not a readable form") from None
    if "payload" not in fields:
        raise InvalidInputError(
            "payload", "the form has no such field; send JSON as Content-Type: application/json"
        )
    return decode_json(fields["payload"][0].encode(), field="payload")


def _delivery_key(headers: Headers, event_name: str, body: bytes) -> str:
    sent = clean(headers.get("x-github-delivery", "")).strip()
    if _GUID.fullmatch(sent):
        return sent.lower()
    # Stand-ins for GitHub send a counter that starts over with each start; the hook and the body
    # tell its rounds apart.
    digest = hashlib.sha256(event_name.encode() + b"\n" + body).hexdigest()
    if not sent:
        return f"body:{digest}"
    hook = clean(headers.get("x-github-hook-id", "")).strip()
    return f"{hook[:40]}:{digest[:16]}:{sent[:64]}"


def _item(event_name: str, payload: Mapping[str, Any]) -> tuple[ItemKind | None, Mapping[str, Any]]:
    if pull := mapping(payload.get("pull_request")):
        return "pr", pull
    if issue := mapping(payload.get("issue")):
        return ("pr" if isinstance(issue.get("pull_request"), dict) else "issue"), issue
    deployment = mapping(payload.get("deployment"))
    if deployment and event_name.startswith("deployment"):  # a workflow_job only mentions one
        return "deployment", deployment
    return None, {}


def _candidates(
    event_name: str,
    action: str | None,
    payload: Mapping[str, Any],
    kind: ItemKind | None,
    item: Mapping[str, Any],
) -> tuple[tuple[Candidate, ...], bool]:
    """Under which names the event may be mapped, sharpest first, and whether that is all."""
    if event_name == "deployment_status":
        state = text(mapping(payload.get(event_name)).get("state")).lower()[:_LONGEST_NAME]
        return (Candidate(event_name=event_name, action=state or action),), True
    if event_name == "issue_comment" and action == "created" and kind == "pr":
        return (Candidate(event_name="pull_request_comment", action=action),), True
    if event_name == "issues" and kind == "pr":
        event_name = "pull_request"
    own = Candidate(event_name=event_name, action=action)
    if event_name == "pull_request" and action == "closed" and _is_merged(item):
        return (Candidate(event_name=event_name, action="merged"), own), False
    return (own,), False


def _is_merged(item: Mapping[str, Any]) -> bool:
    as_issue = mapping(item.get("pull_request"))  # how an issue object tells it
    return item.get("merged") is True or bool(as_issue.get("merged_at"))


def _words(payload: Mapping[str, Any], item: Mapping[str, Any]) -> Mapping[str, Any]:
    """What somebody wrote just now: the comment, the review, else the item itself."""
    for name in ("comment", "review", "deployment_status"):
        if written := mapping(payload.get(name)):
            return written
    return item


def _project_names(payload: Mapping[str, Any]) -> tuple[str, ...]:
    repository = mapping(payload.get("repository"))
    full_name = text(repository.get("full_name"))
    if not full_name:
        owner, name = mapping(repository.get("owner")), text(repository.get("name"))
        login = text(owner.get("login")) or text(owner.get("name"))
        full_name = f"{login}/{name}" if login and name else ""
    return tuple(name for name in (full_name, key(repository.get("id"))) if name)


def _subject(
    payload: Mapping[str, Any], kind: ItemKind | None, item: Mapping[str, Any]
) -> Subject | None:
    names = _project_names(payload)
    number = number_key(item.get("id" if kind == "deployment" else "number"))
    if kind is None or number is None or not names or "/" not in names[0]:
        return None
    if kind == "deployment":
        return Subject(
            kind=kind,
            project=names[0],
            key=number,
            title=text(item.get("environment")),
            body=text(item.get("description")),
            url=text(mapping(payload.get("deployment_status")).get("target_url")),
            state=_outcome(payload),
            author=_login(item.get("creator")),
        )
    return Subject(
        kind=kind,
        project=names[0],
        key=number,
        title=text(item.get("title")),
        body=text(item.get("body")),  # GitHub sends null for an empty one
        url=text(item.get("html_url")),
        state=text(item.get("state")) or None,
        author=_login(item.get("user")),  # null for a deleted account
        author_association=text(item.get("author_association")) or None,
        labels=_labels(item),
    )


def _labels(item: Mapping[str, Any]) -> tuple[str, ...]:
    told = (text(mapping(label).get("name")) for label in sequence(item.get("labels")))
    return tuple(name for name in told if name)


def _login(user: object) -> str | None:
    return text(mapping(user).get("login")) or None


def _actor(
    payload: Mapping[str, Any], words: Mapping[str, Any], item: Mapping[str, Any]
) -> Actor | None:
    sender = mapping(payload.get("sender"))
    login = _login(sender)
    if login is None:
        return None
    return Actor(
        login=login,
        is_bot=sender.get("type") == "Bot",
        id=key(sender.get("id")),
        association=_association(payload, words, item, login),
    )


def _association(
    payload: Mapping[str, Any], words: Mapping[str, Any], item: Mapping[str, Any], login: str
) -> str | None:
    """How whoever caused the event stands to the project, if told."""
    if words is not item:
        return text(words.get("author_association")) or None
    about = item or mapping(payload.get("discussion"))
    told = text(about.get("author_association")) or None
    if _login(about.get("user")) == login:
        return told
    # An item's association is its author's, which says nothing of whoever labels or closes it. But
    # whoever pushes to a fork needs no right here: its owner lets them, who may be a stranger.
    return told if told not in INSIDERS and _is_pushed_to_a_fork(payload, item) else None


def _is_pushed_to_a_fork(payload: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    own, other = (mapping(mapping(item.get(end)).get("repo")).get("id") for end in ("base", "head"))
    return payload.get("action") == "synchronize" and own != other


def _comment_id(action: str | None, payload: Mapping[str, Any]) -> str | None:
    return key(mapping(payload.get("comment")).get("id")) if action == "created" else None


def _change(payload: Mapping[str, Any]) -> str | None:
    values = (text(mapping(payload.get(thing)).get(name)) for thing, name in _CHANGES)
    return next((value for value in values if value), None)


def _outcome(payload: Mapping[str, Any]) -> str | None:
    status = mapping(payload.get("deployment_status")) or mapping(payload.get("review"))
    return text(status.get("state")).lower() or None
