"""Reads and writes issues, pull requests and comments over GitHub's REST API.

https://docs.github.com/en/rest/issues , https://docs.github.com/en/rest/pulls . A pull request
is an issue for comments, labels and assignees; its title, text and state have their own path.
"""

import re
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from aether.errors import InvalidInputError, UpstreamError
from aether.events import Subject
from aether.sources.base import Comment, ItemChanges, NewItem, Outbound, Posted
from aether.sources.reading import key, mapping, sequence, text

_REPOSITORY: Final = re.compile(r"[A-Za-z0-9_.-]+/(?!\.{1,2}$)[A-Za-z0-9_.-]+")
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_PAGE: Final = {"per_page": "100"}


async def read_item(client: Outbound, subject: Subject) -> Mapping[str, Any]:
    """Title, body, state, labels, assignees, author and url, as they are now.

    A pull request tells also ``merged``, ``draft``, ``base`` and ``head`` (branches); a
    deployment's title is its environment and its state that of its newest status.
    """
    if subject.kind == "deployment":
        return await _read_deployment(client, subject)
    item = mapping(await client.request("GET", _own_path(subject)))
    told: dict[str, Any] = {
        "title": text(item.get("title")),
        "body": text(item.get("body")),
        "state": text(item.get("state")) or None,
        "labels": [text(mapping(one).get("name")) for one in sequence(item.get("labels"))],
        "assignees": _logins(item.get("assignees")),
        "author": text(mapping(item.get("user")).get("login")) or None,
        "association": text(item.get("author_association")) or None,
        "url": text(item.get("html_url")),
    }
    if subject.kind == "pr":
        told |= {"merged": item.get("merged") is True, "draft": item.get("draft") is True}
        told |= {side: text(mapping(item.get(side)).get("ref")) for side in ("base", "head")}
    return told


async def list_comments(
    client: Outbound, subject: Subject, *, since: str | None = None
) -> list[Comment]:
    """The conversation, oldest first; with ``since`` what was written or edited from then on."""
    query = _PAGE | ({"since": since} if since else {})
    pages = await client.pages(f"{_issue_path(subject)}/comments", query)
    return [_comment(one) for one in map(mapping, pages) if key(one.get("id"))]


async def post_comment(client: Outbound, subject: Subject, body: str, *, timeout: float) -> Posted:
    """Comment on the item; asked twice, GitHub comments twice."""
    path = f"{_issue_path(subject)}/comments"
    return posted(await client.request("POST", path, json={"body": body}, timeout=timeout))


async def edit_comment(
    client: Outbound, subject: Subject, comment_id: str, body: str, *, timeout: float
) -> Posted:
    """Replace the text of a comment in the subject's repository."""
    path = f"{repository_path(subject.project)}/issues/comments/{_number('id', comment_id)}"
    return posted(await client.request("PATCH", path, json={"body": body}, timeout=timeout))


async def update_item(
    client: Outbound, subject: Subject, changes: ItemChanges, *, timeout: float
) -> Posted:
    """Make the changes, one call each kind, all within ``timeout`` seconds; idempotent.

    Raises:
        InvalidInputError: a label to remove cannot be one; nothing is changed.
        UpstreamError: GitHub refused one, or left somebody unassigned (it skips people without
            access and says nothing); those before it are made.
    """
    deadline = time.monotonic() + timeout
    path = _issue_path(subject)
    unwanted = [f"{path}/labels/{_label_segment(label)}" for label in changes.remove_labels]
    fields = _fields(subject, changes)
    if fields:
        await _call(client, deadline, "PATCH", _own_path(subject), fields)
    if changes.add_labels:
        labels = {"labels": list(changes.add_labels)}
        await _call(client, deadline, "POST", f"{path}/labels", labels)
    for label_path in unwanted:
        await _remove_label(client, deadline, label_path)
    if changes.add_assignees:
        people = {"assignees": list(changes.add_assignees)}
        item = await _call(client, deadline, "POST", f"{path}/assignees", people)
        _check_assigned(subject, changes, item)
    return Posted(id=subject.key, url=subject.url)


async def create_item(client: Outbound, project: str, new: NewItem, *, timeout: float) -> Posted:
    """Create an issue; its id here is its number. Asked twice, GitHub creates two."""
    fields = {
        "title": new.title,
        "body": new.body,
        "labels": list(new.labels),
        "assignees": list(new.assignees),
    }
    path = f"{repository_path(project)}/issues"
    item = await client.request("POST", path, json=fields, timeout=timeout)
    return posted(item, name="number")


