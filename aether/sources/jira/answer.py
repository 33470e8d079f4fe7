"""Reads issues and comments and writes comments, over REST v3 (Cloud) or v2 (Server).

https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issue-comments/
"""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aether.errors import UpstreamError
from aether.events import Subject
from aether.sources.base import Comment, Outbound, Posted
from aether.sources.jira import audience, shapes, texts
from aether.sources.jira.site import Site, issue_path, number
from aether.sources.reading import key, mapping, number_key, sequence, text

log = logging.getLogger(__name__)

FIELDS: Final = (
    "summary,description,status,labels,assignee,reporter,creator,project,issuetype,priority,"
    "resolution,created,updated"
)
MAX_PAGES: Final = 50

_PAGE: Final = {"maxResults": "100", "orderBy": "-created", "expand": "properties"}
_TOO_LONG: Final = re.compile(r"too long|limit_exceeded|exceed|32,?767", re.IGNORECASE)
_NOT_OURS: Final = re.compile(r"permission", re.IGNORECASE)
_SHORTEST: Final = 500  # a limit below this is no use


async def read_item(client: Outbound, subject: Subject) -> Mapping[str, Any]:
    """Title, body, state, labels, assignees, author and url, as they are now.

    ``state`` is the status by its name, ``category`` what it counts as: new, indeterminate or
    done. ``type``, ``priority`` and ``resolution`` are told by name.
    """
    site = Site(client)
    issue = await fetch_issue(site, subject.key)
    fields = mapping(issue.get("fields"))
    status = mapping(fields.get("status"))
    return {
        "title": text(fields.get("summary")),
        "body": texts.read(fields.get("description")),
        "state": text(status.get("name")) or None,
        "category": text(mapping(status.get("statusCategory")).get("key")) or None,
        "labels": [one for one in map(text, sequence(fields.get("labels"))) if one],
        "assignees": _names(fields.get("assignee")),
        "author": _name(fields.get("creator")) or _name(fields.get("reporter")),
        "association": shapes.association(fields.get("creator")),
        "url": site.browse_url(issue.get("self"), text(issue.get("key"))),
        "type": _told_name(fields.get("issuetype")),
        "priority": _told_name(fields.get("priority")),
        "resolution": _told_name(fields.get("resolution")),
    }


async def fetch_issue(site: Site, issue_key: str, fields: str = FIELDS) -> Mapping[str, Any]:
    """An issue as REST has it: its ``key`` is the one it has now, if it was moved."""
    return mapping(await site.call("GET", issue_path(issue_key), query={"fields": fields}))


async def list_comments(
    client: Outbound, subject: Subject, *, since: str | None = None
) -> list[Comment]:
    """The comments, oldest first; with ``since`` those written from then on."""
    from_then = shapes.moment(since) if since else None
    site = Site(client)
    told = await comments_since(site, subject.key, from_then)
    return [_comment(site, one, subject) for one in told]


async def comments_since(
    site: Site, issue_key: str, from_then: datetime | None
) -> list[Mapping[str, Any]]:
    """The issue's comments as REST has them, oldest first, written from a moment on.

    Never out of the search index. Read newest first; a page that is sorted so, and reaches behind
    the moment, is the last one. Old Servers sort the other way or know no pages: they are read
    to the end.
    """
    path = f"{issue_path(issue_key)}/comment"
    found: dict[int, Mapping[str, Any]] = {}
    start = 0
    for _ in range(MAX_PAGES):
        answer = mapping(await site.call("GET", path, query=_PAGE | {"startAt": str(start)}))
        told = [mapping(one) for one in sequence(answer.get("comments"))]
        page = {int(number): one for one in told if (number := number_key(one.get("id")))}
        fresh = page.keys() - found.keys()
        found |= page
        start += len(told)
        total = answer.get("total")
        if not fresh or (isinstance(total, int) and start >= total):
            break
        ages = [_created(one) for one in page.values()]
        if from_then and ages == sorted(ages, reverse=True) and ages[-1] < from_then <= ages[0]:
            break
    else:
        log.warning("%s: stopped after %d pages of comments, there are more", path, MAX_PAGES)
    wanted = [one for one in found.items() if not from_then or _created(one[1]) >= from_then]
    return [one for _, one in sorted(wanted, key=lambda one: (_created(one[1]), one[0]))]


