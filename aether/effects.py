"""The only way to write to a platform, for answers and tools alike.

The switch, the intent row, the credentials, the call, the record, the audit. On any attempt
that is not surely the first, the marker is looked for before anything is posted, so that a
crash between the call and its record repeats nothing.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from aether import audit, standing
from aether.checkpoints import reached
from aether.comments import Comments, Placed
from aether.config import Settings
from aether.credentials import Credentials
from aether.db import row, rows, transaction
from aether.effect_rows import ANSWER, Intent, Target, digest, intend, intend_comment
from aether.errors import AetherError, CancelledRunError, LeaseLostError, UpstreamError
from aether.events import Subject
from aether.leases import Lease, fence
from aether.markers import marker_comment
from aether.markup import neutralise, neutralise_line
from aether.rendering import fitting, render
from aether.sources.base import (
    ItemChanges,
    NewItem,
    NewReview,
    Outbound,
    Posted,
    ReviewingSource,
    Source,
)
from aether.standing import Standing
from aether.vocabulary import EffectStatus

__all__ = ["ANSWER", "Effects", "Outcome", "call_timeout"]

SWITCHED_OFF: Final = "writing to the tracker is switched off"
NEWER: Final = "a newer run of this task has answered on this item"


def call_timeout(settings: Settings) -> float:
    """Seconds that one call to a platform may take; below the lease, so none outlives it."""
    return min(20.0, settings.lease_seconds / 3)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a write; ``status`` is sent or not_sent, which ``why`` explains."""

    status: EffectStatus
    id: str | None = None
    url: str | None = None
    why: str | None = None


