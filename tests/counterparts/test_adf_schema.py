"""What we send to Jira Cloud is valid by the schema that Atlassian publishes."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given

from aether.markup import parse, to_adf
from tests.counterparts import install
from tests.markup.samples import FEW, HARD, TEXTS, WHOLE

pytestmark = pytest.mark.counterparts


@pytest.fixture(scope="module")
def validator() -> Any:
    try:
        schema = json.loads(install.adf_schema().read_text())
    except install.RegistryUnreachableError as error:
        pytest.skip(str(error))
    return jsonschema.Draft4Validator(schema)


def nodes(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield one
    for child in one.get("content", ()):
        yield from nodes(child)


def check(validator: Any, text: str) -> None:
    document = to_adf(parse(text))

    assert [error.message for error in validator.iter_errors(document)] == []
    for one in nodes(document):  # what the editor wants and the schema cannot say
        assert one.get("text") != ""
        if one["type"] == "listItem":
            assert one["content"][0]["type"] in {"paragraph", "codeBlock"}


@pytest.mark.parametrize("text", [WHOLE, *HARD])
def test_each_sample_is_a_valid_document(validator: Any, text: str) -> None:
    check(validator, text)


def test_any_text_is_a_valid_document(validator: Any) -> None:
    @FEW
    @given(TEXTS)
    def holds(text: str) -> None:
        check(validator, text)

    holds()


def test_what_may_not_stand_inside_another_is_flattened(validator: Any) -> None:
    inner = [
        "# h",
        "> q",
        "---",
        "| a |\n|---|\n| 1 |",
        "- [x] t",
        "```\nc\n```",
        "1. a",
        "![i](x)",
    ]
    for one in inner:
        for mark in ("- ", "1. ", "> ", "- [ ] ", "- > ", "> - "):
            indent = "> " if mark.startswith("> ") else "  "
            check(validator, mark + one.replace("\n", f"\n{indent}") + f"\n{mark}{one}")
