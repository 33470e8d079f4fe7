"""Finds memories by meaning and by words, within what the asker may see, filters before limits."""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from aether.config import Settings
from aether.db import rows, transaction
from aether.errors import AetherError, InvalidInputError
from aether.llm.embed import Embedder, embed_each, embedder
from aether.models.fields import vector_text
from aether.rendering import clean, is_blank
from aether.vocabulary import MemoryScope

log = logging.getLogger(__name__)

Mode = Literal["hybrid", "meaning", "words"]

LONGEST_QUERY: Final = 2_000  # characters that are looked for
MOST: Final = 500
RECALLED: Final = 6
FLOOR: Final = (
    0.25  # below it two texts have little to do with each other, for the embedded encoder
)
SHARED: Final = 2
"""Words that a memory which is not embedded shares with what it is near to."""
EXACT_UP_TO: Final = 10_000
"""Pieces in scope up to which every one is compared: exact, and faster than the index there."""

LONGEST_KEY_SPACE: Final = 170  # leaves room for an execution's id
RANK_CONSTANT: Final = 60  # reciprocal rank fusion; Cormack, Clarke, Buettcher, SIGIR 2009
INDEXED_DIMENSIONS: Final = frozenset({384, 512, 768, 1024, 1536, 3072})
"""Which have an index: migrations 0002 and 0011."""

_OPERATORS: Final = re.compile(r'(?:^|\s)-\w|"')
_NAME: Final = re.compile(r"[\w./@:+#-]+")
_IS_NAME: Final = re.compile(r"\w[./@:+#-]+\w")
_SIGNS: Final = re.compile(r'(?:^|(?<=\s))-(?=\w)|"')
_NO_WORDS: Final = re.compile(r"""(?:[^\w\s"'./@:+#-]|-(?:\s*-)+)+""")
"""Signs that no word holds, and the marks of ``--force``, which excludes nothing. A row of minus
signs overflows PostgreSQL's parser (SQLSTATE XX000)."""


@dataclass(frozen=True, kw_only=True)
class Visibility:
    """What one run may recall: its own, its project's, and wider where the task permits.

    ``project_key`` is the platform's word for the project, which two sites may both have.
    """

    execution_id: int | None
    agent_id: str | None
    project_id: int | None
    source: str = ""
    site: str = ""
    project_key: str = ""
    scopes: Sequence[MemoryScope] = (MemoryScope.TASK, MemoryScope.PROJECT)

    @property
    def key_space(self) -> str:
        """Where this run's own memories have their keys: one space an agent and project."""
        project = self.project_key or str(self.project_id or "")
        space = ":".join(["agent", self.agent_id or "", *filter(None, [self.source, self.site])])
        space = f"{space}:{project}"
        if len(space) <= LONGEST_KEY_SPACE:
            return space
        return f"agent:{hashlib.sha256(space.encode()).hexdigest()}"


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """A memory that was found.

    ``similarity`` is the cosine of its best piece to the query, 0 where none is embedded by the
    present embedder; ``passage`` is that piece.
    """

    id: int
    key: str
    key_space: str
    content: str
    scope: MemoryScope
    agent_id: str | None
    project_id: int | None
    execution_id: int | None
    created_at: datetime
    updated_at: datetime
    similarity: float
    passage: str
    is_compared: bool  # the present embedder has embedded a piece of it, and the query


@dataclass
class _Filter:
    """Conditions on ``memory m``, and the parameters they name, numbered from the first."""

    parameters: list[Any] = field(default_factory=list)
    conditions: list[str] = field(
        default_factory=lambda: ["(m.expires_at IS NULL OR m.expires_at > now())"]
    )

    def number(self, value: Any) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}"

    @property
    def where(self) -> str:
        return " AND ".join(self.conditions)

    def copy(self) -> "_Filter":
        return _Filter(list(self.parameters), list(self.conditions))


async def search(
    settings: Settings,
    *,
    query: str,
    visibility: Visibility | None = None,
    scope: MemoryScope | None = None,
    agent_id: str | None = None,
    project_id: int | None = None,
    limit: int = 10,
    mode: Mode = "hybrid",
    is_prose: bool = False,
) -> list[Recalled]:
    """Memories that fit ``query``, best first; expired ones do not exist.

    Words in quotes and ``-words`` are obeyed but in prose; otherwise any word may match. Without
    an embedder that answers, ``hybrid`` finds by words alone. Of a query longer than 2,000
    characters the beginning counts.

    Args:
        visibility: what a run may see; None for people, who see everything.
        limit: 1 to 500; counts after all filters.

    Raises:
        InvalidInputError: the query is blank, or the limit out of range.
        AetherError: mode ``meaning``, and the embedder failed.
    """
    query = clean(query).strip()[:LONGEST_QUERY]
    if is_blank(query):
        raise InvalidInputError("query", "must not be blank")
    if not 1 <= limit <= MOST:
        raise InvalidInputError("limit", f"must be from 1 to {MOST}")
    within = _filter(visibility, scope, agent_id, project_id)
    seen = f"SELECT 1 AS one FROM memory m WHERE {within.where} LIMIT 1"  # noqa: S608 # our names
    if not await rows(seen, *within.parameters):
        return []  # before the embedder is loaded: most runs have nothing to recall
    candidates = max(50, limit * 2)
    using, vector = await _embedded(settings, query, mode)
    rankings = []
    if using is not None and vector is not None and mode != "words":
        rankings.append(await _by_meaning(using, vector, within, candidates))
    if mode != "meaning":
        words = _NO_WORDS.sub(" ", query)
        if is_prose:
            words = _SIGNS.sub(" ", words)
        rankings.append(await _by_words(words, within, candidates))
    return await _load(_fused(rankings)[:limit], using, vector)