async def find_item(client: Outbound, project: str, marker: str, *, since: str) -> Posted | None:
    """The issue whose body holds ``marker``, among those changed at ``since`` or later."""
    query = _PAGE | {"state": "all", "sort": "created", "direction": "desc", "since": since}
    for item in map(mapping, await client.pages(f"{repository_path(project)}/issues", query)):
        if marker in text(item.get("body")) and "pull_request" not in item:
            return posted(item, name="number")
    return None


async def _read_deployment(client: Outbound, subject: Subject) -> Mapping[str, Any]:
    path = f"{repository_path(subject.project)}/deployments/{_number('key', subject.key)}"
    item = mapping(await client.request("GET", path))
    statuses = await client.request("GET", f"{path}/statuses", query={"per_page": "1"})
    newest = mapping(next(iter(sequence(statuses)), None))
    return {
        "title": text(item.get("environment")),
        "body": text(item.get("description")),
        "state": text(newest.get("state")) or None,
        "labels": [],
        "assignees": [],
        "author": text(mapping(item.get("creator")).get("login")) or None,
        "url": text(newest.get("log_url")) or text(newest.get("target_url")),
    }


async def _call(
    client: Outbound, deadline: float, method: str, path: str, fields: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    left = deadline - time.monotonic()
    if left <= 0:
        raise UpstreamError(f"{method} {path}: no time left for this call")
    return mapping(await client.request(method, path, json=fields, timeout=left))


async def _remove_label(client: Outbound, deadline: float, path: str) -> None:
    try:
        await _call(client, deadline, "DELETE", path, None)
    except UpstreamError as error:
        if error.status != 404:  # 404: the label is not on the item, which is what was wanted
            raise


def _label_segment(label: str) -> str:
    # An empty name would make it the call that removes every label; dots would leave the folder.
    if label.strip() in {"", ".", ".."}:
        raise InvalidInputError("remove_labels", f"{label!r} cannot be a label's name")
    return quote(label, safe="")


def _fields(subject: Subject, changes: ItemChanges) -> dict[str, str]:
    asked = {"title": changes.title, "body": changes.body, "state": changes.state}
    if subject.kind == "issue":  # a pull request knows no reason
        asked["state_reason"] = changes.state_reason
    return {name: value for name, value in asked.items() if value is not None}


def _check_assigned(subject: Subject, changes: ItemChanges, item: Mapping[str, Any]) -> None:
    if "assignees" not in item:
        return
    assigned = {login.lower() for login in _logins(item["assignees"])}
    missing = [login for login in changes.add_assignees if login.lower() not in assigned]
    if missing:
        raise UpstreamError(
            f"GitHub did not assign {', '.join(missing)}: no access to {subject.project}",
            status=422,
            retryable=False,
        )


def _comment(told: Mapping[str, Any]) -> Comment:
    author = mapping(told.get("user"))
    return Comment(
        id=key(told.get("id")) or "",
        body=text(told.get("body")),
        author=text(author.get("login")),
        url=text(told.get("html_url")),
        created_at=text(told.get("created_at")),
        is_bot=author.get("type") == "Bot",
        association=text(told.get("author_association")) or None,
    )


def _logins(people: object) -> list[str]:
    return [text(mapping(one).get("login")) for one in sequence(people)]


def posted(answer: object, *, name: str = "id") -> Posted:
    """What GitHub made of a write, or UpstreamError where its answer has no ``name``."""
    told = mapping(answer)
    identity = key(told.get(name))
    if identity is None:
        raise UpstreamError(f"GitHub's answer has no {name}", may_have_happened=True)
    writer = mapping(told.get("user"))
    return Posted(
        id=identity,
        url=text(told.get("html_url")),
        bot_account=text(writer.get("login")) or None if writer.get("type") == "Bot" else None,
    )


def _own_path(subject: Subject) -> str:
    return pull_path(subject) if subject.kind == "pr" else _issue_path(subject)


def pull_path(subject: Subject) -> str:
    """Where the API has a pull request."""
    return f"{repository_path(subject.project)}/pulls/{_number('key', subject.key)}"


def _issue_path(subject: Subject) -> str:
    if subject.kind == "deployment":
        raise InvalidInputError("subject", "a deployment has no comments, labels or assignees")
    return f"{repository_path(subject.project)}/issues/{_number('key', subject.key)}"


def repository_path(project: str) -> str:
    """Where the API has a repository; InvalidInputError where ``project`` cannot be one."""
    # Names come from payloads and from models: nothing that could lead elsewhere gets through.
    if not _REPOSITORY.fullmatch(project) or project.startswith(("./", "../")):
        raise InvalidInputError("project", f"{project!r} is not an owner/name of GitHub")
    return f"/repos/{project}"


def _number(field: str, value: str) -> str:
    if not _NUMBER.fullmatch(value):
        raise InvalidInputError(field, f"{value!r} is not a number")
    return value
