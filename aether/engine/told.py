"""Whether a poll and a webhook tell of one state of an item: then the second is nothing new.

A poll sees that an item is no longer as before, not what happened to it, so that the two have no
key in common. Best effort: it may merge two changes, never repeat one.
"""

from typing import Final

from aether.db import row
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


async def why_told(event: SourceEvent) -> str | None:
    """Who has told of this state of the item already, in words; None where nobody has."""
    if event.subject is None or event.happened_at is None or event.told_by == "poll":
        return None
    is_state = event.told_by == "state"
    if not is_state and (event.comment_id is not None or not event.change_key.startswith(BODY)):
        return None  # it names its act, so that the unique keys decide
    project = event.project_names[0] if event.project_names else ""
    found = await row(
        BY_WEBHOOK if is_state else BY_STATE,
        event.source, project[:400], event.subject.key[:100], event.happened_at, event.site,
    )  # fmt: skip
    if found is None:
        return None
    return f"a {'webhook' if is_state else 'poll'} has told of this state already"
