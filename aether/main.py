"""Composition root of the web process: settings, pool, queue, GraphQL, REST."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aether import aside
from aether.aside import Aside
from aether.config import Settings
from aether.credentials import Credentials
from aether.db import UNAVAILABLE, close_pool, credentials, open_pool, wait_until_ready
from aether.engine.configuration import load
from aether.engine.filters import FilterPool
from aether.engine.runtime import Runtime, install
from aether.errors import NotConfiguredError
from aether.live.hub import Hub
from aether.queue import Queue, build_broker
from aether.redact import redact
from aether.watchdog import Watchdog, configure_logging
from rest_compat import exception_handlers, middleware, rest_routes
from schema.view import graphql_app

log = logging.getLogger(__name__)

POOL: Final = 20
MAX_HEAD_BYTES: Final = 65_536
"""Of a request's target and headers, which come before anybody is known by a token; what arrives
in one piece is not cut."""
HEAD_SECONDS: Final = 30.0
"""Until a connection has told a whole head: each takes one of the files that a process may open."""


def application(settings: Settings) -> ASGIApp:
    """The web application; its lifespan opens and closes everything it needs.

    Raises:
        NotConfiguredError: DATABASE_URL or BROKER_URL is missing or cannot be read.
    """
    if settings.database_url is None or settings.broker_url is None:
        raise NotConfiguredError("DATABASE_URL, BROKER_URL: the web process needs both")
    # What is wrong with either is told here; the lifespan could only tell it with a traceback.
    credentials(settings.database_url)
    build_broker(settings.broker_url)

    redacting = partial(redact, settings=settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if settings.database_url is None or settings.broker_url is None:
            raise NotConfiguredError("DATABASE_URL, BROKER_URL: the web process needs both")
        await wait_until_ready(settings.database_url)
        await open_pool(settings.database_url, pool=POOL)
        hub = Hub(settings.database_url)
        runtime = Runtime(
            settings=settings,
            queue=Queue(build_broker(settings.broker_url)),
            filters=FilterPool(),
            credentials=Credentials(settings, redact=redacting),
            configuration=await load(),
            live=hub,
        )
        install(runtime)
        beside = Aside(settings)
        aside.install(beside)
        watchdog = Watchdog(settings, component="web", redact=redacting)
        watchdog.start()
        try:
            yield
        finally:
            install(None)
            aside.install(None)
            await beside.close()
            await hub.close()
            await runtime.queue.close()
            await runtime.filters.close()
            await runtime.credentials.close()
            await watchdog.close()
            await close_pool()

    graphql = graphql_app(settings)
    app = Starlette(
        routes=[
            *rest_routes(),
            Route("/graphql", endpoint=graphql),
            WebSocketRoute("/graphql", endpoint=graphql),
            Mount("/graphql", app=graphql),
        ],
        middleware=list(middleware(settings)),
        exception_handlers=dict(exception_handlers(UNAVAILABLE)),
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Blocks.

    Raises:
        NotConfiguredError: HOST can be reached from outside and there is no API_TOKEN, or HOST
            is no address.
    """
    settings.check_exposure()
    try:
        socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotConfiguredError(f"HOST: {settings.host}: {error.strerror}") from error
    app = application(settings)
    configure_logging("web", redact=partial(redact, settings=settings))
    logging.getLogger("uvicorn.error").addFilter(_is_true)
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=_Protocol,
            ws="websockets-sansio",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            ws_max_size=1_048_576,
            timeout_graceful_shutdown=3,
            timeout_keep_alive=30,
        )
    )
    server.run()
    return 0 if server.started else 1


class _Protocol(HttpToolsProtocol):
    """Refuses what is no HTTP in the shape of every refusal; uvicorn writes plain text.

    And bounds what uvicorn keeps without one: the target, the headers, a chunked body's trailer;
    and how long a head may take, from the connection or from its first byte.
    """

    head_seconds: float = HEAD_SECONDS
    _kept = 0  # bytes since the last thing that was complete
    _is_in_head = True
    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._still()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._kept += len(data)
        super().data_received(data)
        if self._kept <= MAX_HEAD_BYTES or self.transport.is_closing():
            return
        if self._is_in_head:
            self._refuse("431 Request Header Fields Too Large", "the head is too large")
        else:  # its answer may be on the way
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._kept, self._is_in_head = 0, True
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._still()
        self._kept, self._is_in_head = 0, False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._kept = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._kept = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse("400 Bad Request", "not a valid HTTP request")

    def _await_head(self) -> None:
        self._still()
        self._alarm = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _still(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _refuse(self, status: str, text: str) -> None:
        body = json.dumps({"error": text}).encode()
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _Server(uvicorn.Server):
    """Says where it listens once it does, with the port that it was given for port 0."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in self.servers[0].sockets if self.started else ():
            host, port = one.getsockname()[:2]
            log.info("listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)


def _is_true(record: logging.LogRecord) -> bool:
    """uvicorn's only false line: it takes a socket's refusal, answered by HTTP, for no answer."""
    return not record.getMessage().startswith("ASGI callable returned without completing handshake")
