"""Tests of /api/memory: the reference's examples, expiry, races, the loop while it embeds."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from aether.config import Settings
from aether.db import rows
from aether.llm import embed
from aether.memory import store
from aether.vocabulary import MemoryScope
from tests.doors.calls import Door, actions, column, count, counts, details, without

AUTH: dict[str, Any] = {
    "key": "auth-decision-feb-2026",
    "content": "Team decided to use JWT with 15-minute expiry and refresh tokens stored in "
    "HttpOnly cookies",
    "agent_id": "ta_leo",
    "project_id": 42,
    "scope": "project",
    "ttl_seconds": 3600,
}
SEARCH: dict[str, Any] = {
    "query": "authentication implementation decisions",
    "project_id": 42,
    "agent_id": "ta_leo",
    "scope": "project",
    "limit": 10,
}
SHOWN = {name: value for name, value in AUTH.items() if name != "ttl_seconds"}
PATH = "/api/memory/auth-decision-feb-2026"


async def search(door: Door, **body: Any) -> Any:
    return await door.post("/api/memory/search", body, status=200)


async def gone(door: Door, path: str) -> None:
    answer = await door.client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")


async def age(key: str) -> None:
    """Let a memory's time be over; nobody cleans up."""
    await rows("UPDATE memory SET expires_at = now() - interval '1 s' WHERE key = $1", key)


async def test_the_references_memory_is_stored_listed_and_read_with_its_keys_in_order(
    door: Door,
) -> None:
    stored = await door.post("/api/memory", AUTH)

    assert without(stored) == SHOWN | {"key_space": "", "execution_id": None}
    assert list(stored)[:7] == [
        "key", "content", "scope", "agent_id", "project_id", "created_at", "updated_at",
    ]  # fmt: skip
    [row] = await rows("SELECT expires_at - created_at AS left FROM memory")
    assert row["left"].total_seconds() == 3600
    assert await door.get(PATH) == stored
    assert await door.get("/api/memory?project_id=42&scope=project&limit=20") == [stored]


async def test_the_references_search_finds_it_with_its_keys_in_order(door: Door) -> None:
    await door.post("/api/memory", AUTH)

    [found] = await search(door, **SEARCH)

    assert list(found)[:7] == [
        "key", "content", "scope", "agent_id", "project_id", "similarity", "created_at",
    ]  # fmt: skip
    assert {name: found[name] for name in SHOWN} == SHOWN
    assert 0.2 < found["similarity"] < 1
    assert found["passage"] == AUTH["content"]


@pytest.mark.parametrize(
    ("mode", "query", "keys"),
    [
        ("hybrid", "JWT", ["auth-decision-feb-2026", "lunch"]),
        ("semantic", "how users log in", ["auth-decision-feb-2026", "lunch"]),
        ("keyword", "cookies", ["auth-decision-feb-2026"]),
        ("keyword", "how people sign in", []),
    ],
)
async def test_a_search_is_by_meaning_by_words_or_both_and_always_tells_the_cosine(
    door: Door, mode: str, query: str, keys: list[str]
) -> None:
    await door.post("/api/memory", AUTH)
    await door.post(
        "/api/memory", {"key": "lunch", "content": "Pasta on Mondays.", "scope": "agent"}
    )

    found = await search(door, query=query, mode=mode)
    by_meaning = await search(door, query=query, mode="semantic")

    assert column(found, "key") == keys
    cosines = {one["key"]: one["similarity"] for one in by_meaning}
    assert [one["similarity"] for one in found] == [cosines[key] for key in keys]


async def test_a_search_is_filtered_before_it_is_limited_and_can_be_paged_through(
    door: Door,
) -> None:
    for number in range(12):
        owner = {"agent_id": "a" if number % 2 else "b", "project_id": 1 + number % 3}
        content = f"The deployment runs at {number} o'clock."
        await door.post(
            "/api/memory",
            {"key": f"m{number}", "content": content, "scope": "agent", **owner},
        )

    of_one = await search(door, query="deployment", agent_id="a", project_id=2, limit=2)
    ranked = await search(door, query="deployment", limit=12)
    page = await search(door, query="deployment", limit=5, offset=3)

    assert sorted(column(of_one, "key")) == ["m1", "m7"]
    assert len(await search(door, query="deployment")) == 10
    assert len(ranked) == 12
    assert page == ranked[3:8]
    assert await search(door, query="deployment", limit=500, offset=500) == []
    assert await search(door, query="deployment", scope="task") == []


