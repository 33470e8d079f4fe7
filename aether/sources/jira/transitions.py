"""Closes and reopens: a status is changed by the transitions that the workflow offers, only.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/ (transitions)
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from aether.errors import UpstreamError
from aether.sources.jira.shapes import DONE
from aether.sources.jira.site import Site, issue_path
from aether.sources.reading import key, mapping, sequence, text

# Names are free; these words only choose among several that do.
_IN_VAIN: Final = (
    *("won't", "wont", "not do", "not planned", "reject", "declin", "cancel", "abandon"),
    *("invalid", "duplicate", "obsolete", "cannot", "incomplete", "discard"),
)
_RESOLUTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "completed": ("done", "fixed", "resolved", "complete", "completed"),
    "not_planned": (
        *("won't do", "won't fix", "wontfix", "not planned", "declined", "rejected"),
        *("cancelled", "canceled", "abandoned", "obsolete"),
    ),
    "duplicate": ("duplicate", "won't do", "won't fix"),
}
_REOPEN_WORDS: Final = ("reopen", "re-open")


async def close(site: Site, issue_key: str, reason: str | None) -> None:
    """Bring an issue into a status of the category "done"; nothing where it is in one.

    ``reason`` is completed, not_planned or duplicate: it chooses among several ways, and the
    resolution where the transition asks for one.

    Raises:
        UpstreamError: no transition leads there from the present status, each needs a field that
            only a person can fill, or Jira refused.
    """
    wanted = reason if reason is not None and reason in _RESOLUTIONS else "completed"
    status = await _status(site, issue_key)
    if _category(status) == DONE:
        return
    offered = await _offered(site, issue_key)
    ways = [one for one in offered if _category(one.get("to")) == DONE]
    _check_any(ways, offered, status, "a done one")
    ways.sort(key=lambda one: (bool(_missing(one)), _is_in_vain(one) == (wanted == "completed")))
    await _take(site, issue_key, ways[0], _resolution(ways[0], wanted))


async def reopen(site: Site, issue_key: str) -> None:
    """Bring an issue out of the category "done"; nothing where it is not in it.

    Raises:
        UpstreamError: as for ``close``.
    """
    status = await _status(site, issue_key)
    if _category(status) != DONE:
        return
    offered = await _offered(site, issue_key)
    ways = [one for one in offered if _category(one.get("to")) not in {DONE, ""}]
    _check_any(ways, offered, status, "an open one")
    ways.sort(key=lambda one: (bool(_missing(one)), _reopening_rank(one)))
    await _take(site, issue_key, ways[0], {})


async def _status(site: Site, issue_key: str) -> Mapping[str, Any]:
    issue = mapping(await site.call("GET", issue_path(issue_key), query={"fields": "status"}))
    return mapping(mapping(issue.get("fields")).get("status"))


async def _offered(site: Site, issue_key: str) -> list[Mapping[str, Any]]:
    path = f"{issue_path(issue_key)}/transitions"
    answer = await site.call("GET", path, query={"expand": "transitions.fields"})
    told = map(mapping, sequence(mapping(answer).get("transitions")))
    return [one for one in told if key(one.get("id")) and one.get("isAvailable") is not False]


async def _take(
    site: Site, issue_key: str, transition: Mapping[str, Any], fields: Mapping[str, Any]
) -> None:
    asked: dict[str, Any] = {"transition": {"id": key(transition.get("id"))}}
    if fields:
        asked["fields"] = dict(fields)
    try:
        await site.call("POST", f"{issue_path(issue_key)}/transitions", json=asked)
    except UpstreamError as error:
        missing = [_field_name(transition, one) for one in _missing(transition) - fields.keys()]
        if error.status != 400 or not missing:
            raise
        # A field that has its value already is not asked for, so only Jira knows.
        raise UpstreamError(
            f"Jira's transition {text(transition.get('name'))!r} needs "
            f"{', '.join(sorted(missing))}, which may have to be filled in by a person: {error}",
            status=error.status,
            retryable=False,
        ) from error


def _check_any(
    ways: Iterable[Mapping[str, Any]],
    offered: Iterable[Mapping[str, Any]],
    status: Mapping[str, Any],
    wanted: str,
) -> None:
    if any(True for _ in ways):
        return
    names = [
        f"{text(one.get('name'))!r} to {text(mapping(one.get('to')).get('name'))!r}"
        for one in offered
    ]
    there = f"there are {', '.join(names)}" if names else "this account may make none"
    raise UpstreamError(
        f"Jira's workflow has no transition from {text(status.get('name'))!r} to {wanted}: {there}",
        status=422,
        retryable=False,
    )


def _missing(transition: Mapping[str, Any]) -> set[str]:
    """Fields that the transition requires and that have no default; a resolution we can give."""
    return {
        name
        for name, one in mapping(transition.get("fields")).items()
        if mapping(one).get("required") is True
        and mapping(one).get("hasDefaultValue") is not True
        and not (name == "resolution" and sequence(mapping(one).get("allowedValues")))
    }


def _field_name(transition: Mapping[str, Any], name: str) -> str:
    told = mapping(mapping(transition.get("fields")).get(name))
    return text(told.get("name")) or name


def _resolution(transition: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """The resolution that fits, where the transition asks for one."""
    field = mapping(mapping(transition.get("fields")).get("resolution"))
    allowed = [text(mapping(one).get("name")) for one in sequence(field.get("allowedValues"))]
    by_name = {name.lower().replace("\u2019", "'"): name for name in allowed if name}
    chosen = next((by_name[one] for one in _RESOLUTIONS[reason] if one in by_name), None)
    if (
        chosen is None
        and field.get("required") is True
        and field.get("hasDefaultValue") is not True
    ):
        chosen = next(iter(by_name.values()), None)
    return {"resolution": {"name": chosen}} if chosen else {}


def _category(status: object) -> str:
    return text(mapping(mapping(status).get("statusCategory")).get("key"))


def _is_in_vain(transition: Mapping[str, Any]) -> bool:
    names = f"{text(transition.get('name'))} {text(mapping(transition.get('to')).get('name'))}"
    return any(word in names.lower().replace("\u2019", "'") for word in _IN_VAIN)


def _reopening_rank(transition: Mapping[str, Any]) -> int:
    if any(word in text(transition.get("name")).lower() for word in _REOPEN_WORDS):
        return 0
    return 1 if _category(transition.get("to")) == "new" else 2
