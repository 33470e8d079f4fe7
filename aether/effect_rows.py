"""An effect's row: made before the platform is called, found again after a crash."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from aether import clock
from aether.db import row, rows, transaction
from aether.events import Subject
from aether.leases import Lease, fence
from aether.vocabulary import EffectStatus, SourceName

ANSWER: Final = "answer"  # the key of an execution's one comment
LOOK_BACK: Final = timedelta(minutes=10)  # clocks differ; before the intent


@dataclass(kw_only=True)
class Intent:
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


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is written to: an item of a site."""

    source: SourceName
    site: str
    subject: Subject


async def intend(
    lease: Lease, target: Target, key: str, kind: str, content: Mapping[str, Any]
) -> Intent:
    """The row, made now or found; the unique (execution, key) decides. In a fenced transaction."""
    subject = target.subject
    made = await row(
        """INSERT INTO effect (execution_id, key, kind, source, site, project_key, item_kind,
             item_key, audience, content, content_hash, marker)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
           ON CONFLICT (execution_id, key) DO NOTHING RETURNING *""",
        lease.execution_id, key, kind, target.source, target.site, subject.project[:400],
        subject.kind, subject.key[:100], subject.audience, json.dumps(content), digest(content),
        secrets.token_urlsafe(24),
    )  # fmt: skip
    found = made or await row(
        "SELECT * FROM effect WHERE execution_id = $1 AND key = $2", lease.execution_id, key
    )
    if found is None:
        raise RuntimeError("an effect's row vanished")
    status = EffectStatus(found["status"])
    if status in {EffectStatus.FAILED, EffectStatus.NOT_SENT} and not found["platform_id"]:
        await rows(
            "UPDATE effect SET status = $2, touched_at = now() WHERE id = $1",
            found["id"], EffectStatus.INTENDED,
        )  # fmt: skip
    return Intent(
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


async def intend_comment(
    lease: Lease, target: Target, key: str, part_key: str, text: str
) -> Intent:
    """The row of a comment with this part in it; parts of an earlier run are gone."""
    part = {"key": part_key, "text": text}
    begun = {"run": lease.run, "parts": [part]}
    intent = await intend(lease, target, key, "comment", begun)
    content = dict(intent.content)
    if content["run"] != lease.run:
        content = begun
    elif any(one["key"] == part_key for one in content["parts"]):
        return intent
    else:
        content["parts"] = [*content["parts"], part]
    await rows(
        "UPDATE effect SET content = $2, touched_at = now() WHERE id = $1",
        intent.id, json.dumps(content),
    )  # fmt: skip
    return Intent(**{**vars(intent), "content": content})


async def renew(lease: Lease, intent: Intent) -> None:
    """Its comment cannot be used any more: the next one is another, and has another marker.

    Otherwise the one of before, which may still be there, would be found instead of it.
    """
    marker = secrets.token_urlsafe(24)
    async with transaction():
        await fence(lease)
        await rows(
            """UPDATE effect SET platform_id = NULL, url = NULL, status = $2, marker = $3
               WHERE id = $1""",
            intent.id, EffectStatus.INTENDED, marker,
        )  # fmt: skip
    intent.marker, intent.platform_id, intent.url = marker, None, None


def digest(content: Mapping[str, Any]) -> str:
    """What tells one content from another."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
