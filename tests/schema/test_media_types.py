"""Tests of GraphQL over HTTP's two media types: the older is 200, the newer tells by its status.

https://graphql.github.io/graphql-over-http/draft/
"""

from typing import Any, Final

import pytest
from starlette.testclient import TestClient

from aether.errors import OUT_OF_REACH
from schema.wire import media_type
from tests.schema.small import Calls

OLD: Final = "application/json"
NEW: Final = "application/graphql-response+json"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, OLD),
        ("", OLD),
        ("*/*", OLD),
        ("application/*", OLD),
        (OLD, OLD),
        (NEW, NEW),
        (f"{NEW.upper()}; charset=utf-8", NEW),
        (f"{NEW}, {OLD};q=0.9", NEW),
        (f"{OLD}, {NEW}", NEW),  # equally welcome: what tells more
        (f"{NEW};q=0.5, {OLD};q=0.9", OLD),
        (f"{NEW};q=0", OLD),
        (f"{NEW};q=0, */*", OLD),
        (f"{NEW};q=x", OLD),
        (f"{NEW};q=nan", OLD),
        (f"{NEW}, */*;q=0.1", NEW),
        ("text/html", OLD),
        (",;,", OLD),
    ],
)
def test_the_newer_type_is_sent_to_whoever_asks_for_it_by_name(
    accept: str | None, expected: str
) -> None:
    assert media_type(accept) == expected


def ask(client: TestClient, query: str, accept: str = NEW, **more: Any) -> tuple[int, Any]:
    answer = client.post("/graphql", json={"query": query, **more}, headers={"Accept": accept})
    assert answer.headers["content-type"] == accept
    assert answer.headers["vary"] == "Accept"
    if not more:
        got = client.get("/graphql", params={"query": query}, headers={"Accept": accept})
        assert (got.status_code, got.json()) == (answer.status_code, answer.json())
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("query", "more"),
    [
        ("{", {}),
        ("{ nothing }", {}),
        ("{ agent(id: []) { id } }", {}),
        ("{ agents(limit: 501) { id } }", {}),
        ("{ " + "a: agents { id } " * 2 + "} #" + "x" * 100_000, {}),
        ("query ($m: DateTime!) { after(moment: $m) }", {"variables": {"m": "now"}}),
        ("query ($m: DateTime!) { after(moment: $m) }", {"variables": {}}),
        ("query A { conflict } query B { conflict }", {"operationName": "C"}),
        ("query A { conflict } query B { conflict }", {}),
    ],
)
def test_what_was_not_run_is_refused_by_the_status_and_has_no_data(
    client: TestClient, made: Calls, query: str, more: dict[str, Any]
) -> None:
    if query.startswith("query A"):  # told before the newer type is asked about, by both
        answer = client.post("/graphql", json={"query": query, **more}, headers={"Accept": NEW})
        status, told = answer.status_code, answer.json()
        assert answer.headers["content-type"] == NEW
    else:
        long = len(query) > 50_000  # more than an address takes
        status, told = ask(client, query, **({"variables": {}} if long else more))

    assert status == 400
    assert list(told) == ["errors"]
    assert {one["extensions"]["code"] for one in told["errors"]} == {"INVALID_INPUT"}
    assert made.resolved == 0


@pytest.mark.parametrize(
    ("query", "data", "code"),
    [
        ("{ conflict }", {"conflict": None}, "CONFLICT"),
        ("{ bug }", {"bug": None}, "INTERNAL"),
        ("{ agents { __typename } conflict }", None, "CONFLICT"),
    ],
)
def test_what_was_run_is_200_with_what_there_is(
    client: TestClient, query: str, data: Any, code: str
) -> None:
    status, told = ask(client, query)

    assert status == 200
    assert data is None or told["data"] == data
    assert "data" in told
    assert [one["extensions"]["code"] for one in told["errors"]] == [code]


def test_a_field_that_takes_all_data_with_it_was_run_all_the_same(client: TestClient) -> None:
    status, told = ask(client, '{ broken(how: "required") { required } after(moment: "x") }')
    ran, null = ask(client, '{ broken(how: "required") { required } }')

    assert status == 400  # one literal is wrong: nothing was run
    assert "data" not in told
    assert (ran, null["data"]) == (200, {"broken": None})


@pytest.mark.parametrize("query", ["{", "{ nothing }", "{ agents(limit: 501) { id } }"])
def test_the_older_type_stays_200_with_data_null(client: TestClient, query: str) -> None:
    status, told = ask(client, query, OLD)

    assert status == 200
    assert told["data"] is None


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [("POST", b"{", 400), ("POST", b"1", 400), ("POST", b"{}", 400), ("PATCH", b"{}", 405)],
)
def test_what_is_no_graphql_request_is_refused_in_the_type_that_is_asked_for(
    client: TestClient, method: str, body: bytes, status: int
) -> None:
    for accept in (OLD, NEW):
        answer = client.request(
            method,
            "/graphql/",
            content=body,
            headers={"Accept": accept, "Content-Type": "application/json"},
        )

        assert answer.status_code == status
        assert answer.headers["content-type"] == accept
        assert list(answer.json()) == ["errors"]


def test_a_mutation_by_get_is_a_405_in_both_types(client: TestClient, made: Calls) -> None:
    query = 'mutation { agentCreate(name: "a") { id } }'
    for accept in (OLD, NEW):
        answer = client.get("/graphql", params={"query": query}, headers={"Accept": accept})

        assert (answer.status_code, answer.headers["content-type"]) == (405, accept)
    assert made.resolved == 0


def test_a_database_out_of_reach_is_told_by_the_field(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REST's 503 is a field's UNAVAILABLE: other fields of the same answer may stand."""

    async def lost(ids: list[int]) -> list[int]:
        raise ConnectionRefusedError("no database")

    monkeypatch.setattr("tests.schema.small.doubles_of", lost)

    status, told = ask(client, "{ agents(limit: 1) { id double } }")

    assert status == 200
    assert told["data"] is None  # the small schema's fields may not be null
    [error] = told["errors"]
    assert error["message"] == OUT_OF_REACH
    assert error["extensions"] == {"code": "UNAVAILABLE"}
    assert error["path"] == ["agents", 0, "double"]
