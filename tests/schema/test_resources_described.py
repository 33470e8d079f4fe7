"""Tests of the whole schema's manners: everything is described, what can fail may be null."""

from collections.abc import Iterator

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
)

import seeding
from schema.enums import SeedName
from tests.schema.both import whole_schema


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return whole_schema()._schema


def descriptions(schema: GraphQLSchema) -> Iterator[tuple[str, str | None]]:
    for kind in schema.type_map.values():
        if kind.name.startswith("__") or kind.name in {"String", "ID", "Int", "Float", "Boolean"}:
            continue
        yield kind.name, kind.description
        if isinstance(kind, GraphQLObjectType):
            for name, field in kind.fields.items():
                yield f"{kind.name}.{name}", field.description
                for argument, told in field.args.items():
                    yield f"{kind.name}.{name}.{argument}", told.description
        elif isinstance(kind, GraphQLInputObjectType):
            for name, given in kind.fields.items():
                yield f"{kind.name}.{name}", given.description
        elif isinstance(kind, GraphQLEnumType):
            for name, value in kind.values.items():
                yield f"{kind.name}.{name}", value.description


def test_everything_is_described(schema: GraphQLSchema) -> None:
    told = dict(descriptions(schema))

    assert [name for name, description in told.items() if not description] == []
    assert len(told) > 300


def test_every_mutation_may_be_null(schema: GraphQLSchema) -> None:
    mutations = schema.mutation_type

    assert mutations is not None
    assert [name for name, one in mutations.fields.items() if _never_null(one.type)] == []


def test_a_query_that_can_be_asked_wrongly_may_be_null(schema: GraphQLSchema) -> None:
    """What takes a text or an id of the client's choosing; enums, flags and pages are checked
    before anything runs."""
    query = schema.query_type

    assert query is not None
    wrong = [
        name
        for name, one in query.fields.items()
        if _never_null(one.type)
        and any(str(argument.type).strip("!") in {"ID", "String"} for argument in one.args.values())
    ]
    assert wrong == []


def test_the_seeds_are_those_that_there_are() -> None:
    assert tuple(SeedName) == seeding.SEEDS


def _never_null(kind: object) -> bool:
    return isinstance(kind, GraphQLNonNull)
