"""Schemas of strangers in a form that every provider takes, and the way back to their own names."""

import json
import re
from typing import Any

import pytest

from aether.tools.mcp_definitions import definition
from aether.tools.mcp_parameters import NOT_AT_THE_TOP, offered_parameters, told_arguments

NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
TEXT = {"type": "string"}


def kept(**schema: Any) -> dict[str, Any]:
    """The parameters that a discovery keeps."""
    made = definition({"name": "t", "inputSchema": {"type": "object", **schema}})
    parameters: dict[str, Any] = made["parameters"]
    return parameters


def test_a_plain_schema_is_offered_as_it_is() -> None:
    schema = kept(
        properties={"q": {**TEXT, "enum": ["a"]}, "of": {"anyOf": [TEXT, {"type": "null"}]}},
        required=["q"],
        additionalProperties=False,
        description="About.",
    )

    assert offered_parameters(schema) == schema
    assert told_arguments(schema, {"q": "a", "more": 1}) == {"q": "a", "more": 1}


def test_a_tool_without_parameters_is_offered_with_none() -> None:
    assert offered_parameters(kept()) == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("schema", "properties", "required", "note"),
    [
        ({"anyOf": [{"required": ["a"]}, {"required": ["b", "c"]}],
          "properties": {"a": TEXT, "b": TEXT, "c": TEXT, "d": TEXT}, "required": ["d"]},
         ["a", "b", "c", "d"], ["d"], "Give at least one of: a; b and c."),
        ({"oneOf": [{"properties": {"kind": {"const": "x"}, "a": TEXT}, "required": ["kind", "a"]},
                    {"properties": {"kind": {"const": "y"}}, "required": ["kind"]}]},
         ["a", "kind"], ["kind"], "Give exactly one of: kind and a; kind."),
        ({"allOf": [{"properties": {"a": TEXT}, "required": ["a"]}, {"required": ["b"]}],
          "properties": {"b": TEXT}}, ["a", "b"], ["a", "b"], None),
        ({"$ref": "#/$defs/all", "$defs": {"all": {"properties": {"a": TEXT}, "required": ["a"]}}},
         ["a"], ["a"], None),
        ({"properties": {"a": TEXT}, "if": {"required": ["a"]},
          "then": {"properties": {"b": TEXT}, "required": ["b"]}, "else": False},
         ["a", "b"], None, None),
        ({"properties": {"a": TEXT}, "dependentSchemas": {"a": {"properties": {"b": TEXT}}}},
         ["a", "b"], None, None),
        ({"properties": {"a": TEXT}, "not": {"required": ["b"]}, "enum": [{"a": "x"}]},
         ["a"], None, None),
        ({"$ref": "#"}, [], None, None),
        ({"required": ["nowhere"]}, [], None, None),
    ],
)  # fmt: skip
def test_branches_at_the_top_are_folded_and_said_in_words(
    schema: dict[str, Any], properties: list[str], required: list[str] | None, note: str | None
) -> None:
    shown = offered_parameters(kept(**schema))

    assert NOT_AT_THE_TOP & set(shown) == set()
    assert shown["type"] == "object"
    assert sorted(shown["properties"]) == properties
    assert (shown.get("required"), shown.get("description")) == (required, note)


def test_a_property_that_branches_tell_differently_may_be_either() -> None:
    branches = [{"properties": {"kind": {"const": one}}} for one in ("x", "y", "x", "z")]

    shown = offered_parameters(kept(oneOf=branches))

    assert shown["properties"]["kind"] == {"anyOf": [{"const": one} for one in ("x", "y", "z")]}


def test_names_of_properties_that_a_provider_refuses_are_others_and_lead_back() -> None:
    odd = ["$filter", "filter", "ids[]", "名前", "氏名", "x" * 65, "x" * 66, "", "a.b-c_d"]
    schema = kept(properties=dict.fromkeys(odd, TEXT), required=["$filter", "a.b-c_d"])

    shown = offered_parameters(schema)
    names = list(shown["properties"])

    assert all(NAME.fullmatch(one) for one in names)
    assert len(set(names)) == len(odd)
    assert {"filter", "filter_2", "ids", "a.b-c_d"} <= set(names)
    assert shown["required"] == ["filter_2", "a.b-c_d"]
    assert sorted(told_arguments(schema, dict.fromkeys(names, "v"))) == sorted(odd)
    assert told_arguments(schema, {"$filter": "v"}) == {"$filter": "v"}
    assert list(offered_parameters(json.loads(json.dumps(schema)))["properties"]) == names


def test_a_list_says_that_it_has_items_and_a_property_is_an_object() -> None:
    told = {"a": {"type": "array"}, "b": {"type": ["array", "null"]}, "c": True}

    assert offered_parameters(kept(properties=told))["properties"] == {
        "a": {"type": "array", "items": {}},
        "b": {"type": ["array", "null"], "items": {}},
        "c": {},
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"properties": {"a": TEXT}}], "properties": {"b": {"$ref": "#/anyOf/0"}}},
        {"$ref": "#/$defs/d0", "$defs": {
            **{f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(1_200)}, "d1200": {}}},
    ],
)  # fmt: skip
def test_what_cannot_be_folded_is_offered_without_details(schema: dict[str, Any]) -> None:
    kept_schema = kept(**schema)

    assert offered_parameters(kept_schema) == {"type": "object", "properties": {}}
    assert told_arguments(kept_schema, {"b": 1}) == {"b": 1}
