"""A connection to a platform whose credential may be changed while it is used."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aether.errors import UpstreamError
from aether.http import CALL_SECONDS, Connection
from aether.http_answers import Fetched


class RenewingConnection:
    """An ``Outbound`` that looks its credential up again, once a call, when it is answered 401."""

    def __init__(
        self,
        find: Callable[[], Awaitable[Connection]],
        first: Connection,
        monotonic: Callable[[], float],
    ) -> None:
        self._find = find
        self._current = first
        self._monotonic = monotonic

    @property
    def base_url(self) -> str:
        """Where it leads, without a slash at its end."""
        return self._current.base_url

    @property
    def options(self) -> Mapping[str, str]:
        """What is no secret of its credential."""
        return self._current.options

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """As ``Connection.request``; ``timeout`` bounds both tries together."""
        ends = self._monotonic() + (CALL_SECONDS if timeout is None else timeout)
        try:
            return await self._current.request(
                method, path, query=query, json=json, timeout=timeout
            )
        except UpstreamError as error:
            if error.status != 401:
                raise
        self._current = await self._find()
        left = max(ends - self._monotonic(), 0.0)
        return await self._current.request(method, path, query=query, json=json, timeout=left)

    async def pages(self, path: str, query: Mapping[str, str], *, max_pages: int = 20) -> list[Any]:
        """As ``Connection.pages``; begins again at the first page."""
        try:
            return await self._current.pages(path, query, max_pages=max_pages)
        except UpstreamError as error:
            if error.status != 401:
                raise
        self._current = await self._find()
        return await self._current.pages(path, query, max_pages=max_pages)

    async def fetch(
        self, path: str, query: Mapping[str, str], *, etag: str | None = None
    ) -> Fetched:
        """As ``Connection.fetch``."""
        try:
            return await self._current.fetch(path, query, etag=etag)
        except UpstreamError as error:
            if error.status != 401:
                raise
        self._current = await self._find()
        return await self._current.fetch(path, query, etag=etag)
