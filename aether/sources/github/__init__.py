"""GitHub: signed deliveries, issues, pull requests and deployments, comments.

Signing:  https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
Payloads: https://docs.github.com/en/webhooks/webhook-events-and-payloads
REST:     https://docs.github.com/en/rest
"""

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
from aether.sources.github import answer, poll, review
from aether.sources.github.extract import extract
from aether.sources.github.polled_lists import Times
from aether.sources.github.verify import verify
from aether.vocabulary import SourceName


class GitHub:
    """GitHub as a ``Source``; github.com, Enterprise Server, and what speaks like them."""

    name = SourceName.GITHUB
    max_comment_characters = 65_536

    def verify(self, headers: Headers, body: bytes, secret: str) -> None:
        """See ``aether.sources.github.verify``."""
        verify(headers, body, secret)

    def extract(self, headers: Headers, body: bytes) -> SourceEvent:
        """See ``aether.sources.github.extract``."""
        return extract(headers, body)

    async def read_item(self, client: Outbound, subject: Subject) -> Mapping[str, Any]:
        """The item as it is now."""
        return await answer.read_item(client, subject)

    async def list_comments(
        self, client: Outbound, subject: Subject, *, since: str | None = None
    ) -> list[Comment]:
        """Comments of the conversation, oldest first; those on lines of a diff are not in it."""
        return await answer.list_comments(client, subject, since=since)

    async def post_comment(
        self, client: Outbound, subject: Subject, body: str, *, timeout: float
    ) -> Posted:
        """Comment on an issue or a pull request. Not idempotent."""
        return await answer.post_comment(client, subject, body, timeout=timeout)

    async def edit_comment(
        self, client: Outbound, subject: Subject, comment_id: str, body: str, *, timeout: float
    ) -> Posted:
        """Replace a comment's text."""
        return await answer.edit_comment(client, subject, comment_id, body, timeout=timeout)

    async def update_item(
        self, client: Outbound, subject: Subject, changes: ItemChanges, *, timeout: float
    ) -> Posted:
        """Change an issue or a pull request; idempotent."""
        return await answer.update_item(client, subject, changes, timeout=timeout)

    async def create_item(
        self, client: Outbound, project: str, new: NewItem, *, timeout: float
    ) -> Posted:
        """Create an issue. Not idempotent."""
        return await answer.create_item(client, project, new, timeout=timeout)

    async def find_item(
        self, client: Outbound, project: str, marker: str, *, since: str
    ) -> Posted | None:
        """The issue created since ``since`` whose body holds ``marker``."""
        return await answer.find_item(client, project, marker, since=since)

    async def find_review(
        self, client: Outbound, subject: Subject, marker: str, *, since: str
    ) -> Posted | None:
        """The review whose text holds ``marker``."""
        return await review.find(client, subject, marker)

    async def submit_review(
        self,
        client: Outbound,
        subject: Subject,
        new: NewReview,
        *,
        since: str | None,
        timeout: float,
    ) -> Posted:
        """Review a pull request; whole or not at all. Not idempotent."""
        return await review.submit(client, subject, new, timeout=timeout)

    async def poll(
        self,
        client: Outbound,
        source_project_id: str,
        cursor: Mapping[str, Any],
        *,
        now: datetime,
        since: datetime,
    ) -> PollPage:
        """Issues, pull requests, reviews and comments; see ``aether.sources.github.poll``."""
        times = Times(now=now, since=since)
        return await poll.poll(client, source_project_id, cursor, times)