@pytest.mark.parametrize(
    "query",
    [
        "it's", "a & | b", ":*", "((", "!", "<->", "John <j@x.y>", "\\", "the of and", "'", '"',
        "-" * 3000, "word " * 10_000, "What's your password policies?", "日本", "😀",
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["keyword", "hybrid"])
async def test_no_text_is_taken_for_search_syntax(door: Door, query: str, mode: str) -> None:
    await door.post("/api/memory", AUTH)

    found = await search(door, query=query, mode=mode)

    assert column(found, "key") == ([] if mode == "keyword" else [AUTH["key"]])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"query": ""}, "query: must not be empty"),
        ({"query": " \n"}, "query: must not be blank"),
        ({"query": "\u200b"}, "query: must not be blank"),
        ({"query": 7}, "query: must be text"),
        ({"query": "a\0"}, "query: must not hold a NUL character"),
        ({"limit": 0}, "limit: must be at least 1"),
        ({"limit": 501}, "limit: must be at most 500"),
        ({"limit": "5"}, "limit: must be a whole number"),
        ({"offset": -1}, "offset: must be at least 0"),
        ({"mode": "fuzzy"}, "mode: one of hybrid, semantic, keyword"),
        ({"scope": "world"}, "scope: one of task, agent, project, organizational"),
        ({"project_id": "42"}, "project_id: must be a whole number"),
        ({"threshold": 1}, "threshold: unknown field"),
    ],
)
async def test_a_search_that_is_not_valid_is_refused_naming_the_field(
    door: Door, change: dict[str, Any], text: str
) -> None:
    assert await door.refused("POST", "/api/memory/search", SEARCH | change, 400) == text


async def test_without_an_embedding_model_that_answers_words_still_find(door: Door) -> None:
    told = {"LLM_BASE_URL": "http://127.0.0.1:9", "EMBEDDING_MODEL": "gone", "LLM_API_KEY": "k" * 8}
    door.runtime.settings = Settings.from_environment(told)

    stored = await door.post("/api/memory", AUTH)
    [found] = await search(door, query="JWT")
    text = await door.refused(
        "POST", "/api/memory/search", {"query": "JWT", "mode": "semantic"}, 502
    )

    assert (found["key"], found["similarity"]) == (stored["key"], 0)
    assert "gone" in text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"key": ""}, "key: must not be empty"),
        ({"key": " "}, "key: must not be blank"),
        ({"key": "k" * 201}, "key: must have at most 200 characters"),
        ({"content": " "}, "content: must not be blank"),
        ({"content": "\u200b\u2060"}, "content: must not be blank"),
        ({"content": "x" * 200_001}, "content: must have at most 200000 characters"),
        ({"content": "a\0b"}, "content: must not hold a NUL character"),
        ({"scope": "team"}, "scope: one of task, agent, project, organizational"),
        ({"agent_id": "a" * 65}, "agent_id: must have at most 64 characters"),
        ({"project_id": 2**31}, "project_id: must be at most 2147483647"),
        ({"ttl_seconds": 0}, "ttl_seconds: must be at least 1"),
        ({"ttl_seconds": -1}, "ttl_seconds: must be at least 1"),
        ({"ttl_seconds": 10**12}, "ttl_seconds: must be at most 315360000"),
        ({"ttl_seconds": "5"}, "ttl_seconds: must be a whole number"),
        ({"ttl_seconds": True}, "ttl_seconds: must be a whole number"),
        ({"color": "red"}, "color: unknown field"),
    ],
)
async def test_a_memory_that_is_not_valid_is_refused_naming_the_field(
    door: Door, change: dict[str, Any], text: str
) -> None:
    assert await door.refused("POST", "/api/memory", AUTH | change, 400) == text
    assert await counts("memory", "memory_chunk", "audit_entry") == [0, 0, 0]


@pytest.mark.parametrize("field", ["key", "content", "scope"])
async def test_what_the_reference_requires_of_a_memory_is_required(door: Door, field: str) -> None:
    body = {name: value for name, value in AUTH.items() if name != field}

    assert await door.refused("POST", "/api/memory", body, 400) == f"{field}: required"
    assert await count("memory") == 0


async def test_of_thirty_who_store_one_key_at_once_one_succeeds_and_none_fails(
    door: Door,
) -> None:
    answers = await asyncio.gather(
        *(
            door.client.post("/api/memory", json=AUTH | {"content": f"Text {number}"})
            for number in range(30)
        )
    )

    assert Counter(one.status_code for one in answers) == {201: 1, 409: 29}
    [winner] = [one.json() for one in answers if one.status_code == 201]
    assert {one.json()["error"] for one in answers if one.status_code == 409} == {
        "memory 'auth-decision-feb-2026' already exists"
    }
    assert await door.get("/api/memory") == [winner]
    assert await count("memory_chunk") == 1


async def test_a_deleted_memory_is_gone_and_its_deletion_is_on_record(door: Door) -> None:
    await door.post("/api/memory", AUTH)

    await gone(door, PATH)

    assert await door.refused("GET", PATH, None, 404) == (
        "memory 'auth-decision-feb-2026' not found"
    )
    assert await door.refused("DELETE", PATH, None, 404) == (
        "memory 'auth-decision-feb-2026' not found"
    )
    assert await counts("memory", "memory_chunk") == [0, 0]
    assert await details("memory.deleted") == [{"memory": AUTH["key"], "key_space": ""}]


