"""What a browser opens: the start page, the REST API's page with its files, the icon.

None of them holds data, and none loads anything from elsewhere. Swagger UI's files are kept here
unchanged (``static/docs/NOTICE``); it is told the document by a script of ours.
"""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from aether import __version__
from rest_compat.errors import refusal
from rest_compat.op import ExactRoute
from rest_compat.shapes import to_json

FOLDER: Final = Path(__file__).parent / "static"
FILES: Final[Mapping[str, Path]] = {
    path.name: path
    for path in (
        FOLDER / "icon.svg",
        FOLDER / "page.css",
        FOLDER / "docs" / "docs.css",
        FOLDER / "docs" / "docs.js",
        FOLDER / "docs" / "swagger-ui-bundle.js",
        FOLDER / "docs" / "swagger-ui.css",
    )
}
MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".ico": "image/x-icon",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Our own files, and calls of our own endpoints; Swagger UI draws with ``data:`` images."""
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PLACES: Final[Mapping[str, str]] = {
    "docs": "/docs",
    "openapi": "/openapi.json",
    "graphql": "/graphql",
    "health": "/health",
}

HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{root}/favicon.ico">
<link rel="stylesheet" href="{root}/docs/static/page.css">
"""
BAR: Final = """<header class="bar"><img src="{root}/docs/static/icon.svg" alt="">
<strong><a href="{root}/">Aether</a></strong>
<nav><a href="{root}/docs">REST</a><a href="{root}/graphql">GraphQL</a>
<a href="{root}/openapi.json">openapi.json</a></nav></header>
"""
START: Final = (
    HEAD
    + "</head>\n<body>\n"
    + BAR
    + """<main>
<h1>Aether is running</h1>
<p class="lead">AI agents that answer what happens in your issue trackers.</p>
<dl>
<div><dt><a href="{root}/docs">REST API</a></dt><dd>Every endpoint, to read and to try.</dd></div>
<div><dt><a href="{root}/graphql">GraphQL</a></dt><dd>The same over GraphQL: a console.</dd></div>
<div><dt><a href="{root}/openapi.json">openapi.json</a></dt><dd>REST as an OpenAPI document,
for programs.</dd></div>
<div><dt><a href="{root}/health">Health</a></dt><dd>Whether it is well, for monitoring.</dd></div>
<div><dt>Webhooks</dt><dd>Trackers send theirs to <code>{root}/webhook/</code> and their slug,
such as <code>github</code>.</dd></div>
</dl>
</main>
</body>
</html>
"""
)
DOCS: Final = (
    HEAD
    + """<link rel="stylesheet" href="{root}/docs/static/swagger-ui.css">
<link rel="stylesheet" href="{root}/docs/static/docs.css">
</head>
<body>
"""
    + BAR
    + """<noscript><main>This page needs JavaScript. The document that it shows is
<a href="{root}/openapi.json">openapi.json</a>.</main></noscript>
<form id="ask" hidden><p>This server asks for its <code>API_TOKEN</code>.</p>
<input id="token" type="password" autocomplete="off" aria-label="API token" required>
<button>Open</button></form>
<p id="said" role="alert"></p>
<div id="docs" data-openapi="{root}/openapi.json"></div>
<script src="{root}/docs/static/swagger-ui-bundle.js"></script>
<script src="{root}/docs/static/docs.js"></script>
</body>
</html>
"""
)


def _page(request: Request, template: str, title: str) -> Response:
    root = escape(request.scope.get("root_path", ""))
    return HTMLResponse(template.format(root=root, title=title), headers=HEADERS)


async def start(request: Request) -> Response:
    """Where to go from here: a page for a browser, the same as JSON for a program."""
    if "text/html" in request.headers.get("accept", ""):
        answer = _page(request, START, "Aether")
    else:
        told = {"name": "Aether", "version": __version__, **PLACES}
        answer = Response(to_json(told), media_type="application/json")
    answer.headers["Vary"] = "Accept"
    return answer


async def docs(request: Request) -> Response:
    """The page of the OpenAPI document."""
    return _page(request, DOCS, "Aether REST API")


async def static(request: Request) -> Response:
    """A file of the pages; only names from the table are looked up."""
    file = FILES.get(request.path_params["name"])
    if file is None:
        return refusal(404, "no such path")
    return _file(file)


async def icon(_: Request) -> Response:
    """What browsers ask for by themselves."""
    return _file(FOLDER / "favicon.ico")


def _file(path: Path) -> Response:
    return FileResponse(
        path,
        media_type=MEDIA_TYPES[path.suffix],
        headers={"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"},
    )


ROUTES: Final = (
    ExactRoute("/", start, methods=["GET"]),
    ExactRoute("/docs", docs, methods=["GET"]),
    ExactRoute("/docs/", docs, methods=["GET"]),
    ExactRoute("/docs/static/{name}", static, methods=["GET"]),
    ExactRoute("/favicon.ico", icon, methods=["GET"]),
)
