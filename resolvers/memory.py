"""Memories: search, list, read, store, forget. One that has expired does not exist."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints
from pydantic.types import Strict
from tortoise.expressions import Q
from tortoise.queryset import QuerySet

from aether import audit
from aether.clock import now
from aether.db import transaction
from aether.engine.runtime import runtime
from aether.memory import search as finding
from aether.memory import store
from aether.memory.search import Recalled
from aether.memory.store import LONGEST_CONTENT, LONGEST_KEY, LONGEST_TTL_SECONDS
from aether.models import Memory
from aether.rendering import is_blank
from resolvers.fields import (
    INTEGRAL,
    Input,
    Limit,
    LooseText,
    Offset,
    Page,
    Positive,
    Reference,
    Scope,
    Text,
)
from resolvers.rows import KeyRef, criteria, page
from resolvers.windows import NewestCreatedFirst, Slice, Window, cut


class MemorySearchMode(StrEnum):
    """How memories are looked for."""

    HYBRID = "hybrid"  #: By meaning and by words, the two rankings merged.
    SEMANTIC = "semantic"  #: By meaning alone.
    KEYWORD = "keyword"  #: By words alone.


MODES: Final[Mapping[MemorySearchMode, finding.Mode]] = {
    MemorySearchMode.HYBRID: "hybrid",
    MemorySearchMode.SEMANTIC: "meaning",
    MemorySearchMode.KEYWORD: "words",
}


def _visible(value: str) -> str:
    if is_blank(value):  # also what only holds characters of no width
        raise ValueError("must not be blank")
    return value


Key = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_KEY), AfterValidator(_visible)
]
Content = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_CONTENT), AfterValidator(_visible)
]
Ttl = Annotated[int, Strict(), Field(ge=1, le=LONGEST_TTL_SECONDS), INTEGRAL]
"""Seconds from now until it expires: 1 to ten years."""
Mode = Annotated[MemorySearchMode, Strict(strict=False)]
KeySpace = Annotated[LooseText, Field(max_length=LONGEST_KEY)]
"""Whose keys: empty for what people store, ``agent:…`` for what an agent has stored."""


class NewMemory(Input):
    """A memory to store; its agent and its project need not exist."""

    key: Key
    content: Content
    agent_id: KeyRef | None = None
    project_id: Positive | None = None
    scope: Scope
    ttl_seconds: Ttl | None = None


class MemorySearch(Input):
    """What to look for, and where; of one ranking the best 500 can be paged through."""

    query: Text
    agent_id: Reference | None = None
    project_id: Positive | None = None
    scope: Scope | None = None
    limit: Limit = 10
    offset: Offset = 0
    mode: Mode = MemorySearchMode.HYBRID


class MemoryFilter(Page):
    """Which memories."""

    agent_id: Reference | None = None
    project_id: Positive | None = None
    scope: Scope | None = None
    key_space: KeySpace | None = None


class MemoryPlace(Input):
    """Whose key is meant."""

    key_space: KeySpace = ""


async def search_memories(wanted: MemorySearch) -> list[Recalled]:
    """Memories that fit the query, best first; ``similarity`` is the cosine in any mode.

    Raises:
        InvalidInputError: the query is blank.
        AetherError: mode ``semantic``, and the embedding model did not answer.
    """
    last = min(wanted.offset + wanted.limit, finding.MOST)
    if wanted.offset >= last:
        return []
    found = await finding.search(
        runtime().settings,
        query=wanted.query,
        scope=wanted.scope,
        agent_id=wanted.agent_id,
        project_id=wanted.project_id,
        limit=last,
        mode=MODES[wanted.mode],
    )
    # A stored vector has half precision: the cosine is true to some four digits.
    return [replace(one, similarity=round(one.similarity, 4)) for one in found[wanted.offset :]]


async def list_memories(wanted: MemoryFilter) -> list[Memory]:
    """Memories, newest first, people's and agents'."""
    return await page(_live(wanted).order_by("-created_at", "-id"), wanted)


async def slice_memories(wanted: MemoryFilter, part: Window) -> Slice[Memory]:
    """A window on ``list_memories``; the filter's ``limit`` and ``offset`` do not count."""
    return await cut(NewestCreatedFirst(_live(wanted)), part)


def _live(wanted: MemoryFilter) -> QuerySet[Memory]:
    live = Q(expires_at__isnull=True) | Q(expires_at__gt=now())
    return Memory.filter(live, **criteria(wanted))


async def get_memory(key: str, place: MemoryPlace) -> Memory:
    """One memory, or NotFoundError."""
    return await store.get_memory(key, key_space=place.key_space)


async def store_memory(new: NewMemory) -> Memory:
    """Store a memory among those of people.

    Without an embedding model that answers it is stored all the same, and found by its words.

    Raises:
        InvalidInputError: the content holds too many different words.
        ConflictError: its key is taken.
    """
    return await store.remember(
        runtime().settings,
        key=new.key,
        content=new.content,
        scope=new.scope,
        agent_id=new.agent_id,
        project_id=new.project_id,
        ttl_seconds=new.ttl_seconds,
        caller="api",
    )


async def delete_memory(key: str, place: MemoryPlace) -> None:
    """Forget a memory, or NotFoundError."""
    detail: dict[str, Any] = {"memory": key, "key_space": place.key_space}
    async with transaction():
        await store.forget(key, key_space=place.key_space)
        await audit.record("memory.deleted", caller="api", detail=detail)
