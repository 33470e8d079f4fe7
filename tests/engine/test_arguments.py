"""A model's arguments against the schemas of strangers: bounded, and no pattern of theirs run."""

import json
import time
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from aether.demo.serving import serving
from aether.engine.arguments import BadArgumentsError, read_arguments
from aether.tools.mcp_definitions import definition
from tests.mcp.toolbox import answer

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "word": {"type": "string", "pattern": "^(a+)+$"}},
    "required": ["n"],
}


def foreign(values: Any, schema: dict[str, Any]) -> dict[str, Any]:
    return read_arguments(json.dumps(values), schema, is_foreign=True)


def test_a_foreign_schema_is_held_to_like_our_own() -> None:
    assert foreign({"n": 1}, SCHEMA) == {"n": 1}
    with pytest.raises(BadArgumentsError, match="n: 'x' is not of type 'integer'"):
        foreign({"n": "x"}, SCHEMA)
    with pytest.raises(BadArgumentsError, match="'n' is a required property"):
        foreign({}, SCHEMA)


def test_a_pattern_of_a_stranger_is_left_to_the_server_and_ours_is_run() -> None:
    hard = {"n": 1, "word": "a" * 60 + "!"}  # some 2^60 steps

    assert foreign(hard, SCHEMA) == hard
    ours = {"type": "object", "properties": {"word": {"pattern": "^b$"}}}
    with pytest.raises(BadArgumentsError, match="does not match"):
        read_arguments('{"word": "a"}', ours)


def test_a_schema_that_asks_for_billions_of_steps_is_given_up() -> None:
    definitions: dict[str, Any] = {
        f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(60)
    }
    schema = {"type": "object", "$ref": "#/$defs/d0", "$defs": {**definitions, "d60": {}}}

    with pytest.raises(BadArgumentsError, match=r"too involved\. The tool was not run"):
        foreign({"n": 1}, schema)


def test_a_schema_that_leads_to_itself_ends() -> None:
    schema = {"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}

    with pytest.raises(BadArgumentsError, match="too involved"):
        foreign({}, schema)


def test_a_long_list_of_arguments_is_still_checked() -> None:
    schema = {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": {"type": "string", "maxLength": 3}}},
    }

    assert foreign({"rows": ["abc"] * 5_000}, schema)["rows"][-1] == "abc"
    with pytest.raises(BadArgumentsError, match=r"rows\.4999"):
        foreign({"rows": ["abc"] * 4_999 + ["abcd"]}, schema)


def discovered(schema: dict[str, Any]) -> dict[str, Any]:
    """The parameters that a discovery keeps of a tool."""
    parameters: dict[str, Any] = definition({"name": "t", "inputSchema": schema})["parameters"]
    return parameters


def test_nothing_is_fetched_for_a_schema_that_makes_itself_another_address() -> None:
    asked: list[str] = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope.get("path", ""))
        await answer(200, b'{"secret": {}}', {"content-type": "application/json"})(
            scope, receive, send
        )

    with serving(inside) as url:
        asked.clear()  # the start of the server
        schema = discovered(
            {
                "type": "object",
                "secret": {},
                "properties": {"a": {"$ref": "#/hidden"}},
                "hidden": {
                    "properties": {
                        "b": {"$id": f"{url}/latest", "properties": {"c": {"$ref": "#/secret"}}}
                    }
                },
            }
        )
        with pytest.raises(BadArgumentsError, match=r"too involved\. The tool was not run"):
            foreign({"a": {"b": {"c": 1}}}, schema)
        seen = list(asked)

    assert seen == []


HARD = "a" * 60 + "!"  # some 2^60 steps of the pattern


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
        {"patternProperties": {"^(a+)+$": {}}, "unevaluatedProperties": False},
        {"propertyNames": {"pattern": "^(a+)+$"}},
        {"properties": {HARD: {"$schema": "https://json-schema.org/draft/2020-12/schema",
                               "pattern": "^(a+)+$"}}},
        {"properties": {HARD: {"$schema": "http://json-schema.org/draft-07/schema#",
                               "pattern": "^(a+)+$"}}},
    ],
)  # fmt: skip
def test_no_keyword_runs_a_pattern_of_a_stranger(schema: dict[str, Any]) -> None:
    assert foreign({HARD: HARD}, discovered({"type": "object", **schema})) == {HARD: HARD}


def test_branches_that_double_are_given_up_wherever_they_stand() -> None:
    def doubling(level: int) -> dict[str, Any]:
        below = {"$ref": f"#/$defs/d{level + 1}"}
        return {"dependentSchemas": {"a": below, "b": below}}

    definitions = {f"d{level}": doubling(level) for level in range(60)}
    schema = {"type": "object", "$ref": "#/$defs/d0", "$defs": {**definitions, "d60": {}}}

    for beside in ({}, {"unevaluatedProperties": False}):
        with pytest.raises(BadArgumentsError, match="too involved"):
            foreign({"a": 1, "b": 2}, discovered({**beside, **schema}))


def test_a_long_list_of_different_things_is_found_to_be_so_in_time() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    many = [{"n": number} for number in range(5_000)]  # 12 million comparisons, each with each

    started = time.thread_time()
    assert foreign({"a": many}, schema) == {"a": many}
    with pytest.raises(BadArgumentsError, match="a: has non-unique elements"):
        foreign({"a": [*many, many[0]]}, schema)
    assert time.thread_time() - started < 2


def test_a_schema_whose_own_check_would_take_minutes_is_refused_in_time() -> None:
    started = time.thread_time()
    with pytest.raises(ValueError, match=r"properties\.a\.type is not"):
        discovered(
            {"type": "object", "properties": {"a": {"type": [{"n": n} for n in range(3_500)]}}}
        )
    with pytest.raises(ValueError, match="its input schema is too involved"):
        discovered({"type": "object", "allOf": [{}] * 12_000})
    assert time.thread_time() - started < 8


def test_a_pattern_of_another_language_spoils_no_tool() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": r"^\p{L}(?<n>x)"}},
    }

    assert foreign({"a": "b"}, discovered(schema)) == {"a": "b"}
