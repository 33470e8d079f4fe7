"""DateTime and BigInt: what goes in, what comes out, what is refused."""

import pytest
from starlette.testclient import TestClient

QUERY = "query ($m: DateTime!, $n: BigInt!) { after(moment: $m, number: $n) }"
MOMENT = "2026-02-18T10:00:00Z"


@pytest.mark.parametrize(
    ("moment", "read"),
    [
        ("2026-02-18T10:00:00Z", "2026-02-18T10:00:00+00:00"),
        ("2026-02-18t11:30:00+01:30", "2026-02-18T10:00:00+00:00"),
        ("2026-02-18 10:00:00.25Z", "2026-02-18T10:00:00.250000+00:00"),
    ],
)
def test_a_moment_with_an_offset_is_read_as_utc(client: TestClient, moment: str, read: str) -> None:
    answer = client.post(
        "/graphql", json={"query": QUERY, "variables": {"m": moment, "n": 1}}
    ).json()

    assert answer == {"data": {"after": f"{read} 1"}}


@pytest.mark.parametrize(
    "moment",
    [
        "hello",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-W01-1T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        5,
        None,
    ],
)
def test_any_other_moment_is_refused_with_a_code(client: TestClient, moment: object) -> None:
    answer = client.post(
        "/graphql", json={"query": QUERY, "variables": {"m": moment, "n": 1}}
    ).json()

    [error] = answer["errors"]
    assert error["extensions"] == {"code": "INVALID_INPUT"}
    assert "'$m'" in error["message"]
    assert moment is None or "RFC 3339" in error["message"]


@pytest.mark.parametrize(
    ("number", "read"),
    [
        (9_007_199_254_740_993, "9007199254740993"),
        ("9223372036854775807", "9223372036854775807"),
        (-(2**63), "-9223372036854775808"),
        (3.0, "3"),
    ],
)
def test_a_64_bit_number_keeps_its_digits(client: TestClient, number: object, read: str) -> None:
    answer = client.post(
        "/graphql", json={"query": QUERY, "variables": {"m": MOMENT, "n": number}}
    ).json()

    assert answer["data"]["after"].split()[1] == read


@pytest.mark.parametrize("number", [2**63, "9223372036854775808", 1.5, True, "1e3", "", 1e300])
def test_any_other_number_is_refused_with_a_code(client: TestClient, number: object) -> None:
    answer = client.post(
        "/graphql", json={"query": QUERY, "variables": {"m": MOMENT, "n": number}}
    ).json()

    [error] = answer["errors"]
    assert error["extensions"] == {"code": "INVALID_INPUT"}
    assert "'$n'" in error["message"]


def test_literals_are_read_like_variables(client: TestClient) -> None:
    query = f'{{ after(moment: "{MOMENT}", number: 9223372036854775807) }}'

    answer = client.post("/graphql", json={"query": query}).json()

    assert answer == {"data": {"after": "2026-02-18T10:00:00+00:00 9223372036854775807"}}
