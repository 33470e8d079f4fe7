"""The GraphQL endpoint: HTTP, server-sent events, sockets, and the GraphiQL page with its files."""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from datetime import timedelta
from typing import Any, Final, cast

from cross_web import AsyncHTTPRequestAdapter, HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError, MissingQueryError
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.http.base import BaseRequestProtocol
from strawberry.http.streaming import HTTPStreamTransport
from strawberry.http.websocket_origin import is_same_origin
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL, GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UNSET, UnsetType

from aether import audit
from aether.config import Settings
from schema import build_schema, graphiql
from schema.context import Context
from schema.core import Schema
from schema.errors import code_of_status, error_body, refused_before_it_ran
from schema.events import Events
from schema.sockets import Adapter, Handler
from schema.wire import RESPONSE_TYPE, decode, encode, media_type

log = logging.getLogger(__name__)

MOUNT_PATH: Final = "/graphql"
STATIC_PATH: Final = "/static/graphiql"

MAX_BODY_BYTES: Final = 1024 * 1024
SEND_TIMEOUT_SECONDS: Final = 30.0
INIT_TIMEOUT: Final = timedelta(seconds=10)
MAX_OPERATIONS_A_SOCKET: Final = 100

ALLOWED: Final[Mapping[str, frozenset[OperationType]]] = {
    "GET": frozenset({OperationType.QUERY}),
    "POST": frozenset({OperationType.QUERY, OperationType.MUTATION}),
}
"""What plain HTTP runs: nothing that changes anything by GET, no subscription as if a query."""


class StalledError(OSError):
    """The client stopped reading. An OSError, which Starlette takes for a lost connection."""


class ClosingStream(StreamingResponse):
    """Closes its source when the client is gone, so that a subscription's ``finally`` runs."""

    async def stream_response(self, send: Send) -> None:
        source = cast("Any", self.body_iterator)
        async with contextlib.aclosing(source):
            await super().stream_response(send)


