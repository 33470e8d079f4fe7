"""What is over a limit is refused quickly, with a code, before any resolver runs."""

import time
from typing import Any

import pytest
from graphql import get_introspection_query
from starlette.testclient import TestClient

from schema.limits import MAX_COST
from tests.schema.small import Calls

NESTED = "{ agents { " + "team(limit: 1) { " * 49 + "id" + " }" * 49 + " } }"
DOUBLING = (
    "{ agent(id: 1) { ...f0 } } "
    + " ".join(f"fragment f{n} on Agent {{ ...f{n + 1} ...f{n + 1} }}" for n in range(60))
    + " fragment f60 on Agent { id }"
)
FANNING = (
    "{ agent(id: 1) { ...f0 } } "
    + " ".join(
        f"fragment f{n} on Agent {{ a: team(limit: 1) {{ ...f{n + 1} }} "
        f"b: team(limit: 1) {{ ...f{n + 1} }} }}"
        for n in range(30)
    )
    + " fragment f30 on Agent { id }"
)

REFUSED = {
    "a thousand aliases": (
        "{ " + " ".join(f"a{n}: agents {{ id }}" for n in range(1_000)) + " }",
        "Syntax Error: Document contains more than 1000 tokens.",
    ),
    "sixteen aliases": (
        "{ " + " ".join(f"a{n}: agent(id: 1) {{ id }}" for n in range(16)) + " }",
        "the query has 16 aliases; at most 15 are allowed",
    ),
    "depth fifty": (NESTED, "the query has 51 levels of fields; at most 10 are allowed"),
    "fragments that fan out": (FANNING, "the query has 32 levels of fields"),
    "two lists of all in each other": (
        "{ agents(limit: 500) { team(limit: 500) { id } } }",
        f"the query has 250501 fields in the answer at worst; at most {MAX_COST} are allowed",
    ),
    "lists without a limit in each other": (
        "{ agents { friends { friends { friends { friends { friends { id } } } } } } }",
        "fields in the answer at worst",
    ),
    "a page of a million": (
        "{ agents(limit: 1000000) { id } }",
        "limit: must be at most 500",
    ),
    "a page of minus one": ("{ agents(limit: -1) { id } }", "limit: must be at least 1"),
    "an offset of minus five": ("{ agents(offset: -5) { id } }", "offset: must be at least 0"),
    "three introspections": (
        "{ __schema { queryType { name } } "
        + " ".join(f"a{n}: __schema {{ queryType {{ name }} }}" for n in range(2))
        + " agents { id } }",
        "fields in the answer at worst",
    ),
    "directives": (
        "{ agents { " + "id @skip(if: true) " * 51 + "} }",
        "the query has 51 directives; at most 50 are allowed",
    ),
    "one field again and again": (
        "{ agent(id: 1) { " + "friends { id } " * 240 + "} }",
        "the query repeats fields 239 times",
    ),
    "a long text": (
        "{ agents { id } } #" + "x" * 1_000_000,
        "the query is longer than 100000 characters",
    ),
    "NUL in a literal": ('{ agent(id: "a\\u0000") { id } }', "id: must not hold a NUL character"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_query_over_a_limit_is_refused_before_any_resolver(
    client: TestClient, made: Calls, name: str
) -> None:
    query, text = REFUSED[name]

    before = time.process_time()
    answer = client.post("/graphql", json={"query": query}).json()
    spent = time.process_time() - before

    assert any(text in error["message"] for error in answer["errors"])
    assert all(error["extensions"] == {"code": "INVALID_INPUT"} for error in answer["errors"])
    assert answer["data"] is None
    assert made.resolved == 0
    assert spent < 10  # of CPU, where some 0.03 are spent: what doubles would take for ever


def test_a_refusal_over_a_socket_leaves_the_socket_open(client: TestClient, made: Calls) -> None:
    with client.websocket_connect("/graphql", ["graphql-transport-ws"]) as socket:
        socket.send_json({"type": "connection_init"})
        socket.receive_json()
        long = REFUSED["a long text"][0]
        socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": long}})
        refused = socket.receive_json()
        socket.send_json({"type": "subscribe", "id": "2", "payload": {"query": "{ conflict }"}})
        answered = socket.receive_json()

    assert refused["type"] == "error"
    assert refused["payload"][0]["extensions"] == {"code": "INVALID_INPUT"}
    assert answered["id"] == "2"


def test_fragments_that_double_sixty_times_take_no_time(client: TestClient, made: Calls) -> None:
    before = time.process_time()
    answer = client.post("/graphql", json={"query": DOUBLING}).json()

    assert time.process_time() - before < 10  # unlimited it would take for ever
    assert answer["errors"][0]["extensions"] == {"code": "INVALID_INPUT"}
    assert made.resolved == 0


@pytest.mark.parametrize("value", [0, -1, 501, 1_000_000])
def test_a_page_size_in_a_variable_is_judged_too(
    client: TestClient, made: Calls, value: int
) -> None:
    query = "query ($n: Int) { agents(limit: $n) { id } }"
    good = client.post("/graphql", json={"query": query, "variables": {"n": 2}}).json()
    made.resolved = 0

    bad = client.post("/graphql", json={"query": query, "variables": {"n": value}}).json()

    assert [row["id"] for row in good["data"]["agents"]] == ["0", "1"]
    assert [error["message"] for error in bad["errors"]] == [
        f"limit: must be at {'least 1' if value < 1 else 'most 500'}"
    ]
    assert made.resolved == 0


def test_page_sizes_in_variables_count_in_the_cost(client: TestClient, made: Calls) -> None:
    query = "query ($n: Int!) { agents(limit: $n) { team(limit: $n) { id } } }"
    client.post("/graphql", json={"query": query, "variables": {"n": 2}})
    made.resolved = 0

    for value in (500, 500.0):  # to GraphQL the same Int
        answer = client.post("/graphql", json={"query": query, "variables": {"n": value}}).json()

        assert "fields in the answer at worst" in answer["errors"][0]["message"]
        assert made.resolved == 0


@pytest.mark.parametrize("variables", [{}, None, {"other": 1}])
def test_a_default_page_size_counts_though_the_text_has_passed_with_a_smaller_one(
    client: TestClient, made: Calls, variables: dict[str, int] | None
) -> None:
    query = "query ($n: Int! = 500) { agents(limit: $n) { team(limit: $n) { id } } }"
    passed = client.post("/graphql", json={"query": query, "variables": {"n": 2}}).json()
    made.resolved = 0

    answer = client.post("/graphql", json={"query": query, "variables": variables}).json()

    assert "errors" not in passed
    assert "fields in the answer at worst" in answer["errors"][0]["message"]
    assert made.resolved == 0


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (b'{"v": {"a": ["x\\u0000"]}}', "v.a.0: must not hold a NUL character"),
        (b'{"v": {"a": {"b": "\\ud800"}}}', "v.a.b: must not hold a lone surrogate"),
        (b'{"v": {"\\u0000": 1}}', "v: must not hold a NUL character"),
    ],
)
def test_text_that_cannot_be_stored_is_refused_by_the_name_of_its_field(
    client: TestClient, made: Calls, variables: bytes, text: str
) -> None:
    body = b'{"query": "query ($v: JSON!) { echo(value: $v) }", "variables": ' + variables + b"}"

    answer = client.post("/graphql", content=body, headers={"Content-Type": "application/json"})

    assert [error["message"] for error in answer.json()["errors"]] == [text]
    assert made.resolved == 0


def test_text_that_only_looks_like_an_escape_is_left_alone(client: TestClient) -> None:
    query = "query ($v: JSON!) { echo(value: $v) }"
    value: dict[str, Any] = {"a": "\\u0000", "n": 2**70, "m": 9_007_199_254_740_993}

    answer = client.post("/graphql", json={"query": query, "variables": {"v": value}})

    assert answer.json() == {"data": {"echo": value}}


def test_the_standard_introspection_is_allowed(client: TestClient) -> None:
    query = get_introspection_query(input_value_deprecation=True, directive_is_repeatable=True)

    answer = client.post("/graphql", json={"query": query}).json()

    assert "errors" not in answer
    assert answer["data"]["__schema"]["queryType"]["name"] == "Query"


def test_a_body_over_one_mebibyte_is_refused(client: TestClient, made: Calls) -> None:
    query = "{ agents { id } } #" + "x" * 1_100_000

    answer = client.post("/graphql", json={"query": query})

    assert answer.status_code == 413
    assert answer.json()["errors"][0]["extensions"] == {"code": "TOO_LARGE"}
    assert made.resolved == 0
