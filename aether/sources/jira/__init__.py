"""Jira Cloud, Server and Data Center: signed deliveries, issues and their comments.

Webhooks: https://developer.atlassian.com/cloud/jira/platform/webhooks/
Cloud:    https://developer.atlassian.com/cloud/jira/platform/rest/v3/
Server:   https://developer.atlassian.com/server/jira/platform/rest/ (v2)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from aether.errors import UpstreamError
from aether.events import SourceEvent, Subject
from aether.sources.base import Comment, Headers, ItemChanges, NewItem, Outbound, PollPage, Posted
from aether.sources.jira import answer, echo, items, shapes, texts
from aether.sources.jira.extract import extract, read
from aether.sources.jira.poll import poll
from aether.sources.jira.site import Site
from aether.sources.jira.verify import verify
from aether.sources.reading import mapping
from aether.vocabulary import SourceName


class Jira:
    """Jira as a ``Source``. Cloud or Server is told by JIRA_IS_CLOUD, else by the address."""

    name = SourceName.JIRA
    max_comment_characters = texts.LONGEST

    def verify(self, headers: Headers, body: bytes, secret: str) -> None:
        """See ``aether.sources.jira.verify``."""
        verify(headers, body, secret)

    def extract(self, headers: Headers, body: bytes) -> SourceEvent:
        """See ``aether.sources.jira.extract``."""
        return extract(headers, body)

    def is_incomplete(self, event: SourceEvent) -> bool:
        """Whether only a comment's address tells of the issue, as with Server."""
        return event.subject is not None and not event.subject.key

    async def complete(self, client: Outbound, event: SourceEvent) -> SourceEvent:
        """The event with the issue that its comment is on.

        Raises:
            UpstreamError: Jira failed, or shows no such issue to this account.
        """
        number = shapes.issue_id(mapping(event.payload.get("comment")))
        if number is None:
            raise UpstreamError("the comment's address names no issue", retryable=False)
        issue = await answer.fetch_issue(Site(client), number)
        told = {**event.payload, "issue": issue}
        whole = read(told, event.event_name, delivery_key=event.delivery_key)
        return replace(event, subject=whole.subject, project_names=whole.project_names)

    def echoes(self, event: SourceEvent) -> Mapping[str, Sequence[frozenset[str]]]:
        """See ``aether.sources.jira.echo``."""
        return echo.echoes(event)

    def is_of_project(self, project: str, key: str) -> bool:
        """Whether ``PROJ-12`` is of ``PROJ``; an issue's number tells nothing."""
        return shapes.project_of_key(key.upper()) == project.upper()

    async def read_item(self, client: Outbound, subject: Subject) -> Mapping[str, Any]:
        """The issue as it is now."""
        return await answer.read_item(client, subject)

    async def list_comments(
        self, client: Outbound, subject: Subject, *, since: str | None = None
    ) -> list[Comment]:
        """The comments, oldest first."""
        return await answer.list_comments(client, subject, since=since)

    async def post_comment(
        self, client: Outbound, subject: Subject, body: str, *, timeout: float
    ) -> Posted:
        """Comment on an issue. Not idempotent."""
        return await answer.post_comment(client, subject, body, timeout=timeout)

    async def edit_comment(
        self, client: Outbound, subject: Subject, comment_id: str, body: str, *, timeout: float
    ) -> Posted:
        """Replace a comment's text."""
        return await answer.edit_comment(client, subject, comment_id, body, timeout=timeout)

    async def update_item(
        self, client: Outbound, subject: Subject, changes: ItemChanges, *, timeout: float
    ) -> Posted:
        """Change an issue; idempotent."""
        return await items.update_item(client, subject, changes, timeout=timeout)

    async def create_item(
        self, client: Outbound, project: str, new: NewItem, *, timeout: float
    ) -> Posted:
        """Create an issue. Not idempotent."""
        return await items.create_item(client, project, new, timeout=timeout)

    async def find_item(
        self, client: Outbound, project: str, marker: str, *, since: str
    ) -> Posted | None:
        """The issue created since ``since`` whose description holds ``marker``."""
        return await items.find_item(client, project, marker, since=since)

    async def poll(
        self,
        client: Outbound,
        source_project_id: str,
        cursor: Mapping[str, Any],
        *,
        now: datetime,
        since: datetime,
    ) -> PollPage:
        """See ``aether.sources.jira.poll``."""
        return await poll(client, source_project_id, cursor, now=now, since=since)