class View(GraphQL[Context, None]):
    """Strawberry's ASGI view with its gaps closed.

    Everything that fails before an operation is run is answered as GraphQL errors with a code.
    Requests and sockets of a foreign ``Origin`` are refused unless it is in ``origins``.
    """

    websocket_adapter_class = Adapter
    graphql_transport_ws_handler_class = Handler
    stream_transport_classes_by_protocol: Mapping[str, type[HTTPStreamTransport]] = {
        GRAPHQL_SSE_PROTOCOL: Events
    }
    schema: Schema

    def __init__(
        self,
        schema: Schema,
        *,
        origins: tuple[str, ...] = (),
        token: str | None = None,
        send_timeout_seconds: float = SEND_TIMEOUT_SECONDS,
    ) -> None:
        super().__init__(
            schema,
            graphql_ide="graphiql",
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL),
            connection_init_wait_timeout=INIT_TIMEOUT,
            max_subscriptions_per_connection=MAX_OPERATIONS_A_SOCKET,
            allowed_origins=origins,
        )
        self._token = token
        self._send_timeout_seconds = send_timeout_seconds

    # --- ASGI ---------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(None) as connection:
                timed = self._timed(send, connection)
                if scope["type"] == "websocket":
                    socket = WebSocket(scope, receive=receive, send=timed)
                    await (self.reject_websocket if _inner_path(scope) else self.run)(socket)
                else:
                    response = await self._respond(Request(scope, _bounded(receive)))
                    await response(scope, receive, timed)
        except (StalledError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and not connection.expired():
                raise
            log.info("closed a GraphQL connection: the client stopped reading")
        except ClientDisconnect:
            log.debug("the client left before its request was read")

    def _timed(self, send: Send, connection: asyncio.Timeout) -> Send:
        """``send`` with a limit: a client that never reads is otherwise kept for ever."""

        async def timed(message: MutableMapping[str, Any]) -> None:
            try:
                async with asyncio.timeout(self._send_timeout_seconds):
                    await send(message)
                    if message["type"] == "websocket.send" or message.get("more_body"):
                        # A source that is never out of events would else keep the loop from
                        # writing, and fill the memory instead.
                        await asyncio.sleep(0)
            except TimeoutError:
                connection.reschedule(asyncio.get_running_loop().time())
                raise StalledError from None

        return timed

    async def _respond(self, request: Request) -> Response:
        try:
            path = _inner_path(request.scope)
            if path.startswith(STATIC_PATH + "/"):
                return self._static(request, path.removeprefix(STATIC_PATH + "/"))
            if path:
                raise HTTPException(404, "Not Found")  # noqa: TRY301 - one shape for all refusals
            self._check_origin(request)
            return await self.run(request)
        except HTTPException as refused:
            body = error_body(refused.reason, code_of_status(refused.status_code))
            return Response(
                encode(body),
                refused.status_code,
                media_type=media_type(request.headers.get("accept")),
                headers={"Vary": "Accept"},
            )

    def _check_origin(self, request: Request) -> None:
        """A page of another site must not make a browser act here on its user's behalf."""
        origin = request.headers.get("origin")
        if origin is None or request.headers.get("sec-fetch-site") == "same-origin":
            return
        if is_same_origin(origin, request.headers.get("host")):
            return
        if not self.is_websocket_origin_allowed(cast("Any", request), origin):
            raise HTTPException(403, "Origin: not allowed; set FRONTEND_ORIGINS")

    # --- reading ------------------------------------------------------------------------

    def decode_json(self, data: str | bytes) -> Any:
        return decode(data)

    def encode_json(self, data: object) -> str:
        return encode(data)

    def parse_json(self, data: str | bytes) -> Any:
        value = super().parse_json(data)
        if not isinstance(value, dict | list):
            raise HTTPException(400, "JSON must be an object")
        return value

    async def parse_http_body(
        self, request: AsyncHTTPRequestAdapter
    ) -> GraphQLRequestData | list[GraphQLRequestData]:
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            # Only this kind makes a browser ask before it posts across sites.
            raise HTTPException(400, "Content-Type: must be application/json")
        data = await super().parse_http_body(request)
        if isinstance(data, GraphQLRequestData) and not isinstance(data.operation_name, str | None):
            raise HTTPException(400, "operationName: must be a string or null")
        return data

    async def get_context(
        self, request: Request | WebSocket, response: Response | WebSocket
    ) -> Context:
        return Context(authorization=request.headers.get("authorization"))

    async def on_ws_connect(self, context: Context) -> UnsetType | dict[str, object] | None:
        """A browser cannot set headers on a socket: the token may come with connection_init.

        Its payload is ``{"Authorization": "Bearer ..."}``, the name in any case.
        """
        if self._token is not None:
            told = {str(k).lower(): v for k, v in (context.connection_params or {}).items()}
            sent = context.authorization or told.get("authorization")
            scheme, _, token = sent.partition(" ") if isinstance(sent, str) else ("", "", "")
            given = token.strip().encode(errors="replace")
            proven = hmac.compare_digest(given, self._token.encode())
            if scheme.lower() != "bearer" or not proven:
                log.warning("a socket without the API_TOKEN was refused (%s)", audit.origin())
                raise ConnectionRejectionError
        return cast("UnsetType", UNSET)  # Strawberry: acknowledge without a payload

    # --- running ------------------------------------------------------------------------

    async def execute_single(
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        sub_response: Response,
        context: Context,
        root_value: None,
        request_data: GraphQLRequestData,
    ) -> ExecutionResult:
        try:
            return await self.schema.execute(
                request_data.query,
                root_value=root_value,
                variable_values=request_data.variables,
                context_value=context,
                operation_name=request_data.operation_name,
                allowed_operation_types=ALLOWED[request_adapter.method],
                operation_extensions=request_data.extensions,
            )
        except CannotGetOperationTypeError as error:
            raise HTTPException(400, error.as_http_error_reason()) from error
        except InvalidOperationTypeError as error:
            raise HTTPException(405, error.as_http_error_reason(request_adapter.method)) from error
        except MissingQueryError as error:
            raise HTTPException(400, "query: missing") from error

    # --- answering ----------------------------------------------------------------------

    def should_render_graphql_ide(self, request: BaseRequestProtocol) -> bool:
        asked = request.query_params
        return (
            request.method == "GET"
            and "text/html" in request.headers.get("accept", "")
            and asked.get("query") is None
            and asked.get("extensions") is None
        )

    async def render_graphql_ide(self, request: Request) -> Response:
        root = request.scope.get("root_path", "").removesuffix(MOUNT_PATH)
        return HTMLResponse(
            graphiql.page(root + MOUNT_PATH + STATIC_PATH),
            headers={"Content-Security-Policy": graphiql.content_security_policy()},
        )

    def _static(self, request: Request, name: str) -> Response:
        file = graphiql.file_named(name)
        if file is None:
            raise HTTPException(404, "Not Found")
        if request.method not in ("GET", "HEAD"):
            raise HTTPException(405, "only GET and HEAD")
        return FileResponse(
            file,
            media_type=graphiql.MEDIA_TYPES[file.suffix],
            headers={"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"},
        )

    async def get_sub_response(self, request: Request | WebSocket) -> Response:
        response = await super().get_sub_response(request)
        response.media_type = media_type(request.headers.get("accept"))
        response.headers["Vary"] = "Accept"
        return response

    def create_response(
        self,
        response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse],
        sub_response: Response,
    ) -> Response:
        answer = dict(cast("GraphQLHTTPResponse", response_data))  # batches are refused
        if sub_response.media_type == RESPONSE_TYPE:
            status = refused_before_it_ran(answer)
            if status is not None:
                sub_response.status_code = status
                answer.pop("data", None)
        response = super().create_response(cast("GraphQLHTTPResponse", answer), sub_response)
        response.headers["Content-Type"] = str(sub_response.media_type)
        return response

    async def create_streaming_response(
        self,
        request: Request | WebSocket,
        stream: Callable[[], AsyncIterator[str]],
        sub_response: Response,
        headers: Mapping[str, str],
    ) -> Response:
        return ClosingStream(
            stream(),
            status_code=sub_response.status_code or 200,
            headers={**sub_response.headers, **headers},
        )


def _bounded(receive: Receive) -> Receive:
    """``receive`` that stops reading a body beyond MAX_BODY_BYTES, whatever its headers say."""
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
        return message

    return bounded


def _inner_path(scope: Scope) -> str:
    """The path below the endpoint: empty for the endpoint itself, as a Route and as a Mount."""
    root: str = scope.get("root_path", "")
    path: str = scope["path"].removeprefix(root)
    if not root.endswith(MOUNT_PATH):
        path = path.removeprefix(MOUNT_PATH)
    return "" if path == "/" else path


def graphql_app(settings: Settings) -> View:
    """The ASGI application to mount at MOUNT_PATH, with and without a slash at its end."""
    token = settings.api_token
    return View(
        build_schema(),
        origins=settings.frontend_origins,
        token=token.get_secret_value() if token else None,
    )
