"""Remembers and forgets: one row a key, its text in embedded pieces, in one transaction."""

import asyncio
import logging
import re
from typing import Any, Final

from aether import audit
from aether.config import Settings
from aether.db import row, rows, transaction
from aether.errors import AetherError, ConflictError, InvalidInputError, NotFoundError
from aether.llm.embed import embed_each, embedder
from aether.memory.chunks import chunks
from aether.models import Memory
from aether.models.fields import vector_text
from aether.rendering import clean, is_blank
from aether.vocabulary import MemoryScope

log = logging.getLogger(__name__)

LONGEST_KEY: Final = 200
LONGEST_CONTENT: Final = 200_000
PROGRAM_LIMIT_EXCEEDED: Final = "54000"  # https://www.postgresql.org/docs/18/errcodes-appendix.html
LONGEST_TTL_SECONDS: Final = 315_360_000  # ten years
EXPIRE_AT_ONCE: Final = 5_000

LIVE: Final = "(expires_at IS NULL OR expires_at > now())"

# An expired row counts as absent, without anybody having looked: the conflict decides.
_STORE: Final = """
INSERT INTO memory AS m (key_space, key, content, scope, agent_id, project_id, execution_id,
  expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8))
ON CONFLICT (key_space, key) DO UPDATE SET
  content = excluded.content, scope = excluded.scope, agent_id = excluded.agent_id,
  project_id = excluded.project_id, execution_id = excluded.execution_id,
  expires_at = excluded.expires_at, updated_at = now(),
  created_at = CASE WHEN m.expires_at <= now() THEN now() ELSE m.created_at END
WHERE $9 OR m.expires_at <= now()
RETURNING id
"""
_STORE_CHUNKS: Final = """
INSERT INTO memory_chunk (memory_id, position, content, embedder, embedding)
SELECT $1, place - 1, content, embedder, embedding::halfvec
FROM unnest($2::text[], $3::text[], $4::text[])
  WITH ORDINALITY AS piece (content, embedder, embedding, place)
"""


async def remember(
    settings: Settings,
    *,
    key: str,
    content: str,
    scope: MemoryScope,
    agent_id: str | None = None,
    project_id: int | None = None,
    execution_id: int | None = None,
    key_space: str = "",
    ttl_seconds: int | None = None,
    replace: bool = False,
    caller: str | None = None,
) -> Memory:
    """Store a memory under ``key``, unique within ``key_space``.

    A ``caller``'s is told in the audit log; an agent's own is told there as its tool call.

    A task memory of an execution has a key of that execution's own. When the embedder fails the
    memory is stored all the same, and found by its words. Two callers at once: one stores, the
    other gets the conflict (or, with ``replace``, stores after it).

    Raises:
        InvalidInputError: key, content or ttl_seconds is not usable; names it.
        ConflictError: the key is taken by a live memory and ``replace`` is false.
    """
    key, content = _checked(key, content, ttl_seconds)
    if key_space and scope is MemoryScope.TASK and execution_id is not None:
        key_space = f"{key_space}:{execution_id}"
    if len(key_space) > LONGEST_KEY:
        raise InvalidInputError("key_space", f"has more than {LONGEST_KEY} characters")
    pieces = chunks(content)
    name, vectors = await _vectors(settings, key, pieces)
    async with transaction():
        stored = await _store_row(
            key_space, key, content, scope, agent_id, project_id, execution_id, ttl_seconds, replace
        )
        if stored is None:
            raise ConflictError(f"memory {key!r} already exists")
        await rows("DELETE FROM memory_chunk WHERE memory_id = $1", stored["id"])
        # a piece that the model refused has its name all the same: it is not asked again
        await rows(_STORE_CHUNKS, stored["id"], pieces, [name] * len(pieces), vectors)
        if caller is not None:
            await audit.record(
                "memory.stored",
                agent_id=agent_id,
                caller=caller,
                detail={"memory": key, "key_space": key_space, "scope": scope},
            )
        return await Memory.get(id=stored["id"])


async def forget(key: str, *, key_space: str = "") -> None:
    """Delete a memory.

    Raises:
        NotFoundError: there is none, or it has expired.
    """
    gone = await row(
        f"DELETE FROM memory WHERE key_space = $1 AND key = $2 RETURNING {LIVE} AS live",  # noqa: S608
        clean(key_space),
        clean(key),
    )
    if gone is None or not gone["live"]:
        raise NotFoundError("memory", key)


async def get_memory(key: str, *, key_space: str = "") -> Memory:
    """The memory of that key.

    Raises:
        NotFoundError: there is none, or it has expired.
    """
    found = await row(
        f"SELECT id FROM memory WHERE key_space = $1 AND key = $2 AND {LIVE}",  # noqa: S608
        clean(key_space),
        clean(key),
    )
    memory = await Memory.get_or_none(id=found["id"]) if found else None
    if memory is None:
        raise NotFoundError("memory", key)
    return memory


async def expire() -> int:
    """Delete memories whose time is over, 5,000 at most; returns how many."""
    gone = await rows(
        """DELETE FROM memory WHERE id IN (
             SELECT id FROM memory WHERE expires_at <= now() ORDER BY expires_at LIMIT $1
             FOR UPDATE SKIP LOCKED)
           RETURNING id""",
        EXPIRE_AT_ONCE,
    )
    return len(gone)


def _checked(key: str, content: str, ttl_seconds: int | None) -> tuple[str, str]:
    key, content = clean(key).strip(), clean(content)
    if is_blank(key):
        raise InvalidInputError("key", "must not be blank")
    if len(key) > LONGEST_KEY:
        raise InvalidInputError("key", f"has more than {LONGEST_KEY} characters")
    if is_blank(content):
        raise InvalidInputError("content", "must not be blank")
    if len(content) > LONGEST_CONTENT:
        raise InvalidInputError("content", f"has more than {LONGEST_CONTENT:,} characters")
    if ttl_seconds is not None and not _is_ttl(ttl_seconds):
        raise InvalidInputError(
            "ttl_seconds", f"must be a whole number from 1 to {LONGEST_TTL_SECONDS}"
        )
    return key, content


def _is_ttl(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LONGEST_TTL_SECONDS


async def _store_row(*values: Any) -> dict[str, Any] | None:
    try:
        return await row(_STORE, *values)
    except Exception as error:  # the driver's own class, which only aether.db may import
        if getattr(error, "sqlstate", None) != PROGRAM_LIMIT_EXCEEDED:
            raise
        raise InvalidInputError("content", "holds too many different words to index") from None


def embedding_text(key: str, piece: str) -> str:
    """What is embedded for a piece: a key such as ``auth-decision`` says what the text is about."""
    words = " ".join(re.findall(r"[^\W_]+", key))
    return f"{words}. {piece}"


async def _vectors(
    settings: Settings, key: str, pieces: list[str]
) -> tuple[str | None, list[str | None]]:
    """The embedder's name and each piece's vector as pgvector's text, None where there is none."""
    try:
        using = await embedder(settings)
        vectors = await embed_each(using, [embedding_text(key, piece) for piece in pieces])
    except AetherError as error:
        log.warning("memory %r is stored without embeddings: %s", key, error)
        return None, [None] * len(pieces)
    texts = []
    for vector in vectors:
        texts.append(vector_text(vector) if vector else None)
        await asyncio.sleep(0)  # all those of a long memory take 50 ms, and a loop has others
    return using.name, texts
