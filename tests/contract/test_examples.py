"""Each example in the documents is one that works: calls of REST, GraphQL operations, settings."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import pytest
from graphql import GraphQLSchema, build_schema, parse, validate

from aether.config import Settings
from aether.errors import InvalidInputError
from resolvers.fields import Input, read, read_strings
from rest_compat import OPS
from rest_compat.op import Anything, Op
from tests.contract.test_documents import HOW_TOS
from tests.contract.test_documents import read as text_of

DOCUMENTS: Final = ("README.md", *HOW_TOS)
SERVER: Final = "http://localhost:8000"
FOREIGN: Final = frozenset(
    {
        *("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OLLAMA_API_BASE"),  # LiteLLM's
        *("HTTPS_PROXY", "NO_PROXY"),
        *("INVALID_INPUT", "NOT_FOUND", "WAITING_APPROVAL"),  # GraphQL's
        "FIRST_TIMER",
    }
)
"""What is written as a setting is, and is none of ours."""


class Nothing(Input):
    """The query of an endpoint that has none."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One curl of a document; ``body`` is None where it has none, or reads it from a pipe."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [block for _, block in found]


def requests(text: str) -> Iterator[Request]:
    """Every curl to this server in a document's shell blocks."""
    for block in blocks(text, "sh"):
        words = shlex.split(block.replace("\\\n", " "), comments=True)
        starts = [place for place, word in enumerate(words) if word == "curl"]
        for start, end in pairwise([*starts, len(words)]):
            made = request(words[start + 1 : end])
            if made is not None:
                yield made


def request(words: list[str]) -> Request | None:
    """What these words after ``curl`` ask; None where it is another server."""
    options: dict[str, str] = {}
    address = ""
    rest = iter(words)
    for word in rest:
        if word in {"-X", "-H", "-d"}:
            options[word] = next(rest)
        elif word.startswith("http"):
            address = word
    if not address.startswith(SERVER):
        return None
    told = options.get("-d")
    parts = urlsplit(address)
    return Request(
        method=options.get("-X", "GET" if told is None else "POST"),
        path=parts.path,
        query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        body=None if told in {None, "@-"} else json.loads(str(told)),
    )


def op_of(asked: Request) -> Op | None:
    """The endpoint that answers it; a path of words goes before one with parameters."""
    fitting = [
        op
        for op in OPS
        if op.method == asked.method
        and re.fullmatch(re.sub(r"{\w+(:path)?}", "[^/]+", op.path), asked.path)
    ]
    return min(fitting, key=lambda op: op.path.count("{"), default=None)


def problem(asked: Request) -> str | None:
    """Why the server would refuse it, whatever its database holds."""
    op = op_of(asked)
    if op is None:
        return f"{asked}: there is no such endpoint"
    if asked.body is not None and op.body is None:
        return f"{asked}: takes no body"
    try:
        if op.query is not Anything:
            read_strings(op.query or Nothing, asked.query)
        if op.body is not None and asked.body is not None:
            read(op.body, asked.body)
    except InvalidInputError as error:
        return f"{asked}: {error}"
    return None


def schema() -> GraphQLSchema:
    return build_schema(text_of("schema/schema.graphql"))


def operations(text: str) -> list[str]:
    """Every GraphQL operation of a document: its own blocks, and what curl sends."""
    sent = [one.body["query"] for one in requests(text) if one.path == "/graphql"]
    return [*blocks(text, "graphql"), *sent]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_call_of_the_documents_is_one_that_rest_takes(name: str) -> None:
    asked = [one for one in requests(text_of(name)) if one.path not in {"/graphql", "/health"}]

    assert [told for one in asked if (told := problem(one)) is not None] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_graphql_example_of_the_documents_is_valid(name: str) -> None:
    known = schema()

    assert [
        error for one in operations(text_of(name)) for error in validate(known, parse(one))
    ] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_setting_that_the_documents_name_is_one(name: str) -> None:
    text = text_of(name)
    word = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"
    named = re.findall(rf"`({word})(?:=[^`]*)?`|^({word})=", text, re.MULTILINE)

    known = {one.upper() for one in Settings.model_fields} | FOREIGN
    assert {first or second for first, second in named} - known == set()


def test_the_documents_have_examples_and_each_is_seen() -> None:
    texts = [text_of(name) for name in DOCUMENTS]
    told = sum(block.count(SERVER) for text in texts for block in blocks(text, "sh"))

    seen = [one for text in texts for one in requests(text)]

    assert len(seen) == told - 2  # what a tunnel is told
    assert len(seen) > 50
    assert sum(len(operations(text)) for text in texts) > 5


@pytest.mark.parametrize(
    ("curl", "why"),
    [
        ("-X POST http://localhost:8000/api/agents -d '{}'", "POST /api/agents: id: required"),
        ("http://localhost:8000/api/agents?colour=red", "GET /api/agents: colour: unknown"),
        ("-X PUT http://localhost:8000/api/usage -d '{}'", "PUT /api/usage: there is no such"),
    ],
)
def test_a_wrong_example_would_be_told(curl: str, why: str) -> None:
    [asked] = requests(f"```sh\ncurl -s {curl}   # a remark\n```\n")

    assert (problem(asked) or "").startswith(why)
