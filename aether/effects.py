"""The only way to write to a platform, for answers and tools alike.

The switch, the intent row, the credentials, the call, the record, the audit. On any attempt
that is not surely the first, the marker is looked for before anything is posted, so that a
crash between the call and its record repeats nothing.
"""

import hashlib
import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from aether import audit, clock
from aether.checkpoints import reached
from aether.config import Settings
from aether.credentials import Credentials
from aether.db import row, rows, transaction
from aether.errors import AetherError, CancelledRunError, LeaseLostError, UpstreamError
from aether.events import Subject
from aether.leases import Lease, fence
from aether.markers import marker_comment
from aether.markup import neutralise, neutralise_line
from aether.rendering import fitting, render
from aether.sources.base import Comment, ItemChanges, NewItem, Outbound, Posted, Source
from aether.vocabulary import EffectStatus

log = logging.getLogger(__name__)

ANSWER: Final = "answer"  # the key of an execution's one comment
LOOK_BACK: Final = timedelta(minutes=10)  # clocks differ; before the intent
GONE: Final = frozenset({404, 410})


def call_timeout(settings: Settings) -> float:
    """Seconds that one call to a platform may take; below the lease, so none outlives it."""
    return min(20.0, settings.lease_seconds / 3)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a write; ``status`` is sent or not_sent."""

    status: EffectStatus
    id: str | None = None
    url: str | None = None


@dataclass(kw_only=True)
class _Intent:
    """An effect's row as this attempt found or made it."""

    id: int
    marker: str
    is_first: bool  # made just now: nothing can have been sent before
    is_open: bool  # an earlier attempt was made, and nobody knows yet whether it happened
    status: EffectStatus
    content: Mapping[str, Any]
    content_hash: str
    platform_id: str | None
    url: str | None
    since: str  # from when on the platform may hold it, ISO 8601


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
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._source = source
        self._subject = subject
        self._lease = lease
        self._agent_id = agent_id
        self._project_id = project_id

    async def outbound(self) -> Outbound:
        """A connection for reading, with this run's credentials."""
        return await self._credentials.outbound(
            self._source.name,
            agent_id=self._agent_id,
            project_id=self._project_id,
            project_key=self._subject.project,
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
        further part of the same run is added to it. The same part again changes nothing.

        Raises:
            UpstreamError, NotConfiguredError: the platform or the credentials failed.
            LeaseLostError: the run is not ours any more; nothing was written.
        """
        subject = on or self._subject
        async with transaction():
            await fence(self._lease)
            intent = await self._intend_comment(subject, part_key, text)
        body = self._body(intent)
        if not self._settings.tracker_updates_enabled:
            return await self._not_sent(intent, subject, "comment.not_sent")
        digest = _digest({"body": body})
        if intent.status is EffectStatus.SENT and intent.content_hash == digest:
            return Outcome(status=EffectStatus.SENT, id=intent.platform_id, url=intent.url)
        reached("comment intended")
        try:
            posted, action = await self._place_comment(subject, intent, body)
        except AetherError as error:
            await self._failed(intent, error, part_key)
            raise
        reached("comment posted")
        detail = {"characters": len(body)}
        return await self._sent(intent, subject, posted, digest, action, detail)

    async def change(
        self, key: str, kind: str, subject: Subject, changes: ItemChanges, content: dict[str, Any]
    ) -> Outcome:
        """Change an item; safe to repeat, since a platform's item takes the same change twice.

        A title and a body are made harmless first; ``content`` then tells what is written.
        """
        changes = self._harmless_changes(changes)
        wrote = {"title": changes.title, "body": changes.body}
        content = {**content, **{name: wrote[name] for name in wrote.keys() & content.keys()}}

        async def call(client: Outbound, intent: _Intent) -> Posted:
            intent.is_open = False  # asked twice is asked once
            return await self._source.update_item(
                client, subject, changes, timeout=call_timeout(self._settings)
            )

        return await self._perform(key, kind, subject, content, call)

    async def create(self, key: str, new: NewItem) -> Outcome:
        """Create an item in the subject's project; one that may exist is looked for by its marker.

        Raises:
            UpstreamError: the platform failed; ``may_have_happened`` where it is not known.
        """

        async def call(client: Outbound, intent: _Intent) -> Posted:
            project = self._subject.project
            if not intent.is_first:
                found = await self._source.find_item(
                    client, project, marker_comment(intent.marker), since=intent.since
                )
                if found is not None:
                    return found
                intent.is_open = False
            body = self._rendered(new.body, intent)
            title = neutralise_line(new.title, let=self._settings.output_acts)
            is_confidential = new.is_confidential or self._subject.visibility is not None
            marked = replace(new, title=title, body=body, is_confidential=is_confidential)
            await fence(self._lease)
            return await self._source.create_item(
                client, project, marked, timeout=call_timeout(self._settings)
            )

        content = {"title": new.title, "body": new.body, "labels": list(new.labels)}
        return await self._perform(key, "create", self._subject, content, call)

    async def _perform(
        self, key: str, kind: str, subject: Subject, content: dict[str, Any], call: Any
    ) -> Outcome:
        async with transaction():
            await fence(self._lease)
            intent = await self._intend(key, kind, subject, content)
        if not self._settings.tracker_updates_enabled:
            return await self._not_sent(intent, subject, f"{kind}.not_sent")
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

    async def _place_comment(
        self, subject: Subject, intent: _Intent, body: str
    ) -> tuple[Posted, str]:
        """Edit the comment where there is one, else post it; gives what to call it in the audit."""
        client = await self.outbound()
        limit = call_timeout(self._settings)
        existing = intent.platform_id
        if existing is None and not intent.is_first:
            found = await self._find_comment(client, subject, intent)
            if found is not None and found.body == body:
                return Posted(id=found.id, url=found.url), "comment.found"
            existing = found.id if found else None
            intent.is_open = False
        await fence(self._lease)
        if existing is not None:
            try:
                edited = await self._source.edit_comment(
                    client, subject, existing, body, timeout=limit
                )
            except UpstreamError as error:
                if error.status not in GONE:
                    raise
                log.info("comment %s is gone; posting a new one", existing)
                await self._forget(intent)
            else:
                return edited, "comment.edited"
        posted = await self._source.post_comment(client, subject, body, timeout=limit)
        return posted, "comment.posted"

    async def _forget(self, intent: _Intent) -> None:
        """Its comment is gone: from here on, whether there is another is not known."""
        async with transaction():
            await fence(self._lease)
            await rows(
                "UPDATE effect SET platform_id = NULL, url = NULL, status = $2 WHERE id = $1",
                intent.id, EffectStatus.INTENDED,
            )  # fmt: skip

    async def _find_comment(
        self, client: Outbound, subject: Subject, intent: _Intent
    ) -> Comment | None:
        wanted = marker_comment(intent.marker)
        comments = await self._source.list_comments(client, subject, since=intent.since)
        return next((one for one in comments if wanted in one.body), None)

    def _body(self, intent: _Intent) -> str:
        parts: Sequence[Mapping[str, Any]] = intent.content["parts"]
        return self._rendered("\n\n".join(str(part["text"]) for part in parts), intent)

    def _rendered(self, text: str, intent: _Intent) -> str:
        """A text as it is sent: harmless, within the platform's limit, with its marker."""
        return render(
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

    async def _intend_comment(self, subject: Subject, part_key: str, text: str) -> _Intent:
        part = {"key": part_key, "text": text}
        key = ANSWER if subject.key == self._subject.key else f"comment:{subject.key}"[:250]
        intent = await self._intend(
            key, "comment", subject, {"run": self._lease.run, "parts": [part]}
        )
        content = dict(intent.content)
        if content["run"] != self._lease.run:
            content = {"run": self._lease.run, "parts": [part]}
        elif any(one["key"] == part_key for one in content["parts"]):
            return intent
        else:
            content["parts"] = [*content["parts"], part]
        await rows(
            "UPDATE effect SET content = $2, touched_at = now() WHERE id = $1",
            intent.id, json.dumps(content),
        )  # fmt: skip
        return _Intent(**{**vars(intent), "content": content})

    async def _intend(
        self, key: str, kind: str, subject: Subject, content: Mapping[str, Any]
    ) -> _Intent:
        """The effect's row, made now or found; the unique (execution, key) decides."""
        made = await row(
            """INSERT INTO effect (execution_id, key, kind, source, project_key, item_kind,
                 item_key, content, content_hash, marker)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
               ON CONFLICT (execution_id, key) DO NOTHING RETURNING *""",
            self._lease.execution_id, key, kind, self._source.name, subject.project[:400],
            subject.kind, subject.key[:100], json.dumps(content), _digest(content),
            secrets.token_urlsafe(24),
        )  # fmt: skip
        found = made or await row(
            "SELECT * FROM effect WHERE execution_id = $1 AND key = $2",
            self._lease.execution_id, key,
        )  # fmt: skip
        if found is None:
            raise RuntimeError("an effect's row vanished")
        status = EffectStatus(found["status"])
        if status in {EffectStatus.FAILED, EffectStatus.NOT_SENT} and not found["platform_id"]:
            await rows(
                "UPDATE effect SET status = $2, touched_at = now() WHERE id = $1",
                found["id"], EffectStatus.INTENDED,
            )  # fmt: skip
        return _Intent(
            id=int(found["id"]),
            marker=found["marker"],
            is_first=made is not None,
            is_open=not (made or found["platform_id"]) and status is EffectStatus.INTENDED,
            status=status,
            content=json.loads(found["content"]),
            content_hash=found["content_hash"],
            platform_id=found["platform_id"],
            url=found["url"],
            since=clock.to_wire(found["intended_at"] - LOOK_BACK),
        )

    async def _sent(
        self,
        intent: _Intent,
        subject: Subject,
        posted: Posted,
        digest: str,
        action: str,
        detail: dict[str, Any],
    ) -> Outcome:
        async with transaction():
            await fence(self._lease)
            await rows(
                """UPDATE effect SET status = $2, platform_id = $3, url = $4, content_hash = $5,
                     account = coalesce($6, account), error = NULL, touched_at = now()
                   WHERE id = $1""",
                intent.id, EffectStatus.SENT, posted.id[:200], posted.url, digest,
                (posted.bot_account or "")[:200] or None,
            )  # fmt: skip
            await self._audit(action, subject, {**detail, "url": posted.url, "id": posted.id})
        return Outcome(status=EffectStatus.SENT, id=posted.id, url=posted.url)

    async def _not_sent(self, intent: _Intent, subject: Subject, action: str) -> Outcome:
        async with transaction():
            await fence(self._lease)
            await rows(
                "UPDATE effect SET status = $2 WHERE id = $1", intent.id, EffectStatus.NOT_SENT
            )
            await self._audit(action, subject, {"reason": "TRACKER_UPDATES_ENABLED is false"})
        return Outcome(status=EffectStatus.NOT_SENT)

    async def _failed(
        self, intent: _Intent, error: AetherError, part_key: str | None = None
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


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
