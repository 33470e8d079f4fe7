"""Queries that select everything, made from the schema itself: what is new is asked for, too."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from graphql import (
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_required_argument,
)

IDS: Final = ("1", "2", "pm_sarah", "triage")
REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "id": tuple(f'"{one}"' for one in IDS),
    "agentId": ('"pm_sarah"',),
    "by": ("[AGENT, TASK, PROJECT, MODEL, DAY]",),
    "headers": ("{}",),
    "key": ('"k"',),
    "query": ('"secrets"',),
    "slug": ('"github"',),
    "source": ("GITHUB", "GITLAB", "JIRA", "PLANE"),
}
"""Values of each argument that a field cannot be asked without, by its name."""
PAGED: Final[Mapping[str, str]] = {"limit": "10", "first": "10"}
Pair = tuple[str, str]


def queries(schema: GraphQLSchema) -> Iterator[tuple[str, str]]:
    """Every query, by its name, with all that can be selected of it, once for each value."""
    assert schema.query_type is not None
    for name, told in schema.query_type.fields.items():
        selection = selected(schema, get_named_type(told.type))
        for arguments in _arguments(told, paged=True):
            yield name, f"{{ {name}{arguments} {selection} }}"


def selected(schema: GraphQLSchema, kind: GraphQLNamedType) -> str:
    """All that an object of this type can show, without going round in circles."""
    if is_abstract_type(kind):
        parts = [
            f"... on {one.name} {selected(schema, one)}" for one in schema.get_possible_types(kind)
        ]
        return f"{{ __typename {' '.join(parts)} }}"
    return _selected(kind, (kind.name,), _roots(schema))


def reached(schema: GraphQLSchema) -> set[Pair]:
    """(type, field) of all that ``queries`` select."""
    found: set[Pair] = set()

    def walk(kind: GraphQLNamedType, path: tuple[str, ...]) -> None:
        for name, told, inner in _fields(kind, path, _roots(schema)):
            found.add((told, name))
            if inner is not None:
                walk(inner, (*path, inner.name))

    assert schema.query_type is not None
    for told in schema.query_type.fields.values():
        kind = get_named_type(told.type)
        walk(kind, (kind.name,))
    return found


def _selected(kind: GraphQLNamedType, path: tuple[str, ...], roots: frozenset[str]) -> str:
    if is_leaf_type(kind):
        return ""
    assert isinstance(kind, GraphQLObjectType)
    parts = []
    for name, _, inner in _fields(kind, path, roots):
        [arguments, *_] = _arguments(kind.fields[name], paged=False)
        below = "" if inner is None else _selected(inner, (*path, inner.name), roots)
        parts.append(f"{name}{arguments} {below}".strip())
    return f"{{ {' '.join(parts)} }}"


def _fields(
    kind: GraphQLNamedType, path: tuple[str, ...], roots: frozenset[str]
) -> Iterator[tuple[str, str, GraphQLNamedType | None]]:
    """What is selected of a type: the field, whose it is, and the type below, if any.

    Below a type that a query gives by itself, its own simple fields are enough.
    """
    if not isinstance(kind, GraphQLObjectType):
        return
    is_inner = len(path) > 1 and kind.name in roots
    for name, told in kind.fields.items():
        below = get_named_type(told.type)
        if is_leaf_type(below):
            yield name, kind.name, None
        elif below.name not in path and not is_inner:
            yield name, kind.name, below


def _roots(schema: GraphQLSchema) -> frozenset[str]:
    assert schema.query_type is not None
    return frozenset(get_named_type(one.type).name for one in schema.query_type.fields.values())


def _arguments(told: GraphQLField, *, paged: bool) -> Iterator[str]:
    fixed = {name: PAGED[name] for name in told.args if paged and name in PAGED}
    wanted = [name for name, one in told.args.items() if is_required_argument(one)]
    choices: list[dict[str, Any]] = [fixed]
    for name in wanted:
        choices = [{**chosen, name: value} for chosen in choices for value in REQUIRED[name]]
    for chosen in choices:
        listed = ", ".join(f"{name}: {value}" for name, value in chosen.items())
        yield f"({listed})" if listed else ""
