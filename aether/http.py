"""The outbound HTTP client: pools, bounds on time and size, and what each failure means."""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, Self

import httpcore
import httpx

from aether import __version__
from aether.clock import now as utc_now
from aether.errors import InvalidInputError, UpstreamError
from aether.http_answers import Answer, Fetched, Limit, next_page, read_limit, retry_after
from aether.http_call import REDIRECTS, Call, Redact, origin, same_origin
from aether.outbound import HostGate, writes_a_minute
from aether.reach import JudgingBackend, Reach, port_of, proxy_for

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 5.0
CALL_SECONDS: Final = 20.0
MAX_WAIT_SECONDS: Final = 30.0
MIN_CALL_SECONDS: Final = 1.0  # a wait leaves this much of the call's time for the call itself
MAX_LIMITED_TRIES: Final = 3
NOT_MODIFIED: Final = 304
QUICK_RETRIES: Final = (0.2, 0.6)  # seconds before a read is asked again
# Idle for 4 s is closed by us: many servers do so at 5 s, and a write must not meet that.
LIMITS: Final = httpx.Limits(max_connections=50, max_keepalive_connections=20, keepalive_expiry=4)

HeadersFactory = Callable[[], Awaitable[Mapping[str, str]]]
"""Asked before each request, so that a token that is about to expire is renewed in time."""


class HttpClients:
    """The connections of one process and one event loop; use as ``async with HttpClients()``.

    ``sleep``, ``monotonic`` and ``clock`` are parameters so that a test needs not wait.
    Addresses beyond this machine are reached by the proxy that HTTPS_PROXY, HTTP_PROXY and
    NO_PROXY name, if any; loopback addresses never are. A proxy would resolve a name out of our
    sight, so that with a ``Reach`` only the hosts which it names go by a proxy.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = utc_now,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
        budget: Callable[[str], int | None] = writes_a_minute,
    ) -> None:
        """``budget`` gives a host's most writes a minute, None for no bound."""
        self.sleep = sleep
        self.monotonic = monotonic
        self.clock = clock
        self.max_wait_seconds = max_wait_seconds
        self._budget = budget
        self._clients: dict[tuple[str, Reach | None], httpx.AsyncClient] = {}
        self._gates: dict[str, HostGate] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.aclose()

    def connection(
        self,
        base_url: str,
        headers_factory: HeadersFactory,
        *,
        redact: Redact | None = None,
        reach: Reach | None = None,
    ) -> "Connection":
        """An ``aether.sources.base.Outbound`` for one credential.

        ``redact`` takes secrets out of what the platform says, before it becomes an error's
        text; what ``headers_factory`` gave is taken out in any case. ``reach`` judges each
        address that is connected to; None: ``base_url`` is no user's, and nothing is judged.

        Raises:
            InvalidInputError: ``base_url`` is no http address, or holds a password.
        """
        try:
            url = httpx.URL(base_url)
        except (httpx.InvalidURL, TypeError):
            raise InvalidInputError("base_url", "is no address") from None
        if url.scheme not in {"http", "https"} or not url.host:
            raise InvalidInputError("base_url", "must start with http:// or https://")
        if url.userinfo or url.query or url.fragment:
            raise InvalidInputError("base_url", "must hold no password, query or fragment")
        return Connection(self, base_url.rstrip("/"), headers_factory, redact or str, reach)

    def client(self, url: httpx.URL, reach: Reach | None = None) -> httpx.AsyncClient:
        """The pool for the origin of ``url``, of connections that ``reach`` has judged."""
        key = (origin(url), reach)
        client = self._clients.get(key)
        if client is None:
            tls = self._tls if url.scheme == "https" else None
            proxy = proxy_for(url.scheme, url.host)
            port = port_of(url.scheme, url.port)
            is_judged = reach is not None and not (proxy and reach.names(url.host, port))
            client = httpx.AsyncClient(
                transport=_Judged(reach, tls) if reach is not None and is_judged else None,
                proxy=None if is_judged else proxy,
                verify=tls or False,
                headers={
                    "User-Agent": f"aether/{__version__}",
                    "Accept": "application/json",
                    "Accept-Encoding": "gzip",  # the others unpack to more than a bound can hold
                },
                timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
                limits=LIMITS,
                # One credential's session must not travel with another's request.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                follow_redirects=False,
                trust_env=False,  # the proxy is chosen above, the certificates below
            )
            self._clients[key] = client
        return client

    def gate(self, url: httpx.URL) -> HostGate:
        """The gate of the host of ``url``, shared by every credential."""
        key = url.netloc.decode("ascii")
        gate = self._gates.get(key)
        if gate is None:
            gate = HostGate(
                key, monotonic=self.monotonic, sleep=self.sleep, budget=self._budget(url.host)
            )
            self._gates[key] = gate
        return gate

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()  # reads some 150 certificates: once a process


