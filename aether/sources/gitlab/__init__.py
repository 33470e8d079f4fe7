"""GitLab: signed or token-bearing deliveries, issues and work items, merge requests, notes.

Webhooks: https://docs.gitlab.com/user/project/integrations/webhooks/
Payloads: https://docs.gitlab.com/user/project/integrations/webhook_events/
REST:     https://docs.gitlab.com/api/rest/
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aether.events import SourceEvent, Subject
from aether.sources.base import (
    Comment,
    Headers,
    ItemChanges,
    NewItem,
    NewReview,
    Outbound,
    PollPage,
    Posted,
)
from aether.sources.gitlab import answer, review
from aether.sources.gitlab.extract import extract
from aether.sources.gitlab.poll import poll
from aether.sources.gitlab.verify import verify
from aether.vocabulary import SourceName


class GitLab:
    """GitLab as a ``Source``: gitlab.com and instances of one's own, also below a path."""

    name = SourceName.GITLAB
    max_comment_characters = 1_000_000
    """https://docs.gitlab.com/administration/instance_limits/#size-of-comments-and-descriptions"""

    def verify(self, headers: Headers, body: bytes, secret: str) -> None:
        """See ``aether.sources.gitlab.verify``; time is this machine's."""
        verify(headers, body, secret, now=time.time())

    def extract(self, headers: Headers, body: bytes) -> SourceEvent:
        """See ``aether.sources.gitlab.extract``."""
        return extract(headers, body)

    async def read_item(self, client: Outbound, subject: Subject) -> Mapping[str, Any]:
        """The item as it is now."""
        return await answer.read_item(client, subject)

    async def list_comments(
        self, client: Outbound, subject: Subject, *, since: str | None = None
    ) -> list[Comment]:
        """What people wrote, oldest first; GitLab's own notes of what was changed are not in it."""
        return await answer.list_comments(client, subject, since=since)

    async def post_comment(
        self, client: Outbound, subject: Subject, body: str, *, timeout: float
    ) -> Posted:
        """Comment on an issue, a work item or a merge request. Not idempotent."""
        return await answer.post_comment(client, subject, body, timeout=timeout)

    async def edit_comment(
        self, client: Outbound, subject: Subject, comment_id: str, body: str, *, timeout: float
    ) -> Posted:
        """Replace a comment's text."""
        return await answer.edit_comment(client, subject, comment_id, body, timeout=timeout)

    async def update_item(
        self, client: Outbound, subject: Subject, changes: ItemChanges, *, timeout: float
    ) -> Posted:
        """Change an issue, a work item or a merge request; idempotent."""
        return await answer.update_item(client, subject, changes, timeout=timeout)

    async def create_item(
        self, client: Outbound, project: str, new: NewItem, *, timeout: float
    ) -> Posted:
        """Create an issue. Not idempotent."""
        return await answer.create_item(client, project, new, timeout=timeout)

    async def find_item(
        self, client: Outbound, project: str, marker: str, *, since: str
    ) -> Posted | None:
        """The issue created since ``since`` whose text holds ``marker``."""
        return await answer.find_item(client, project, marker, since=since)

    async def find_review(
        self, client: Outbound, subject: Subject, marker: str, *, since: str
    ) -> Posted | None:
        """The note of a review that holds ``marker``."""
        return await review.find(client, subject, marker, since=since)

    async def submit_review(
        self,
        client: Outbound,
        subject: Subject,
        new: NewReview,
        *,
        since: str | None,
        timeout: float,
    ) -> Posted:
        """Review a merge request, part by part."""
        return await review.submit(client, subject, new, since=since, timeout=timeout)

    async def poll(
        self,
        client: Outbound,
        source_project_id: str,
        cursor: Mapping[str, Any],
        *,
        now: datetime,  # GitLab's own clock is what counts
        since: datetime,
    ) -> PollPage:
        """See ``aether.sources.gitlab.poll``."""
        return await poll(client, source_project_id, cursor, since=since)