async def recall_for_run(
    settings: Settings,
    *,
    query: str,
    visibility: Visibility,
    limit: int = RECALLED,
    floor: float = FLOOR,
) -> list[Recalled]:
    """What a run is reminded of before it begins: visible to it, and at least ``floor`` similar.

    What waits to be embedded, or is while no embedder answers, counts by the words that it shares.
    """
    found = await search(
        settings, query=query, visibility=visibility, limit=limit * 3, is_prose=True
    )
    near = {one.id for one in found if one.similarity >= floor}
    if waiting := [one.id for one in found if not one.is_compared]:
        near |= await _sharing_words(query, waiting)
    return [one for one in found if one.id in near][:limit]


async def _sharing_words(query: str, ids: Sequence[int]) -> set[int]:
    """Those of the memories that hold at least two words of the query, or its only one."""
    found = await rows(
        """WITH asked AS MATERIALIZED (
             SELECT tsvector_to_array(to_tsvector('english', $2)) AS words)
           SELECT m.id FROM memory m, asked WHERE m.id = ANY($1::bigint[])
             AND (SELECT count(*) FROM (SELECT unnest(asked.words)
                    INTERSECT SELECT unnest(tsvector_to_array(m.tsv))) AS shared)
               >= greatest(1, least($3, cardinality(asked.words)))""",
        list(ids), clean(query)[:LONGEST_QUERY], SHARED,
    )  # fmt: skip
    return {int(one["id"]) for one in found}


def _filter(
    visibility: Visibility | None,
    scope: MemoryScope | None,
    agent_id: str | None,
    project_id: int | None,
) -> _Filter:
    within = _Filter()
    for column, value in (("scope", scope), ("agent_id", agent_id), ("project_id", project_id)):
        if value is not None:
            within.conditions.append(f"m.{column} = {within.number(value)}")
    if visibility is not None:
        within.conditions.append(_visible(visibility, within))
    return within


def _visible(visibility: Visibility, within: _Filter) -> str:
    """The SQL of what a run may see; what is not permitted is not in it."""
    seen = []
    scopes = set(visibility.scopes)
    if MemoryScope.TASK in scopes and visibility.execution_id is not None:
        seen.append(
            f"m.scope = 'task' AND m.execution_id = {within.number(visibility.execution_id)}"
        )
    if MemoryScope.AGENT in scopes and visibility.agent_id is not None:
        seen.append(f"m.scope = 'agent' AND m.agent_id = {within.number(visibility.agent_id)}")
    if MemoryScope.PROJECT in scopes:
        seen.append(_visible_project(visibility, within))
    if MemoryScope.ORGANIZATIONAL in scopes:
        seen.append("m.scope = 'organizational'")
    return f"({' OR '.join(f'({one})' for one in seen)})" if seen else "false"


def _visible_project(visibility: Visibility, within: _Filter) -> str:
    """What belongs to the project, and what this agent stored there before it had a row."""
    seen = []
    if visibility.project_id is not None:
        seen.append(f"m.project_id = {within.number(visibility.project_id)}")
    if visibility.project_key:
        space = within.number(visibility.key_space)
        seen.append(f"m.project_id IS NULL AND m.key_space = {space}")
    places = " OR ".join(f"({one})" for one in seen) or "false"
    return f"m.scope = 'project' AND ({places})"


async def _embedded(
    settings: Settings, query: str, mode: Mode
) -> tuple[Embedder | None, str | None]:
    try:
        using = await embedder(settings)
        [vector] = await embed_each(using, [query])
    except AetherError as error:
        if mode == "meaning":
            raise
        log.warning("memories are searched by words alone: %s", error)
        return None, None
    return using, vector_text(vector) if vector else None


async def _by_meaning(using: Embedder, vector: str, within: _Filter, most: int) -> list[int]:
    """Memories by their nearest piece, of this embedder only."""
    if using.dimension in INDEXED_DIMENSIONS and await _exceeds(using, within):
        found = await _indexed(using, vector, within, most)
        if len(found) >= most:
            return found
    part = within.copy()
    near, name, limit = part.number(vector), part.number(using.name), part.number(most)
    # An aggregate over all pieces in scope: no approximate index can serve it.
    ranked = await rows(
        f"""SELECT c.memory_id AS id, min(c.embedding <=> {near}::text::halfvec) AS distance
            FROM memory_chunk c JOIN memory m ON m.id = c.memory_id
            WHERE c.embedder = {name} AND c.embedding IS NOT NULL AND {part.where}
            GROUP BY 1 ORDER BY 2, 1 LIMIT {limit}""",  # noqa: S608
        *part.parameters,
    )
    return [one["id"] for one in ranked]


