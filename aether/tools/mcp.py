"""Speaks to MCP servers: one short-lived client a step, in a task of its own, within bounds.

The protocol: https://modelcontextprotocol.io/specification/2025-11-25. Its SDK is imported at
first use: 64 MB that only a worker and the child of the web process need. What is learnt about
the SDK: it never reconnects, a broken transport cancels the task it runs in, and nothing in it
bounds a handshake or the size of an answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cache
from time import monotonic
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from aether.errors import AetherError, UpstreamError
from aether.reach import Reach
from aether.redact import redact_known, tells_apart
from aether.tools import mcp_wire
from aether.tools.mcp_failures import NotHereError, SessionLostError, failure
from aether.tools.mcp_results import asked_text, result_text
from aether.vocabulary import McpTransport

T = TypeVar("T")
Work = Callable[[Any], Awaitable[T]]
Kind = McpTransport

HANDSHAKE_SECONDS: Final = 15.0
LIST_SECONDS: Final = 15.0
CALL_SECONDS: Final = 60.0
CLOSE_SECONDS: Final = 1.0
MOST_TOOLS: Final = 500
LOOKED_THROUGH: Final = 4  # times as many, for those that are known
MOST_PAGES: Final = 500  # a page may hold one tool; the seconds bound them, too
USUAL_PATHS: Final[Mapping[Kind, str]] = {Kind.STREAMABLE_HTTP: "/mcp", Kind.SSE: "/sse"}
"""Where servers listen that are given as a host alone; asked before the host's root."""
HEADER_MISMATCH: Final = -32020


log = logging.getLogger(__name__)


class ToolFailedError(AetherError):
    """A tool said that it failed, or its outcome is not known; the text is for the model."""

    code = UpstreamError.code


