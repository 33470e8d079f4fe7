"""Whether an event is our own doing: then it starts nothing, or we would answer ourselves.

Known by the marker in the text, the id of a comment we recorded, or an effect we intended on
that item. The account alone decides only for bot and App accounts: a person whose token we use
is still a person.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from aether.db import rows
from aether.effects import markers_in
from aether.events import SourceEvent

WINDOW: Final = "15 minutes"  # between our write and the webhook that tells of it

KINDS: Final[Mapping[str, frozenset[str]]] = {
    "labeled": frozenset({"label"}),
    "unlabeled": frozenset({"unlabel"}),
    "assigned": frozenset({"assign"}),
    "closed": frozenset({"close"}),
    "edited": frozenset({"update"}),
}
"""Which of our effects an action may be the echo of."""


async def why_ours(event: SourceEvent) -> str | None:
    """The evidence that we did it, in words; None where it was somebody else."""
    for evidence in (_by_marker, _by_comment, _by_account, _by_effect):
        why = await evidence(event)
        if why is not None:
            return why
    return None


async def _by_marker(event: SourceEvent) -> str | None:
    markers = markers_in(event.text)
    if not markers:
        return None
    found = await rows(
        """SELECT platform_id FROM effect WHERE source = $1 AND marker = ANY($2::text[])""",
        event.source, markers,
    )  # fmt: skip
    created = event.comment_id or (event.subject.key if event.subject else None)
    # a marker on another comment than the recorded one was copied by somebody
    if any(one["platform_id"] in {None, created} for one in found):
        return "our own doing: it carries our marker"
    return None


async def _by_comment(event: SourceEvent) -> str | None:
    if event.comment_id is None:
        return None
    found = await rows(
        """SELECT 1 FROM effect WHERE source = $1 AND platform_id = $2 AND kind = 'comment'
           LIMIT 1""",
        event.source, event.comment_id,
    )  # fmt: skip
    return "our own doing: we posted this comment" if found else None


async def _by_account(event: SourceEvent) -> str | None:
    if event.actor is None or not event.actor.is_bot:
        return None
    found = await rows(
        "SELECT 1 FROM effect WHERE source = $1 AND account = $2 LIMIT 1",
        event.source, event.actor.login,
    )  # fmt: skip
    return f"our own doing: {event.actor.login} is our bot account" if found else None


async def _by_effect(event: SourceEvent) -> str | None:
    kinds = KINDS.get(event.action or "")
    if kinds is None or event.subject is None:
        return None
    found = await rows(
        f"""SELECT kind, content FROM effect
            WHERE source = $1 AND project_key = $2 AND item_key = $3 AND kind = ANY($4::text[])
              AND status IN ('intended', 'sent') AND touched_at > now() - interval '{WINDOW}'""",  # noqa: S608 # a constant of ours
        event.source, event.subject.project, event.subject.key, sorted(kinds),
    )  # fmt: skip
    if any(_tells_of(event, one["kind"], json.loads(one["content"])) for one in found):
        return f"our own doing: we intended {event.action} on this item"
    return None


def _tells_of(event: SourceEvent, kind: str, content: Mapping[str, Any]) -> bool:
    """Whether the event says what the effect wrote."""
    if kind in {"label", "unlabel", "assign"}:
        return event.change in content.get("names", ())
    if kind == "update" and event.subject is not None:
        wrote = (content.get("title"), content.get("body"))
        now = (event.subject.title, event.subject.body)
        return all(mine is None or mine == theirs for mine, theirs in zip(wrote, now, strict=True))
    return kind == "close"
