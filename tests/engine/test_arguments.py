"""A model's arguments against the schemas of strangers: bounded, and no pattern of theirs run."""

import json
from typing import Any

import pytest

from aether.engine.arguments import BadArgumentsError, read_arguments

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
