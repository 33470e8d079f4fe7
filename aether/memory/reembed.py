"""Embeds anew what another embedder embedded, or none could: after a change of EMBEDDING_MODEL.

A batch at a time, in a worker. Meanwhile memories are found by their words, and by meaning as far
as they have come.
"""

import logging
from typing import Any, Final

from aether.config import Settings
from aether.db import row, rows, transaction
from aether.errors import UpstreamError
from aether.llm.embed import BATCH, LONGEST_NAME, PROBE, EmbeddedEncoder, embed_each, embedder
from aether.memory.store import embedding_text
from aether.models.fields import vector_text

log = logging.getLogger(__name__)

LOCK: Final = 0x4145_454D  # "AEEM": one worker at a time, whoever it is
LONGEST_MODEL: Final = LONGEST_NAME - 10  # of its name, whatever the dimension that follows it

NAMES: Final = """
WITH RECURSIVE known AS (
  (SELECT embedder FROM memory_chunk WHERE embedder IS NOT NULL ORDER BY embedder LIMIT 1)
  UNION ALL
  SELECT (SELECT following.embedder FROM memory_chunk AS following
          WHERE following.embedder > known.embedder ORDER BY following.embedder LIMIT 1)
  FROM known WHERE known.embedder IS NOT NULL)
SELECT embedder FROM known WHERE embedder IS NOT NULL
"""
"""Every name there is, by one look into the index for each: DISTINCT would read every piece."""
ANY_LIVE: Final = """
SELECT 1 AS one FROM memory_chunk c JOIN memory m ON m.id = c.memory_id
WHERE c.embedder {is_that} AND (m.expires_at IS NULL OR m.expires_at > now()) LIMIT 1
"""
STALE: Final = """
SELECT c.id, c.content, m.key FROM memory_chunk c JOIN memory m ON m.id = c.memory_id
WHERE (c.embedder IS NULL OR c.embedder <> $1) AND c.id > $3
  AND (m.expires_at IS NULL OR m.expires_at > now())
ORDER BY c.id LIMIT $2
"""
"""Locks no row: the model may take minutes, and whoever remembers anew meanwhile has other ones."""
STORE: Final = """
UPDATE memory_chunk AS chunk SET embedder = $1, embedding = told.embedding::halfvec
FROM unnest($2::bigint[], $3::text[]) AS told(id, embedding) WHERE chunk.id = told.id
"""


async def is_needed(settings: Settings, *, is_start: bool = False) -> bool:
    """Whether anything waits to be embedded by the present embedder. Loads nothing.

    Asked each minute: it reads an index, however many memories there are. ``is_start``: a server
    may have another model behind a name since; only whoever asks it can tell, by the dimension.
    """
    if await row(ANY_LIVE.format(is_that="IS NULL")):
        return True
    names = [one["embedder"] for one in await rows(NAMES)]
    present = [one for one in names if _is_present(one, settings.embedding_model)]
    if is_start and settings.embedding_model is not None:
        present = []
    looked_at = [one for one in names if len(present) != 1 or one not in present]
    live = [one for one in looked_at if await row(ANY_LIVE.format(is_that="= $1"), one)]
    # of two dimensions under one name, one is of before
    return len(live) > 1 or bool(set(live) - set(present))


def _is_present(name: str, model: str | None) -> bool:
    """Whether vectors of this name may be the present embedder's."""
    if model is None:
        return name == EmbeddedEncoder.name
    # its dimension is not known before it is asked
    return name.rpartition(":")[0][:LONGEST_MODEL] == model[:LONGEST_MODEL]


async def reembed(settings: Settings) -> int:
    """Embed everything that waits; how many pieces. Returns at once where another worker does.

    What the model refuses, though it embeds other texts, is marked as seen and found by its words.

    Raises:
        AetherError: the embedder does not answer, or refuses any text; what was embedded so far is
            stored.
    """
    done = last = 0
    using = await embedder(settings)
    while found := await _batch(using, last):
        done += len(found)
        last = found[-1]
    if done:
        log.info("%s pieces of memories are embedded by %s now", done, using.name)
    return done


async def _batch(using: Any, after: int) -> list[int]:
    """The next pieces beyond the id ``after``, embedded; none where nothing is left."""
    async with transaction():
        held = await row("SELECT pg_try_advisory_xact_lock($1) AS mine", LOCK)
        if held is None or not held["mine"]:
            return []
        found = await rows(STALE, using.name, BATCH, after)
        if not found:
            return []
        texts = [embedding_text(one["key"], one["content"]) for one in found]
        try:
            vectors = await embed_each(using, texts)
        except UpstreamError as error:
            if error.retryable:
                raise
            await using.embed([PROBE])  # not where it refuses everything: it may be paid again
            vectors = [None] * len(found)
        told = [vector_text(vector) if vector else None for vector in vectors]
        ids = [int(one["id"]) for one in found]
        await rows(STORE, using.name, ids, told)
    return ids
