"""Which trigger a fresh installation's mappings give an event."""

from typing import Final

import seeding
from aether.engine.configuration import Configuration, SourceMapping
from aether.engine.route import source_mapping
from aether.events import SourceEvent

SEEDED: Final = Configuration(
    source_mappings={
        (one["source"], one["event_name"], one["action"]): SourceMapping(
            id=number, canonical_trigger=one["canonical_trigger"]
        )
        for number, one in enumerate(seeding.load("source_event_mappings"), start=1)
    }
)


def seeded_trigger(event: SourceEvent) -> str | None:
    """The trigger, or None where no row knows the event."""
    found = source_mapping(SEEDED, event)
    return found.canonical_trigger if found else None
