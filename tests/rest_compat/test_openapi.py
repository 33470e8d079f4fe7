"""Tests of the document: it says what the table does."""

import json
import re
from typing import Any

import httpx
import jsonschema
import pytest

from rest_compat import OPS
from rest_compat.openapi import document, operation
from tests.rest_compat import table
from tests.rest_compat.conftest import client_of

ALL = (*table.OPS, *OPS)


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        inner = {one for value in part.values() for one in references(value)}
        return inner | ({part["$ref"]} if isinstance(part.get("$ref"), str) else set())
    return {one for value in part for one in references(value)} if isinstance(part, list) else set()


def test_every_endpoint_is_in_the_document_and_every_reference_leads_somewhere() -> None:
    made = document(ALL)

    assert made["openapi"] == "3.1.0"
    assert sum(len(methods) for methods in made["paths"].values()) == len(ALL)
    names = [one["operationId"] for path in made["paths"].values() for one in path.values()]
    assert len(set(names)) == len(names)
    for reference in references(made):
        found: Any = made
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    for path, methods in made["paths"].items():
        for one in methods.values():
            declared = [each["name"] for each in one.get("parameters", ()) if each["in"] == "path"]
            assert declared == re.findall(r"{(\w+)}", path)


def test_an_operation_tells_its_body_its_answer_and_its_refusals() -> None:
    create = document(ALL)["paths"]["/api/things"]["post"]

    assert create == {
        "operationId": "create_thing",
        "summary": "create thing",
        "tags": ["Things"],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/NewThing"},
                    "example": {"id": "a", "name": "A", "role_id": "pm"},
                }
            },
        },
        "responses": {
            "201": {
                "description": "create thing",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
            },
            **{
                code: {"$ref": f"#/components/responses/{code}"}
                for code in ("400", "401", "403", "409", "413", "500", "503")
            },
        },
    }


def test_query_parameters_tell_their_bounds() -> None:
    parameters = document(ALL)["paths"]["/api/things"]["get"]["parameters"]

    assert [one["name"] for one in parameters] == ["limit", "offset", "source", "since"]
    assert parameters[0] == {
        "name": "limit",
        "in": "query",
        "required": False,
        "schema": {
            "default": 50,
            "maximum": 500,
            "minimum": 1,
            "title": "Limit",
            "type": "integer",
        },
    }


async def test_an_answer_is_as_the_document_says(client: httpx.AsyncClient) -> None:
    made = document(ALL)
    created = await client.post(
        "/api/things", json={"id": "a", "name": "A", "role_id": "pm", "parameters": {"x": [1]}}
    )

    schema = {"$ref": "#/components/schemas/Thing", "components": made["components"]}

    jsonschema.validate(created.json(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**created.json(), "weight": "5"}, schema)


async def test_the_document_is_served_and_holds_itself() -> None:
    async with client_of(table.application(ops=(*OPS, operation(OPS)))) as client:
        answer = await client.get("/openapi.json")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    told = {op.path.replace(":path}", "}") for op in OPS}
    assert set(answer.json()["paths"]) == {"/openapi.json", *told}
    assert json.loads(answer.content) == document((*OPS, operation(OPS)))


def test_a_put_does_not_ask_for_what_may_be_left_out() -> None:
    changes = document(ALL)["components"]["schemas"]["ThingChanges"]

    assert "required" not in changes
    assert changes["properties"]["name"] == {
        "maxLength": 200,
        "minLength": 1,
        "pattern": "\\S",
        "title": "Name",
        "type": "string",
    }
