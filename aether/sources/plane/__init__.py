"""Plane, its cloud and installations of one's own: signed deliveries, work items, their comments.

Webhooks: https://developers.plane.so/dev-tools/intro-webhooks
REST:     https://developers.plane.so/api-reference/introduction
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from aether.events import SourceEvent, Subject
from aether.sources.base import Comment, Headers, ItemChanges, NewItem, Outbound, PollPage, Posted
from aether.sources.plane import answer, echo, items, shapes, texts
from aether.sources.plane.extract import extract
from aether.sources.plane.poll import poll
from aether.sources.plane.site import Workspace
from aether.sources.plane.verify import verify
from aether.sources.reading import text
from aether.vocabulary import SourceName


class Plane:
    """Plane as a ``Source``. What it calls a work item, and once an issue, is our issue."""

    name = SourceName.PLANE
    max_comment_characters = texts.LONGEST

    def verify(self, headers: Headers, body: bytes, secret: str) -> None:
        """See ``aether.sources.plane.verify``."""
        verify(headers, body, secret)

    def extract(self, headers: Headers, body: bytes) -> SourceEvent:
        """See ``aether.sources.plane.extract``."""
        return extract(headers, body)

    def is_incomplete(self, event: SourceEvent) -> bool:
        """Whether the item is told without its project, as v2 tells comments."""
        subject = event.subject
        return subject is not None and bool(subject.key) and not subject.project

    def is_bare(self, event: SourceEvent) -> bool:
        """Whether little more than the item's id is told: with a comment, and in v2 always."""
        subject = event.subject
        if subject is None or not subject.key or not subject.project:
            return False
        return not subject.title or subject.state is None

    async def complete(self, client: Outbound, event: SourceEvent) -> SourceEvent:
        """The event with its item as it is now.

        Raises:
            UpstreamError: Plane failed, or no project that the key sees has the item.
        """
        subject = event.subject
        if subject is None:
            return event
        project = subject.project or await items.find_project(client, subject.key, subject.title)
        site = Workspace(client, project)
        item = await answer.whole_item(site, await site.item_id(subject.key))
        whole = replace(
            subject,
            project=project,
            title=text(item.get("name")) or subject.title,
            body=texts.body_of(item) or subject.body,
            state=shapes.state_name(item) or subject.state,
            author=shapes.name_of(item.get("created_by")) or subject.author,
            labels=shapes.label_names(item) or subject.labels,
            url=site.item_url(shapes.reference(item) or subject.key),
        )
        names = event.project_names or (project, f"{site.slug}/{project}")
        return replace(event, subject=whole, project_names=names)

    def echoes(self, event: SourceEvent) -> Mapping[str, Sequence[frozenset[str]]]:
        """See ``aether.sources.plane.echo``."""
        return echo.echoes(event)

    async def read_item(self, client: Outbound, subject: Subject) -> Mapping[str, Any]:
        """The work item as it is now."""
        return await answer.read_item(client, subject)

    async def list_comments(
        self, client: Outbound, subject: Subject, *, since: str | None = None
    ) -> list[Comment]:
        """The comments, oldest first."""
        return await answer.list_comments(client, subject, since=since)

    async def post_comment(
        self, client: Outbound, subject: Subject, body: str, *, timeout: float
    ) -> Posted:
        """Comment on a work item; with a marker in it, idempotent."""
        return await answer.post_comment(client, subject, body, timeout=timeout)

    async def edit_comment(
        self, client: Outbound, subject: Subject, comment_id: str, body: str, *, timeout: float
    ) -> Posted:
        """Replace a comment's text."""
        return await answer.edit_comment(client, subject, comment_id, body, timeout=timeout)

    async def update_item(
        self, client: Outbound, subject: Subject, changes: ItemChanges, *, timeout: float
    ) -> Posted:
        """Change a work item; idempotent."""
        return await items.update_item(client, subject, changes, timeout=timeout)

    async def create_item(
        self, client: Outbound, project: str, new: NewItem, *, timeout: float
    ) -> Posted:
        """Create a work item; with a marker in its body, idempotent."""
        return await items.create_item(client, project, new, timeout=timeout)

    async def find_item(
        self, client: Outbound, project: str, marker: str, *, since: str
    ) -> Posted | None:
        """The work item created since ``since`` that carries ``marker``."""
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
        """See ``aether.sources.plane.poll``."""
        return await poll(client, source_project_id, cursor, since=since)
