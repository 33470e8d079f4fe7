import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from aether.clock import now
from aether.config import Settings
from aether.db import rows
from aether.errors import ConflictError, InvalidInputError, NotFoundError, UpstreamError
from aether.memory import store
from aether.memory.store import expire, forget, get_memory
from aether.models import Memory, MemoryChunk
from aether.vocabulary import MemoryScope
from tests.memory.conftest import Remember


async def age(memory: Memory) -> None:
    """Let the memory's time be over."""
    await rows("UPDATE memory SET expires_at = now() - interval '1 s' WHERE id = $1", memory.id)


async def test_a_memory_is_stored_with_what_it_was_given(remember: Remember) -> None:
    memory = await remember(
        "auth-decision", "We use JWT.", agent_id="ta_leo", project_id=42, execution_id=7
    )

    found = await get_memory("auth-decision")
    assert found.id == memory.id
    assert (found.key, found.content, found.scope) == ("auth-decision", "We use JWT.", "project")
    assert (found.agent_id, found.project_id, found.execution_id) == ("ta_leo", 42, 7)
    assert found.expires_at is None
    assert abs(found.created_at - now()) < timedelta(seconds=5)
    [chunk] = await MemoryChunk.filter(memory_id=memory.id)
    assert (chunk.position, chunk.content) == (0, "We use JWT.")
    assert chunk.embedder == "use-multilingual-3:512"
    assert chunk.embedding is not None
    assert len(chunk.embedding) == 512


async def test_a_taken_key_is_a_conflict_and_changes_nothing(remember: Remember) -> None:
    await remember("k", "first")

    with pytest.raises(ConflictError, match="memory 'k' already exists"):
        await remember("k", "second")

    assert [one.content for one in await Memory.all()] == ["first"]
    assert [one.content for one in await MemoryChunk.all()] == ["first"]


async def test_of_many_at_once_one_stores_and_the_others_conflict(remember: Remember) -> None:
    outcomes = await asyncio.gather(
        *(remember("k", f"text {number}") for number in range(30)), return_exceptions=True
    )

    assert sum(isinstance(one, Memory) for one in outcomes) == 1
    assert sum(isinstance(one, ConflictError) for one in outcomes) == 29
    assert await MemoryChunk.all().count() == 1


async def test_replacing_changes_the_text_and_its_pieces(remember: Remember) -> None:
    first = await remember("k", "old. " * 500)

    second = await remember("k", "new", replace=True, scope=MemoryScope.AGENT, agent_id="a")

    assert (second.id, second.content, second.scope) == (first.id, "new", MemoryScope.AGENT)
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    assert [one.content for one in await MemoryChunk.all()] == ["new"]


async def test_replacing_at_once_leaves_one_whole_memory(remember: Remember) -> None:
    texts = [f"text {number} " * 200 for number in range(6)]

    await asyncio.gather(*(remember("k", text, replace=True) for text in texts))

    [memory] = await Memory.all()
    pieces = await MemoryChunk.all().order_by("position")
    assert [one.position for one in pieces] == list(range(len(pieces)))
    assert all(piece.content in memory.content for piece in pieces)


async def test_key_spaces_are_apart(remember: Remember) -> None:
    await remember("k", "a person's")
    await remember("k", "an agent's", key_space="agent:pm_sarah:acme/api")

    assert (await get_memory("k")).content == "a person's"
    assert (await get_memory("k", key_space="agent:pm_sarah:acme/api")).content == "an agent's"


async def test_a_task_memory_has_its_executions_own_key(remember: Remember) -> None:
    for execution_id in (1, 2):
        await remember(
            "plan", f"run {execution_id}", scope=MemoryScope.TASK, execution_id=execution_id,
            key_space="agent:a:p", replace=True,
        )  # fmt: skip

    assert sorted([one.content for one in await Memory.all()]) == ["run 1", "run 2"]


async def test_an_expired_memory_is_absent_and_its_key_free(remember: Remember) -> None:
    old = await remember("k", "old", ttl_seconds=2)
    await age(old)

    with pytest.raises(NotFoundError):
        await get_memory("k")
    with pytest.raises(NotFoundError):
        await forget("k")
    again = await remember("k", "new", ttl_seconds=3600)
    assert again.content == "new"
    assert again.created_at > old.created_at
    assert again.expires_at is not None
    assert abs(again.expires_at - now() - timedelta(hours=1)) < timedelta(seconds=10)


