"""Whether a poll and a webhook tell of one state of an item: then the second is nothing new.

A poll sees that an item is no longer as before, not what happened to it, so that the two have no
key in common. Best effort: it may merge two changes, never repeat one.
"""

from typing import Final

from aether.db import row, rows
from aether.events import SourceEvent

BODY: Final = "body:"  # how the change key of a delivery begins that names no act

_OF_THE_ITEM: Final = """
SELECT 1 FROM delivery
WHERE source = $1 AND project_key = $2 AND item_key = $3 AND {how}
  AND coalesce(event->>'site', '') = $5
  AND (event->>'happened_at')::timestamptz >= $4::text::timestamptz
LIMIT 1
"""
BY_WEBHOOK: Final = _OF_THE_ITEM.format(how="event->>'told_by' IS NULL")  # it goes without saying
BY_STATE: Final = _OF_THE_ITEM.format(how="event->>'told_by' = 'state'")


def tells_a_state(event: SourceEvent) -> bool:
    """Whether it may be told twice without a key in common."""
    if event.subject is None or event.happened_at is None or event.told_by == "poll":
        return False
    if event.told_by == "state":
        return True
    return event.comment_id is None and event.change_key.startswith(BODY)  # it names no act


async def lock_state(event: SourceEvent) -> None:
    """Make others wait, until the transaction ends, who tell of a state of the same item."""
    project = event.project_names[0] if event.project_names else ""
    key = event.subject.key if event.subject else ""
    await rows(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 3))",
        "\x1f".join((event.source, project[:400], key[:100])),
    )


async def why_told(event: SourceEvent) -> str | None:
    """Who has told of this state of the item already, in words; None where nobody has."""
    if not tells_a_state(event) or event.subject is None:
        return None
    is_state = event.told_by == "state"
    project = event.project_names[0] if event.project_names else ""
    found = await row(
        BY_WEBHOOK if is_state else BY_STATE,
        event.source, project[:400], event.subject.key[:100], event.happened_at, event.site,
    )  # fmt: skip
    if found is None:
        return None
    return f"a {'webhook' if is_state else 'poll'} has told of this state already"
