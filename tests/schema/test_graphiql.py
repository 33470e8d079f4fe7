"""The GraphiQL page works without the outside: files, hashes, policy."""

import re
from base64 import b64encode
from hashlib import sha384

import pytest
from starlette.testclient import TestClient

from schema import graphiql

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
TAG = re.compile(r"<(?:script|link)\b[^>]*?(?:src|href)=\"(/[^\"]+)\"[^>]*?integrity=\"([^\"]+)\"")


@pytest.mark.parametrize("path", ["/graphql", "/graphql/"])
def test_a_browser_gets_a_page_without_an_outside_address(client: TestClient, path: str) -> None:
    page = client.get(path, headers=HTML)

    assert page.headers["content-type"].startswith("text/html")
    addresses = set(re.findall(r"https?://[^\s\"'<]+", page.text))
    assert addresses == {"http://www.w3.org/2000/svg%22"} or addresses == {
        "http://www.w3.org/2000/svg%22",
        "http://www.w3.org/2000/svg",
    }
    assert "unpkg" not in page.text


def test_every_file_the_page_asks_for_is_served_with_the_hash_it_expects(
    client: TestClient,
) -> None:
    page = client.get("/graphql", headers=HTML).text

    asked = TAG.findall(page)
    assert len(asked) == len(graphiql.FILES) == 7
    total = 0
    for address, expected in asked:
        file = client.get(address)
        assert file.status_code == 200
        digest = b64encode(sha384(file.content).digest()).decode()
        assert f"sha384-{digest}" == expected
        assert file.headers["content-type"].split(";")[0] in ("text/javascript", "text/css")
        total += len(file.content)
    assert total < 4_500_000


def test_the_page_is_limited_to_its_own_origin_and_cannot_be_framed(client: TestClient) -> None:
    policy = client.get("/graphql", headers=HTML).headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert policy.count("'sha256-") == 1


@pytest.mark.parametrize(
    "name", ["NOTICE", "../graphiql.py", "%2e%2e/graphiql.py", "nothing.js", ""]
)
def test_only_the_files_of_the_table_are_served(client: TestClient, name: str) -> None:
    answer = client.get(f"/graphql/static/graphiql/{name}")

    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("accept", "query"),
    [("*/*", {}), ("application/json", {}), ("text/html", {"query": "{ conflict }"})],
)
def test_a_program_never_gets_the_page(
    client: TestClient, accept: str, query: dict[str, str]
) -> None:
    answer = client.get("/graphql", params=query, headers={"Accept": accept})

    assert answer.headers["content-type"] == "application/json"


def test_the_notice_names_every_file() -> None:
    notice = (graphiql.FOLDER / "NOTICE").read_text(encoding="utf-8")

    for name in graphiql.FILES.values():
        assert name in notice
    assert {file.name for file in graphiql.FOLDER.iterdir()} == {
        "NOTICE",
        *graphiql.FILES.values(),
    }