async def post_comment(client: Outbound, subject: Subject, body: str, *, timeout: float) -> Posted:
    """Comment on the issue; asked twice, Jira comments twice.

    What answers a restricted or an internal comment is restricted likewise.
    """
    site = Site(client, timeout=timeout)
    path = f"{issue_path(subject.key)}/comment"
    return _posted(site, await _write_comment(site, "POST", path, subject, body), subject)


async def edit_comment(
    client: Outbound, subject: Subject, comment_id: str, body: str, *, timeout: float
) -> Posted:
    """Replace the text of a comment on the issue, whose restriction is told again.

    Raises:
        UpstreamError: Jira refused; 403 where the comment is not ours to edit (Jira says 400).
    """
    site = Site(client, timeout=timeout)
    path = f"{issue_path(subject.key)}/comment/{number('id', comment_id)}"
    try:
        return _posted(site, await _write_comment(site, "PUT", path, subject, body), subject)
    except UpstreamError as error:
        if error.status == 400 and _NOT_OURS.search(str(error)):
            raise UpstreamError(str(error), status=403, retryable=False) from error
        raise


async def fitting(site: Site, markdown: str, send: Callable[[Any], Awaitable[Any]]) -> Any:
    """What ``send`` gives for the text as the site takes it.

    An administrator may have lowered the limit. A refusal for length has written nothing, so the
    text is sent again, half as long.
    """
    limit = texts.LONGEST
    while True:
        try:
            return await send(site.wire_text(markdown, limit=limit))
        except UpstreamError as error:
            is_too_long = error.status in {400, 413} and _TOO_LONG.search(str(error))
            if not is_too_long or limit < _SHORTEST:
                raise
        limit = min(limit, len(markdown)) // 2


async def _write_comment(site: Site, method: str, path: str, subject: Subject, body: str) -> Any:
    properties = texts.properties(body) if site.is_cloud else []
    properties += audience.properties(subject)
    more = audience.comment_fields(subject)
    if properties:
        more["properties"] = properties

    async def send(wire: Any) -> Any:
        return await site.call(method, path, json={"body": wire, **more})

    return await fitting(site, body, send)


def _comment(site: Site, told: Mapping[str, Any], subject: Subject) -> Comment:
    identity, author = key(told.get("id")) or "", told.get("author")
    return Comment(
        id=identity,
        body=texts.read_comment(told),
        author=_name(author) or "",
        url=_comment_url(site, told, subject, identity),
        created_at=text(told.get("created")),
        is_bot=shapes.is_app(author),
        association=shapes.association(author),
        is_restricted=bool(told.get("visibility")) or audience.is_internal(told),
    )


def _posted(site: Site, answer: object, subject: Subject) -> Posted:
    told = mapping(answer)
    identity = key(told.get("id"))
    if identity is None:
        raise UpstreamError("Jira's answer has no id", may_have_happened=True)
    writer = told.get("author")
    return Posted(
        id=identity,
        url=_comment_url(site, told, subject, identity),
        bot_account=shapes.login(writer) if shapes.is_app(writer) else None,
    )


def _comment_url(site: Site, told: Mapping[str, Any], subject: Subject, identity: str) -> str:
    page = subject.url or site.browse_url(told.get("self"), subject.key)
    return f"{page}?focusedCommentId={identity}" if page else ""


def _created(comment: Mapping[str, Any]) -> datetime:
    """When it was written; one that does not tell counts as new, so that it is not overlooked."""
    return shapes.moment(comment.get("created")) or datetime.max.replace(tzinfo=UTC)


def _name(person: object) -> str | None:
    """How a person reads: an account id tells a reader nothing."""
    told = mapping(person)
    return text(told.get("name")) or text(told.get("displayName")) or shapes.login(person)


def _names(person: object) -> list[str]:
    name = _name(person)
    return [name] if name else []


def _told_name(thing: object) -> str | None:
    return text(mapping(thing).get("name")) or None
