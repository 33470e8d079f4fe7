"""Tests of /api/tools and /api/tool-executions."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from aether.db import rows
from tests.doors.calls import Door, actions, column, count, counts, details, insert, without

LOOK_UP = {
    "name": "look-up_2",
    "description": "Look a word up.",
    "category": "words",
    "parameters": {
        "type": "object",
        "properties": {"word": {"$ref": "#/$defs/word"}},
        "$defs": {"word": {"type": "string"}},
    },
    "effect": "writes",
    "requires_approval": True,
    "enabled": False,
}
STORED = "SELECT effect FROM tool_definition ORDER BY id"
BUILT_IN = {
    "mcp_server_id": None,
    "mcp_tool_name": None,
    "unavailable_reason": None,
    "pending": None,
}


async def test_a_tool_is_created_listed_changed_put_back_and_deleted(door: Door) -> None:
    created = await door.post("/api/tools", LOOK_UP)
    path = f"/api/tools/{created['id']}"

    assert without(created, "id") == LOOK_UP | BUILT_IN
    assert await door.get("/api/tools") == [created]
    assert await door.get(path) == created
    assert await door.put(path, created) == created
    put = await door.put(path, {"parameters": {}, "category": None})
    assert without(put) == without(created) | {"parameters": {}, "category": None}
    assert await door.delete(path) == {"deleted": created["id"]}
    assert await actions() == ["tool.created", "tool.updated", "tool.deleted"]
    left = {name: LOOK_UP[name] for name in LOOK_UP.keys() - {"parameters", "category"}}
    assert await details("tool.updated") == [
        {
            "tool_id": created["id"],
            "name": LOOK_UP["name"],
            "changed": ["category", "parameters"],
            "before": {name: LOOK_UP[name] for name in ("category", "parameters")},
            "after": {"category": None, "parameters": {}},
        }
    ]
    assert await details("tool.deleted") == [{"tool_id": created["id"], "before": left}]
    assert await door.refused("GET", path, None, 404) == f"tool {created['id']} not found"


async def test_only_the_name_of_a_tool_is_required(door: Door) -> None:
    created = await door.post("/api/tools", {"name": "noop"})

    assert without(created, "id") == {
        "name": "noop",
        "description": "",
        "category": None,
        "parameters": {},
        "effect": "reads",
        "requires_approval": False,
        "enabled": True,
        **BUILT_IN,
    }


async def test_a_built_in_tool_that_writes_is_stored_and_shown_as_such_whatever_is_said(
    door: Door,
) -> None:
    unsaid = await door.post("/api/tools", {"name": "close_issue"})
    denied = await door.post("/api/tools", {"name": "add_labels", "effect": "reads"})
    other = await door.post("/api/tools", {"name": "noop"})
    path = f"/api/tools/{unsaid['id']}"

    changed = await door.put(path, {"effect": "reads", "description": "Close it."})
    renamed = await door.put(f"/api/tools/{other['id']}", {"name": "remember"})

    assert [one["effect"] for one in (unsaid, denied, changed, renamed)] == ["writes"] * 4
    assert column(await rows(STORED), "effect") == ["writes"] * 3
    assert (await details("tool.created"))[0]["after"]["effect"] == "writes"
    assert [one["changed"] for one in await details("tool.updated")] == [
        ["description"], ["effect", "name"],
    ]  # fmt: skip


async def test_a_built_in_tool_that_reads_may_be_held_to_write(door: Door) -> None:
    created = await door.post("/api/tools", {"name": "get_issue"})

    held = await door.put(f"/api/tools/{created['id']}", {"effect": "writes"})

    assert (created["effect"], held["effect"]) == ("reads", "writes")


async def test_a_row_from_before_is_shown_as_it_counts(door: Door) -> None:
    created = await door.post("/api/tools", {"name": "close_issue"})
    await rows("UPDATE tool_definition SET effect = 'reads'")
    path = f"/api/tools/{created['id']}"

    assert (await door.get(path))["effect"] == "writes"
    assert [one["effect"] for one in await door.get("/api/tools")] == ["writes"]
    assert (await door.put(path, {"enabled": False}))["effect"] == "writes"
    assert column(await rows(STORED), "effect") == ["writes"]


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


REFUSED = [
    ({"name": ""}, "name: must not be empty"),
    ({"name": "a b"}, "name: must be letters, digits, '_' and '-', such as add_comment"),
    ({"name": "größe"}, "name: must be letters, digits, '_' and '-', such as add_comment"),
    ({"name": "x" * 65}, "name: must have at most 64 characters"),
    ({"effect": "deletes"}, "effect: one of reads, writes"),
    ({"parameters": []}, "parameters: must be an object"),
    ({"parameters": {"type": "string"}},
     'parameters: must be a JSON Schema with "type": "object"'),
    ({"parameters": {"type": "object", "properties": {"a": {"type": "text"}}}},
     "parameters: must be a valid JSON Schema; properties.a.type is not"),
    ({"parameters": {"type": "object", "properties": {"a": {"pattern": "("}}}},
     "parameters: must be a valid JSON Schema; properties.a.pattern is not"),
    ({"parameters": {"type": "object", "properties": {"a": {"$ref": "http://10.0.0.1/"}}}},
     "parameters: a $ref must stay within the schema, such as #/$defs/item"),
    ({"parameters": {"type": "object", "properties": {"a": {"$ref": "#/$defs/nothing"}}}},
     "parameters: $ref #/$defs/nothing names nothing in the schema"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "text"), REFUSED)
async def test_a_tool_that_is_not_valid_is_refused_on_create_and_on_change(
    door: Door, change: dict[str, Any], text: str
) -> None:
    assert await door.refused("POST", "/api/tools", LOOK_UP | change, 400) == text
    assert await counts("tool_definition", "audit_entry") == [0, 0]
    created = await door.post("/api/tools", LOOK_UP)
    path = f"/api/tools/{created['id']}"

    assert await door.refused("PUT", path, {"description": "new"} | change, 400) == text

    assert await door.get(path) == created


async def test_a_deep_schema_is_taken_or_refused_but_breaks_nothing(door: Door) -> None:
    answers = [
        await door.client.post(
            "/api/tools", json={"name": f"t{levels}", "parameters": deep(levels)}
        )
        for levels in (10, 30, 48, 60)
    ]

    assert [one.status_code for one in answers[:1]] == [201]
    assert {one.status_code for one in answers} <= {201, 400}


async def test_of_ten_who_create_one_tool_at_once_one_succeeds(door: Door) -> None:
    answers = await asyncio.gather(
        *(door.client.post("/api/tools", json=LOOK_UP) for _ in range(10))
    )

    assert Counter(one.status_code for one in answers) == {201: 1, 409: 9}
    [text] = {one.json()["error"] for one in answers if one.status_code == 409}
    assert text == "tool 'look-up_2' already exists"


async def test_a_name_that_another_tool_has_is_a_409(door: Door) -> None:
    await door.post("/api/tools", LOOK_UP)
    other = await door.post("/api/tools", LOOK_UP | {"name": "other"})
    path = f"/api/tools/{other['id']}"

    text = await door.refused("PUT", path, {"name": "look-up_2", "enabled": True}, 409)

    assert text == "tool 'look-up_2' already exists"
    assert await door.get(path) == other
    assert await count("tool_definition") == 2


async def ran(**values: Any) -> int:
    defaults = {
        "execution_id": 3_000_000_000,
        "run": 1,
        "round": 1,
        "call_id": str(await count("tool_execution")),
        "tool": "add_comment",
        "agent_id": "ta_leo",
        "arguments": '{"body": "Thanks!"}',
        "result": "Posted.",
        "status": "succeeded",
    }
    return await insert("tool_execution", **(defaults | values))


async def test_tool_executions_are_told_as_the_contract_says_newest_first(door: Door) -> None:
    first = await ran(duration_ms=312, prompt_tokens=2**40, completion_tokens=80)
    second = await ran(status="failed", error="no", arguments='"{broken"', result=None)

    told = await door.get("/api/tool-executions?agent_id=ta_leo&limit=50")

    assert column(told, "id") == [second, first]
    assert list(told[1]) == [
        "id", "tool", "agent_id", "execution_id", "arguments", "result", "status", "error",
        "duration_ms", "prompt_tokens", "completion_tokens", "created_at",
    ]  # fmt: skip
    assert without(told[1], "id") == {
        "tool": "add_comment",
        "agent_id": "ta_leo",
        "execution_id": 3_000_000_000,
        "arguments": {"body": "Thanks!"},
        "result": "Posted.",
        "status": "succeeded",
        "error": None,
        "duration_ms": 312,
        "prompt_tokens": 2**40,
        "completion_tokens": 80,
    }
    assert (told[0]["arguments"], told[0]["error"]) == ("{broken", "no")


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("", [3, 2, 1, 0]),
        ("agent_id=pm_sarah", [1]),
        ("execution_id=7", [2]),
        ("tool=recall", [3]),
        ("status=refused", [3, 2]),
        ("status=refused&tool=recall", [3]),
        ("limit=2&offset=1", [2, 1]),
        ("execution_id=9223372036854775807", []),
    ],
)
async def test_tool_executions_are_filtered(door: Door, query: str, places: list[int]) -> None:
    ids = [
        await ran(),
        await ran(agent_id="pm_sarah"),
        await ran(execution_id=7, status="refused"),
        await ran(tool="recall", status="refused"),
    ]

    told = await door.get(f"/api/tool-executions?{query}")

    assert column(told, "id") == [ids[place] for place in places]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("status=ok", "status: one of succeeded, failed, refused"),
        ("execution_id=x", "execution_id: must be a whole number"),
        ("limit=501", "limit: must be at most 500"),
    ],
)
async def test_a_filter_that_is_not_valid_is_refused(door: Door, query: str, text: str) -> None:
    assert await door.refused("GET", f"/api/tool-executions?{query}", None, 400) == text