async def test_an_expired_key_is_free_for_one_of_many(remember: Remember) -> None:
    await age(await remember("k", "old", ttl_seconds=2))

    outcomes = await asyncio.gather(
        *(remember("k", f"text {number}") for number in range(8)), return_exceptions=True
    )

    assert sum(isinstance(one, Memory) for one in outcomes) == 1
    assert sum(isinstance(one, ConflictError) for one in outcomes) == 7


async def test_expire_deletes_what_is_over_with_its_pieces(remember: Remember) -> None:
    await age(await remember("over", "x", ttl_seconds=1))
    await remember("later", "y", ttl_seconds=3600)
    await remember("never", "z")

    assert await expire() == 1
    assert await expire() == 0

    assert [one.key for one in await Memory.all()] == ["later", "never"]
    assert await MemoryChunk.all().count() == 2


async def test_forgetting_deletes_and_a_second_time_finds_nothing(remember: Remember) -> None:
    await remember("k", "x")

    await forget("k")

    with pytest.raises(NotFoundError, match="memory 'k' not found"):
        await forget("k")
    assert await MemoryChunk.all().count() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": " "}, "key: must not be blank"),
        ({"key": "\x00"}, "key: must not be blank"),
        ({"key": "k" * 201}, "key: has more than 200 characters"),
        ({"content": " "}, "content: must not be blank"),
        ({"content": "\u200b\n"}, "content: must not be blank"),
        ({"content": "x" * 200_001}, "content: has more than 200,000 characters"),
        ({"ttl_seconds": 0}, "ttl_seconds: must be a whole number from 1 to 315360000"),
        ({"ttl_seconds": -1}, "ttl_seconds: must be"),
        ({"ttl_seconds": 10**12}, "ttl_seconds: must be"),
        ({"ttl_seconds": "5"}, "ttl_seconds: must be"),
        ({"ttl_seconds": True}, "ttl_seconds: must be"),
        ({"key_space": "s" * 201}, "key_space: has more than 200 characters"),
    ],
)
async def test_what_cannot_be_stored_is_refused_by_name(
    remember: Remember, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError) as raised:
        await remember(**{"key": "k", "content": "x", **changes})

    assert str(raised.value).startswith(message)
    assert await Memory.all().count() == 0


async def test_nul_and_lone_surrogates_are_cleaned(remember: Remember) -> None:
    await remember("k\x00", "a\x00b\ud800")

    assert (await get_memory("k")).content == "ab\ufffd"
    assert (await get_memory("k\x00")).content == "ab\ufffd"


async def test_more_different_words_than_can_be_indexed_are_refused(
    remember: Remember, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(*_: Any) -> tuple[None, list[None]]:
        return None, [None]

    monkeypatch.setattr(store, "_vectors", none)
    monkeypatch.setattr(store, "LONGEST_CONTENT", 10**7)

    with pytest.raises(InvalidInputError, match="content: holds too many different words"):
        await remember("k", " ".join(f"w{number}" for number in range(300_000)))

    assert await Memory.all().count() == 0


async def test_a_text_of_the_longest_kind_is_stored(
    remember: Remember, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(_: Any, __: str, pieces: Sequence[str]) -> tuple[None, list[None]]:
        return None, [None] * len(pieces)

    monkeypatch.setattr(store, "_vectors", none)  # its embedding takes seconds
    words = " ".join(f"{number:x}ж" for number in range(50_000))

    await remember("k", words[:200_000])

    assert len((await get_memory("k")).content) == 200_000


async def test_when_the_embedder_fails_the_memory_is_stored_without_embeddings(
    remember: Remember, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_: Settings) -> None:
        raise UpstreamError("the embedding model is away")

    monkeypatch.setattr(store, "embedder", fails)

    await remember("k", "text " * 400)

    pieces = await MemoryChunk.all()
    assert len(pieces) == 3
    assert [one.embedder or one.embedding for one in pieces] == [None] * 3
    assert "is stored without embeddings: the embedding model is away" in caplog.text
