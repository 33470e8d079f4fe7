"""What goes over the wire to an MCP server: to judged addresses of its own only, and not too much.

httpx2 is the SDK's HTTP client; like the SDK it is imported at first use.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from aether import __version__
from aether.clock import now
from aether.errors import UpstreamError
from aether.http_answers import retry_after
from aether.reach import JudgingBackend, Reach, port_of, proxy_for
from aether.tools.mcp_endpoint import EndpointEvent, leads_away
from aether.tools.mcp_text import Mender

CONNECT_SECONDS: Final = 5.0
WRITE_SECONDS: Final = 10.0
MAX_BYTES: Final = 5 * 1024 * 1024  # read in one step, all answers together
SHORTEST_SECRET: Final = 6
FORBIDDING: Final = frozenset({401, 403})
LATER: Final = frozenset({429, 503})
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
TALKATIVE: Final = ("mcp", "client", "httpx2", "httpcore2")
"""Loggers of the SDK that print addresses, session ids and parts of answers."""


@dataclass(kw_only=True)
class Wire:
    """One step's connections to one server: how far it came, and what went wrong with them."""

    url: str
    reach: Reach
    read_seconds: float
    listens: bool  # what the server says comes by a GET, not by the answer to a POST
    is_working: bool = False  # greeted; what is sent now may have an effect
    status: int | None = None  # of the last message, where it was refused
    retry_after: float | None = None  # seconds, where that refusal tells them
    is_session_lost: bool = False  # by that refusal
    failure: UpstreamError | None = None
    result: list[Any] = field(default_factory=list)  # one, once it is there
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    read: int = 0

    def answer(self, result: Any) -> None:
        """Keep what the step was for."""
        self.result.append(result)
        self.settled.set()

    def fail(self, problem: str, *, retryable: bool = True, status: int | None = None) -> None:
        """Note the first thing that went wrong and end the step: the SDK may wait for ever."""
        self.note(UpstreamError(problem, retryable=retryable, status=status))

    def note(self, failure: UpstreamError) -> None:
        """As ``fail``."""
        if self.failure is None and not self.result:
            self.failure = failure
        self.settled.set()

    def count(self, part: bytes) -> None:
        """Add to what was read.

        Raises:
            UpstreamError: it is more than anybody should have to read.
        """
        self.read += len(part)
        if self.read > MAX_BYTES:
            self.fail(f"its answer is over {MAX_BYTES // 1024 // 1024} MB", retryable=False)
            raise UpstreamError("too large", retryable=False)

    def check_endpoint(self, told: str | None) -> None:
        """Judge where the server wants to be written to, if it says so.

        Raises:
            UpstreamError: it is at another server.
        """
        if told is not None and leads_away(self.url, told):
            self.fail(
                "wants to be written to at another address, which is not followed", retryable=False
            )
            raise UpstreamError("elsewhere", retryable=False)


def client(wire: Wire, headers: Mapping[str, str]) -> Any:
    """An ``httpx2.AsyncClient`` that sends ``headers`` to this server alone."""
    import httpx2

    sent = httpx2.Headers(headers)  # whose names know no case
    sent.setdefault("User-Agent", f"aether/{__version__}")
    sent["Accept-Encoding"] = "identity"  # what is packed unpacks to more than a bound can hold
    return httpx2.AsyncClient(
        transport=_transport(wire),
        headers=sent,
        timeout=httpx2.Timeout(CONNECT_SECONDS, read=wire.read_seconds, write=WRITE_SECONDS),
        follow_redirects=False,
        trust_env=False,
    )


