"""Tests of what a browser opens: nothing of it comes from elsewhere, nothing of it holds data."""

import re
import tomllib
from collections.abc import AsyncIterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from starlette.applications import Starlette

from aether import __version__
from aether.config import Settings
from rest_compat import OPS, exception_handlers, middleware, openapi, pages, rest_routes
from tests.rest_compat.conftest import client_of

HTML: Final = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
ADDRESS: Final = re.compile(r"""(?:href|src|data-openapi)="([^"]*)\"""")
PLACES: Final = ("/", "/docs", "/docs/")
OURS: Final = {"docs.js", "docs.css", "page.css", "icon.svg"}
TOKEN: Final = {"API_TOKEN": "a-token-of-the-tests"}


def application(**environment: str) -> Starlette:
    app = Starlette(
        routes=rest_routes(),
        middleware=middleware(Settings.from_environment(environment)),
        exception_handlers=exception_handlers(()),
    )
    app.router.redirect_slashes = False
    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(application()) as ours:
        yield ours


@pytest.mark.parametrize("path", PLACES)
async def test_every_address_of_a_page_is_one_of_ours_and_answers(
    client: httpx.AsyncClient, path: str
) -> None:
    page = await client.get(path, headers=HTML)

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    addresses = set(ADDRESS.findall(page.text))
    assert len(addresses) >= 7
    there = {route.path for route in application().routes if hasattr(route, "path")}
    for address in addresses - {"/graphql", "/health"}:  # a mount of the whole app; a database
        assert address in there or address.startswith("/docs/static/"), address
        assert (await client.get(address, headers=HTML)).status_code == 200
    assert {"/graphql", "/health"} & addresses
    assert "://" not in page.text


async def test_the_page_shows_the_document_that_is_served(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text

    [source] = re.findall(r'data-openapi="([^"]+)"', page)
    document = (await client.get(source)).json()

    assert document["openapi"] == "3.1.0"
    schemes = document["components"]["securitySchemes"]
    [asked] = re.findall(r'const scheme = "(\w+)"', pages.FILES["docs.js"].read_text())
    assert asked in schemes  # the token is given to Swagger UI under this name
    scripts = pages.FILES["docs.js"].read_text()
    for name in re.findall(r'getElementById\("(\w+)"\)', scripts):
        assert f'id="{name}"' in page


async def test_a_page_may_load_and_call_nothing_but_its_own_server(
    client: httpx.AsyncClient,
) -> None:
    for path in PLACES:
        page = await client.get(path, headers=HTML)

        policy = dict(
            one.strip().split(" ", 1) for one in page.headers["content-security-policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' data:",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert "<style" not in page.text
        assert " style=" not in page.text
        assert set(re.findall(r"<script[^>]*>([^<]*)</script>", page.text)) <= {""}


def test_no_file_of_ours_names_another_place_and_the_library_asks_for_none() -> None:
    for name in OURS:
        text = pages.FILES[name].read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}
    style = pages.FILES["swagger-ui.css"].read_text(encoding="utf-8")
    assert {one[:5] for one in re.findall(r"url\([\"']?([^)]*)", style)} == {"data:"}
    assert "@import" not in style
    assert "validatorUrl: null" in pages.FILES["docs.js"].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(pages.FILES))
async def test_every_file_is_served_as_what_it_is(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/docs/static/{name}")
    head = await client.head(f"/docs/static/{name}")

    assert answer.content == pages.FILES[name].read_bytes()
    assert answer.headers["content-type"].split(";")[0] == pages.MEDIA_TYPES[Path(name).suffix]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    "name",
    ["NOTICE", "LICENSE", "../pages.py", "%2e%2e/pages.py", "nothing.js", "", "docs/docs.js"],
)
async def test_no_other_file_is_served(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/docs/static/{name}")

    assert answer.status_code == 404
    assert answer.json() == {"error": "no such path"}


async def test_a_program_is_told_where_to_go(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")

    assert answer.json() == {
        "name": "Aether",
        "version": __version__,
        "docs": "/docs",
        "openapi": "/openapi.json",
        "graphql": "/graphql",
        "health": "/health",
    }
    assert answer.headers["vary"] == "Accept"


async def test_what_browsers_ask_for_by_themselves_is_there(client: httpx.AsyncClient) -> None:
    answer = await client.get("/favicon.ico")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/x-icon"
    assert answer.content[:4] == b"\0\0\1\0"
    assert answer.content[22:30] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/static/docs.js", "/favicon.ico"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_a_page_is_only_read(client: httpx.AsyncClient, path: str, method: str) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.json() == {"error": "not allowed here; allowed: GET, HEAD"}


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/static/docs.js", "/favicon.ico"])
async def test_without_a_token_only_this_machine_may_read_a_page(path: str) -> None:
    async with client_of(application(), host="tunnel.example") as stranger:
        answer = await stranger.get(path, headers=HTML)

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/docs/", "/favicon.ico", *(f"/docs/static/{n}" for n in pages.FILES)]
)
async def test_with_a_token_a_browser_opens_the_pages_without_it(path: str) -> None:
    async with client_of(application(**TOKEN), host="aether.example") as browser:
        answer = await browser.get(path, headers=HTML)

    assert answer.status_code == 200
    assert __version__ not in answer.text or "swagger" in path or path == "/favicon.ico"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {"accept": "*/*"}),
        ("POST", "/", HTML),
        ("POST", "/docs", HTML),
        ("GET", "/openapi.json", HTML),
        ("GET", "/docs/static/x/../../api/agents", HTML),
        ("GET", "/docs/../api/agents", HTML),
        ("GET", "/docsx", HTML),
        ("GET", "/docs", HTML | {"authorization": "Bearer wrong"}),
    ],
)
async def test_with_a_token_nothing_else_opens_without_it(
    method: str, path: str, headers: dict[str, str]
) -> None:
    async with client_of(application(**TOKEN), host="aether.example") as stranger:
        answer = await stranger.request(method, path, headers=headers)

    assert answer.status_code == 401
    assert list(answer.json()) == ["error"]


async def test_behind_a_path_of_a_proxy_the_page_finds_its_files() -> None:
    app = application()

    async def below(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "root_path": "/aether"}, receive, send)

    async with client_of(below) as client:
        page = (await client.get("/aether/docs")).text

    addresses = ADDRESS.findall(page)
    assert addresses
    assert all(one.startswith("/aether/") for one in addresses)


def test_the_notice_and_the_package_name_every_file() -> None:
    folder = pages.FOLDER / "docs"
    notice = (folder / "NOTICE").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(
        (Path(__file__).parents[2] / "pyproject.toml").read_text()
    )
    patterns = project["tool"]["setuptools"]["package-data"]["*"]

    kept = {file.name for file in folder.iterdir()}
    assert {name for name in kept if name not in notice} == {"NOTICE"}
    assert kept - {"NOTICE", "LICENSE", "swagger-ui-bundle.js.LICENSE.txt"} < set(pages.FILES)
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    for file in pages.FOLDER.rglob("*.*"):
        assert any(fnmatch(file.name, pattern) for pattern in patterns), file.name


def test_a_parameter_is_left_out_and_never_null() -> None:
    for path in openapi.document(OPS)["paths"].values():
        for operation in path.values():
            for one in operation.get("parameters", ()):
                assert "null" not in str(one["schema"]), one
