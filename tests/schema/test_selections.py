"""The queries that select everything do: they reach each field of each type, and may be asked."""

from graphql import GraphQLObjectType, get_named_type, is_leaf_type, parse, validate

from schema.limits import Measure
from tests.schema.both import whole_schema
from tests.schema.selections import queries, reached

SCHEMA = whole_schema()._schema


def reachable() -> set[tuple[str, str]]:
    """(type, field) of every simple field that a query can come to."""
    assert SCHEMA.query_type is not None
    found: set[tuple[str, str]] = set()
    waiting = [get_named_type(one.type) for one in SCHEMA.query_type.fields.values()]
    seen: set[str] = set()
    while waiting:
        kind = waiting.pop()
        if kind.name in seen or not isinstance(kind, GraphQLObjectType):
            continue
        seen.add(kind.name)
        for name, told in kind.fields.items():
            below = get_named_type(told.type)
            waiting.append(below)
            if is_leaf_type(below):
                found.add((kind.name, name))
    return found


def test_every_field_of_every_type_is_selected_somewhere() -> None:
    assert reachable() - reached(SCHEMA) == set()


def test_every_query_is_among_them_and_valid_and_within_the_limits() -> None:
    assert SCHEMA.query_type is not None
    asked = list(queries(SCHEMA))

    assert {name for name, _ in asked} == set(SCHEMA.query_type.fields)
    for name, query in asked:
        document = parse(query)
        assert validate(SCHEMA, document) == [], name
        assert Measure(SCHEMA, document, {}).run() == [], name