class Effects:
    """What one run writes; it belongs to the lease and dies with it."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        source: Source,
        subject: Subject,
        lease: Lease,
        *,
        agent_id: str | None,
        project_id: int | None,
        site: str = "",
        one_comment_of: str | None = None,
    ) -> None:
        """``site`` is that of the event; ``one_comment_of`` is the task whose executions share
        one comment on an item, None where each has its own.
        """
        self._settings = settings
        self._credentials = credentials
        self._source = source
        self._subject = subject
        self._lease = lease
        self._agent_id = agent_id
        self._project_id = project_id
        self._site = site
        self._one_comment_of = one_comment_of
        self._call_seconds = call_timeout(settings)
        self._comments = Comments(
            source=source, lease=lease, call_seconds=self._call_seconds,
            outbound=self.outbound, render=self._body,
        )  # fmt: skip

    async def outbound(self) -> Outbound:
        """A connection for reading, with this run's credentials."""
        return await self._credentials.outbound(
            self._source.name,
            agent_id=self._agent_id,
            project_id=self._project_id,
            project_key=self._subject.project,
            site=self._site,
        )

    async def has_spoken(self) -> bool:
        """Whether ``add_comment`` has given this run's answer already."""
        found = await row(
            "SELECT content FROM effect WHERE execution_id = $1 AND key = $2",
            self._lease.execution_id, ANSWER,
        )  # fmt: skip
        content = json.loads(found["content"]) if found else {}
        return content.get("run") == self._lease.run and any(
            part["key"] != ANSWER for part in content["parts"]
        )

    async def say(self, part_key: str, text: str, *, on: Subject | None = None) -> Outcome:
        """Put ``text`` into the execution's one comment on its item, or ``on`` another one.

        The first part of a run posts the comment, or edits the comment of the run before; each
        further part of the same run is added to it. The same part again changes nothing. Where
        the task has one comment for an item, that is edited, unless a newer execution's answer
        stands there.

        Raises:
            UpstreamError, NotConfiguredError: the platform or the credentials failed.
            LeaseLostError: the run is not ours any more; nothing was written.
        """
        target = self._target(on or self._subject)
        is_own = target.subject.key == self._subject.key
        key = ANSWER if is_own else f"comment:{target.subject.key}"[:250]
        is_on = self._settings.tracker_updates_enabled
        place = None
        async with transaction():
            await fence(self._lease)
            if is_on and self._one_comment_of is not None:
                place = await standing.begin(self._one_comment_of, target)
            intent = await intend_comment(self._lease, target, key, part_key, text)
        if not is_on:
            return await self._not_sent(intent, target.subject, "comment.not_sent", SWITCHED_OFF)
        body = await self._body(intent)
        is_there = intent.content_hash == digest({"body": body})
        if intent.status is EffectStatus.SENT and is_there:
            return Outcome(status=EffectStatus.SENT, id=intent.platform_id, url=intent.url)
        reached("comment intended")
        try:
            if place is None:
                placed: Placed | None = await self._comments.place_own(target.subject, intent, body)
            else:
                placed = await self._comments.place_shared(place, target.subject, intent, body)
        except AetherError as error:
            await self._failed(intent, error, part_key)
            raise
        if placed is None:
            return await self._not_sent(intent, target.subject, "comment.superseded", NEWER)
        reached("comment posted")
        return await self._sent(
            intent, target.subject, placed.posted, digest({"body": placed.body}), placed.action,
            {"characters": len(placed.body), **placed.detail}, turn=placed.turn,
        )  # fmt: skip

    async def change(
        self, key: str, kind: str, subject: Subject, changes: ItemChanges, content: dict[str, Any]
    ) -> Outcome:
        """Change an item; safe to repeat, since a platform's item takes the same change twice.

        A title and a body are made harmless first; ``content`` then tells what is written.
        """
        changes = await asyncio.to_thread(self._harmless_changes, changes)
        wrote = {"title": changes.title, "body": changes.body}
        content = {**content, **{name: wrote[name] for name in wrote.keys() & content.keys()}}

        async def call(client: Outbound, intent: Intent) -> Posted:
            intent.is_open = False  # asked twice is asked once
            return await self._source.update_item(
                client, subject, changes, timeout=self._call_seconds
            )

        return await self._perform(key, kind, subject, content, call)

    async def create(self, key: str, new: NewItem) -> Outcome:
        """Create an item in the subject's project; one that may exist is looked for by its marker.

        Raises:
            UpstreamError: the platform failed; ``may_have_happened`` where it is not known.
        """

        async def call(client: Outbound, intent: Intent) -> Posted:
            project = self._subject.project
            if not intent.is_first:
                found = await self._source.find_item(
                    client, project, marker_comment(intent.marker), since=intent.since
                )
                if found is not None:
                    return found
                intent.is_open = False
            marked = replace(
                new,
                title=neutralise_line(new.title, let=self._settings.output_acts),
                body=await self._rendered(new.body, intent),
                is_confidential=new.is_confidential or self._subject.visibility is not None,
                origin=self._subject,
            )
            await fence(self._lease)
            return await self._source.create_item(
                client, project, marked, timeout=self._call_seconds
            )

        content = {"title": new.title, "body": new.body, "labels": list(new.labels)}
        return await self._perform(key, "create", self._subject, content, call)

    async def review(
        self, key: str, subject: Subject, source: ReviewingSource, review: NewReview
    ) -> Outcome:
        """Give a verdict on a pull request; one that may be there is looked for by its marker.

        Raises:
            UpstreamError: the platform failed; ``may_have_happened`` where it is not known.
        """

        async def call(client: Outbound, intent: Intent) -> Posted:
            marker = marker_comment(intent.marker)
            since = None if intent.is_first else intent.since
            if since is not None:
                found = await source.find_review(client, subject, marker, since=since)
                if found is not None:
                    return found
                intent.is_open = False
            marked = replace(
                review,
                body=await self._rendered(review.body, intent),
                comments=[
                    replace(one, body=await self._rendered(one.body, intent))
                    for one in review.comments
                ],
            )
            await fence(self._lease)
            return await source.submit_review(
                client, subject, marked, since=since, timeout=self._call_seconds
            )

        content = {
            "verdict": review.verdict,
            "body": review.body,
            "comments": [vars(one) for one in review.comments],
        }
        return await self._perform(key, "review", subject, content, call)

    async def _perform(
        self, key: str, kind: str, subject: Subject, content: dict[str, Any], call: Any
    ) -> Outcome:
        async with transaction():
            await fence(self._lease)
            intent = await intend(self._lease, self._target(subject), key, kind, content)
        if not self._settings.tracker_updates_enabled:
            return await self._not_sent(intent, subject, f"{kind}.not_sent", SWITCHED_OFF)
        if intent.status is EffectStatus.SENT:
            return Outcome(status=EffectStatus.SENT, id=intent.platform_id, url=intent.url)
        try:
            client = await self.outbound()
            await fence(self._lease)
            posted = await call(client, intent)
        except AetherError as error:
            await self._failed(intent, error)
            raise
        return await self._sent(
            intent, subject, posted, intent.content_hash, f"item.{kind}", content
        )

    def _target(self, subject: Subject) -> Target:
        return Target(source=self._source.name, site=self._site, subject=subject)

    async def _body(self, intent: Intent) -> str:
        parts: Sequence[Mapping[str, Any]] = intent.content["parts"]
        return await self._rendered("\n\n".join(str(part["text"]) for part in parts), intent)

    async def _rendered(self, text: str, intent: Intent) -> str:
        """A text as it is sent: harmless, within the platform's limit, with its marker.

        In a thread: a long text takes seconds, and every other run waits for the event loop.
        """
        return await asyncio.to_thread(
            render,
            text,
            marker=marker_comment(intent.marker),
            limit=self._source.max_comment_characters,
            harmless=self._harmless,
        )

    def _harmless(self, text: str) -> str:
        return neutralise(text, let=self._settings.output_acts)

    def _harmless_changes(self, changes: ItemChanges) -> ItemChanges:
        title, body = changes.title, changes.body
        if title is not None:
            title = neutralise_line(title, let=self._settings.output_acts)
        if body is not None:
            limit = self._source.max_comment_characters
            body = fitting(body, limit, harmless=self._harmless)
        return replace(changes, title=title, body=body)

    async def _sent(
        self,
        intent: Intent,
        subject: Subject,
        posted: Posted,
        content_hash: str,
        action: str,
        detail: Mapping[str, Any],
        *,
        turn: Standing | None = None,
    ) -> Outcome:
        async with transaction():
            await fence(self._lease)
            if turn is not None:
                await standing.settle(turn, self._lease)
            await rows(
                """UPDATE effect SET status = $2, platform_id = $3, url = $4, content_hash = $5,
                     account = coalesce($6, account), error = NULL, touched_at = now()
                   WHERE id = $1""",
                intent.id, EffectStatus.SENT, posted.id[:200], posted.url, content_hash,
                (posted.bot_account or "")[:200] or None,
            )  # fmt: skip
            await self._audit(action, subject, {**detail, "url": posted.url, "id": posted.id})
        return Outcome(status=EffectStatus.SENT, id=posted.id, url=posted.url)

    async def _not_sent(self, intent: Intent, subject: Subject, action: str, why: str) -> Outcome:
        reason = "TRACKER_UPDATES_ENABLED is false" if why == SWITCHED_OFF else why
        async with transaction():
            await fence(self._lease)
            await rows(
                "UPDATE effect SET status = $2 WHERE id = $1", intent.id, EffectStatus.NOT_SENT
            )
            await self._audit(action, subject, {"reason": reason})
        return Outcome(status=EffectStatus.NOT_SENT, why=why)

    async def _failed(
        self, intent: Intent, error: AetherError, part_key: str | None = None
    ) -> None:
        """Record what surely did not happen.

        A part that was refused is taken out: whoever said it hears so, and may say it again.

        Raises:
            UpstreamError: the same failure, where the write may have happened.
        """
        if isinstance(error, (LeaseLostError, CancelledRunError)):
            return
        if intent.is_open or (isinstance(error, UpstreamError) and error.may_have_happened):
            raise _may_have_happened(error) from error
        content = dict(intent.content)
        if part_key is not None:
            content["parts"] = [one for one in content["parts"] if one["key"] != part_key]
        async with transaction():
            await fence(self._lease)
            await rows(
                """UPDATE effect SET status = CASE WHEN platform_id IS NULL THEN $2 ELSE status END,
                     error = $3, content = $4 WHERE id = $1""",
                intent.id, EffectStatus.FAILED, str(error), json.dumps(content),
            )  # fmt: skip

    async def _audit(self, action: str, subject: Subject, detail: Mapping[str, Any]) -> None:
        await audit.record(
            action,
            agent_id=self._agent_id,
            execution_id=self._lease.execution_id,
            detail={
                "source": self._source.name,
                "project": subject.project,
                "item": subject.key,
                **detail,
            },
        )


def _may_have_happened(error: AetherError) -> UpstreamError:
    """The same failure, of a write whose outcome is not known."""
    return UpstreamError(
        str(error),
        status=error.status if isinstance(error, UpstreamError) else None,
        retryable=error.retryable,
        retry_after=error.retry_after,
        may_have_happened=True,
    )
