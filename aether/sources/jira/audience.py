"""Whom a comment or an issue of Jira is shown to, and how an answer is shown to no more people.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issue-comments/ (visibility)
https://developer.atlassian.com/cloud/jira/service-desk/customer-request-types/ , internal comments
of Jira Service Management: ``jsdPublic`` in what Jira tells, the property ``sd.public.comment`` in
what it is told.
"""

from collections.abc import Mapping
from typing import Any, Final

from aether.errors import InvalidInputError
from aether.events import Subject, Visibility
from aether.sources.reading import key, mapping, sequence, text

PROPERTY: Final = "sd.public.comment"

_GROUP_ID: Final = "group-id"
_KINDS: Final = frozenset({"role", "group"})
_SECURITY: Final = "security"
_LONGEST: Final = 280


def of_comment(comment: Mapping[str, Any]) -> str | None:
    """Whom a comment is restricted to: ``role:Developers``, ``group:staff``, ``group-id:0f1e``;
    None where it is shown to whoever sees the issue."""
    told = mapping(comment.get("visibility"))
    kind, value, identity = text(told.get("type")), key(told.get("value")), told.get("identifier")
    if kind == "group" and text(identity):
        return f"{_GROUP_ID}:{text(identity)}"  # a group may be renamed, its id stays
    named = value or key(identity)
    return f"{kind}:{named}" if kind and named else None


def is_internal(comment: Mapping[str, Any]) -> bool:
    """Whether customers of a service desk are not shown the comment."""
    if comment.get("jsdPublic") is False:
        return True
    properties = [mapping(one) for one in sequence(comment.get("properties"))]
    return any(
        one.get("key") == PROPERTY and mapping(one.get("value")).get("internal") is True
        for one in properties
    )


def read(
    issue: Mapping[str, Any], comment: Mapping[str, Any]
) -> tuple[Visibility | None, str | None]:
    """What an answer has to keep to: ``Subject.visibility`` and ``Subject.restricted_to``.

    ``comment`` is empty where the event is about the issue itself.
    """
    restricted_to = of_comment(comment)
    level = key(mapping(mapping(issue.get("fields")).get("security")).get("id"))
    secured = f"{_SECURITY}:{level}" if level else None
    if restricted_to or comment.get("visibility") or is_internal(comment):
        return "internal", restricted_to or secured
    return ("confidential", secured) if secured else (None, None)


def comment_fields(subject: Subject) -> dict[str, Any]:
    """What a comment is sent with, so that it is shown to no more people than what it answers.

    Raises:
        InvalidInputError: it was shown to some people only, in a way that cannot be repeated.
    """
    if subject.visibility != "internal":
        return {}
    kind, _, name = (subject.restricted_to or "").partition(":")
    if len(name) > _LONGEST:
        raise InvalidInputError("visibility", "the comment is restricted to a name too long to be")
    if kind == _GROUP_ID:
        return {"visibility": {"type": "group", "identifier": name}}
    if kind and kind != _SECURITY:
        if kind not in _KINDS:
            raise InvalidInputError("visibility", f"Jira knows no restriction to {kind!r}")
        return {"visibility": {"type": kind, "value": name}}
    return {}


def properties(subject: Subject) -> list[dict[str, Any]]:
    """The property that hides a comment from customers; Jira without a service desk passes over.

    Also where a role or a group is named: a restricted comment is no answer to a customer.
    """
    if subject.visibility != "internal":
        return []
    return [{"key": PROPERTY, "value": {"internal": True}}]


def check_issue_of(origin: Subject) -> None:
    """Return quietly if an issue may be made of what ``origin`` says.

    Raises:
        InvalidInputError: that is for a role or a group only, and no issue can be so private.
    """
    kind = (origin.restricted_to or "").partition(":")[0]
    if kind and kind != _SECURITY:
        raise InvalidInputError(
            "create_issue",
            "it was asked for by a comment that only some people may read; a new issue of Jira "
            "would be shown to everybody who sees the project",
        )
