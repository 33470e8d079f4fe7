"""Tests of the table: routes, paths, queries, partial updates, encoding."""

import httpx
import pytest
from starlette.routing import Route

from resolvers.fields import Limit, Page, read_strings
from rest_compat.op import Op, routes
from tests.rest_compat import table

LEO = {"id": "ta_leo", "name": "Leo", "role_id": "ta"}


async def test_what_is_created_is_shown_in_the_tables_order_with_whole_seconds(
    client: httpx.AsyncClient,
) -> None:
    created = await client.post("/api/things", json=LEO)

    assert created.status_code == 201
    assert created.headers["content-type"] == "application/json"
    assert created.text == (
        '{"id":"ta_leo","name":"Leo","role_id":"ta","prompt":null,"weight":0,"parameters":{},'
        '"credentials":{},"created_at":"2026-02-18T10:00:00Z"}'
    )
    assert (await client.get("/api/things")).json() == [created.json()]


async def test_a_put_changes_what_is_sent_and_leaves_the_rest(client: httpx.AsyncClient) -> None:
    await client.post("/api/things", json={**LEO, "prompt": "p", "weight": 3})

    changed = await client.put("/api/things/ta_leo", json={"prompt": None})

    assert changed.status_code == 200
    assert (changed.json()["prompt"], changed.json()["weight"]) == (None, 3)


async def test_an_object_that_was_read_can_be_put_back(client: httpx.AsyncClient) -> None:
    created = await client.post("/api/things", json={**LEO, "credentials": {"token": "hunter2"}})

    back = await client.put("/api/things/ta_leo", json={**created.json(), "name": "Leo 2"})

    assert (back.status_code, back.json()) == (200, {**created.json(), "name": "Leo 2"})
    assert table.ROWS["ta_leo"].credentials == {"token": "hunter2"}