async def test_what_has_expired_is_not_there_and_its_key_is_free(door: Door) -> None:
    await door.post("/api/memory", AUTH)
    await age(AUTH["key"])

    assert await door.refused("GET", PATH, None, 404) == (
        "memory 'auth-decision-feb-2026' not found"
    )
    assert await door.get("/api/memory") == []
    for mode in ("hybrid", "semantic", "keyword"):
        assert await search(door, query="JWT", mode=mode) == []
    anew = await door.post("/api/memory", AUTH | {"content": "Anew."})
    assert await door.get("/api/memory") == [anew]


async def test_an_expired_memory_cannot_be_deleted_any_more(door: Door) -> None:
    await door.post("/api/memory", AUTH)
    await age(AUTH["key"])

    await door.refused("DELETE", PATH, None, 404)

    assert await actions() == ["memory.stored"]


@pytest.mark.parametrize(
    "key", ["a/b", "search", "é 日本", "100%", "a?b#c", "/x", "a//b", "x" * 200, "seed"]
)
async def test_a_key_of_any_characters_is_reached_by_its_path(door: Door, key: str) -> None:
    stored = await door.post("/api/memory", AUTH | {"key": key})
    path = "/api/memory/" + "".join(f"%{byte:02X}" for byte in key.encode())

    assert await door.get(path) == stored
    await gone(door, path)

    assert await count("memory") == 0


async def test_memories_are_listed_newest_first_filtered_and_in_pages(door: Door) -> None:
    for number in range(4):
        await rows(
            """INSERT INTO memory (key, content, scope, agent_id, project_id, created_at)
               VALUES ($1, 'text', $2, $3, $4, now() + make_interval(secs => $5))""",
            f"m{number}", "agent" if number % 2 else "task", "ab"[number // 2], number,
            float(-number),
        )  # fmt: skip

    listed = await door.get("/api/memory")

    assert column(listed, "key") == ["m0", "m1", "m2", "m3"]
    assert await door.get("/api/memory?limit=2&offset=1") == listed[1:3]
    assert await door.get("/api/memory?agent_id=b") == listed[2:]
    assert await door.get("/api/memory?scope=agent&agent_id=a") == [listed[1]]
    assert await door.get("/api/memory?project_id=3") == [listed[3]]
    assert await door.get("/api/memory?agent_id=nobody") == []


async def test_what_an_agent_stored_is_listed_found_and_deleted_in_its_own_key_space(
    door: Door,
) -> None:
    await store.remember(
        door.runtime.settings, key="auth", content="Leo says: JWT.", scope=MemoryScope.PROJECT,
        agent_id="ta_leo", project_id=42, key_space="agent:ta_leo:acme/api", execution_id=7,
    )  # fmt: skip
    people = await door.post("/api/memory", AUTH | {"key": "auth", "content": "People say: JWT."})

    listed = await door.get("/api/memory?key_space=agent:ta_leo:acme/api")

    assert column(listed, "execution_id") == [7]
    assert await door.get("/api/memory?key_space=") == [people]
    assert len(await door.get("/api/memory")) == 2
    assert sorted(column(await search(door, query="JWT"), "key_space")) == [
        "", "agent:ta_leo:acme/api",
    ]  # fmt: skip
    assert await door.get("/api/memory/auth") == people
    assert await door.get("/api/memory/auth?key_space=agent:ta_leo:acme/api") == listed[0]
    await gone(door, "/api/memory/auth?key_space=agent:ta_leo:acme/api")
    assert await door.get("/api/memory") == [people]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("limit=0", "limit: must be at least 1"),
        ("offset=x", "offset: must be a whole number"),
        ("scope=all", "scope: one of task, agent, project, organizational"),
        ("project_id=acme", "project_id: must be a whole number"),
        ("sort=key", "sort: unknown parameter"),
    ],
)
async def test_a_list_that_is_not_valid_is_refused_naming_the_parameter(
    door: Door, query: str, text: str
) -> None:
    assert await door.refused("GET", f"/api/memory?{query}", None, 400) == text


@pytest.mark.slow
async def test_the_loop_goes_on_while_texts_are_embedded_and_the_last_line_is_found(
    door: Door,
) -> None:
    await embed.embedder(door.runtime.settings)  # loading it is measured below
    filler = "The team talked about lunch, the weather and the seats in the office.\n" * 3000
    fact = "The launch code of the rocket is 4711."
    content = filler[: 200_000 - len(fact)] + fact
    delays: list[float] = []

    async def watch() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.005)
            delays.append(time.perf_counter() - started - 0.005)

    watching = asyncio.create_task(watch())
    await door.post("/api/memory", {"key": "long", "content": content, "scope": "agent"})
    for number in range(20):
        [found] = await search(door, query=f"rocket launch code {number}", mode="semantic")
        assert found["passage"].endswith(fact)
    watching.cancel()

    assert len(delays) > 20
