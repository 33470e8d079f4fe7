"""Changes and creates issues, and finds one that was created.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aether.errors import InvalidInputError, UpstreamError
from aether.events import Subject
from aether.sources.base import ItemChanges, NewItem, Outbound, Posted
from aether.sources.jira import audience, people, shapes, texts, transitions
from aether.sources.jira.answer import fetch_issue, fitting
from aether.sources.jira.site import Site, issue_path, label, project_key, title
from aether.sources.reading import key, mapping, sequence, text

FOUND_PAGE: Final = 50
MAX_FOUND_PAGES: Final = 4
LONGEST_WALK: Final = 50
GAP: Final = 3
"""Numbers in a row without an issue that end a walk: creations that failed use one up."""

_TYPES: Final = ("task", "issue", "story", "bug")
_ABSENT: Final = frozenset({404, 410})


async def update_item(
    client: Outbound, subject: Subject, changes: ItemChanges, *, timeout: float
) -> Posted:
    """Make the changes, all within ``timeout`` seconds; idempotent.

    Title, text and labels go in one call; the assignee, of whom Jira has one, and the status
    have their own.

    Raises:
        InvalidInputError: a label that cannot be one, or several assignees; nothing is changed.
        UpstreamError: Jira refused one; those before it are made.
    """
    site = Site(client, timeout=timeout)
    path = issue_path(subject.key)
    labels = [{"add": label(one)} for one in changes.add_labels]
    labels += [{"remove": label(one)} for one in changes.remove_labels]
    assignee = _one_assignee(changes.add_assignees)
    fields: dict[str, Any] = {}
    if changes.title is not None:
        fields["summary"] = title(changes.title)
    await _put(site, path, fields, labels, changes.body)
    if assignee is not None:
        await _assign(site, subject.key, assignee)
    if changes.state == "closed":
        await transitions.close(site, subject.key, changes.state_reason)
    elif changes.state == "open":
        await transitions.reopen(site, subject.key)
    return Posted(id=subject.key, url=subject.url or site.browse_url(None, subject.key))


async def create_item(client: Outbound, project: str, new: NewItem, *, timeout: float) -> Posted:
    """Create an issue; its id here is its key. Asked twice, Jira creates two.

    Raises:
        InvalidInputError: a label that cannot be one, several assignees, or an issue that could
            not be as private as what it comes from; nothing is created.
        UpstreamError: Jira refused it, perhaps for a field that its project requires.
    """
    site = Site(client, timeout=timeout)
    where = project_key(project)
    fields: dict[str, Any] = {
        "project": {"id" if where.isdigit() else "key": where},
        "summary": title(new.title),
    }
    if new.labels:
        fields["labels"] = [label(one) for one in new.labels]
    if (assignee := _one_assignee(new.assignees)) is not None:
        found = await people.find(site, assignee, {"project": where})
        fields["assignee"] = site.person(found)
    if new.origin is not None:
        fields |= await _as_private(site, new.origin)
    fields["issuetype"] = await _issue_type(site, where)

    async def send(wire: Any) -> Any:
        described = fields | {"description": wire} if new.body else fields
        return await site.call("POST", "/issue", json={"fields": described})

    created = mapping(await fitting(site, new.body, send))
    issue_key = text(created.get("key"))
    if not issue_key:
        raise UpstreamError("Jira's answer has no key", may_have_happened=True)
    return Posted(id=issue_key, url=site.browse_url(created.get("self"), issue_key))


async def find_item(client: Outbound, project: str, marker: str, *, since: str) -> Posted | None:
    """The issue whose description holds ``marker``, among those created at ``since`` or later.

    The search index may be minutes behind, so it only tells about where the numbers of the
    project's issues stand; from there on the next ones are read themselves.
    """
    site, from_then = Site(client), shapes.moment(since)
    where, newest, known = project_key(project), 0, ""
    start: dict[str, Any] = {}
    for _ in range(MAX_FOUND_PAGES):
        page, start = await _newest_issues(site, where, start)
        for issue in page:
            if _holds(issue, marker):
                return _posted(site, issue)
            issue_key = text(issue.get("key"))
            place = shapes.number_of_key(issue_key) or 0
            if place >= newest:
                newest, known = place, shapes.project_of_key(issue_key)
        created = [shapes.moment(mapping(one.get("fields")).get("created")) for one in page]
        is_past = from_then and any(one and one < from_then for one in created)
        if is_past or not start:
            break
    return await _walk(site, known or where, newest, marker)


async def _walk(site: Site, project: str, newest: int, marker: str) -> Posted | None:
    if not shapes.project_of_key(f"{project}-1"):
        return None  # a number names the project, and the index holds no issue of it
    absent = 0
    for place in range(newest + 1, newest + 1 + LONGEST_WALK):
        path = issue_path(f"{project}-{place}")
        try:
            issue = mapping(await site.call("GET", path, query={"fields": "description,created"}))
        except UpstreamError as error:
            if error.status not in _ABSENT:
                raise
            absent += 1
            if absent >= GAP:
                return None
            continue
        absent = 0
        if _holds(issue, marker):
            return _posted(site, issue)
    return None


async def _newest_issues(
    site: Site, project: str, start: Mapping[str, Any]
) -> tuple[list[Mapping[str, Any]], dict[str, Any]]:
    """A page of the project's issues, newest first as far as the index goes, and the next one."""
    query = {
        "jql": f'project = "{project}" ORDER BY created DESC',
        "fields": "description,created",
        "maxResults": str(FOUND_PAGE),
        **{name: str(value) for name, value in start.items()},
    }
    path = "/search/jql" if site.is_cloud else "/search"
    answer = mapping(await site.call("GET", path, query=query))
    page = [mapping(one) for one in sequence(answer.get("issues"))]
    if site.is_cloud:
        token = text(answer.get("nextPageToken"))
        return page, {"nextPageToken": token} if token and page else {}
    reached = int(start.get("startAt", 0)) + len(page)
    total = answer.get("total")
    has_more = bool(page) and isinstance(total, int) and reached < total
    return page, {"startAt": reached} if has_more else {}


