"""Memories over GraphQL, and that both doors say the same of them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from aether.db import rows
from tests.doors.calls import column, counts
from tests.schema.both import Doors, both_doors

AUTH: dict[str, Any] = {
    "key": "auth-decision-feb-2026",
    "content": "Team decided to use JWT.",
    "scope": "PROJECT",
    "agentId": "ta_leo",
    "projectId": "42",
}
FIELDS = "key content scope agentId projectId keySpace executionId"
STORE = f"mutation ($i: MemoryInput!) {{ memoryStore(input: $i) {{ {FIELDS} expiresAt }} }}"
SEARCH = f"""query ($q: String!, $m: MemorySearchMode! = HYBRID, $l: Int! = 10) {{
  memorySearch(query: $q, mode: $m, limit: $l) {{ {FIELDS} similarity passage }} }}"""
REST_BODY = {
    "key": "auth-decision-feb-2026", "content": "Team decided to use JWT.", "scope": "project",
}  # fmt: skip


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        yield ours


async def test_a_memory_is_stored_read_listed_found_and_deleted(doors: Doors) -> None:
    expected = AUTH | {"keySpace": "", "executionId": None}

    stored = await doors.ask(STORE, i=AUTH)
    read = await doors.ask(f'{{ memory(key: "{AUTH["key"]}") {{ {FIELDS} }} }}')
    listed = await doors.ask(f"""{{
      memories(agentId: "ta_leo", projectId: 42, scope: PROJECT, limit: 5) {{ {FIELDS} }}
      none: memories(agentId: "qa_quinn") {{ key }} }}""")
    found = await doors.ask(SEARCH, q="authentication decisions")
    by_rest = await doors.post("/api/memory/search", {"query": "authentication decisions"}, 200)
    deleted = await doors.ask(f'mutation {{ memoryDelete(key: "{AUTH["key"]}") }}')

    assert stored == {"memoryStore": expected | {"expiresAt": None}}
    assert read == {"memory": expected}
    assert listed == {"memories": [expected], "none": []}
    [one] = found["memorySearch"]
    assert {name: one[name] for name in expected} == expected
    assert one["passage"] == AUTH["content"]
    assert [one["similarity"]] == column(by_rest, "similarity")
    assert deleted == {"memoryDelete": AUTH["key"]}
    assert await counts("memory", "memory_chunk", "audit_entry") == [0, 0, 2]


async def test_the_mode_is_by_meaning_or_by_words(doors: Doors) -> None:
    await doors.ask(STORE, i=AUTH)

    keyword = await doors.ask(SEARCH, q="how people sign in", m="KEYWORD")
    semantic = await doors.ask(SEARCH, q="how people sign in", m="SEMANTIC")

    assert keyword == {"memorySearch": []}
    assert column(semantic["memorySearch"], "key") == [AUTH["key"]]


async def test_what_has_expired_is_not_there(doors: Doors) -> None:
    stored = await doors.ask(STORE, i=AUTH | {"ttlSeconds": 5})
    await rows("UPDATE memory SET expires_at = now() - interval '1 s'")

    told = await doors.ask('{ memories { key } memorySearch(query: "JWT") { key } }')

    assert stored["memoryStore"]["expiresAt"] is not None
    assert told == {"memories": [], "memorySearch": []}
    assert await doors.refused_by_graphql('{ memory(key: "auth-decision-feb-2026") { key } }') == (
        "memory 'auth-decision-feb-2026' not found", "NOT_FOUND",
    )  # fmt: skip
    await doors.ask(STORE, i=AUTH)


async def test_a_taken_key_is_told_in_the_same_words(doors: Doors) -> None:
    await doors.ask(STORE, i=AUTH)

    told = await doors.refused_by_graphql(STORE, i=AUTH)

    assert told == ("memory 'auth-decision-feb-2026' already exists", "CONFLICT")
    assert await doors.refused("POST", "/api/memory", REST_BODY, 409) == told[0]


@pytest.mark.parametrize(
    ("rest", "graphql", "text"),
    [
        ({"key": " "}, {"key": " "}, "key: must not be blank"),
        ({"content": "\u200b"}, {"content": "\u200b"}, "content: must not be blank"),
        ({"content": "x" * 200_001}, {"content": "x" * 200_001},
         "content: must have at most 200000 characters"),
        ({"ttl_seconds": 0}, {"ttlSeconds": 0}, "{ttl}: must be at least 1"),
        ({"ttl_seconds": 2**31 - 1}, {"ttlSeconds": 2**31 - 1}, "{ttl}: must be at most 315360000"),
    ],
)  # fmt: skip
async def test_what_is_not_valid_is_refused_in_the_same_words(
    doors: Doors, rest: Any, graphql: Any, text: str
) -> None:
    by_rest = await doors.refused("POST", "/api/memory", REST_BODY | rest, 400)
    told = await doors.refused_by_graphql(STORE, i=AUTH | graphql)

    assert by_rest == text.format(ttl="ttl_seconds")
    assert told == (text.format(ttl="ttlSeconds"), "INVALID_INPUT")
    assert await counts("memory", "audit_entry") == [0, 0]


async def test_a_blank_search_is_refused_in_the_same_words(doors: Doors) -> None:
    by_rest = await doors.refused("POST", "/api/memory/search", {"query": " "}, 400)

    assert by_rest == "query: must not be blank"
    assert await doors.refused_by_graphql(SEARCH, q=" ") == (by_rest, "INVALID_INPUT")


async def test_more_than_a_page_of_memories_is_refused(doors: Doors) -> None:
    assert await doors.refused_by_graphql(SEARCH, q="x", l=501) == (
        "limit: must be at most 500", "INVALID_INPUT",
    )  # fmt: skip


async def test_a_thousand_searches_in_one_request_are_refused_before_any_runs(
    doors: Doors,
) -> None:
    many = " ".join(f'm{number}: memorySearch(query: "x") {{ key }}' for number in range(1000))

    answer = await doors.client.post("/graphql", json={"query": f"{{ {many} }}"})

    assert "errors" in answer.json()
    assert answer.json().get("data") is None
