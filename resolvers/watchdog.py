"""The watchdog log: warnings and errors of ours, newest first."""

import re
from typing import Annotated, Final

from pydantic import StringConstraints
from pydantic.types import Strict

from aether.db import rows
from aether.engine.runtime import runtime
from aether.errors import AetherError, NotFoundError
from aether.models import WatchdogEntry
from aether.vocabulary import WatchdogLevel
from resolvers.fields import Page

LONGEST_SEARCH: Final = 2_000
"""Characters of a search that count; more would find nothing else."""
MOST_SEARCH: Final = 5_000
"""Characters of a search that are taken. All of them at 12 bytes each, %-encoded, still fit into a
request's head: beyond 64 KiB the server itself refuses it, and not as JSON."""

# A row of minus signs overflows PostgreSQL's parser of searches (SQLSTATE XX000).
_NO_WORDS: Final = re.compile(r"""-(?=\s*-)|[^\w\s"'./@:+#-]""")


class WatchdogOffError(NotFoundError):
    """Nothing is kept: WATCHDOG_ENABLED is off."""

    def __init__(self) -> None:
        text = "the watchdog log is off; WATCHDOG_ENABLED=true turns it on"
        AetherError.__init__(self, text)


class WatchdogFilter(Page):
    """Which entries. ``search``: words of the message, ``"a phrase"``, ``-not``, ``or``."""

    level: Annotated[WatchdogLevel, Strict(strict=False)] | None = None
    search: Annotated[str, StringConstraints(max_length=MOST_SEARCH)] | None = None


async def list_watchdog_entries(wanted: WatchdogFilter) -> list[WatchdogEntry]:
    """Entries, newest first; a blank ``search`` finds all, one without a word finds none.

    Raises:
        WatchdogOffError: WATCHDOG_ENABLED is off.
    """
    if not runtime().settings.watchdog_enabled:
        raise WatchdogOffError
    search = (wanted.search or "").strip()[:LONGEST_SEARCH] or None
    found = await rows(
        """SELECT id FROM watchdog_entry
           WHERE ($1::text IS NULL OR level = $1)
             AND ($2::text IS NULL OR tsv @@ websearch_to_tsquery('simple', $2))
           ORDER BY id DESC LIMIT $3 OFFSET $4""",
        wanted.level,
        _NO_WORDS.sub(" ", search) if search else None,
        wanted.limit,
        wanted.offset,
    )
    return await WatchdogEntry.filter(id__in=[one["id"] for one in found]).order_by("-id")