class Connection:
    """An authenticated connection to one platform; satisfies ``sources.base.Outbound``."""

    def __init__(
        self,
        clients: HttpClients,
        base_url: str,
        headers: HeadersFactory,
        redact: Redact,
        reach: Reach | None,
    ) -> None:
        self.base_url = base_url
        self.options: Mapping[str, str] = {}  # what is no secret of the credential
        self._reach = reach
        self._clients = clients
        self._headers = headers
        self._redact = redact

    def __repr__(self) -> str:
        return f"Connection({self.base_url})"

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """The decoded JSON of a 2xx answer, None where it has no body.

        ``timeout`` (20 s unless told) bounds the whole call: waiting for the host's rate limit,
        a read's two quick retries, the answer. A write is sent a second time only after an
        answer that refused the first.

        Raises:
            UpstreamError: anything but a 2xx answer, with its ``status``; ``may_have_happened``
                is true for a write that was sent and not answered, or answered by a 5xx.
        """
        call = Call.build(self.base_url, method, path, query=query, json=json, redact=self._redact)
        return call.decoded(await self._answered(call, timeout))

    async def pages(self, path: str, query: Mapping[str, str], *, max_pages: int = 20) -> list[Any]:
        """All items over the pages that ``Link: rel="next"`` names, of this origin only.

        Stops after ``max_pages`` and logs that there are more.

        Raises:
            UpstreamError: as for ``request``; also for a page that is no array or lies on
                another host.
        """
        call = Call.build(self.base_url, "GET", path, query=query, json=None, redact=self._redact)
        items: list[Any] = []
        for _ in range(max_pages):
            answer = await self._answered(call, None)
            page = call.decoded(answer)
            if not isinstance(page, list):
                raise UpstreamError(f"GET {path}: the answer is no array", retryable=False)
            items += page
            following = next_page(answer.headers.get("link", ""))
            if following is None:
                return items
            url = same_origin(call.url, following)
            if url is None:
                raise UpstreamError(
                    f"GET {path}: its next page is on another host", retryable=False
                )
            call = Call(method="GET", path=path, url=url, redact=self._redact)
        log.warning("GET %s: stopped after %d pages, there are more", path, max_pages)
        return items

    async def fetch(
        self, path: str, query: Mapping[str, str], *, etag: str | None = None
    ) -> Fetched:
        """One page; with ``etag`` perhaps the answer that it is as before (304), which GitHub
        does not count.

        Raises:
            UpstreamError: as for ``request``.
        """
        call = Call.build(self.base_url, "GET", path, query=query, json=None, redact=self._redact)
        call.etag = etag
        answer = await self._answered(call, None)
        following = next_page(answer.headers.get("link", ""))
        return Fetched(
            body=call.decoded(answer),
            etag=answer.headers.get("etag", etag if answer.status == NOT_MODIFIED else None),
            is_unchanged=answer.status == NOT_MODIFIED,
            next_query=_query_of(following, call.url) if following else None,
            headers=answer.headers,
        )

    async def _answered(self, call: Call, timeout: float | None) -> Answer:
        seconds = CALL_SECONDS if timeout is None else timeout
        deadline = self._clients.monotonic() + seconds
        try:
            async with asyncio.timeout(seconds) as bound:
                call.headers = await self._headers()
                answer = await self._attempts(call, deadline)
        except TimeoutError:
            if not bound.expired():
                raise  # the headers' own: the database, for one
            raise call.broken(f"no answer within {seconds:g} s") from None
        is_as_before = answer.status == NOT_MODIFIED and call.etag is not None
        if not 200 <= answer.status < 300 and not is_as_before:
            raise call.refused(answer, self._clients.clock())
        return answer

    async def _attempts(self, call: Call, deadline: float) -> Answer:
        """One answer that is final for this call: after quick retries, redirects and waits."""
        pauses = iter(QUICK_RETRIES if call.is_read else ())
        limited = 0
        while True:
            try:
                answer, limit = await self._in_turn(call, deadline)
            except UpstreamError as error:
                pause = next(pauses, None) if _is_quick(error) else None
                if pause is None:
                    raise
                await self._clients.sleep(pause)
                continue
            if limit is not None:
                limited += 1
                call.sent = False  # this attempt was refused
                wait = self._clients.gate(call.url).opens_in()
                if limited >= MAX_LIMITED_TRIES or wait > self._patience(deadline):
                    raise call.refused(answer, self._clients.clock(), wait=wait)
            elif answer.status in REDIRECTS and call.is_read:
                call.follow(answer)
            else:
                pause = next(pauses, None) if self._is_passing(answer) else None
                if pause is None:
                    return answer
                await self._clients.sleep(pause)

    async def _in_turn(self, call: Call, deadline: float) -> tuple[Answer, Limit | None]:
        gate = self._clients.gate(call.url)
        patience = self._patience(deadline)
        async with gate.turn(patience, is_write=not call.is_read) as turn:
            answer = await call.send(self._clients.client(call.url, self._reach))
            limit = read_limit(answer, self._clients.clock())
            turn.answered(limit)
        return answer, limit

    def _patience(self, deadline: float) -> float:
        left = deadline - self._clients.monotonic() - MIN_CALL_SECONDS
        return min(self._clients.max_wait_seconds, left)

    def _is_passing(self, answer: Answer) -> bool:
        return answer.status >= 500 and retry_after(answer.headers, self._clients.clock()) is None


def _query_of(following: str, url: httpx.URL) -> Mapping[str, str] | None:
    """The query of the next page; None where it is on another host or another path."""
    target = same_origin(url, following)
    if target is None:
        return None
    return dict(target.params.multi_items())


class _Judged(httpx.AsyncHTTPTransport):
    """httpx's own transport, which connects within reach only."""

    def __init__(self, reach: Reach, tls: ssl.SSLContext | None) -> None:
        super().__init__(verify=tls or False, trust_env=False, limits=LIMITS)
        if not isinstance(self._pool, httpcore.AsyncConnectionPool):
            raise TypeError("httpx has another pool than the one that is replaced here")
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=LIMITS.max_connections,
            max_keepalive_connections=LIMITS.max_keepalive_connections,
            keepalive_expiry=LIMITS.keepalive_expiry,
            network_backend=JudgingBackend(  # type: ignore[arg-type] # of this shape
                httpcore.AnyIOBackend(),
                reach,
                failures=(httpcore.ConnectError, httpcore.ConnectTimeout),
            ),
        )


def _is_quick(error: UpstreamError) -> bool:
    """Whether a read may be asked again at once: the connection failed, nobody told us to wait."""
    return error.retryable and error.status is None and error.retry_after is None
