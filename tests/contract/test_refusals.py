"""Every refusal has one shape, however odd the request: walked as a table over real sockets."""

import asyncio
import gzip
import json
import socket
from collections.abc import Iterator
from typing import Final

import pytest

from aether.embedded.postgres import Postgres
from aether.embedded.valkey import Valkey
from tests.conftest import make_database
from tests.e2e.system import System, system

AGENT: Final = b'{"id": "pm_sarah", "name": "S", "role_id": "pm", "prompt": "p"}'
LARGE: Final = 1_048_577


@pytest.fixture(scope="module")
def server(
    postgres: Postgres, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    url = asyncio.run(make_database(postgres, "refusals"))
    with system(url, valkey.url, tmp_path_factory.mktemp("refusals")) as made:
        made.start_web()
        yield made


def sent(server: System, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what these bytes are answered."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = connection.recv(65536)
            assert chunk, received
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)
        }
        length = int(headers.get("content-length", 0))
        while len(body) < length and not parts[0].startswith(b"HEAD "):
            chunk = connection.recv(65536)
            assert chunk, body
            body += chunk
    return int(line.split()[1]), headers, body


def request(
    line: bytes, body: bytes | None = None, kind: bytes = b"application/json", *more: bytes
) -> bytes:
    head = [line + b" HTTP/1.1", b"Host: localhost:8000", *more]
    if body is not None:
        head += [b"Content-Type: " + kind, b"Content-Length: " + str(len(body)).encode()]
    return b"\r\n".join((*head, b"", b"")) + (body or b"")


def post(body: bytes, kind: bytes = b"application/json", *more: bytes) -> bytes:
    return request(b"POST /api/agents", body, kind, *more)


CHUNKED: Final = (
    b"POST /api/agents HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + f"{LARGE:x}\r\n".encode() + b" " * LARGE
    + b"\r\n0\r\n\r\n"
)  # fmt: skip

