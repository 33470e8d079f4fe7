"""A change of the embedding model: memories are embedded anew while they go on being found."""

import asyncio
import contextvars
from collections.abc import Callable, Iterator, Sequence

import pytest

from aether import scheduler
from aether.config import Settings
from aether.db import rows, transaction
from aether.errors import UpstreamError
from aether.llm.embed import EmbeddedEncoder
from aether.memory import reembed as stage
from aether.memory import search as searching
from aether.memory import store
from aether.memory.search import search
from aether.queue import Job
from tests.fakes import RecordingQueue
from tests.memory.conftest import Remember
from tests.plans import kept, looked_at


class Fixed:
    """An embedder that tells apart what holds ``cookie`` and what does not."""

    def __init__(self, name: str, refused: str = "\0") -> None:
        self.name = name
        self.dimension = int(name.rpartition(":")[2])
        self.refused = refused
        self.calls = 0

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls += 1
        if any(self.refused in one for one in texts):
            raise UpstreamError("refused", retryable=False)
        rest = [0.0] * (self.dimension - 2)
        return [[1.0, 0.0, *rest] if "cookie" in one else [0.0, 1.0, *rest] for one in texts]


@pytest.fixture
def embed_with(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Fixed], None]]:
    def use(one: Fixed) -> None:
        async def embedder(_: Settings) -> Fixed:
            return one

        for module in (searching, store, stage):
            monkeypatch.setattr(module, "embedder", embedder)

    yield use
    monkeypatch.undo()


async def embedders() -> list[str | None]:
    found = await rows("SELECT embedder FROM memory_chunk ORDER BY id")
    return [one["embedder"] for one in found]


async def test_after_a_change_of_model_everything_is_embedded_by_the_new_one(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None]
) -> None:
    embed_with(Fixed("old:3"))
    for number in range(70):
        await remember(f"k{number}", "tokens are in a cookie" if number == 3 else "the logo")
    new = Fixed("new:4")
    embed_with(new)
    assert [one.key for one in await search(settings, query="logo", limit=1)] == ["k0"]  # by words
    assert await search(settings, query="cookie", mode="meaning") == []

    assert await stage.reembed(settings) == 70

    assert set(await embedders()) == {"new:4"}
    [found] = await search(settings, query="cookie", mode="meaning", limit=1)
    assert (found.key, found.similarity) == ("k3", 1.0)
    assert await stage.reembed(settings) == 0


async def test_what_no_embedder_could_embed_is_embedded_once_one_answers(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    async def down(_: Settings) -> Fixed:
        raise UpstreamError("out of reach")

    monkeypatch.setattr(store, "embedder", down)
    await remember("k", "tokens are in a cookie")
    assert await embedders() == [None]
    embed_with(Fixed("new:2"))

    assert await stage.reembed(settings) == 1

    assert [one.key for one in await search(settings, query="cookie", mode="meaning")] == ["k"]


async def test_a_piece_that_the_model_refuses_is_asked_about_once_and_found_by_its_words(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None]
) -> None:
    embed_with(Fixed("old:2"))
    await remember("good", "tokens are in a cookie")
    await remember("bad", "a word that is poison")
    new = Fixed("new:2", refused="poison")
    embed_with(new)

    await stage.reembed(settings)
    asked = new.calls
    await stage.reembed(settings)

    assert new.calls == asked
    assert await embedders() == ["new:2", "new:2"]
    assert [one.key for one in await search(settings, query="cookie", mode="meaning")] == ["good"]
    assert [one.key for one in await search(settings, query="poison", mode="words")] == ["bad"]


async def test_an_embedder_that_fails_is_asked_again_later(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None]
) -> None:
    embed_with(Fixed("old:2"))
    await remember("k", "tokens are in a cookie")

    class Down(Fixed):
        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            raise UpstreamError("out of reach")

    embed_with(Down("new:2"))

    with pytest.raises(UpstreamError):
        await stage.reembed(settings)

    assert await embedders() == ["old:2"]


async def test_a_model_that_refuses_everything_for_a_while_embeds_all_once_it_works_again(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None]
) -> None:
    embed_with(Fixed("old:2"))
    for number in range(3):
        await remember(f"k{number}", "tokens are in a cookie")
    new = Fixed("new:2", refused="")  # as one whose money is spent, or whose name is taken away
    embed_with(new)

    with pytest.raises(UpstreamError, match="refused"):
        await stage.reembed(settings)
    assert await embedders() == ["old:2"] * 3

    new.refused = "\0"
    assert await stage.reembed(settings) == 3
    assert len(await search(settings, query="cookie", mode="meaning")) == 3


async def test_one_worker_embeds_while_others_go_on_with_their_work(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None]
) -> None:
    embed_with(Fixed("old:2"))
    await remember("k", "tokens are in a cookie")
    embed_with(Fixed("new:2"))

    async def held() -> int:
        async with transaction():
            await rows("SELECT pg_advisory_xact_lock($1)", stage.LOCK)
            return await asyncio.create_task(stage.reembed(settings), context=outside)

    outside = contextvars.copy_context()
    assert await held() == 0
    assert await stage.reembed(settings) == 1


