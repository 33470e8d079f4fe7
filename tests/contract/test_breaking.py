"""What would break a client stands in the changelog by its name, in either API.

``released.graphql`` and ``released_rest.txt`` are what the last release said. A release writes them
anew: ``python -m tests.contract.test_breaking``.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from graphql import build_schema, find_breaking_changes

from rest_compat import OPS
from rest_compat.openapi import document
from schema import SDL_PATH

ROOT: Final = Path(__file__).parents[2]
SDL: Final = Path(__file__).with_name("released.graphql")
REST: Final = Path(__file__).with_name("released_rest.txt")

UNRELEASED: Final = re.compile(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BREAKING: Final = re.compile(r"^### Breaking\n(.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)
UNION: Final = re.compile(r"removed from union type (\w+)")
MEMBER: Final = re.compile(
    r"\b(?:[Ff]ield|[Aa]rgument|Enum value|Directive) (@?[\w.]+(?:\(\w+:\))?)"
)


def named(changelog: str) -> set[str]:
    """What stands in backticks under the heading "Breaking" of what is not released yet."""
    unreleased = UNRELEASED.search(changelog)
    breaking = BREAKING.search(unreleased[1]) if unreleased else None
    return set(re.findall(r"`([^`]+)`", breaking[1])) if breaking else set()


# --- GraphQL ------------------------------------------------------------------------------


def broken(old: str, new: str) -> dict[str, str]:
    """What breaks between two schemas: the coordinate, and what happened to it.

    https://spec.graphql.org/September2025/#sec-Schema-Coordinates
    """
    found = {}
    for change in find_breaking_changes(build_schema(old), build_schema(new)):
        text = change.description
        place = UNION.search(text) or MEMBER.search(text)
        found[place[1] if place else text.split()[0]] = text
    return found


def unnamed(old: str, new: str, changelog: str) -> dict[str, str]:
    told = named(changelog)
    return {place: text for place, text in broken(old, new).items() if place not in told}


def test_no_client_of_graphql_is_broken_without_a_word() -> None:
    old, new = (path.read_text(encoding="utf-8") for path in (SDL, SDL_PATH))

    found = unnamed(old, new, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))

    assert found == {}, 'name each in backticks under "### Breaking" of the changelog'


OLD: Final = """
directive @gone on FIELD
type Query { a(x: Int, y: Int): String b: Int c: Thing e(i: In): Color u: U }
type Thing { id: ID! f: String! }
type Dead { x: Int }
type Other { y: Int }
union U = Thing | Other
enum Color { RED GREEN }
input In { a: Int c: Int }
"""


@pytest.mark.parametrize(
    ("before", "after", "coordinate"),
    [
        ("b: Int", "", "Query.b"),
        ("b: Int", "b: String", "Query.b"),
        ("f: String!", "f: String", "Thing.f"),
        ("y: Int)", "y: String)", "Query.a(y:)"),
        (", y: Int)", ")", "Query.a(y:)"),
        ("x: Int,", "x: Int, w: Int!,", "Query.a(w:)"),
        ("type Dead { x: Int }", "", "Dead"),
        ("type Dead { x: Int }", "enum Dead { X }", "Dead"),
        ("Thing | Other", "Thing", "U"),
        ("RED GREEN", "RED", "Color.GREEN"),
        ("input In { a: Int", "input In { a: Int d: Int!", "In.d"),
        ("a: Int c: Int", "a: Int", "In.c"),
        ("directive @gone on FIELD", "", "@gone"),
    ],
)
def test_a_change_that_breaks_is_found_unless_the_changelog_names_it(
    before: str, after: str, coordinate: str
) -> None:
    new = OLD.replace(before, after, 1)
    log = "# Changelog\n\n## [Unreleased]\n\n{}\n\n## [0.1.0]\n\n### Breaking\n\n- `{}` is gone.\n"
    word = f"### Breaking\n\n- `{coordinate}`: take another."

    assert list(unnamed(OLD, new, log.format("### Added\n\n- A thing.", coordinate))) == [
        coordinate
    ]
    assert unnamed(OLD, new, log.format(word.replace(coordinate, "Query.zzz"), "x"))
    assert unnamed(OLD, new, log.format(word, "x")) == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("b: Int", "b: Int n: String"),
        ("x: Int,", "x: Int, w: Int,"),
        ("RED GREEN", "RED GREEN BLUE"),
        ("b: Int", "b: Int!"),
        ("a: Int c: Int", "a: Int c: Int d: Int"),
    ],
)
def test_what_is_added_breaks_nobody(before: str, after: str) -> None:
    assert broken(OLD, OLD.replace(before, after, 1)) == {}


# --- REST ---------------------------------------------------------------------------------


def promised(made: Mapping[str, Any]) -> Iterator[str]:
    """What a document promises: each operation, and each field of its answers by its path."""
    for path, methods in sorted(made["paths"].items()):
        for method, told in sorted(methods.items()):
            name = f"{method.upper()} {path}"
            yield name
            for status, answer in sorted(told["responses"].items()):
                for content in answer.get("content", {}).values():
                    for place in sorted(set(_fields(content["schema"], made))):
                        yield f"{name} {status} {place}"


def _fields(schema: Any, made: Mapping[str, Any], before: str = "") -> Iterator[str]:
    if "$ref" in schema:
        schema = made["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for inner in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        yield from _fields(inner, made, before)
    for name, inner in schema.get("properties", {}).items():
        yield f"{before}{name}"
        yield from _fields(inner, made, f"{before}{name}.")


def gone(old: set[str], new: set[str], changelog: str) -> set[str]:
    """What was promised, is no more, and is not named; a named operation goes with its fields."""
    told = named(changelog)
    return {one for one in old - new if one not in told and " ".join(one.split()[:2]) not in told}


def test_no_client_of_rest_is_broken_without_a_word() -> None:
    old = set(REST.read_text(encoding="utf-8").splitlines())
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert len(old) > 500
    assert gone(old, set(promised(document(OPS))), changelog) == set(), (
        'name each in backticks under "### Breaking" of the changelog'
    )


def test_what_vanishes_from_rest_is_found_unless_the_changelog_names_it() -> None:
    made = document(OPS)
    old = set(promised(made))
    made["components"]["schemas"]["Agent"]["properties"].pop("prompt")
    del made["paths"]["/health"]

    lost = gone(old, set(promised(made)), "")

    assert {"GET /health", "GET /health 200 status"} <= lost
    assert {one for one in lost if "/health" not in one} == {
        "GET /api/agents 200 prompt",
        "POST /api/agents 201 prompt",
        "GET /api/agents/{id} 200 prompt",
        "PUT /api/agents/{id} 200 prompt",
    }
    told = "## [Unreleased]\n\n### Breaking\n\n- `GET /health` and `GET /api/agents 200 prompt`.\n"
    assert gone(old, set(promised(made)), told) == lost - {
        one for one in lost if one.startswith(("GET /health", "GET /api/agents 200"))
    }
    nested = {one for one in old if one.startswith("GET /api/task-executions/{id} 200 ")}
    assert {f"GET /api/task-executions/{{id}} 200 {one}" for one in
            ("usage", "usage.cost_usd", "messages.position")} <= nested  # fmt: skip


if __name__ == "__main__":
    SDL.write_text(SDL_PATH.read_text(encoding="utf-8"), encoding="utf-8")
    REST.write_text("\n".join(promised(document(OPS))) + "\n", encoding="utf-8")