@dataclass(frozen=True, kw_only=True)
class McpEndpoint:
    """Where a server is, and what opens it. ``url`` is as it was saved."""

    name: str
    url: str
    transport: Kind
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses to ask, one after the other."""
        if urlsplit(self.url).path.strip("/"):
            return (self.url,)
        return (self.url.rstrip("/") + USUAL_PATHS[self.transport], self.url)

    def redact(self, text: str) -> str:
        """An error's text without our headers' values, however the server came to say them, nor any
        other secret that is known."""
        return self._without(text, lambda secret: len(secret) >= mcp_wire.SHORTEST_SECRET)

    def mask(self, text: str) -> str:
        """The same for what tools say: there, a value that is an ordinary word stays."""
        return self._without(text, tells_apart)

    def _without(self, text: str, is_one: Callable[[str], bool]) -> str:
        for value in self.headers.values():
            for secret in (value, value.rpartition(" ")[2]):  # Bearer and its token
                if is_one(secret):
                    text = text.replace(secret, "***")
        return redact_known(text)


@dataclass(frozen=True, kw_only=True)
class ToolsTold:
    """The tools of a server as it tells them, in the protocol's words; ``url`` answered.

    ``left_out`` has the names of those beyond the bound; ``is_cut``: there are more, unread.
    """

    url: str
    tools: Sequence[Mapping[str, Any]]
    left_out: frozenset[str] = frozenset()
    is_cut: bool = False


async def list_tools(
    endpoint: McpEndpoint, reach: Reach, known: Set[str] = frozenset()
) -> ToolsTold:
    """Every tool that the server offers, at most 500: those whose names are ``known`` first.

    Where one of these is not among the first 500, the list is read on, within bounds.

    Raises:
        UpstreamError: it cannot be reached, refuses us, is too slow, or speaks otherwise.
    """

    async def work(client: Any) -> tuple[list[dict[str, Any]], bool]:
        found: list[dict[str, Any]] = []
        missed, size, started = set(known), 0, monotonic()
        cursor, seen = None, set()
        for _ in range(MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            found += [one.model_dump(mode="json", by_alias=True) for one in page.tools]
            missed -= {one.name for one in page.tools}
            size += len(page.model_dump_json())
            cursor = page.next_cursor
            if cursor is None or cursor in seen:
                return found, False
            is_long = size > mcp_wire.MAX_BYTES // 2 or monotonic() - started > LIST_SECONDS / 2
            if len(found) >= (
                MOST_TOOLS * LOOKED_THROUGH if missed and not is_long else MOST_TOOLS
            ):
                break
            seen.add(cursor)
        return found, True

    url, (told, is_cut) = await _anywhere(endpoint, reach, LIST_SECONDS, work)
    told = sorted(told, key=lambda one: one["name"] not in known)
    kept, others = told[:MOST_TOOLS], told[MOST_TOOLS:]
    left_out = frozenset(str(one["name"]) for one in others)
    return ToolsTold(url=url, tools=kept, left_out=left_out, is_cut=is_cut)


async def call_tool(
    endpoint: McpEndpoint, reach: Reach, tool: str, arguments: Mapping[str, Any]
) -> str:
    """What the tool answers, as text for the model. The call is sent at most once.

    Raises:
        ToolFailedError: the tool says that it failed, or asks for what nobody here can give.
        UpstreamError: there is no answer; ``may_have_happened`` once the call may have been sent.
    """
    import mcp_types

    request = mcp_types.CallToolRequest(
        params=mcp_types.CallToolRequestParams(name=tool, arguments=dict(arguments))
    )

    async def work(client: Any) -> Any:
        # Not client.call_tool: it asks for the list anew, and runs the server's own patterns
        # over the answer, which can hold this process for ever.
        try:
            return await client.session.send_request(request, _answers())
        except _sdk_error() as error:
            if error.code != HEADER_MISMATCH:
                raise
        await client.list_tools()  # which names the headers that the tool wants
        return await client.session.send_request(request, _answers())

    _, result = await _anywhere(endpoint, reach, CALL_SECONDS, work)
    if isinstance(result, mcp_types.InputRequiredResult):
        raise ToolFailedError(endpoint.mask(asked_text(result)))
    text = result_text(result, endpoint.mask)
    if result.is_error:
        raise ToolFailedError(text or "the tool failed and did not say why")
    return text


async def _anywhere(
    endpoint: McpEndpoint, reach: Reach, seconds: float, work: Work[T]
) -> tuple[str, T]:
    """``work`` done at the first address that has an MCP server, and that address."""
    *others, last = endpoint.urls
    for url in others:
        try:
            return url, await _sure_step(endpoint, url, reach, seconds, work)
        except NotHereError:
            continue
    return last, await _sure_step(endpoint, last, reach, seconds, work)


async def _sure_step(
    endpoint: McpEndpoint, url: str, reach: Reach, seconds: float, work: Work[T]
) -> T:
    """As ``_step``; in a new session where the server has lost the first one, as it may."""
    try:
        return await _step(endpoint, url, reach, seconds, work)
    except SessionLostError:
        return await _step(endpoint, url, reach, seconds, work)


async def _step(endpoint: McpEndpoint, url: str, reach: Reach, seconds: float, work: Work[T]) -> T:
    """Connect, greet, ``work``, close: in a task of its own, which the SDK may cancel.

    Raises:
        UpstreamError: names the server; holds no secret.
    """
    await asyncio.to_thread(mcp_wire.load)  # half a second of imports, the first time
    wire = mcp_wire.Wire(
        url=url,
        reach=reach,
        read_seconds=HANDSHAKE_SECONDS + seconds,  # so that our own deadlines come first
        listens=endpoint.transport is Kind.SSE,
    )
    task = asyncio.create_task(_session(endpoint, wire, seconds, work))
    alarm = asyncio.create_task(wire.settled.wait())
    try:
        await asyncio.wait(
            {task, alarm},
            timeout=HANDSHAKE_SECONDS + seconds + CLOSE_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if wire.result:
            await asyncio.wait({task}, timeout=CLOSE_SECONDS)
    finally:
        alarm.cancel()
        await _ended(task)
    if wire.result:  # answered; how the connection ended matters to nobody
        answer: T = wire.result[0]
        return answer
    raise failure(endpoint.name, wire, _error_of(task), redact=endpoint.redact)


async def _session(
    endpoint: McpEndpoint, wire: mcp_wire.Wire, seconds: float, work: Work[T]
) -> None:
    from mcp import Client

    # SSE is the handshake's age, and some of its servers break when they are asked for another:
    # mcp 1.8 of PyPI ends the connection.
    mode = "legacy" if endpoint.transport is Kind.SSE else "auto"
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                transport = await _transport(stack, endpoint, wire)
                client = await stack.enter_async_context(
                    Client(transport, cache=None, read_timeout_seconds=wire.read_seconds, mode=mode)
                )
        except TimeoutError:
            wire.fail(f"no greeting within {HANDSHAKE_SECONDS:g} s")
            raise
        wire.is_working = True
        try:
            async with asyncio.timeout(seconds):
                wire.answer(await work(client))
        except TimeoutError:
            wire.fail(f"no answer within {seconds:g} s")
            raise


async def _transport(stack: AsyncExitStack, endpoint: McpEndpoint, wire: mcp_wire.Wire) -> Any:
    if endpoint.transport is Kind.SSE:
        from mcp.client.sse import sse_client

        def made(headers: Any = None, timeout: Any = None, auth: Any = None) -> Any:
            return mcp_wire.client(wire, endpoint.headers)

        return sse_client(
            wire.url,
            sse_read_timeout=wire.read_seconds,
            httpx_client_factory=made,
        )
    from mcp.client.streamable_http import streamable_http_client

    http = await stack.enter_async_context(mcp_wire.client(wire, endpoint.headers))
    return streamable_http_client(wire.url, http_client=http)


async def _ended(task: "asyncio.Task[None]") -> None:
    """Wait for a task that is to end, and see to it that it does.

    Closing a session asks the server once more, which may answer as slowly as it likes.
    """
    for _ in range(3):
        if task.done():
            break
        task.cancel()
        await asyncio.wait({task}, timeout=CLOSE_SECONDS)
    if not task.done():
        log.warning("a client of an MCP server does not end")
    _error_of(task)  # looked at, or asyncio would log it


def _error_of(task: "asyncio.Task[None]") -> BaseException | None:
    if not task.done() or task.cancelled():
        return None
    return task.exception()


@cache
def _answers() -> Any:
    """What a call may be answered: a result, or (2026-07-28) that the tool wants to ask first."""
    import mcp_types
    from pydantic import TypeAdapter

    kinds: Any = mcp_types.CallToolResult | mcp_types.InputRequiredResult
    return TypeAdapter(kinds)


def _sdk_error() -> Any:
    from mcp.shared.exceptions import MCPError

    return MCPError