@pytest.mark.parametrize(
    ("model", "embedder", "needed"),
    [
        (None, EmbeddedEncoder.name, False),
        (None, "old:2", True),
        (None, None, True),
        ("text-embedding-3-small", "text-embedding-3-small:1536", False),
        ("text-embedding-3-small", "text-embedding-3-large:3072", True),
        ("a_b", "axb:2", True),
    ],
)
async def test_whether_anything_waits_is_told_without_loading_an_embedder(
    database: str, model: str | None, embedder: str | None, needed: bool
) -> None:
    settings = Settings.model_validate({"embedding_model": model})
    assert await stage.is_needed(settings) is False
    [memory] = await rows(
        "INSERT INTO memory (key, content, scope) VALUES ('k', 'c', 'project') RETURNING id"
    )
    await rows(
        "INSERT INTO memory_chunk (memory_id, position, content, embedder) VALUES ($1, 0, 'c', $2)",
        memory["id"], embedder,
    )  # fmt: skip

    assert await stage.is_needed(settings) is needed


async def test_of_two_dimensions_under_one_name_the_older_one_waits(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None]
) -> None:
    named = settings.model_copy(update={"embedding_model": "alias"})
    embed_with(Fixed("alias:3"))
    await remember("before", "tokens are in a cookie")
    assert await stage.is_needed(named) is False
    embed_with(Fixed("alias:4"))  # another model stands behind the name
    await remember("after", "the logo")

    assert await stage.is_needed(named) is True
    assert await stage.reembed(named) == 1

    assert await stage.is_needed(named) is False
    [found] = await search(named, query="cookie", mode="meaning", limit=1)
    assert (found.key, found.similarity) == ("before", 1.0)


@pytest.mark.parametrize(("model", "needed"), [("alias", True), (None, False)])
async def test_at_the_start_a_name_does_not_prove_that_its_model_is_the_same(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None],
    model: str | None, *, needed: bool,
) -> None:  # fmt: skip
    present = settings.model_copy(update={"embedding_model": model})
    assert await stage.is_needed(present, is_start=True) is False  # nothing is remembered
    embed_with(Fixed("alias:3" if model else EmbeddedEncoder.name))
    await remember("k", "tokens are in a cookie")

    assert await stage.is_needed(present, is_start=True) is needed
    assert await stage.is_needed(present) is False


async def test_the_scheduler_asks_at_its_start_and_then_where_something_waits(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None]
) -> None:
    named = settings.model_copy(update={"embedding_model": "alias"})
    embed_with(Fixed("alias:3"))
    await remember("k", "tokens are in a cookie")
    queue = RecordingQueue()
    queue._broker.declare_queue(Job.EMBED_MEMORIES)
    work = scheduler._embedding(named, queue)

    for _ in range(3):
        await work()

    assert queue._broker.queues[Job.EMBED_MEMORIES].qsize() == 1


@pytest.mark.parametrize("model", [None, "use-multilingual-3"])
async def test_whether_anything_waits_is_told_by_a_look_into_an_index(
    database: str, model: str | None
) -> None:
    settings = Settings.model_validate({"embedding_model": model})
    await rows(
        """INSERT INTO memory (key, content, scope)
           SELECT n::text, 'c', 'project' FROM generate_series(1, 5000) AS n"""
    )
    await rows(
        """INSERT INTO memory_chunk (memory_id, position, content, embedder)
           SELECT id, 0, 'c', $1 FROM memory""",
        EmbeddedEncoder.name,
    )
    await rows("VACUUM ANALYZE memory_chunk")

    with kept() as sent:
        needed = await stage.is_needed(settings)

    looks = [await looked_at(statement, values) for statement, values in sent]
    assert (needed, sum(one["memory_chunk"] for one in looks)) == (False, 1)


async def test_a_model_whose_name_begins_another_ones_is_not_taken_for_it(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None]
) -> None:
    embed_with(Fixed("text-embedding-3-large:3"))
    await remember("k", "tokens are in a cookie")

    for model, needed in (
        ("text-embedding-3-large", False),
        ("text-embedding-3", True),
        ("text_embedding-3-large", True),
    ):
        other = settings.model_copy(update={"embedding_model": model})
        assert await stage.is_needed(other) is needed


async def test_what_is_remembered_anew_does_not_wait_for_the_model_that_embeds(
    remember: Remember, settings: Settings, embed_with: Callable[[Fixed], None]
) -> None:
    embed_with(Fixed("old:3"))
    await remember("k", "the logo")
    asked, answered = asyncio.Event(), asyncio.Event()

    class Slow(Fixed):
        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            if not asked.is_set():
                asked.set()
                await answered.wait()
            return await super().embed(texts)

    embed_with(Slow("new:3"))
    # each in a context of its own: a transaction belongs to one
    embedding = asyncio.create_task(stage.reembed(settings), context=contextvars.Context())
    async with asyncio.timeout(20):
        await asked.wait()
        await remember("k", "tokens are in a cookie", replace=True)
        answered.set()
        await embedding

    found = await rows("SELECT content, embedder FROM memory_chunk")
    assert [(one["content"], one["embedder"]) for one in found] == [
        ("tokens are in a cookie", "new:3")
    ]
