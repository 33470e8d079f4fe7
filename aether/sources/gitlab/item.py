"""Reads which item a GitLab body is about, and in which project, in every shape it comes in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aether.events import ItemKind
from aether.sources.gitlab.told import state, titles
from aether.sources.reading import key, mapping, number_key, text

NOTEABLES: Final[Mapping[str, str]] = {
    "Issue": "issue",
    "WorkItem": "issue",
    "Epic": "issue",
    "MergeRequest": "merge_request",
}
"""What a comment stands on, by ``noteable_type``, as source event mappings spell it."""

_ON: Final[Mapping[str, tuple[str, ...]]] = {
    "issue": ("issue", "work_item", "epic"),
    "merge_request": ("merge_request",),
}
"""Under which names a comment's body holds the item that it stands on."""

_ADDRESS: Final = re.compile(
    r"(?P<project>https?://[^?#]+?)(?:/-)?/(?:issues|work_items|merge_requests)/\d+"
)
_WEB_PATH: Final = re.compile(r"https?://[^/?#]+/(?P<path>[^?#]*)")
_NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, kw_only=True)
class Item:
    """What a body tells of its item; ``key`` is the number people know it by (GitLab's iid)."""

    kind: ItemKind | None = None
    key: str | None = None
    id: str | None = None
    title: str = ""
    body: str = ""
    url: str = ""
    state: str | None = None
    author_id: str | None = None
    labels: tuple[str, ...] = ()
    is_confidential: bool = False
    project_names: tuple[str, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)


def read_item(kind: str, payload: Mapping[str, Any], instance: str = "") -> Item:
    """The item that an event of this ``object_kind`` is about, and its project.

    An item of a group (an epic) has no project. A project whose path is not told is known by
    its number.
    """
    attributes = mapping(payload.get("object_attributes"))
    if kind in {"issue", "work_item"}:
        return _item("issue", attributes, payload, instance)
    if kind == "merge_request":
        return _item("pr", attributes, payload, instance)
    if kind == "note":
        noteable = text(attributes.get("noteable_type")).rpartition("::")[2]
        on = NOTEABLES.get(noteable, "")
        objects = (mapping(payload.get(name)) for name in _ON.get(on, ()))
        told = next((one for one in objects if one), None)
        if told is not None:
            url = text(told.get("url")) or text(attributes.get("url")).partition("#")[0]
            item_kind: ItemKind = "pr" if on == "merge_request" else "issue"
            return _item(item_kind, {**told, "url": url}, payload, instance)
    if kind == "deployment":
        return _deployment(payload, instance)
    return Item(project_names=_project_names(payload, _NOTHING, instance, by_number=False))


def _item(
    kind: ItemKind, told: Mapping[str, Any], payload: Mapping[str, Any], instance: str
) -> Item:
    return Item(
        kind=kind,
        key=number_key(told.get("iid")),
        id=key(told.get("id")),
        title=text(told.get("title")),
        body=text(told.get("description")),  # null for an empty one
        url=text(told.get("url")),
        state=state(told.get("state")),
        author_id=key(told.get("author_id")),
        labels=titles(told.get("labels")) or titles(payload.get("labels")),
        is_confidential=told.get("confidential") is True,
        project_names=_project_names(payload, told, instance, by_number=True),
        told=told,
    )


def _deployment(payload: Mapping[str, Any], instance: str) -> Item:
    environment = payload.get("environment")
    return Item(
        kind="deployment",
        key=number_key(payload.get("deployment_id")),
        id=key(payload.get("deployment_id")),
        title=text(environment) or text(mapping(environment).get("name")),
        body=text(payload.get("commit_title")),
        url=text(payload.get("deployable_url")),
        state=text(payload.get("status")).lower() or None,
        project_names=_project_names(payload, _NOTHING, instance, by_number=True),
    )


def _project_names(
    payload: Mapping[str, Any], told: Mapping[str, Any], instance: str, *, by_number: bool
) -> tuple[str, ...]:
    """The path with all its groups, and the number; the number alone only where it serves."""
    project = mapping(payload.get("project"))
    path = (
        text(project.get("path_with_namespace"))
        or text(payload.get("path_with_namespace"))  # system hooks about a project
        or text(payload.get("project_path_with_namespace"))  # and about its members
        or _path_in(text(project.get("web_url")), instance)
        or _path_of_item(text(told.get("url")), instance)
    )
    number = next(
        (
            found
            for found in (
                number_key(project.get("id")),
                number_key(payload.get("project_id")),
                number_key(told.get("project_id")),
                number_key(told.get("target_project_id")),
            )
            if found
        ),
        None,
    )
    if not path and not by_number:
        return ()
    return tuple(name for name in (path, number) if name)


def _path_in(url: str, instance: str) -> str:
    """The project's path in its address; an instance may itself lie below a path."""
    base = instance.rstrip("/") + "/"
    if instance and url.startswith(base):
        return url.removeprefix(base).strip("/")
    found = _WEB_PATH.match(url)
    return found["path"].strip("/") if found else ""


def _path_of_item(url: str, instance: str) -> str:
    found = _ADDRESS.match(url)
    path = _path_in(found["project"], instance) if found else ""
    # What belongs to a group has it so; a group or project of that name is told in other ways.
    return "" if "groups" in path.split("/") else path