@cache
def load() -> None:
    """Import the SDK, and keep it from logging: what goes wrong is told as an error of ours."""
    import mcp.client.sse
    import mcp.client.streamable_http  # noqa: F401 # that is all

    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _transport(wire: Wire) -> Any:
    """httpx2's own transport, which connects within reach, to one server, and is watched."""
    import httpcore2
    import httpx2

    class Counted(httpx2.AsyncByteStream):
        def __init__(self, inner: Any, *, is_heard: bool) -> None:
            self._inner = inner
            self._endpoint = EndpointEvent() if is_heard else None

        async def __aiter__(self) -> AsyncIterator[bytes]:
            mender = Mender()
            async for part in self._inner:
                wire.count(part)
                if self._endpoint is not None:
                    wire.check_endpoint(self._endpoint.feed(part))
                yield mender.feed(part)
            yield mender.end()

        async def aclose(self) -> None:
            await self._inner.aclose()

    class Watched(httpx2.AsyncHTTPTransport):
        def __init__(self) -> None:
            home = httpx2.URL(wire.url)
            tls = _tls() if home.scheme == "https" else None
            is_named = wire.reach.names(home.host, port_of(home.scheme, home.port))
            proxy = proxy_for(home.scheme, home.host) if is_named else None
            super().__init__(verify=tls or False, trust_env=False, proxy=proxy)
            if proxy is None:
                self._pool = _pool(self._pool, wire.reach, tls, httpcore2)

        async def handle_async_request(self, request: Any) -> Any:
            response = await _exchanged(wire, super().handle_async_request, request)
            return httpx2.Response(
                response.status_code,
                headers=response.headers,
                stream=Counted(response.stream, is_heard=wire.listens and request.method == "GET"),
                extensions=response.extensions,
            )

    return Watched()


async def _exchanged(wire: Wire, send: Callable[[Any], Awaitable[Any]], request: Any) -> Any:
    """The answer to ``request``, its body unread; what ends the step is noted."""
    import httpx2

    if _origin(request.url) != _origin(httpx2.URL(wire.url)):
        wire.fail("leads to another address, which is not followed", retryable=False)
        raise UpstreamError("elsewhere", retryable=False)
    try:
        response = await send(request)
    except UpstreamError as error:  # out of reach
        wire.note(error)
        raise
    except httpx2.HTTPError as error:
        if wire.listens and request.method == "POST":  # or nobody would hear of it
            wire.fail(f"the connection broke ({type(error).__name__})")
        raise
    if request.method == "POST" or (wire.listens and request.method == "GET"):
        _judge(wire, request, response)
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        wire.fail("packs its answer, though nobody asked it to", retryable=False)
        await response.aclose()  # unread: what it unpacks to may be any size
        raise UpstreamError("packed", retryable=False)
    return response


@cache
def _tls() -> Any:
    """The machine's certificates: read once a process."""
    import httpx2

    return httpx2.create_ssl_context()


def _pool(shipped: Any, reach: Reach, tls: Any, core: Any) -> Any:
    if not isinstance(shipped, core.AsyncConnectionPool):
        raise TypeError("httpx2 has another pool than the one that is replaced here")
    return core.AsyncConnectionPool(
        ssl_context=tls,
        max_connections=10,
        network_backend=JudgingBackend(
            core.AnyIOBackend(), reach, failures=(core.ConnectError, core.ConnectTimeout)
        ),
    )


def _judge(wire: Wire, request: Any, response: Any) -> None:
    """Note a refusal; end the step where no other message could change it, or none would come."""
    status = response.status_code
    wire.status = status if status >= 300 else None
    wire.retry_after = retry_after(response.headers, now()) if status in LATER else None
    # Without a session 404 means that there is no such method, or no such place.
    wire.is_session_lost = status == 404 and "mcp-session-id" in request.headers
    if status in FORBIDDING:
        wire.fail(f"refuses us ({status}); see its headers", retryable=False, status=status)
    elif status in REDIRECTS and not _stays(request.url, response.headers.get("location", "")):
        wire.fail("leads to another address, which is not followed", retryable=False, status=status)
    elif wire.listens and request.method == "POST" and status >= 400:
        wire.fail(f"answered {status}", retryable=status >= 500 or status == 429, status=status)


def _stays(url: Any, location: str) -> bool:
    """Whether a redirect stays with the server; the SDK follows those."""
    import httpx2

    try:
        return _origin(url.join(location)) == _origin(url)
    except (httpx2.InvalidURL, ValueError):
        return False


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
