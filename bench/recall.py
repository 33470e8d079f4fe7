"""Recall of the search for memories by meaning, against comparing every one: under filters.

    python -m bench.recall [rows]

Vectors are made here: clusters of points, as texts about some subjects give. The embedded
PostgreSQL of the tests' kind holds them; nothing else runs. Figures are shares, not times.
"""

import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import Final

from aether import db
from aether.config import Settings
from aether.embedded.postgres import Postgres
from aether.memory import search as searching
from aether.models.fields import vector_text

DIMENSION: Final = 512
CLUSTERS: Final = 200
QUERIES: Final = 40
LIMIT: Final = 10
PROJECTS: Final = ((1, 0.5), (2, 0.05), (3, 0.005))
"""Project and its share of all memories; project 4 has the rest."""


class Fixed:
    """An embedder whose vector of a text is the text: its numbers."""

    name: Final = f"bench:{DIMENSION}"
    dimension: Final = DIMENSION

    def __init__(self, vectors: dict[str, list[float]]) -> None:
        self._vectors = vectors

    async def embed(self, texts: list[str]) -> list[list[float]]:
        """As an ``Embedder``."""
        return [self._vectors[one] for one in texts]


def points(count: int, seed: int) -> list[list[float]]:
    """Points around ``CLUSTERS`` centres, as embeddings of texts lie."""
    centres_of = random.Random(0)  # noqa: S311 # a bench
    centres = [[centres_of.gauss(0, 1) for _ in range(DIMENSION)] for _ in range(CLUSTERS)]
    dice = random.Random(seed)  # noqa: S311
    return [
        [x + dice.gauss(0, 0.7) for x in centres[dice.randrange(CLUSTERS)]] for _ in range(count)
    ]


async def fill(rows: int) -> None:
    """Memories of four projects, each with one piece."""
    shares = [share for _, share in PROJECTS]
    await db.rows(
        """INSERT INTO memory (key, content, scope, project_id)
           SELECT 'k' || n, 'c', 'project',
             CASE WHEN r < $2 THEN 1 WHEN r < $3 THEN 2 WHEN r < $4 THEN 3 ELSE 4 END
           FROM (SELECT n, random() AS r FROM generate_series(1, $1) n) told""",
        rows, shares[0], shares[0] + shares[1], sum(shares),
    )  # fmt: skip
    vectors = points(rows, seed=1)
    for start in range(0, rows, 500):
        texts = [vector_text(one) for one in vectors[start : start + 500]]
        await db.rows(
            """INSERT INTO memory_chunk (memory_id, position, content, embedder, embedding)
               SELECT $3 + place, 0, 'c', $1, one::halfvec
               FROM unnest($2::text[]) WITH ORDINALITY AS told(one, place)""",
            Fixed.name, texts, start,
        )  # fmt: skip
    await db.rows("ANALYZE")


async def measure(rows: int, url: str) -> None:
    """Print the share of the ten nearest that are found, by filter."""
    settings = Settings.model_validate({})
    vectors = {f"query {number}": one for number, one in enumerate(points(QUERIES, seed=2))}

    async def embedder(_: Settings) -> Fixed:
        return Fixed(vectors)

    searching.embedder = embedder  # type: ignore[assignment]
    exact_up_to = searching.EXACT_UP_TO
    async with db.pool(url, size=4):
        await fill(rows)
        for project, share in (*PROJECTS, (None, 1.0)):
            found = total = 0
            for query in vectors:
                told = {}
                for limit in (0, 10**9):  # always the index, always every one
                    searching.EXACT_UP_TO = limit  # type: ignore[misc]
                    got = await searching.search(
                        settings, query=query, mode="meaning", project_id=project, limit=LIMIT
                    )
                    told[limit] = {one.key for one in got}
                found += len(told[0] & told[10**9])
                total += len(told[10**9])
            in_use = "the index" if rows * share > exact_up_to else "every one"
            print(
                f"{share:7.1%} of {rows} memories: recall at {LIMIT} by the index "
                f"{found / total:.3f}; in use there: {in_use}"
            )


def main() -> None:
    """Fill, search, print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with Postgres(Path(folder) / "postgres", durable=False) as server:
            url = server.dsn("postgres")
            asyncio.run(db.migrate(url))
            asyncio.run(measure(rows, url))


if __name__ == "__main__":
    main()
