"""Reads and writes issues, work items, merge requests and notes over GitLab's REST API.

https://docs.gitlab.com/api/issues/ , https://docs.gitlab.com/api/merge_requests/ ,
https://docs.gitlab.com/api/notes/ . Work items of a project (tasks, incidents) answer under
``issues``; those of a group (epics) do not, and have no project to be reached by.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from aether.errors import InvalidInputError, UpstreamError
from aether.events import Subject
from aether.sources.base import Comment, ItemChanges, NewItem, Outbound, Posted
from aether.sources.gitlab.path import issues_path, item_path, number
from aether.sources.gitlab.told import association, is_bot, moment, state, titles, usernames
from aether.sources.reading import key, mapping, sequence, text

_PAGE: Final = 100  # the most that GitLab gives
_MOST_PAGES: Final = 20
_STATE_EVENTS: Final = {"closed": "close", "open": "reopen"}
_NO_COMMA: Final = "GitLab's labels hold no comma"


async def read_item(client: Outbound, subject: Subject) -> Mapping[str, Any]:
    """Title, body, state, labels, assignees, author and url, as they are now.

    A merge request tells also ``merged``, ``draft``, ``base`` and ``head`` (branches), an issue
    its ``type`` and whether it is ``confidential``; a deployment's title is its environment.
    """
    item = await _call(client, None, "GET", item_path(subject))
    if subject.kind == "deployment":
        return _deployment(item)
    author = text(mapping(item.get("author")).get("username"))
    told: dict[str, Any] = {
        "title": text(item.get("title")),
        "body": text(item.get("description")),
        "state": state(item.get("state")),
        "labels": list(titles(item.get("labels"))),
        "assignees": usernames(item.get("assignees")),
        "author": author or None,
        "association": association(author),
        "url": text(item.get("web_url")),
    }
    if subject.kind == "pr":
        told |= {"merged": item.get("state") == "merged", "draft": item.get("draft") is True}
        told |= {
            "base": text(item.get("target_branch")),
            "head": text(item.get("source_branch")),
        }
    else:
        told |= {
            "type": text(item.get("issue_type")) or "issue",
            "confidential": item.get("confidential") is True,
        }
    return told


async def list_comments(
    client: Outbound, subject: Subject, *, since: str | None = None
) -> list[Comment]:
    """What people wrote, oldest first, the newest 2,000; with ``since`` what changed since then."""
    found = await notes(client, _commentable(subject), since=since)
    return [_comment(subject, one) for one in found]


async def notes(
    client: Outbound, item: str, *, since: str | None = None
) -> list[Mapping[str, Any]]:
    """The notes of people on the item at the path ``item``, as the API shows them.

    Notes know no ``updated_after``: they are asked for by when they changed, newest first, and
    no further than needed.
    """
    query = {
        "order_by": "updated_at" if since else "created_at",
        "sort": "desc",
        "activity_filter": "only_comments",
        "per_page": str(_PAGE),
    }
    earliest = moment(since) or ""
    found: list[Mapping[str, Any]] = []
    for page in range(1, _MOST_PAGES + 1):
        asked = {**query, "page": str(page)}
        listed = sequence(await request(client, "GET", f"{item}/notes", query=asked))
        wanted = [
            one
            for one in map(mapping, listed)
            if (moment(one.get("updated_at")) or "~") >= earliest
        ]
        found += [one for one in wanted if key(one.get("id")) and one.get("system") is not True]
        if len(listed) < _PAGE or len(wanted) < len(listed):
            break
    found.sort(key=lambda one: (moment(one.get("created_at")) or "", _as_number(one.get("id"))))
    return found


async def post_comment(client: Outbound, subject: Subject, body: str, *, timeout: float) -> Posted:
    """Comment on the item; asked twice, GitLab comments twice.

    What answers an internal note is internal, too: others must not read of it in the answer.
    """
    fields: dict[str, Any] = {"body": body}
    if subject.visibility == "internal":
        fields["internal"] = True
    path = f"{_commentable(subject)}/notes"
    told = await request(client, "POST", path, json=fields, timeout=timeout)
    return note_posted(subject, told)


async def edit_comment(
    client: Outbound, subject: Subject, comment_id: str, body: str, *, timeout: float
) -> Posted:
    """Replace the text of a comment on the subject."""
    path = f"{_commentable(subject)}/notes/{number('id', comment_id)}"
    fields = {"body": body}
    return note_posted(subject, await request(client, "PUT", path, json=fields, timeout=timeout))


async def update_item(
    client: Outbound, subject: Subject, changes: ItemChanges, *, timeout: float
) -> Posted:
    """Make the changes in one call, all within ``timeout`` seconds; idempotent.

    People are looked up by name first, and added to those who are assigned already.

    Raises:
        InvalidInputError: a label or a name cannot be one; nothing is changed.
        UpstreamError: GitLab refused, or left somebody unassigned (it keeps one assignee only in
            its free edition, and skips people without access).
    """
    deadline = time.monotonic() + timeout
    path = _commentable(subject)
    fields = _fields(changes)
    if changes.add_assignees:
        wanted = await _user_ids(client, deadline, changes.add_assignees)
        now = await _call(client, deadline, "GET", path)
        before = [one for one in map(_id, sequence(now.get("assignees"))) if one is not None]
        # The new ones first: where one is kept only, it is the one that was asked for.
        fields["assignee_ids"] = list(dict.fromkeys([*wanted.values(), *before]))
    if not fields:
        return Posted(id=subject.key, url=subject.url)
    item = await _call(client, deadline, "PUT", path, fields)
    if changes.add_assignees:
        _check_assigned(subject, changes, item)
    return Posted(id=subject.key, url=text(item.get("web_url")) or subject.url)


async def create_item(client: Outbound, project: str, new: NewItem, *, timeout: float) -> Posted:
    """Create an issue; its id here is its number in the project. Asked twice, there are two."""
    deadline = time.monotonic() + timeout
    fields: dict[str, Any] = {"title": new.title, "description": new.body}
    path = issues_path(project)
    if new.labels:
        fields["labels"] = _labels("labels", new.labels)
    if new.is_confidential:
        fields["confidential"] = True
    if new.assignees:
        people = await _user_ids(client, deadline, new.assignees)
        fields["assignee_ids"] = list(people.values())
    item = await _call(client, deadline, "POST", path, fields)
    return _posted_item(item)


async def find_item(client: Outbound, project: str, marker: str, *, since: str) -> Posted | None:
    """The issue whose text holds ``marker``, among those created at ``since`` or later."""
    query = {
        "created_after": since,
        "order_by": "created_at",
        "sort": "desc",
        "scope": "all",
        "state": "all",
        "per_page": str(_PAGE),
    }
    try:
        found = await client.pages(issues_path(project), query)
    except UpstreamError as error:
        raise _explained(error) from error
    for item in map(mapping, found):
        if marker in text(item.get("description")):
            return _posted_item(item)
    return None


async def _user_ids(client: Outbound, deadline: float, names: Any) -> dict[str, int]:
    """GitLab's numbers of these people, in their order.

    Raises:
        InvalidInputError: nobody there has that name.
    """
    found: dict[str, int] = {}
    for name in dict.fromkeys(names):
        query = {"username": name}
        told = await request(client, "GET", "/api/v4/users", query=query, timeout=left(deadline))
        for user in map(mapping, sequence(told)):
            identity = _id(user)
            if identity is not None and text(user.get("username")).lower() == name.lower():
                found[name] = identity
        if name not in found:
            raise InvalidInputError("assignees", f"GitLab knows nobody by the name {name!r}")
    return found


def _fields(changes: ItemChanges) -> dict[str, Any]:
    asked: dict[str, Any] = {"title": changes.title, "description": changes.body}
    if changes.state is not None:
        asked["state_event"] = _STATE_EVENTS[changes.state]
    if changes.add_labels:
        asked["add_labels"] = _labels("add_labels", changes.add_labels)
    if changes.remove_labels:
        asked["remove_labels"] = _labels("remove_labels", changes.remove_labels)
    return {name: value for name, value in asked.items() if value is not None}


def _labels(field: str, names: Any) -> str:
    for name in names:
        if not name.strip() or "," in name:
            raise InvalidInputError(field, f"{name!r} cannot be a label's name: {_NO_COMMA}")
    return ",".join(names)


def _check_assigned(subject: Subject, changes: ItemChanges, item: Mapping[str, Any]) -> None:
    assigned = {name.lower() for name in usernames(item.get("assignees"))}
    missing = [name for name in changes.add_assignees if name.lower() not in assigned]
    if missing:
        raise UpstreamError(
            f"GitLab did not assign {', '.join(missing)}: no access to {subject.project}, or it "
            "keeps one assignee only",
            status=422,
            retryable=False,
        )


def _comment(subject: Subject, told: Mapping[str, Any]) -> Comment:
    author = text(mapping(told.get("author")).get("username"))
    identity = key(told.get("id")) or ""
    return Comment(
        id=identity,
        body=text(told.get("body")),
        author=author,
        url=_note_url(subject, identity),
        created_at=text(told.get("created_at")),
        is_bot=is_bot(author),
        association=association(author),
        is_restricted=told.get("internal") is True or told.get("confidential") is True,
    )


def note_posted(subject: Subject, answer: object) -> Posted:
    """A note as GitLab answered it, or UpstreamError where it has no id."""
    told = mapping(answer)
    identity = key(told.get("id"))
    if identity is None:
        # 202: it held nothing but quick actions, which were done, and no note was made of it
        raise UpstreamError("GitLab's answer has no id", may_have_happened=True)
    login = text(mapping(told.get("author")).get("username"))
    return Posted(
        id=identity,
        url=_note_url(subject, identity),
        bot_account=login if is_bot(login) else None,
    )


def _note_url(subject: Subject, note_id: str) -> str:
    """Where a person reads it; the API does not tell."""
    return f"{subject.url}#note_{note_id}" if subject.url else ""


def _posted_item(item: Mapping[str, Any]) -> Posted:
    identity = key(item.get("iid"))
    if identity is None:
        raise UpstreamError("GitLab's answer has no iid", may_have_happened=True)
    login = text(mapping(item.get("author")).get("username"))
    return Posted(
        id=identity,
        url=text(item.get("web_url")),
        bot_account=login if is_bot(login) else None,
    )


def _deployment(item: Mapping[str, Any]) -> Mapping[str, Any]:
    job = mapping(item.get("deployable"))
    return {
        "title": text(mapping(item.get("environment")).get("name")),
        "body": text(mapping(job.get("commit")).get("title")),
        "state": text(item.get("status")) or None,
        "labels": [],
        "assignees": [],
        "author": text(mapping(item.get("user")).get("username")) or None,
        "url": text(job.get("web_url")),
    }


def _commentable(subject: Subject) -> str:
    if subject.kind == "deployment":
        raise InvalidInputError("subject", "a deployment has no comments, labels or assignees")
    return item_path(subject)


def _id(user: object) -> int | None:
    identity = mapping(user).get("id")
    return identity if isinstance(identity, int) and not isinstance(identity, bool) else None


def _as_number(value: object) -> int:
    return value if isinstance(value, int) else 0


def left(deadline: float) -> float:
    """Seconds until ``deadline``, or UpstreamError where there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise UpstreamError("GitLab: no time left for the next call")
    return left


async def _call(
    client: Outbound,
    deadline: float | None,
    method: str,
    path: str,
    fields: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    timeout = None if deadline is None else left(deadline)
    return mapping(await request(client, method, path, json=fields, timeout=timeout))


async def request(client: Outbound, method: str, path: str, **more: Any) -> Any:
    """As ``Outbound.request``, with what GitLab's refusals leave out."""
    try:
        return await client.request(method, path, **more)
    except UpstreamError as error:
        raise _explained(error) from error


def _explained(error: UpstreamError) -> UpstreamError:
    """The same failure, with what GitLab's words leave out."""
    hints = {
        403: "the token needs the scope api, and the Reporter role or more there",
        404: "GitLab says so, too, of what the token may not see",
    }
    hint = hints.get(error.status or 0)
    if hint is None or error.retryable:
        return error
    return UpstreamError(
        f"{error} ({hint})",
        status=error.status,
        retryable=error.retryable,
        retry_after=error.retry_after,
        may_have_happened=error.may_have_happened,
    )
