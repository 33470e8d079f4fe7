"""Changes and creates work items, and finds one that was created, or whose project is not told.

https://developers.plane.so/api-reference/issue/overview
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aether.errors import UpstreamError
from aether.events import Subject
from aether.markers import split_marker
from aether.sources.base import ItemChanges, NewItem, Outbound, Posted
from aether.sources.plane import lookups, shapes, texts
from aether.sources.plane.site import Workspace, results, title
from aether.sources.reading import mapping, moment, sequence, text

_ABSENT: Final = frozenset({400, 404})
_SEARCHED: Final = 100  # results of a search


async def update_item(
    client: Outbound, subject: Subject, changes: ItemChanges, *, timeout: float
) -> Posted:
    """Make the changes in one call, all within ``timeout`` seconds; idempotent.

    Plane replaces labels and assignees as whole lists, so that they are read just before; a label
    that is not there is made. A state is changed only where the item is not closed, or open, yet.

    Raises:
        InvalidInputError: a name that no label can have; nothing is changed.
        UpstreamError: somebody or something is not there, or Plane refused it.
    """
    site = Workspace(client, subject.project, timeout=timeout)
    item_id = await site.item_id(subject.key)
    told: dict[str, Any] = {}
    if changes.title is not None:
        told["name"] = title(changes.title)
    if changes.body is not None:
        told["description_html"] = texts.to_wire(changes.body)[0]
    is_relative = changes.state or changes.add_labels or changes.remove_labels
    if is_relative or changes.add_assignees:
        item = mapping(await site.items("GET", f"{item_id}/"))
        told |= await _labels(site, item, changes)
        told |= await _assignees(site, item, changes.add_assignees)
        told |= await _state(site, item, changes)
    if told:
        answer = mapping(await site.items("PATCH", f"{item_id}/", json=told))
        _check_assigned(answer, told.get("assignees", ()), changes.add_assignees)
    return Posted(id=item_id, url=site.item_url(item_id))


async def create_item(client: Outbound, project: str, new: NewItem, *, timeout: float) -> Posted:
    """Create a work item; a body with a marker makes one, however often it is asked.

    Raises:
        InvalidInputError: a title or label that cannot be one; nothing is created.
        UpstreamError: somebody is not there, or Plane refused it.
    """
    site = Workspace(client, project, timeout=timeout)
    html, marker = texts.to_wire(new.body)
    told: dict[str, Any] = {"name": title(new.title), "description_html": html}
    if new.labels:
        known = await lookups.labels(site)
        told["labels"] = await lookups.label_ids(site, new.labels, known, makes=True)
    if people := [one.strip() for one in new.assignees if one.strip()]:
        there = await lookups.people(site)
        told["assignees"] = [lookups.person_id(there, one) for one in people]
    try:
        answer = mapping(await site.items("POST", json=told | texts.external(marker)))
    except UpstreamError as error:
        if error.status != 409 or marker is None:
            raise
        found = await _of_marker(site, marker, None)
        if found is None:
            raise
        answer = found
    identity = shapes.reference(answer)
    if identity is None:
        raise UpstreamError("Plane's answer has no id", may_have_happened=True)
    return Posted(id=identity, url=site.item_url(identity))


async def find_item(client: Outbound, project: str, marker: str, *, since: str) -> Posted | None:
    """The work item created since ``since`` that carries ``marker``."""
    site = Workspace(client, project)
    _, wanted = split_marker(marker)
    if wanted is None:
        return None
    found = await _of_marker(site, wanted, since)
    identity = shapes.reference(found) if found else None
    return Posted(id=identity, url=site.item_url(identity)) if identity else None


async def find_project(client: Outbound, item_id: str, name: str) -> str:
    """The id of the project that an item is in, of which only its id and name are told.

    Raises:
        UpstreamError: none of the projects that the key sees has it.
    """
    site = Workspace(client)
    if project := await _searched(site, item_id, name):
        return project
    async for one in site.each("/projects/", {}):
        project = shapes.uuid(one.get("id"))
        if project is None:
            continue
        try:
            item = await Workspace(client, f"{site.slug}/{project}").items("GET", f"{item_id}/")
        except UpstreamError as error:
            if error.status not in {403, 404} or error.retryable:
                raise
            continue
        if shapes.reference(mapping(item)) == item_id:
            return project
    raise UpstreamError(
        f"no project that this key sees has the work item {item_id}", status=404, retryable=False
    )


async def _searched(site: Workspace, item_id: str, name: str) -> str | None:
    query = {"search": name[:200], "limit": str(_SEARCHED), "workspace_search": "true"}
    if not name.strip():
        return None
    for word in ("work-items", "issues"):
        try:
            answer = mapping(await site.call("GET", f"/{word}/search/", query=query))
        except UpstreamError as error:
            if error.status not in _ABSENT:
                raise
            continue
        for one in map(mapping, sequence(answer.get("issues"))):
            if shapes.reference(one) == item_id:
                return shapes.first(one, "project_id", "project", "project__id")
        return None
    return None


async def _of_marker(site: Workspace, marker: str, since: str | None) -> Mapping[str, Any] | None:
    """The item by its external id; else among the newest ones, by it or by the text's link."""
    query = {**texts.external(marker)}
    try:
        answer = mapping(await site.items("GET", query=query))
    except UpstreamError as error:
        if error.status not in _ABSENT:
            raise
        answer = {}
    for one in [answer, *results(answer)]:
        if shapes.reference(one) and marker in texts.markers_of(one):
            return one
    from_then = moment(since) if since else None
    newest = {"order_by": "-created_at"}
    async for one in site.each("", newest, of_items=True):
        if marker in texts.markers_of(one):
            return one
        created = moment(one.get("created_at"))
        if from_then and created and created < from_then:
            return None
    return None


