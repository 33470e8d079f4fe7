"""Tests that the reference's endpoints are all there, and that the document shows true examples."""

import re
from typing import Any, Final

import jsonschema
import pytest

from rest_compat import OPS
from rest_compat.openapi import document
from tests.doors.calls import Door

REFERENCE: Final = """
GET /health
GET /api/agents
GET /api/agents/:id
POST /api/agents
PUT /api/agents/:id
DELETE /api/agents/:id
POST /api/agents/seed
GET /api/agents/:id/capabilities
POST /api/agents/:id/capabilities
DELETE /api/agents/:id/capabilities/:capabilityId
POST /api/agents/capabilities/seed
GET /api/agents/:id/audit
GET /api/projects
GET /api/projects/:id
POST /api/projects
PUT /api/projects/:id
DELETE /api/projects/:id
GET /api/tasks
GET /api/tasks/:id
POST /api/tasks
POST /api/tasks/seed
POST /api/tasks/:id/restart
GET /api/tasks/triggers
POST /api/tasks/triggers
POST /api/tasks/triggers/seed
GET /api/tasks/sources
POST /api/tasks/sources
POST /api/tasks/sources/seed
POST /webhook/:slug
GET /api/webhook-mappings
POST /api/webhook-mappings
POST /api/webhook-mappings/seed
GET /api/tools
POST /api/tools
POST /api/tools/seed
GET /api/tool-executions
GET /api/usage
GET /api/integrations
POST /api/integrations
PUT /api/integrations/:id
DELETE /api/integrations/:id
GET /api/integrations/:source/test
POST /api/memory/search
GET /api/memory
GET /api/memory/:key
POST /api/memory
DELETE /api/memory/:key
GET /api/watchdog
"""


def test_every_endpoint_of_the_reference_is_there() -> None:
    ours = {f"{op.method} {re.sub('{.*?}', ':', op.path)}" for op in OPS}

    assert {re.sub(":[A-Za-z]+", ":", line) for line in REFERENCE.split("\n") if line} <= ours


@pytest.fixture(scope="module")
def made() -> Any:
    """The document; it takes a tenth of a second."""
    return document(OPS)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.handler.__name__)
def test_the_documents_examples_are_what_its_schemas_say(made: Any, op: Any) -> None:
    told = made["paths"][op.path.replace(":path}", "}")][op.method.lower()]

    def check(value: Any, content: Any) -> None:
        jsonschema.validate(value, {**content["schema"], "components": made["components"]})

    answer = told["responses"][str(op.status)]
    assert ("content" in answer) == (op.status != 204)
    if "content" in answer:
        check(op.answer, answer["content"]["application/json"])
    if op.body is not None:
        check(op.example, told["requestBody"]["content"]["application/json"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/integrations", {"source": "github", "name": "A", "base_url": "ftp://a.example"}),
        ("/api/integrations", {"source": "github", "name": "A", "base_url": "http://a b"}),
        ("/api/projects", {"name": "A", "source": "github", "source_project_id": " \n"}),
    ],
)
async def test_what_is_refused_for_its_form_is_not_valid_by_the_document_either(
    made: Any, door: Door, path: str, body: dict[str, Any]
) -> None:
    [content] = made["paths"][path]["post"]["requestBody"]["content"].values()
    told = {"credentials": {"token": "a" * 20}, **body} if "base_url" in body else body
    last = list(body)[-1]

    text = await door.refused("POST", path, told, 400)

    assert text.startswith(f"{last}: ")
    with pytest.raises(jsonschema.ValidationError) as refused:
        jsonschema.validate(told, {**content["schema"], "components": made["components"]})
    assert list(refused.value.absolute_path) == [last]


@pytest.mark.parametrize(
    "path", ["/api/agents/", "/api/agent", "/api/tasks/triggers/", "/api/agents/a/b/c"]
)
async def test_what_is_no_path_is_a_404_in_the_references_form(door: Door, path: str) -> None:
    assert await door.refused("GET", path, None, 404) == "no such path"


async def test_another_method_is_a_405_that_names_those_allowed(door: Door) -> None:
    text = await door.refused("DELETE", "/api/agents", None, 405)

    assert text == "not allowed here; allowed: GET, HEAD, POST"
