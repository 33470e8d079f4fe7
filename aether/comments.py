"""Places one comment: edited where there is one, posted where there is none, never both.

A run has a comment of its own, or shares one with the other runs of its task on the item
(``aether.standing``). A comment that cannot be edited is replaced by a new one.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from aether import standing
from aether.effect_rows import Intent, renew
from aether.errors import AetherError, UpstreamError
from aether.events import Subject
from aether.leases import Lease, fence
from aether.markers import marker_comment
from aether.sources.base import Comment, Outbound, Posted, Source
from aether.standing import Standing

log = logging.getLogger(__name__)

GONE: Final = frozenset({404, 410})
FORBIDDEN: Final = 403


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A comment as it stands now; ``action`` and ``detail`` are for the audit.

    ``turn`` is to be settled with the record.
    """

    posted: Posted
    body: str
    action: str
    detail: Mapping[str, Any]
    turn: Standing | None = None


@dataclass(frozen=True, kw_only=True)
class Comments:
    """How one run places comments; ``render`` gives the body that an intent is sent with."""

    source: Source
    lease: Lease
    call_seconds: float
    outbound: Callable[[], Awaitable[Outbound]]
    render: Callable[[Intent], Awaitable[str]]

    async def place_own(self, subject: Subject, intent: Intent, body: str) -> Placed:
        """Edit the execution's own comment where there is one, else post it."""
        client = await self.outbound()
        existing = intent.platform_id
        if existing is None and not intent.is_first:
            found = await self._find(client, subject, intent.marker, intent.since)
            if found is not None and found.body == body:
                return _found(found)
            existing = found.id if found else None
            intent.is_open = False
        await fence(self.lease)
        why_anew: Mapping[str, Any] = {}
        if existing is not None:
            edited = await self._edit(client, subject, existing, body)
            if isinstance(edited, Posted):
                return Placed(posted=edited, body=body, action="comment.edited", detail={})
            why_anew = edited
            await renew(self.lease, intent)
            body = await self.render(intent)
        posted = await self._post(client, subject, body)
        return Placed(posted=posted, body=body, action="comment.posted", detail=why_anew)

    async def place_shared(
        self, place: str, subject: Subject, intent: Intent, body: str
    ) -> Placed | None:
        """Edit the one comment of the task on the item, or post it; None: a newer answer stands."""
        before = await standing.take(place, self.lease, call_seconds=self.call_seconds)
        try:
            return await self._write_shared(before, subject, intent, body)
        except AetherError as error:
            if not (isinstance(error, UpstreamError) and error.may_have_happened):
                await standing.settle(before, self.lease)
            raise

    async def _write_shared(
        self, before: Standing, subject: Subject, intent: Intent, body: str
    ) -> Placed | None:
        client = await self.outbound()
        if before.is_in_doubt:
            found = await self._find(client, subject, str(before.marker), before.since)
            if found is None:
                before = replace(before, execution_id=None, marker=None)
            else:
                before = standing.known(before, found.id, found.url)
                if before.marker == intent.marker and found.body == body:
                    return replace(_found(found), turn=before)
        intent.is_open = False  # whether there is a comment is known, and an edit may be repeated
        if before.execution_id is not None and before.execution_id > self.lease.execution_id:
            await standing.settle(before, self.lease)
            return None
        why_anew: Mapping[str, Any] = {}
        if before.platform_id is not None:
            turn = await self._about_to_write(before, intent, is_new=False)
            edited = await self._edit(client, subject, before.platform_id, body)
            if isinstance(edited, Posted):
                turn = standing.known(turn, edited.id, edited.url)
                return Placed(
                    posted=edited, body=body, action="comment.edited", detail={}, turn=turn
                )
            why_anew = edited
            await renew(self.lease, intent)
            body = await self.render(intent)
        turn = await self._about_to_write(before, intent, is_new=True)
        posted = await self._post(client, subject, body)
        turn = standing.known(turn, posted.id, posted.url)
        return Placed(posted=posted, body=body, action="comment.posted", detail=why_anew, turn=turn)

    async def _about_to_write(self, before: Standing, intent: Intent, *, is_new: bool) -> Standing:
        return await standing.write(
            before, self.lease, intent.marker, call_seconds=self.call_seconds, is_new=is_new
        )

    async def _post(self, client: Outbound, subject: Subject, body: str) -> Posted:
        return await self.source.post_comment(client, subject, body, timeout=self.call_seconds)

    async def _edit(
        self, client: Outbound, subject: Subject, comment_id: str, body: str
    ) -> Posted | Mapping[str, Any]:
        """The edited comment; or why there has to be another one, for the audit."""
        try:
            return await self.source.edit_comment(
                client, subject, comment_id, body, timeout=self.call_seconds
            )
        except UpstreamError as error:
            if error.status in GONE:
                why = "it is gone"
            elif error.status == FORBIDDEN and not error.retryable:
                why = f"it may not be edited: {error}"
            else:
                raise
        log.info("comment %s: %s; posting a new one", comment_id, why)
        return {"instead_of": comment_id, "because": why}

    async def _find(
        self, client: Outbound, subject: Subject, marker: str, since: str
    ) -> Comment | None:
        wanted = marker_comment(marker)
        comments = await self.source.list_comments(client, subject, since=since)
        return next((one for one in comments if wanted in one.body), None)


def _found(comment: Comment) -> Placed:
    posted = Posted(id=comment.id, url=comment.url)
    return Placed(posted=posted, body=comment.body, action="comment.found", detail={})
