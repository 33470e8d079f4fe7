"""Reads what GitLab says in several ways over its ages: moments, states, names of bots.

https://docs.gitlab.com/user/project/integrations/webhook_events/
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

from aether.sources.reading import mapping, sequence, text

BOOKKEEPING: Final = frozenset(
    {"updated_at", "updated_by_id", "last_edited_at", "last_edited_by_id", "relative_position"}
)
"""What changes along with whatever is changed."""

# Tokens of projects and groups act as users of these names:
# https://docs.gitlab.com/user/project/settings/project_access_tokens/#bot-users-for-projects
# Service accounts have such a name unless they were given another:
# https://docs.gitlab.com/api/service_accounts/
_BOT: Final = re.compile(
    r"(?:project|group)_\d+_bot(?:_?[0-9a-z]+)?"
    r"|service_account_(?:(?:group|project)_\d+_)?[0-9a-f]{6,}"
    # https://docs.gitlab.com/administration/internal_users/ ; a number where the name was taken
    r"|(?:support|alert|migration|security-policy|gitlab-security|gitlab-admin|gitlab-automation"
    r"|gitlab-llm)-bot\d*"
    r"|gitlab-security-policy-project-\d+-bot\d*|gitlabduo|gitlab-duo",
    re.IGNORECASE | re.ASCII,
)
_SERVICE_DESK: Final = re.compile(r"support-bot\d*", re.IGNORECASE | re.ASCII)
_ZONE: Final = re.compile(r"\s+(?=[+-]\d\d:?\d\d$)")


def is_bot(username: str) -> bool:
    """Whether GitLab gives this name to a program; it says so in no other way.

    A service account that was given a name of its own passes for a person.
    """
    return _BOT.fullmatch(username) is not None


def association(username: str) -> str | None:
    """NONE for the account that speaks for whoever writes to Service Desk; else not told.

    https://docs.gitlab.com/user/project/service_desk/configure/#support-bot-user
    """
    return "NONE" if _SERVICE_DESK.fullmatch(username) else None


def parsed(value: object) -> datetime | None:
    """A moment in any of the ways in which GitLab writes them, else None.

    ISO 8601 in bodies of issues and in the API, ``2015-05-17 17:06:40 UTC`` in those of merge
    requests and notes, ``2025-05-02 11:55:16 +0000`` in those of deployments.
    """
    told = _ZONE.sub("", text(value).strip())
    if told.endswith(" UTC"):
        told = f"{told.removesuffix(' UTC')}+00:00"
    try:
        at = datetime.fromisoformat(told)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def moment(value: object) -> str | None:
    """``2026-02-18T10:00:00Z``; fractions are cut off, since not every telling has them."""
    at = parsed(value)
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else None


def state(value: object) -> str | None:
    """``open`` for ``opened`` and, as it once was, ``reopened``; any other word as it is."""
    told = text(value)
    return "open" if told in {"opened", "reopened"} else told or None


def titles(labels: object) -> tuple[str, ...]:
    """The names of labels: objects in webhooks, plain strings in the API."""
    told = (one if isinstance(one, str) else mapping(one).get("title") for one in sequence(labels))
    return tuple(name for name in map(text, told) if name)


def usernames(people: object) -> list[str]:
    """The names by which people are mentioned."""
    told = (text(mapping(one).get("username")) for one in sequence(people))
    return [name for name in told if name]


def change_of(changes: Any, name: str) -> tuple[Any, Any] | None:
    """What ``name`` was before and is now, as an update tells it; None where it says nothing."""
    told = mapping(mapping(changes).get(name))
    return (told.get("previous"), told.get("current")) if told else None
