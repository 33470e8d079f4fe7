"""Embeds anew what another embedder embedded, or none could: after a change of EMBEDDING_MODEL.

A batch at a time, in a worker. Meanwhile memories are found by their words, and by meaning as far
as they have come.
"""

import logging
from typing import Any, Final

from aether.config import Settings
from aether.db import row, rows, transaction
from aether.errors import UpstreamError
from aether.llm.embed import BATCH, EmbeddedEncoder, embed_each, embedder
from aether.memory.store import embedding_text
from aether.models.fields import vector_text

log = logging.getLogger(__name__)

LOCK: Final = 0x4145_454D  # "AEEM": one worker at a time, whoever it is

STALE: Final = """
SELECT c.id, c.content, m.key FROM memory_chunk c JOIN memory m ON m.id = c.memory_id
WHERE (c.embedder IS NULL OR c.embedder <> $1)
  AND (m.expires_at IS NULL OR m.expires_at > now())
ORDER BY c.id LIMIT $2
"""
"""Locks no row: the model may take minutes, and whoever remembers anew meanwhile has other ones."""
STORE: Final = """
UPDATE memory_chunk AS chunk SET embedder = $1, embedding = told.embedding::halfvec
FROM unnest($2::bigint[], $3::text[]) AS told(id, embedding) WHERE chunk.id = told.id
"""


async def is_needed(settings: Settings) -> bool:
    """Whether anything waits to be embedded by the present embedder. Loads nothing."""
    if settings.embedding_model is None:
        condition, name = "c.embedder <> $1", EmbeddedEncoder.name
    else:  # its dimension is not known before it is asked
        model = settings.embedding_model
        condition = r"left(regexp_replace(c.embedder, ':\d+$', ''), 190) <> $1"
        name = model[:190]
    found = await row(
        f"""SELECT 1 AS one FROM memory_chunk c JOIN memory m ON m.id = c.memory_id
            WHERE (c.embedder IS NULL OR {condition})
              AND (m.expires_at IS NULL OR m.expires_at > now()) LIMIT 1""",  # noqa: S608 # ours
        name,
    )
    return found is not None


async def reembed(settings: Settings) -> int:
    """Embed everything that waits; how many pieces. Returns at once where another worker does.

    What the model refuses is marked as seen and found by its words.

    Raises:
        AetherError: the embedder does not answer; what was embedded so far is stored.
    """
    done = 0
    using = await embedder(settings)
    while count := await _batch(using):
        done += count
    if done:
        log.info("%s pieces of memories are embedded by %s now", done, using.name)
    return done


async def _batch(using: Any) -> int:
    async with transaction():
        held = await row("SELECT pg_try_advisory_xact_lock($1) AS mine", LOCK)
        if held is None or not held["mine"]:
            return 0
        found = await rows(STALE, using.name, BATCH)
        if not found:
            return 0
        texts = [embedding_text(one["key"], one["content"]) for one in found]
        try:
            vectors = await embed_each(using, texts)
        except UpstreamError as error:
            if error.retryable:
                raise
            vectors = [None] * len(found)  # it answered to be described, and refuses each of these
        told = [vector_text(vector) if vector else None for vector in vectors]
        await rows(STORE, using.name, [one["id"] for one in found], told)
    return len(found)