async def _put(
    site: Site,
    path: str,
    fields: Mapping[str, Any],
    labels: Sequence[Mapping[str, str]],
    body: str | None,
) -> None:
    asked: dict[str, Any] = {}
    if labels:
        asked["update"] = {"labels": list(labels)}

    async def send(wire: Any) -> Any:
        described = {**fields, "description": wire if body else None}
        return await site.call("PUT", path, json={**asked, "fields": described})

    if body is not None:
        await fitting(site, body, send)
    elif fields or labels:
        told = {**asked, "fields": dict(fields)} if fields else asked
        await site.call("PUT", path, json=told)


async def _assign(site: Site, issue_key: str, wanted: str) -> None:
    path = f"{issue_path(issue_key)}/assignee"
    if not site.is_cloud:
        try:
            await site.call("PUT", path, json=site.person(wanted))
        except UpstreamError as error:
            if error.status != 400:
                raise
        else:
            return
    found = await people.find(site, wanted, {"issueKey": issue_key})
    await site.call("PUT", path, json=site.person(found))


async def _as_private(site: Site, origin: Subject) -> dict[str, Any]:
    """The security level of the issue that a new one comes from; a webhook may not tell it."""
    audience.check_issue_of(origin)
    issue = await fetch_issue(site, origin.key, "security")
    level = key(mapping(mapping(issue.get("fields")).get("security")).get("id"))
    return {"security": {"id": level}} if level else {}


async def _issue_type(site: Site, project: str) -> dict[str, str]:
    """The type of a new issue: Task, else the project's first that is no sub-task, nor an epic."""
    try:
        told = mapping(await site.call("GET", f"/project/{project}"))
    except UpstreamError as error:
        if error.status not in _ABSENT:
            raise
        return {"name": "Task"}  # Jira says itself what is wrong with it
    usable = [
        one
        for one in map(mapping, sequence(told.get("issueTypes")))
        if key(one.get("id"))
        and one.get("subtask") is not True
        and one.get("hierarchyLevel", 0) == 0
    ]
    by_name = {text(one.get("name")).lower(): one for one in reversed(usable)}
    named = next((by_name[name] for name in _TYPES if name in by_name), None)
    chosen = named or next(iter(usable), None)
    return {"id": key(chosen.get("id")) or ""} if chosen else {"name": "Task"}


def _one_assignee(people_named: Sequence[str]) -> str | None:
    named = [one.strip() for one in people_named if one.strip()]
    if len(named) > 1:
        raise InvalidInputError("assignees", "an issue of Jira has one assignee; name one person")
    return named[0] if named else None


def _holds(issue: Mapping[str, Any], marker: str) -> bool:
    return marker in texts.read(mapping(issue.get("fields")).get("description"))


def _posted(site: Site, issue: Mapping[str, Any]) -> Posted:
    issue_key = text(issue.get("key"))
    return Posted(id=issue_key, url=site.browse_url(issue.get("self"), issue_key))
