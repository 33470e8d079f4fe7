"""Reads work items and comments and writes comments, over REST v1.

https://developers.plane.so/api-reference/issue-comment/overview
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aether.errors import UpstreamError
from aether.events import Subject
from aether.sources.base import Comment, Outbound, Posted
from aether.sources.plane import lookups, shapes, texts
from aether.sources.plane.site import Workspace
from aether.sources.reading import key, mapping, moment, sequence, text

WIDE: Final = {"expand": "state,labels,assignees,created_by,project"}

_CONFLICT: Final = 409


async def read_item(client: Outbound, subject: Subject) -> Mapping[str, Any]:
    """Title, body, state, labels, assignees, author and url, as they are now.

    ``state`` is the state by its name, ``category`` its group: backlog, unstarted, started,
    completed or cancelled. ``human_key`` is what people call it: PROJ-12.
    """
    site = Workspace(client, subject.project)
    item_id = await site.item_id(subject.key)
    item = await whole_item(site, item_id)
    project = mapping(item.get("project"))
    number = key(item.get("sequence_id"))
    prefix = text(project.get("identifier"))
    return {
        "title": text(item.get("name")),
        "body": texts.body_of(item),
        "state": shapes.state_name(item),
        "category": shapes.group(item) or None,
        "labels": list(shapes.label_names(item)),
        "assignees": [one for one in map(shapes.name_of, sequence(item.get("assignees"))) if one],
        "author": shapes.name_of(item.get("created_by")),
        "url": site.item_url(item_id),
        "human_key": f"{prefix}-{number}" if prefix and number else None,
        "priority": text(item.get("priority")) or None,
    }


async def whole_item(site: Workspace, item_id: str) -> dict[str, Any]:
    """A work item with its state, labels and people as objects, however old the installation."""
    item = dict(mapping(await site.items("GET", f"{item_id}/", query=WIDE)))
    state, held = item.get("state"), item.get("labels")
    if shapes.reference(state) and not mapping(state):
        wanted = shapes.reference(state)
        known = await lookups.states(site)
        item["state"] = next((one for one in known if shapes.reference(one) == wanted), state)
    if any(not mapping(one) for one in sequence(held)):
        names = await lookups.labels(site)
        item["labels"] = [
            {"id": one, "name": names[one]} for one in shapes.ids(held) if one in names
        ]
    return await with_people(site, item)


async def with_people(site: Workspace, item: Mapping[str, Any]) -> dict[str, Any]:
    """The item with its author and assignees as objects, where the key may read who they are."""
    assignees, author = sequence(item.get("assignees")), item.get("created_by")
    if all(map(mapping, assignees)) and (mapping(author) or not shapes.reference(author)):
        return dict(item)
    told = {shapes.reference(one): one for one in await lookups.people(site)}
    named = [told.get(shapes.reference(one), one) for one in assignees]
    return {**item, "assignees": named, "created_by": told.get(shapes.reference(author), author)}


async def list_comments(
    client: Outbound, subject: Subject, *, since: str | None = None
) -> list[Comment]:
    """The comments, oldest first; with ``since`` those written from then on."""
    site = Workspace(client, subject.project)
    item_id = await site.item_id(subject.key)
    from_then = moment(since) if since else None
    told = await comments(site, item_id, from_then)
    if any(not mapping(_writer(one)) for one in told):
        names = {shapes.reference(one): one for one in await lookups.people(site)}
        told = [
            {**one, "actor": names.get(shapes.reference(_writer(one)), _writer(one))}
            for one in told
        ]
    return [_comment(site, item_id, one) for one in told]


async def comments(
    site: Workspace, item_id: str, from_then: datetime | None
) -> list[Mapping[str, Any]]:
    """An item's comments as REST has them, oldest first, written from a moment on.

    All pages are read: nothing tells by what they are ordered.
    """
    path, query = f"{item_id}/comments/", {"expand": "actor"}
    told = [one async for one in site.each(path, query, of_items=True) if shapes.reference(one)]
    wanted = [one for one in told if from_then is None or _created(one) >= from_then]
    return sorted(wanted, key=lambda one: (_created(one), shapes.reference(one) or ""))


async def post_comment(client: Outbound, subject: Subject, body: str, *, timeout: float) -> Posted:
    """Comment on the item. A body with a marker is posted once, however often it is asked."""
    site = Workspace(client, subject.project, timeout=timeout)
    item_id = await site.item_id(subject.key)
    html, marker = texts.to_wire(body)
    path, told = f"{item_id}/comments/", {"comment_html": html}
    try:
        answer = await site.items("POST", path, json=told | texts.external(marker))
    except UpstreamError as error:
        if error.status != _CONFLICT or marker is None:
            raise
        # It is there already, or was deleted: then the name of what is gone is still taken.
        found = await comments(site, item_id, None)
        same = next((one for one in found if marker in texts.markers_of(one)), None)
        path = f"{item_id}/comments/{shapes.reference(same)}/" if same else path
        answer = await site.items("PATCH" if same else "POST", path, json=told)
        answer = {**(same or {}), **mapping(answer)}
    return _posted(site, item_id, answer)


async def edit_comment(
    client: Outbound, subject: Subject, comment_id: str, body: str, *, timeout: float
) -> Posted:
    """Replace the text of a comment on the item."""
    site = Workspace(client, subject.project, timeout=timeout)
    item_id = await site.item_id(subject.key)
    identity = shapes.uuid(comment_id)
    if identity is None:
        raise UpstreamError(f"{comment_id!r} is no comment of Plane", status=404, retryable=False)
    html, _ = texts.to_wire(body)
    answer = await site.items(
        "PATCH", f"{item_id}/comments/{identity}/", json={"comment_html": html}
    )
    return _posted(site, item_id, {"id": identity, **mapping(answer)})


def _writer(comment: Mapping[str, Any]) -> Any:
    return mapping(comment.get("actor_detail")) or comment.get("actor") or comment.get("created_by")


def _comment(site: Workspace, item_id: str, told: Mapping[str, Any]) -> Comment:
    identity, writer = shapes.reference(told) or "", _writer(told)
    return Comment(
        id=identity,
        body=texts.marked(texts.comment_of(told), told),
        author=shapes.name_of(writer) or "",
        url=site.item_url(item_id, identity),
        created_at=text(told.get("created_at")),
        is_bot=shapes.is_bot(writer),
    )


def _posted(site: Workspace, item_id: str, answer: object) -> Posted:
    identity = shapes.reference(mapping(answer))
    if identity is None:
        raise UpstreamError("Plane's answer has no id", may_have_happened=True)
    return Posted(id=identity, url=site.item_url(item_id, identity))


def _created(comment: Mapping[str, Any]) -> datetime:
    """When it was written; one that does not tell counts as new, so that it is not overlooked."""
    return moment(comment.get("created_at")) or datetime.max.replace(tzinfo=UTC)