async def _exceeds(using: Embedder, within: _Filter) -> bool:
    """Whether so many pieces are in scope that comparing each would take long."""
    part = within.copy()
    name, limit = part.number(using.name), part.number(EXACT_UP_TO + 1)
    [counted] = await rows(
        f"""SELECT count(*) AS n FROM (
              SELECT 1 FROM memory_chunk c JOIN memory m ON m.id = c.memory_id
              WHERE c.embedder = {name} AND {part.where} LIMIT {limit}) AS counted""",  # noqa: S608
        *part.parameters,
    )
    return bool(counted["n"] > EXACT_UP_TO)


async def _indexed(using: Embedder, vector: str, within: _Filter, most: int) -> list[int]:
    """The same through the approximate index; may find fewer, since long memories fill it."""
    part = within.copy()
    near, name, limit = part.number(vector), part.number(using.name), part.number(most * 4)
    size = using.dimension
    distance = f"c.embedding::halfvec({size}) <=> {near}::text::halfvec({size})"
    async with transaction():
        # relaxed_order goes on until the filter has let enough through
        await rows("SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true)")
        await rows("SELECT set_config('hnsw.ef_search', $1, true)", str(min(1000, most * 4)))
        ranked = await rows(
            f"""SELECT c.memory_id AS id, {distance} AS distance
                FROM memory_chunk c JOIN memory m ON m.id = c.memory_id
                WHERE c.embedder = {name} AND c.embedder LIKE '%:{size}' AND {part.where}
                ORDER BY {distance} LIMIT {limit}""",  # noqa: S608
            *part.parameters,
        )
    ranked.sort(key=lambda one: one["distance"])
    return list(dict.fromkeys(one["id"] for one in ranked))[:most]


async def _by_words(query: str, within: _Filter, most: int) -> list[int]:
    """Memories by their words; those that hold all of them come first.

    websearch_to_tsquery takes any text: https://www.postgresql.org/docs/18/textsearch-controls.html
    """
    part = within.copy()
    strict = part.number(query)
    loose = part.number("" if _OPERATORS.search(query) else " or ".join(_words(query)))
    limit = part.number(most)
    ranked = await rows(
        f"""WITH asked AS MATERIALIZED (SELECT
              websearch_to_tsquery('english', {strict}) || websearch_to_tsquery('simple', {strict})
                AS strict,
              websearch_to_tsquery('english', {loose}) AS loose)
            SELECT m.id FROM memory m, asked
            WHERE m.tsv @@ (asked.strict || asked.loose) AND {part.where}
            ORDER BY m.tsv @@ asked.strict DESC,
              ts_rank(m.tsv, asked.strict || asked.loose, 1) DESC, m.id
            LIMIT {limit}""",  # noqa: S608
        *part.parameters,
    )
    return [one["id"] for one in ranked]


def _words(query: str) -> list[str]:
    """The query's distinct words; ``or`` would be read as an operator.

    Also whole names such as ``src/app.py``, ``api.example.com`` and ``1.2.3``: PostgreSQL keeps
    each of these as one word, and knows nothing of its parts.
    """
    names = (one.strip("./@:+#-") for one in _NAME.findall(query.lower()))
    words = dict.fromkeys([*filter(_IS_NAME.search, names), *re.findall(r"\w+", query.lower())])
    return [word for word in words if word != "or"][:64]


def _fused(rankings: Sequence[Sequence[int]]) -> list[int]:
    """One ranking of several: each gives 1 / (60 + rank)."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, found in enumerate(ranking, start=1):
            scores[found] = scores.get(found, 0.0) + 1 / (RANK_CONSTANT + rank)
    return sorted(scores, key=lambda one: (-scores[one], one))


async def _load(ids: Sequence[int], using: Embedder | None, vector: str | None) -> list[Recalled]:
    """The memories of these ids in this order, each with its best piece."""
    if not ids:
        return []
    found = await rows(
        """SELECT m.id, m.key, m.key_space, m.content, m.scope, m.agent_id, m.project_id,
             m.execution_id, m.created_at, m.updated_at,
             coalesce(1 - best.distance, 0) AS similarity,
             coalesce(best.content, left(m.content, 900)) AS passage,
             best.distance IS NOT NULL AS is_compared
           FROM memory m LEFT JOIN (
             SELECT DISTINCT ON (c.memory_id) c.memory_id, c.content,
               c.embedding <=> $2::text::halfvec AS distance
             FROM memory_chunk c
             WHERE c.memory_id = ANY($1::bigint[]) AND c.embedder = $3
             ORDER BY c.memory_id, distance, c.position) best ON best.memory_id = m.id
           WHERE m.id = ANY($1::bigint[])""",
        list(ids), vector, using.name if using and vector else None,
    )  # fmt: skip
    by_id = {one["id"]: one for one in found}
    return [
        Recalled(**{**by_id[one], "scope": MemoryScope(by_id[one]["scope"])})
        for one in ids
        if one in by_id
    ]
