"""Why a step with an MCP server failed, in words that name the server and hold no secret."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from pydantic import ValidationError

from aether.errors import UpstreamError
from aether.tools.mcp_definitions import quoted, visible
from aether.tools.mcp_wire import Wire

MAX_MESSAGE_CHARACTERS: Final = 300
ELSEWHERE: Final = frozenset({404, 405})  # of a path at which there is no MCP server
REFUSALS: Final = frozenset({-32600, -32601, -32602, -32020})
"""JSON-RPC's codes, and the protocol's for headers, of a request that was not carried out:
https://www.jsonrpc.org/specification#error_object"""
PARSE_ERROR: Final = -32700


class NotHereError(UpstreamError):
    """There is no MCP server at this path of the host."""


class SessionLostError(UpstreamError):
    """The server knows the session no more; what was asked in it was not done.

    https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management
    """


def failure(
    name: str, wire: Wire, error: BaseException | None, *, redact: Callable[[str], str]
) -> UpstreamError:
    """The failure of a step with the server ``name``; ``redact`` takes its headers' values out."""
    found = next(
        (one for one in _leaves(error) if not isinstance(one, asyncio.CancelledError)), None
    )
    told = wire.failure or (found if isinstance(found, UpstreamError) else None)
    status, retryable = wire.status, True
    if told is not None:
        problem, retryable = str(told), told.retryable
        status = told.status or status
    elif isinstance(found, _sdk_error()):
        problem = f"answered {status}" if status else _said(found)
        retryable = status is None or status >= 500 or status == 429
    elif found is not None:
        problem = _plain(found)
    else:
        problem = "closed the connection"
    if wire.retry_after is not None:
        problem += f"; it may be asked again in {wire.retry_after:.0f} s"
    problem = " ".join(visible(redact(problem)).split())[:MAX_MESSAGE_CHARACTERS]
    kind = UpstreamError
    if wire.is_session_lost:
        kind = SessionLostError
    elif not wire.is_working and status in ELSEWHERE:
        kind = NotHereError
    return kind(
        f"MCP server {quoted(name)}: {problem}",
        status=status,
        retryable=retryable,
        retry_after=wire.retry_after,
        may_have_happened=wire.is_working and not _is_refusal(found, status),
    )


def _is_refusal(error: BaseException | None, status: int | None) -> bool:
    """Whether the server has said that it did not do what it was asked."""
    if status is not None:
        return 300 <= status < 500 and status != 408
    return isinstance(error, _sdk_error()) and error.code in REFUSALS


def _said(error: Any) -> str:
    if error.code == PARSE_ERROR and str(error.message).startswith("Failed to parse"):
        return "sent what is no JSON, or nested too deeply"  # the SDK's words, not the server's
    return f"says: {error.message}"


def _plain(error: BaseException) -> str:
    """A library's error without its text, where that may quote a header or an answer."""
    import httpx2

    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return f"cannot be reached ({str(error) or type(error).__name__})"
    if isinstance(error, httpx2.HTTPStatusError):
        return f"answered {error.response.status_code}"
    if isinstance(error, httpx2.SSEError):
        return "sent an event over 1 MB, or none at all"
    if isinstance(error, ValidationError):
        [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
        where = ".".join(map(str, first["loc"]))[:100]
        return f"sent what the protocol does not know, at {where or 'its beginning'}"
    if isinstance(error, ValueError):
        return "sent what the protocol does not know"
    if isinstance(error, RuntimeError) and "protocol version" in str(error):
        return "speaks no version of the protocol that is known here"
    return f"the connection broke ({type(error).__name__})"


def _leaves(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [] if error is None else [error]


def _sdk_error() -> Any:
    from mcp.shared.exceptions import MCPError

    return MCPError
