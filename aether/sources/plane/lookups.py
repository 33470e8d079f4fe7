"""Finds what a project calls its states, labels and people, whose ids Plane wants to be told.

https://developers.plane.so/api-reference/state/overview ,
https://developers.plane.so/api-reference/label/overview ,
https://developers.plane.so/api-reference/members/overview
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aether.errors import InvalidInputError, UpstreamError
from aether.sources.plane import shapes
from aether.sources.plane.site import Workspace, results
from aether.sources.reading import mapping, text

LONGEST_LABEL: Final = 255

_REASONS: Final = {"not_planned": "cancelled", "duplicate": "cancelled"}
_OPEN_GROUPS: Final = ("unstarted", "backlog", "started")
_ABSENT: Final = frozenset({403, 404, 405})
_MOST_NAMED: Final = 10


async def states(site: Workspace) -> list[Mapping[str, Any]]:
    """The project's states, in its own order."""
    path = f"/projects/{await site.project()}/states/"
    found = [one async for one in site.each(path, {})]
    return sorted(found, key=_sequence)


def closing_state(known: Sequence[Mapping[str, Any]], reason: str | None) -> str:
    """The state that an item is closed into: a completed one, or a cancelled one by its reason.

    Raises:
        UpstreamError: the project has none of either.
    """
    wanted = _REASONS.get(reason or "", "completed")
    for group in (wanted, *sorted(shapes.CLOSED_GROUPS - {wanted})):
        if found := _first_of(known, group):
            return found
    raise _refused("close", "the project has no state in the groups completed and cancelled")


def open_state(known: Sequence[Mapping[str, Any]]) -> str:
    """The state that an item is reopened into: the default one, else the first that is open.

    Raises:
        UpstreamError: the project has none.
    """
    default = [one for one in known if one.get("default") is True]
    usable = [one for one in default if text(one.get("group")) in _OPEN_GROUPS]
    chosen = shapes.reference(usable[0]) if usable else None
    found = chosen or next(
        (one for group in _OPEN_GROUPS if (one := _first_of(known, group))), None
    )
    if found is None:
        raise _refused("reopen", "the project has no open state")
    return found


async def labels(site: Workspace) -> dict[str, str]:
    """The project's labels: the id of each to its name."""
    path = f"/projects/{await site.project()}/labels/"
    told = [one async for one in site.each(path, {})]
    return {found: text(one.get("name")) for one in told if (found := shapes.reference(one))}


async def label_ids(
    site: Workspace, wanted: Iterable[str], known: dict[str, str], *, makes: bool
) -> list[str]:
    """The ids of labels named by name or id; ``makes``: those that are not there are made.

    Raises:
        InvalidInputError: a name that no label can have.
        UpstreamError: the key may not make labels; names those that are there.
    """
    found: list[str] = []
    for one in wanted:
        name = " ".join(one.split())
        if not name or len(name) > LONGEST_LABEL:
            raise InvalidInputError("labels", f"{one[:40]!r}: from 1 to {LONGEST_LABEL} characters")
        identity = next(
            (key for key, told in known.items()
             if key == name.lower() or told.casefold() == name.casefold()),
            None,
        )  # fmt: skip
        if identity is None and makes:
            identity = await _make_label(site, name, known)
            known[identity] = name
        found += [identity] if identity and identity not in found else []
    return found


async def people(site: Workspace) -> list[Mapping[str, Any]]:
    """Those who are in the project; empty where the key may not read it.

    Raises:
        UpstreamError: Plane failed.
    """
    project = await site.project()
    for path in (f"/projects/{project}/members/", f"/projects/{project}/project-members/",
                 "/members/"):  # fmt: skip
        try:
            answer = await site.call("GET", path)
        except UpstreamError as error:
            if error.status not in _ABSENT or error.retryable:
                raise
            continue
        return [mapping(one.get("member")) or one for one in results(answer)]
    return []


def person_id(known: Sequence[Mapping[str, Any]], wanted: str) -> str:
    """The id of somebody named by display name, whole name, e-mail address or id.

    Raises:
        UpstreamError: nobody in the project is called so, or several are; names them.
    """
    if identity := shapes.uuid(wanted):
        return identity
    name = " ".join(wanted.split()).casefold()
    found = {
        identity: one
        for one in known
        if name in shapes.spellings(one) and (identity := shapes.reference(one))
    }
    if len(found) == 1:
        return next(iter(found))
    shown = ", ".join(_shown(one) for one in (list(found.values()) or known)[:_MOST_NAMED])
    if found:
        raise _refused("assign", f"{wanted!r} may be {len(found)} people: {shown}; name one by id")
    there = f"; there are: {shown}" if shown else ""
    raise _refused("assign", f"nobody in the project is called {wanted!r}{there}")


async def _make_label(site: Workspace, name: str, known: Mapping[str, str]) -> str:
    path = f"/projects/{await site.project()}/labels/"
    try:
        made = shapes.reference(await site.call("POST", path, json={"name": name}))
    except UpstreamError as error:
        if error.status in {400, 409}:  # somebody has made it meanwhile
            again = await labels(site)
            for identity, told in again.items():
                if told.casefold() == name.casefold():
                    return identity
        if error.status != 403 or error.retryable:
            raise
        there = ", ".join(list(known.values())[:_MOST_NAMED]) or "none"
        raise _refused(
            "label", f"there is no label {name!r}, and this key may not make it; there are: {there}"
        ) from error
    if made is None:
        raise UpstreamError("Plane's answer has no id", may_have_happened=True)
    return made


def _first_of(known: Iterable[Mapping[str, Any]], group: str) -> str | None:
    return next((shapes.reference(one) for one in known if text(one.get("group")) == group), None)


def _sequence(state: Mapping[str, Any]) -> float:
    told = state.get("sequence")
    return float(told) if isinstance(told, int | float) else float("inf")


def _shown(person: Mapping[str, Any]) -> str:
    name, identity = shapes.name_of(person), shapes.reference(person)
    return f"{name} ({identity})" if name != identity else str(identity)


def _refused(what: str, problem: str) -> UpstreamError:
    return UpstreamError(f"Plane did not {what}: {problem}", status=422, retryable=False)
