"""The schema as a whole: health, the printed SDL, what every list takes."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import pytest
from graphql import (
    GraphQLList,
    GraphQLObjectType,
    IntrospectionQuery,
    build_client_schema,
    get_introspection_query,
    get_nullable_type,
    print_schema,
)
from starlette.testclient import TestClient

import schema
from aether.config import Settings
from resolvers import monitoring
from schema.view import graphql_app
from tests.schema.conftest import mounted


@dataclass
class Found:
    status: str
    timestamp: datetime


def test_health_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def health() -> Found:
        return Found("ok", datetime(2026, 2, 18, 10, tzinfo=UTC))

    monkeypatch.setattr(monitoring, "health", health, raising=False)
    client = TestClient(mounted(graphql_app(Settings.from_environment({}))))

    answer = client.post("/graphql", json={"query": "{ health { status timestamp } }"})

    assert answer.json() == {
        "data": {"health": {"status": "ok", "timestamp": "2026-02-18T10:00:00Z"}}
    }


def test_the_printed_schema_is_current() -> None:
    """``python -m schema`` writes it."""
    assert schema.SDL_PATH.read_text(encoding="utf-8") == schema.print_sdl()


def test_code_generators_can_read_the_whole_schema_by_introspection() -> None:
    made = schema.build_schema()

    told = made.execute_sync(get_introspection_query(input_value_deprecation=True))

    assert told.errors is None
    assert told.data is not None
    rebuilt = print_schema(build_client_schema(cast("IntrospectionQuery", told.data)))
    assert "parameters: JSON! = {  }" in rebuilt
    assert "extract: JSON! = {  }" in rebuilt


def test_every_field_and_argument_has_a_description() -> None:
    silent = [
        f"{kind.name}.{name}"
        for kind in schema.build_schema()._schema.type_map.values()
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__")
        for name, field in kind.fields.items()
        if not field.description
    ]

    assert silent == []


def test_every_list_at_the_root_has_a_limit_and_an_offset() -> None:
    query = schema.build_schema()._schema.query_type

    assert query is not None
    for name, field in query.fields.items():
        if isinstance(get_nullable_type(field.type), GraphQLList):
            assert {"limit", "offset"} <= set(field.args), name
