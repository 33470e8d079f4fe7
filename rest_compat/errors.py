"""REST's side of aether.errors: every failure is ``{"error": text}`` and a status."""

import asyncio
import logging
import math
from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aether.errors import HTTP_STATUS, OUT_OF_REACH, AetherError, UnauthenticatedError
from rest_compat.shapes import to_json

log = logging.getLogger(__name__)

STOPPING: Final = "this server is stopping; try again"


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """One error as the reference shows it."""
    return Response(
        to_json({"error": text}),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )


def told(error: AetherError) -> Response:
    """An expected failure, as its class says."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(0, math.ceil(error.retry_after)))
    if isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    return refusal(HTTP_STATUS[error.code], str(error), headers)


async def _expected(_: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, AetherError)  # noqa: S101  # registered for it alone
    return told(error)


async def _unrouted(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 404:
        return refusal(404, "no such path", error.headers)
    if error.status_code == 405:
        allowed = ", ".join(sorted(_allowed(request)))
        return refusal(405, f"not allowed here; allowed: {allowed}", {"Allow": allowed})
    return refusal(error.status_code, error.detail, error.headers)


def _allowed(request: HTTPConnection) -> set[str]:
    """The methods of the first route that matches: one route has a path's methods all."""
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            return route.methods or set()
    return set()


async def _out_of_reach(request: HTTPConnection, error: Exception) -> Response:
    method = request.scope.get("method", "WEBSOCKET")
    log.warning("out of reach at %s %r: %r", method, request.scope["path"], error)
    return refusal(503, OUT_OF_REACH, {"Retry-After": "5"})


async def _gone(_: HTTPConnection, __: Exception) -> None:
    """The client left while its body was read: nobody is there to answer."""


def exception_handlers(unavailable: tuple[type[Exception], ...]) -> dict[Any, Any]:
    """Starlette's ``exception_handlers``.

    ``unavailable`` are the errors of drivers that mean database or queue are out of reach
    (503). What none of these know is ``LastResort``'s.
    """
    return {
        AetherError: _expected,
        HTTPException: _unrouted,
        ClientDisconnect: _gone,
        **dict.fromkeys(unavailable, _out_of_reach),
    }


class LastResort:
    """Outermost middleware: a bug is a 500 without its text, logged once with its traceback.

    Starlette's own handler for ``Exception`` raises it again after answering, so that the
    server would log it a second time. A request that the server cancels, because it is told to
    stop and has waited long enough, is a 503; the server alone would make it a 500.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except asyncio.CancelledError:
            log.warning("stopping before %s %r was answered", scope["method"], scope["path"])
            if not started:
                await refusal(503, STOPPING, {"Retry-After": "5"})(scope, receive, send)
        except Exception:  # a door
            log.exception("unhandled error at %s %r", scope["method"], scope["path"])
            if not started:  # else the server sees an unfinished answer and cuts the connection
                await refusal(500, "internal error")(scope, receive, send)
