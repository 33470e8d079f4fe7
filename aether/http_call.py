"""One HTTP exchange: sent, its answer read within bounds, its failure put into safe words."""

import json as jsonlib
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

import httpx

from aether.errors import InvalidInputError, UpstreamError
from aether.http_answers import (
    Answer,
    login_refusal,
    platform_message,
    read_json,
    retry_after,
)

MAX_ANSWER_BYTES: Final = 10 * 1024 * 1024
PIECE_BYTES: Final = 64 * 1024
GZIP: Final = frozenset({"gzip", "x-gzip"})
MAX_MESSAGE_CHARACTERS: Final = 300
MAX_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MAY_PASS: Final = frozenset({408, 425, 429})
PUBLIC_HEADERS: Final = frozenset({"accept", "user-agent", "x-github-api-version"})
READS: Final = frozenset({"GET", "HEAD"})

Redact = Callable[[str], str]


@dataclass(kw_only=True)
class Call:
    """One request on its way. ``sent`` turns true when its head goes out on a connection."""

    method: str
    path: str  # as shown in errors: without the query
    url: httpx.URL
    content: bytes | None = None
    etag: str | None = None  # sent as If-None-Match
    redact: Redact = str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sent: bool = False
    redirects: int = 0

    @classmethod
    def build(
        cls,
        base_url: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        json: Any,
        redact: Redact,
    ) -> Self:
        """The call of ``path`` below ``base_url``.

        Raises:
            InvalidInputError: the path would lead elsewhere, or cannot be written as an address.
        """
        if not _is_plain_path(path):
            raise InvalidInputError("path", f"cannot ask for {path!r}")
        try:
            url = httpx.URL(base_url + path, params=query or None)
        except httpx.InvalidURL:
            raise InvalidInputError("path", "is too long or holds odd characters") from None
        content = None
        if json is not None:
            text = jsonlib.dumps(json, ensure_ascii=False, allow_nan=False)
            content = text.encode(errors="replace")
        return cls(method=method.upper(), path=path, url=url, content=content, redact=redact)

    @property
    def is_read(self) -> bool:
        """Whether asking twice does nothing more than asking once."""
        return self.method in READS

    async def send(self, client: httpx.AsyncClient) -> Answer:
        """The answer, whatever its status.

        Raises:
            UpstreamError: there is none, or it is over 10 MB.
        """
        headers = dict(self.headers)
        if self.content is not None:
            headers["Content-Type"] = "application/json"
        if self.etag is not None:
            headers["If-None-Match"] = self.etag
        self.sent = False
        try:
            async with client.stream(
                self.method,
                self.url,
                content=self.content,
                headers=headers,
                extensions={"trace": self._trace},
            ) as response:
                return Answer(
                    status=response.status_code,
                    headers={name.lower(): value for name, value in response.headers.items()},
                    body=await self._read(response),
                )
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL):
            # The library's own text may quote a header with its secret.
            raise self.broken("cannot be sent as it is", retryable=False) from None
        except httpx.NetworkError as error:
            raise self.broken(str(error) or type(error).__name__) from error
        except httpx.HTTPError as error:
            raise self.broken(type(error).__name__) from None

    def follow(self, answer: Answer) -> None:
        """Turn to where a redirect points.

        Raises:
            UpstreamError: it points to another origin, or there have been too many.
        """
        url = same_origin(self.url, answer.headers.get("location", ""))
        self.redirects += 1
        if url is None or self.redirects > MAX_REDIRECTS:
            problem = "redirected to another host" if url is None else "too many redirects"
            raise UpstreamError(
                f"{self.method} {self.path}: {problem}", status=answer.status, retryable=False
            )
        self.url = url

    def decoded(self, answer: Answer) -> Any:
        """The JSON of ``answer``, None for an empty body.

        Raises:
            UpstreamError: it is no JSON.
        """
        try:
            return read_json(answer.body)
        except ValueError:
            problem = f"its answer ({answer.status}) is no JSON"
            raise self.broken(problem, retryable=False) from None

    def broken(self, problem: str, *, retryable: bool = True) -> UpstreamError:
        """The failure of a call whose outcome nobody told."""
        return UpstreamError(
            f"{self.method} {self.path}: {self._clean(problem)}",
            retryable=retryable,
            may_have_happened=self.sent and not self.is_read,
        )

    def refused(self, answer: Answer, now: datetime, *, wait: float | None = None) -> UpstreamError:
        """The failure that a platform told: by its status, its headers and its own words."""
        status, message = answer.status, platform_message(answer.body)
        if refusal := login_refusal(answer.headers):
            message = "; ".join(part for part in (refusal, message) if part)
        if status in REDIRECTS:
            message = "it has moved, and a write is not sent elsewhere"
        if wait is None and status >= 500:
            wait = retry_after(answer.headers, now)
        text = f"{self.method} {self.path}: answered {status}"
        return UpstreamError(
            f"{text}, {self._clean(message)}" if message else text,
            status=status,
            retryable=status >= 500 or status in MAY_PASS or wait is not None,
            retry_after=wait,
            may_have_happened=status >= 500 and not self.is_read,
        )

    async def _read(self, response: httpx.Response) -> bytes:
        # Not httpx's own unpacking: it opens all of a part at once, and layer within layer, so
        # that a kilobyte can fill the memory.
        is_packed = response.headers.get("content-encoding", "").strip().lower() in GZIP
        unpack = _unpacked if is_packed else _as_it_is
        body = bytearray()
        try:
            async for piece in unpack(response.aiter_raw()):
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise self.broken("its answer is over 10 MB", retryable=False)
        except zlib.error:
            raise self.broken("its answer is packed wrongly", retryable=False) from None
        return bytes(body)

    async def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore's trace extension: https://www.encode.io/httpcore/extensions/#trace."""
        if event.endswith("send_request_headers.started"):
            self.sent = info["request"].method != b"CONNECT" or self.sent

    def _clean(self, text: str) -> str:
        for name, value in self.headers.items():
            secret = value.rpartition(" ")[2]
            if name.lower() not in PUBLIC_HEADERS and len(secret) >= 8:
                text = text.replace(secret, "***")
        text = self.redact(text)
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[:MAX_MESSAGE_CHARACTERS] + "…"


async def _as_it_is(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for part in parts:
        yield part


async def _unpacked(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What a gzip stream holds, in pieces of a bounded size (RFC 1952)."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    async for part in parts:
        left = part
        while left and not unpacker.eof:
            yield unpacker.decompress(left, PIECE_BYTES)
            left = unpacker.unconsumed_tail


def origin(url: httpx.URL) -> str:
    """``https://host:port``: what a credential is for."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def same_origin(current: httpx.URL, told: str) -> httpx.URL | None:
    """The address that ``told`` means on the page ``current``; None where it leads elsewhere."""
    try:
        url = current.join(told)
    except (httpx.InvalidURL, ValueError):
        return None
    return url if told and not url.userinfo and origin(url) == origin(current) else None


def _is_plain_path(path: str) -> bool:
    """Starts at the root, stays below it, has no query of its own."""
    return (
        path.startswith("/")
        and path.isprintable()
        and not any(mark in path for mark in ("//", "?", "#", "\\"))
        and not {".", ".."} & set(path.replace("%2e", ".").replace("%2E", ".").split("/"))
    )
