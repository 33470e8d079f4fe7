"""The OpenAPI 3.1 document, made from the same table as the routes and the validation."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from aether import __version__
from rest_compat.op import Anything, Call, Op
from rest_compat.shapes import Out, Shape, to_json

REF: Final = "#/components/schemas/{model}"
MEANINGS: Final[Mapping[int, str]] = {
    400: "The body or a parameter cannot be read or is not valid; the text names it.",
    401: "The API token is missing or wrong.",
    403: "This caller may not: a foreign Host or Origin, or a right that is missing.",
    404: "Nothing has this id.",
    409: "It exists already, or is not in a state that allows this.",
    413: "The body is too large.",
    429: "Too many requests; Retry-After says when to come again.",
    500: "A fault of the server; its log says more.",
    502: "The model, the tracker or the MCP server failed.",
    503: "The database or the queue is out of reach; try again.",
}
ERROR: Final[Mapping[str, Any]] = {
    "type": "object",
    "title": "Error",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "What went wrong; names the field."}},
    "example": {"error": "role_id: one of pm, ta, qa, dev, hub"},
}

Schemas = Mapping[str, Mapping[str, Any]]


def document(ops: Iterable[Op]) -> dict[str, Any]:
    """OpenAPI 3.1 for a table of endpoints."""
    table = sorted(ops, key=lambda op: (op.path, op.method))
    schemas, components = _components(table)
    paths: dict[str, dict[str, Any]] = {}
    for op in table:
        path = re.sub(r"{(\w+):\w+}", r"{\1}", op.path)
        paths.setdefault(path, {})[op.method.lower()] = _operation(op, schemas, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Aether",
            "version": __version__,
            "description": "AI agents that answer what happens in your issue trackers.",
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(op.tag for op in table)],
        "security": [{}, {"apiToken": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": dict(ERROR)},
            "responses": {
                str(status): {
                    "description": meaning,
                    "content": {
                        "application/json": {"schema": {"$ref": REF.format(model="Error")}}
                    },
                }
                for status, meaning in MEANINGS.items()
            },
            "securitySchemes": {
                "apiToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "API_TOKEN; without that setting only loopback callers.",
                }
            },
        },
    }


def operation(ops: Sequence[Op]) -> Op:
    """The endpoint that serves the document of ``ops`` and of itself."""

    async def get_openapi(_: Call) -> Any:
        return cached

    own = Op(
        method="GET",
        path="/openapi.json",
        handler=get_openapi,
        summary="This document",
        tag="Monitoring & Logs",
        query=Anything,
    )
    cached = document((*ops, own))
    to_json(cached)  # a document that cannot be written stops the start, not a request
    return own


def _components(table: Sequence[Op]) -> tuple[Schemas, dict[str, Any]]:
    wanted: dict[str, tuple[Any, Any, TypeAdapter[Any]]] = {}
    for op in table:
        for model in (op.body, op.query):
            if model is not None and model is not Anything:
                wanted[_key(model)] = (_key(model), "validation", TypeAdapter(model))
        shape = _shape(op.out)
        if shape is not None:
            wanted[_key(shape)] = (_key(shape), "serialization", shape.adapter())
    schemas, described = TypeAdapter.json_schemas(wanted.values(), ref_template=REF)
    return {key: one for (key, _), one in schemas.items()}, dict(described.get("$defs", {}))


def _key(part: type[BaseModel] | Shape) -> str:
    if isinstance(part, Shape):
        return f"shape {part.name}"
    return f"{part.__module__}.{part.__qualname__}"


def _shape(out: Out) -> Shape | None:
    if isinstance(out, Shape) or out is None:
        return out
    return out[0]


def _operation(op: Op, schemas: Schemas, components: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": op.handler.__name__,
        "summary": op.summary,
        "tags": [op.tag],
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)", op.path)
    ]
    if op.query is not None and op.query is not Anything:
        parameters += _query_parameters(schemas[_key(op.query)], components)
    if parameters:
        told["parameters"] = parameters
    if op.body is not None:
        content: dict[str, Any] = {"schema": schemas[_key(op.body)]}
        if op.example is not None:
            content["example"] = op.example
        told["requestBody"] = {
            "required": not op.body_optional,
            "content": {"application/json": content},
        }
    told["responses"] = _responses(op, schemas)
    return {**told, **op.extra}


def _query_parameters(
    schema: Mapping[str, Any], components: Mapping[str, Any]
) -> list[dict[str, Any]]:
    model = components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    needed = model.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": _never_null(one)}
        for name, one in model.get("properties", {}).items()
    ]


def _never_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a parameter: one that is not there is left out, never null."""
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    rest = {name: one for name, one in schema.items() if name not in {"anyOf", "default"}}
    return {**kinds[0], **rest}


def _responses(op: Op, schemas: Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": op.summary}
    if op.status != 204:
        schema: Any = {}
        shape = _shape(op.out)
        if shape is not None:
            schema = schemas[_key(shape)]
            if not isinstance(op.out, Shape):
                schema = {"type": "array", "items": schema}
        content = {"schema": schema}
        if op.answer is not None:
            content["example"] = op.answer
        answer["content"] = {"application/json": content, **op.also}
    refusals = {400, 401, 403, 500, 503, *op.errors}
    if "{" in op.path:
        refusals.add(404)
    if op.body is not None:
        refusals.add(413)
    return {
        str(op.status): answer,
        **{str(code): {"$ref": f"#/components/responses/{code}"} for code in sorted(refusals)},
    }