TABLE: Final[dict[str, tuple[bytes, int, str]]] = {
    # paths
    "no path": (request(b"GET /nothing"), 404, "no such path"),
    "no path below api": (request(b"GET /api/nothing"), 404, "no such path"),
    "a slash too many": (request(b"GET /api/agents/"), 404, "no such path"),
    "two slashes": (request(b"GET //api/agents"), 404, "no such path"),
    "capitals": (request(b"GET /API/agents"), 404, "no such path"),
    "a line end after it": (request(b"GET /api/agents%0a"), 404, "no such path"),
    "a line end after a page": (request(b"GET /docs%0a"), 404, "no such path"),
    "below graphql": (request(b"GET /graphql/nothing"), 404, ""),
    "bytes that are no text": (request(b"GET /api/agents/%ff%fe"), 404, "agent "),
    "a lone percent": (request(b"GET /api/agents/%"), 404, "agent '%' not found"),
    "no hexadecimal": (request(b"GET /api/agents/%zz"), 404, "agent '%zz' not found"),
    "NUL": (request(b"GET /api/agents/a%00b"), 404, "no such path"),
    "a way out": (request(b"GET /docs/static/..%2f..%2f..%2fetc/passwd"), 404, "no such path"),
    "no number": (request(b"GET /api/projects/x"), 404, "project 'x' not found"),
    "too large a number": (request(b"GET /api/projects/" + b"9" * 30), 404, "project "),
    # methods
    "another method": (request(b"PATCH /api/agents"), 405, "not allowed here; allowed: GET, HEAD"),
    "OPTIONS": (request(b"OPTIONS /api/agents"), 405, "not allowed here; allowed: GET, HEAD, POST"),
    "TRACE": (request(b"TRACE /api/agents"), 405, "not allowed here"),
    "a word that is a path": (request(b"DELETE /api/tasks/triggers"), 405,
                              "not allowed here; allowed: GET, HEAD, POST"),
    "GET of what is posted": (request(b"GET /api/agents/seed"), 405,
                              "not allowed here; allowed: POST"),
    "GET of a webhook": (request(b"GET /webhook/github"), 405, "not allowed here; allowed: POST"),
    "a method nobody knows": (request(b"BREW /api/agents"), 400, "not a valid HTTP request"),
    # queries
    "no number in the query": (request(b"GET /api/agents?limit=x"), 400, "limit: must be a whole"),
    "no text in the query": (request(b"GET /api/agents?limit=%ff"), 400, "limit: must be a whole"),
    "NUL in the query": (request(b"GET /api/agents?role_id=%00"), 400,
                         "role_id: must not hold a NUL"),
    "an unknown parameter": (request(b"GET /api/agents?%zz=1"), 400, "%zz: unknown parameter"),
    "one given twice": (request(b"GET /api/agents?limit=1&limit=2"), 400, "limit: given twice"),
    "too many": (request(b"GET /api/agents?" + b"&".join(b"a%d=1" % n for n in range(60))), 400,
                 "query: more than 50 parameters"),
    # bodies
    "no body": (post(b""), 400, "body: not valid JSON"),
    "half a body": (post(b'{"id": '), 400, "body: not valid JSON"),
    "a list": (post(b"[]"), 400, "body: must be a JSON object"),
    "null": (post(b"null"), 400, "body: must be a JSON object"),
    "no UTF-8": (post(b'{"id": "\xff"}'), 400, "body: not valid UTF-8"),
    "UTF-16": (post(AGENT.decode().encode("utf-16"), b"application/json; charset=utf-16"), 400,
               "body: not valid UTF-8"),
    "latin-1": (post('{"id": "\xe4"}'.encode("latin-1"), b"application/json; charset=latin-1"), 400,
                "body: not valid UTF-8"),
    "NaN": (post(b'{"id": NaN}'), 400, "body: not valid JSON"),
    "a name twice": (post(b'{"id": "a", "id": "b"}'), 400, "id: given twice"),
    "NUL in a body": (post(b'{"name": "\\u0000"}'), 400, "name: must not hold a NUL character"),
    "half a pair": (post(b'{"name": "\\ud800"}'), 400, "name: must not hold a lone surrogate"),
    "very deep": (post(b'{"name": ' + b"[" * 5000 + b"]" * 5000 + b"}"), 400,
                  "body: nested too deeply"),
    "plain text": (post(AGENT, b"text/plain"), 400, "content-type: must be application/json"),
    "a form": (post(b"id=a", b"application/x-www-form-urlencoded"), 400, "content-type: must be"),
    "parts": (post(b"--x--", b"multipart/form-data; boundary=x"), 400, "content-type: must be"),
    "a kind that is none": (post(AGENT, b"%%%"), 400, "content-type: must be application/json"),
    "compressed": (post(gzip.compress(AGENT), b"application/json", b"Content-Encoding: gzip"), 400,
                   "content-encoding: send the body as it is"),
    "too large": (post(b" " * LARGE), 413, "body: more than 1048576 bytes"),
    "too large in pieces": (CHUNKED, 413, "body: more than 1048576 bytes"),
    "an unknown field": (post(b'{"id": "a", "x": 1}'), 400, ""),
    # callers
    "a foreign host": (b"GET /api/agents HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "Host: "),
    "no host": (b"GET /api/agents HTTP/1.1\r\n\r\n", 403, "Host: "),
    "a foreign page": (post(AGENT, b"application/json", b"Origin: https://evil.example"), 403,
                       "Origin: "),
    # no HTTP
    "raw bytes in a path": (request(b"GET /api/\xff"), 400, "not a valid HTTP request"),
    "a space in a path": (request(b"GET /api/a b"), 400, "not a valid HTTP request"),
    "two lengths": (b"POST /api/agents HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
                    b"Content-Length: 2\r\n\r\n{}", 400, "not a valid HTTP request"),
    "another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400,
                         "not a valid HTTP request"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_a_refusal_is_one_error_in_json(server: System, name: str) -> None:
    asked, status, text = TABLE[name]

    got, headers, body = sent(server, asked)

    assert (got, headers["content-type"]) == (status, "application/json"), body
    told = json.loads(body)
    if name == "below graphql":
        assert list(told) == ["errors"]
    else:
        assert list(told) == ["error"]
        assert told["error"].startswith(text)
    assert ("allow" in headers) == (status == 405)
    assert server.call("GET", "/api/agents") == []


def test_head_is_get_without_the_body(server: System) -> None:
    for path, status in ((b"/api/agents", 200), (b"/nothing", 404), (b"/docs", 200)):
        got, headers, body = sent(server, request(b"HEAD " + path))
        whole, same, shown = sent(server, request(b"GET " + path))

        assert (got, body) == (status, b"")
        assert whole == status
        assert headers["content-length"] == same["content-length"] == str(len(shown))
        assert headers["content-type"] == same["content-type"]


def test_nothing_of_it_was_a_fault_of_ours(server: System) -> None:
    for asked, _, _ in TABLE.values():
        sent(server, asked)

    said = server.log.read_text(errors="replace")
    assert "unhandled error" not in said
    assert "Traceback" not in said
