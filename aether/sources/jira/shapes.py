"""Reads what Cloud and Server spell in different ways: people, moments, projects, addresses."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aether.events import Actor
from aether.sources.reading import key, mapping, text

DONE: Final = "done"  # the key of a status category; names are free and translated

_ISSUE_KEY: Final = re.compile(r"([A-Za-z][A-Za-z0-9_]*)-([0-9]{1,18})")
_ISSUE_OF_SELF: Final = re.compile(r"/rest/api/[^/]+/issue/([0-9]{1,20})(?:/|$)")


def login(user: object) -> str | None:
    """How a person is called in mappings, audit and credentials: ``name``, else ``accountId``.

    Cloud has had no names since 2019; Server has no account ids. Some old bodies hold only a
    ``key`` or a ``displayName``.
    """
    told = mapping(user)
    names = ("name", "accountId", "key", "displayName")
    return next((found for name in names if (found := key(told.get(name)))), None)


def spellings(user: object) -> frozenset[str]:
    """Every way in which a person may be named, case folded."""
    told = mapping(user)
    names = ("name", "accountId", "key", "displayName", "emailAddress")
    return frozenset(text(told.get(name)).casefold() for name in names) - {""}


def is_app(user: object) -> bool:
    """Whether it is an app's account; API tokens speak as people."""
    return mapping(user).get("accountType") == "app"


def association(user: object) -> str | None:
    """NONE for a customer of Jira Service Management, who sees its portal only; else not told.

    https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-users/#api-rest-api-3-user-get
    """
    return "NONE" if mapping(user).get("accountType") == "customer" else None


def actor(user: object) -> Actor | None:
    """Who did it, or None where nobody is told."""
    told, name = mapping(user), login(user)
    if name is None:
        return None
    identity = key(told.get("accountId")) or key(told.get("key")) or key(told.get("name"))
    return Actor(login=name, is_bot=is_app(told), id=identity, association=association(told))


def moment(value: object) -> datetime | None:
    """The time in ``2026-03-04T08:19:05.678+0000`` or in epoch milliseconds, in UTC."""
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value / 1000, UTC)
        except (OverflowError, ValueError, OSError):
            return None
    try:
        told = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    try:
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        return None


def project_of_key(issue_key: str) -> str:
    """``PROJ`` of ``PROJ-12``; empty where it is no issue's key."""
    found = _ISSUE_KEY.fullmatch(issue_key)
    return found[1] if found else ""


def number_of_key(issue_key: str) -> int | None:
    """12 of ``PROJ-12``."""
    found = _ISSUE_KEY.fullmatch(issue_key)
    return int(found[2]) if found else None


def issue_id(thing: Mapping[str, Any]) -> str | None:
    """The number of the issue in the address of something that belongs to it, a comment say."""
    found = _ISSUE_OF_SELF.search(text(thing.get("self")))
    return found[1] if found else None


def browse_url(own_address: object, issue_key: str) -> str:
    """What a person opens, made of an ``…/rest/api/…`` address; it keeps a context path.

    Empty where the address is of Atlassian's API gateway, which has no pages.
    """
    site, found, _ = text(own_address).partition("/rest/api/")
    if not found or not site.startswith(("http://", "https://")) or not issue_key:
        return ""
    return "" if "//api.atlassian.com/" in f"{site}/" else f"{site}/browse/{issue_key}"
