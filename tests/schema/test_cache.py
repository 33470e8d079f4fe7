"""Documents are kept by their text, when they are valid, within bounds."""

import pytest
from graphql import parse
from starlette.testclient import TestClient

from schema.cache import MAX_CHARACTERS_EACH, Documents
from schema.core import Schema

DOCUMENT = parse("{ a }")


def test_the_same_text_is_parsed_once(client: TestClient, schema: Schema) -> None:
    query = "{ agents(limit: 1) { id, name, the_same: id } }"
    before = schema.documents.hits

    answers = [client.post("/graphql", json={"query": query}).json() for _ in range(3)]

    assert schema.documents.hits == before + 2
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["data"] == {"agents": [{"id": "0", "name": "Sarah", "the_same": "0"}]}


@pytest.mark.parametrize("query", ["{ agents { ", "{ nothing }", "{ agents(limit: 501) { id } }"])
def test_a_text_with_errors_is_never_kept(client: TestClient, schema: Schema, query: str) -> None:
    kept = len(schema.documents)

    answers = [client.post("/graphql", json={"query": query}).json() for _ in range(2)]

    assert len(schema.documents) == kept
    assert answers[0] == answers[1]
    assert answers[0]["errors"][0]["extensions"] == {"code": "INVALID_INPUT"}


def test_the_least_recently_used_document_makes_room() -> None:
    documents = Documents(max_documents=2)
    documents.put("a", DOCUMENT)
    documents.put("b", DOCUMENT)
    documents.get("a")

    documents.put("c", DOCUMENT)

    assert documents.get("b") is None
    assert (documents.get("a"), documents.get("c")) == (DOCUMENT, DOCUMENT)


def test_documents_are_bounded_by_their_size() -> None:
    documents = Documents(max_characters=10)
    documents.put("aaaa", DOCUMENT)
    documents.put("bbbb", DOCUMENT)

    documents.put("cccc", DOCUMENT)
    documents.put("c" * (MAX_CHARACTERS_EACH + 1), DOCUMENT)

    assert (len(documents), documents.characters) == (2, 8)
    assert documents.get("aaaa") is None
