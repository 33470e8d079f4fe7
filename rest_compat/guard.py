"""Who may call: the API token, or only this machine; and no foreign web page.

With API_TOKEN every request needs ``Authorization: Bearer``. Without it every request must be
addressed to a loopback name, so that a tunnel made for webhooks, or a page whose name was
rebound to 127.0.0.1, reaches nothing. Webhooks prove themselves by signature and /health tells
nothing: both are open.

A browser sends no token when it opens a page or a socket. So, with API_TOKEN, it gets the start
page, the pages of REST and GraphQL with their files, and the icon, none of which holds data; and a
socket on /graphql without a header: there the view asks for the token at ``connection_init``,
before it runs anything.
"""

import hashlib
import hmac
import logging
import re
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from aether import audit
from aether.config import Settings, is_loopback
from aether.errors import AetherError, ForbiddenError, NotConfiguredError, UnauthenticatedError
from rest_compat.errors import refusal, told

log = logging.getLogger(__name__)

OPEN: Final = re.compile(r"/webhook/[^/]+|/health")
HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(:\d{0,5})?")
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
GRAPHQL: Final = re.compile(r"/graphql/?")
GRAPHIQL_FILE: Final = re.compile(r"/graphql/static/graphiql/[a-z.-]+")
PAGE: Final = re.compile(r"/docs/?|/docs/static/[a-z.-]+|/favicon\.ico")
GRAPHIQL_PARAMETERS: Final = frozenset({"q", "variables", "headers"})
"""What the page keeps in its own address. None of them makes /graphql run anything."""


class Guard:
    """Pure ASGI middleware for HTTP and websockets.

    A preflight of a front end in FRONTEND_ORIGINS is answered before the token is asked for,
    since browsers send none with it. Without FRONTEND_ORIGINS no CORS header is ever sent.

    Raises:
        NotConfiguredError: FRONTEND_ORIGINS=* without API_TOKEN, which would let every web
            page that a person on this machine opens give orders.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        origins = [one.rstrip("/").lower() for one in settings.frontend_origins]
        if "*" in origins and settings.api_token is None:
            raise NotConfiguredError("FRONTEND_ORIGINS: * needs API_TOKEN")
        self.origins = frozenset(origins)
        self.by_host = settings.api_token is None
        self.app = app
        if settings.api_token is not None:
            self.app = _TokenCheck(self.app, settings.api_token.get_secret_value())
        if origins:
            self.app = _Cors(
                self.app,
                allow_origins=origins,
                allow_methods=("GET", "POST", "PUT", "DELETE"),
                allow_headers=("*",),
                expose_headers=("Retry-After",),
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and not OPEN.fullmatch(scope["path"]):
            try:
                self._check(scope)
            except AetherError as error:
                await _refuse(error, scope, receive, send)
                return
        with audit.coming_from(_origin(scope)):
            await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = _single(headers, "host")
        parts = HOST.fullmatch(host or "")
        if self.by_host and not (parts and is_loopback(parts[1])):
            raise ForbiddenError("Host: only localhost may be addressed while API_TOKEN is not set")
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes and "origin" in headers and not self._known_origin(headers, host):
            raise ForbiddenError("Origin: not this server and not listed in FRONTEND_ORIGINS")

    def _known_origin(self, headers: Headers, host: str | None) -> bool:
        origin = (_single(headers, "origin") or "").lower()
        if "*" in self.origins or origin in self.origins:
            return True
        scheme, _, place = origin.partition("://")
        if not host or scheme not in {"http", "https"}:
            return False
        return _without_default_port(place) == _without_default_port(host.lower())


def _without_default_port(place: str) -> str:
    return place.removesuffix(":80").removesuffix(":443")


def _single(headers: Headers, name: str) -> str | None:
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else None


class _TokenCheck:
    """Only the bearer of the API token passes."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._digest = hashlib.sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "lifespan"
            or OPEN.fullmatch(scope["path"])
            or _is_a_browsers_first(scope)
            or self._proven(scope)
        ):
            await self.app(scope, receive, send)
            return
        error = UnauthenticatedError("Authorization: Bearer with the API_TOKEN is needed")
        await _refuse(error, scope, receive, send)

    def _proven(self, scope: Scope) -> bool:
        # Raw bytes: a token is not latin-1, and compare_digest refuses text beyond ASCII.
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].strip().partition(b" ")
        digest = hashlib.sha256(token.strip()).digest()
        return hmac.compare_digest(digest, self._digest) and scheme.lower() == b"bearer"


def _is_a_browsers_first(scope: Scope) -> bool:
    """A socket whose token is still to come, a page, or a file of one."""
    headers = Headers(scope=scope)
    if "authorization" in headers:
        return False  # told by it, right or wrong
    path = scope["path"]
    if scope["type"] == "websocket":
        return GRAPHQL.fullmatch(path) is not None
    if scope["method"] not in {"GET", "HEAD"}:
        return False
    is_page = "text/html" in headers.get("accept", "")
    if path == "/":
        return is_page  # what programs are told there names our version
    if GRAPHQL.fullmatch(path) and is_page:
        told = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        return {name for name, _ in told} <= GRAPHIQL_PARAMETERS
    return bool(GRAPHIQL_FILE.fullmatch(path) or PAGE.fullmatch(path))


class _Cors(CORSMiddleware):
    """Starlette's, with its refusals in our shape."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return Response(status_code=204, headers=_kept(response))
        return refusal(403, bytes(response.body).decode(), _kept(response))


def _kept(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name[:8] != "content-"}


def _origin(scope: Scope) -> str | None:
    """The door and the address that the socket tells; a proxy's where there is one."""
    if scope["type"] == "lifespan":
        return None
    door = "graphql" if GRAPHQL.match(scope["path"]) else "rest"
    address = (scope.get("client") or ("somewhere",))[0]
    return f"{door} {address}"


async def _refuse(error: AetherError, scope: Scope, receive: Receive, send: Send) -> None:
    log.warning("a call was refused (%s): %s", _origin(scope), error)
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get(
        "extensions", {}
    ):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})  # servers answer 403
        return
    await told(error)(scope, receive, send)