async def test_a_field_that_may_not_be_null_is_refused_null_on_put(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/api/things", json=LEO)

    answer = await client.put("/api/things/ta_leo", json={"name": None})

    assert (answer.status_code, answer.json()) == (400, {"error": "name: must be text"})
    assert table.ROWS["ta_leo"].name == "Leo"


async def test_literal_paths_win_over_parameters_whatever_their_order(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.post("/api/things/seed")).json() == {"created": 1, "skipped": 0}
    for method in ("GET", "PUT", "DELETE"):  # a word that is a path is no thing's id
        answer = await client.request(method, "/api/things/seed")
        assert answer.json() == {"error": "not allowed here; allowed: POST"}
    assert [one.path for one in routes(reversed(table.OPS))] == [
        one.path for one in routes(table.OPS)
    ]


async def test_a_deletion_names_what_is_gone_and_a_204_has_no_body(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/api/things", json=LEO)

    deleted = await client.delete("/api/things/ta_leo")
    again = await client.delete("/api/things/ta_leo")
    note = await client.delete("/api/notes/x")

    assert (deleted.status_code, deleted.json()) == (200, {"deleted": "ta_leo"})
    assert (again.status_code, again.json()) == (404, {"error": "thing 'ta_leo' not found"})
    assert (note.status_code, note.content) == (204, b"")
    assert "content-type" not in note.headers


@pytest.mark.parametrize(
    "text", ["0", "-1", "1.0", "abc", "007", "9223372036854775808", "9" * 5000, "٣", "%00", "1%0A"]
)
async def test_an_integer_id_that_cannot_exist_is_a_404(
    client: httpx.AsyncClient, text: str
) -> None:
    answer = await client.get(f"/api/numbers/{text}")

    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


async def test_the_largest_integer_id_is_read_whole(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/numbers/9223372036854775807")

    assert answer.text == '{"id":9223372036854775807}'


@pytest.mark.parametrize(
    ("path", "key"),
    [("a/b", "a/b"), ("a%2Fb", "a/b"), ("caf%C3%A9", "café"), ("%FF%FE", "\ufffd\ufffd")],
)
async def test_a_key_with_slashes_and_odd_encodings_arrives(
    client: httpx.AsyncClient, path: str, key: str
) -> None:
    answer = await client.get(f"/api/notes/{path}")

    assert (answer.status_code, answer.json()) == (200, {"key": key})


async def test_a_path_that_holds_a_nul_names_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/notes/a%00b")

    assert (answer.status_code, answer.json()) == (404, {"error": "no such path"})


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=0", "limit: must be at least 1"),
        ("limit=501", "limit: must be at most 500"),
        ("limit=100000000000000000000", "limit: must be at most 500"),
        ("limit=abc", "limit: must be a whole number"),
        ("limit=", "limit: must be a whole number"),
        ("limit=1_0", "limit: must be a whole number"),
        ("limit=5.0", "limit: must be a whole number"),
        ("limit=%D9%A3", "limit: must be a whole number"),
        ("offset=-5", "offset: must be at least 0"),
        ("offset=2147483649", "offset: must be at most 2147483648"),
        ("limit=1&limit=2", "limit: given twice"),
        ("source=svn", "source: one of github, gitlab, jira, plane"),
        ("since=yesterday", "since: must be a time such as 2026-02-18T10:00:00Z"),
        ("since=1700000000", "since: must be a time such as 2026-02-18T10:00:00Z"),
        ("since=2026-01-01T00:00:00", "since: must say its offset, such as 2026-02-18T10:00:00Z"),
        ("colour=red", "colour: unknown parameter"),
        ("source=a%00b", "source: must not hold a NUL character"),
        ("&".join(f"a{n}=1" for n in range(51)), "query: more than 50 parameters"),
    ],
)
async def test_a_wrong_query_parameter_is_named_and_nothing_is_read(
    client: httpx.AsyncClient, query: str, error: str
) -> None:
    answer = await client.get(f"/api/things?{query}")

    assert (answer.status_code, answer.json()) == (400, {"error": error})
    assert table.SEEN == []


async def test_an_endpoint_without_parameters_refuses_any(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/numbers/1?x=1")

    assert (answer.status_code, answer.json()) == (400, {"error": "x: unknown parameter"})


async def test_a_page_and_its_filters_are_read(client: httpx.AsyncClient) -> None:
    told = "limit=500&offset=2147483648&source=jira&since=2026-01-01T05:30:00%2B05:30"

    answer = await client.get(f"/api/things?{told}")

    assert (answer.status_code, answer.json()) == (200, [])
    [page] = table.SEEN
    assert (page.limit, page.offset, page.source) == (500, 2147483648, "jira")
    assert page.since.isoformat() == "2026-01-01T00:00:00+00:00"


def test_a_list_may_have_another_default() -> None:
    class Ten(Page):
        limit: Limit = 10

    assert read_strings(Ten, {}).limit == 10


async def test_an_optional_body_may_be_missing(client: httpx.AsyncClient) -> None:
    without = await client.post("/api/discover")
    with_one = await client.post("/api/discover", json={"which": "x"})

    assert (without.status_code, without.json()) == (202, {"which": "all"})
    assert (with_one.status_code, with_one.json()) == (202, {"which": "x"})


async def test_head_answers_as_get(client: httpx.AsyncClient) -> None:
    assert (await client.head("/api/things")).status_code == 200


async def test_integers_beyond_64_bits_keep_their_digits(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/fail/huge")

    assert answer.text == '{"n":1180591620717411303424,"at":"2026-02-18T10:00:00Z"}'


def _twice(path: str) -> tuple[Op, Op]:
    first = table.OPS[0]
    other = Op(method="GET", path=path, handler=first.handler, summary="s", tag="t")
    return first, other


@pytest.mark.parametrize("path", ["/api/things/{id}", "/api/things/{key}"])
def test_two_rows_for_one_method_and_path_stop_the_start(path: str) -> None:
    with pytest.raises(ValueError, match="/api/things"):
        routes(_twice(path))


def test_a_path_has_one_route_for_all_its_methods() -> None:
    [route] = [one for one in routes(table.OPS) if one.path == "/api/things/{id}"]

    assert isinstance(route, Route)
    assert route.methods == {"GET", "HEAD", "PUT", "DELETE"}