async def _labels(site: Workspace, item: Mapping[str, Any], changes: ItemChanges) -> dict[str, Any]:
    if not changes.add_labels and not changes.remove_labels:
        return {}
    known = await lookups.labels(site)
    added = await lookups.label_ids(site, changes.add_labels, known, makes=True)
    removed = await lookups.label_ids(site, changes.remove_labels, known, makes=False)
    before = shapes.ids(item.get("labels"))
    after = [one for one in dict.fromkeys([*before, *added]) if one not in removed]
    return {"labels": after} if after != before else {}


async def _assignees(
    site: Workspace, item: Mapping[str, Any], named: Sequence[str]
) -> dict[str, Any]:
    wanted = [one.strip() for one in named if one.strip()]
    if not wanted:
        return {}
    there = await lookups.people(site)
    before = shapes.ids(item.get("assignees"))
    added = [lookups.person_id(there, one) for one in wanted]
    after = list(dict.fromkeys([*before, *added]))
    return {"assignees": after} if after != before else {}


async def _state(site: Workspace, item: Mapping[str, Any], changes: ItemChanges) -> dict[str, Any]:
    if changes.state is None:
        return {}
    known = await lookups.states(site)
    current = shapes.reference(item.get("state"))
    group = next(
        (text(one.get("group")) for one in known if shapes.reference(one) == current),
        shapes.group(item),
    )
    is_closed = group in shapes.CLOSED_GROUPS
    if changes.state == "closed" and not is_closed:
        return {"state": lookups.closing_state(known, changes.state_reason)}
    if changes.state == "open" and is_closed:
        return {"state": lookups.open_state(known)}
    return {}


def _check_assigned(answer: Mapping[str, Any], sent: Sequence[str], named: Sequence[str]) -> None:
    """Plane leaves out whom it does not assign, and says nothing."""
    if not sent or not isinstance(answer.get("assignees"), list):
        return
    if missing := set(sent) - set(shapes.ids(answer["assignees"])):
        raise UpstreamError(
            f"Plane did not assign {len(missing)} of {', '.join(named)}: only active members of "
            "the project can be, not its guests",
            status=422,
            retryable=False,
        )
