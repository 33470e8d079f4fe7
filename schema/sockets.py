"""The graphql-transport-ws protocol, hardened: odd messages, close reasons, codes.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from typing import Any, Final, cast

from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_transport_ws.types import Message

from aether.errors import ErrorCode
from schema.context import Context

MAX_REASON_BYTES: Final = 123  # https://www.rfc-editor.org/rfc/rfc6455#section-5.5


class Adapter(ASGIWebSocketAdapter):
    """Keeps close reasons within a control frame."""

    async def close(self, code: int, reason: str) -> None:
        short = reason.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore")
        await super().close(code, short)


def is_readable(message: Any) -> bool:
    """Whether a message has the shape that Strawberry's handler takes for granted."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return False
    if "id" in message and not isinstance(message["id"], str):
        return False
    if message["type"] != "subscribe":
        return True
    payload = message.get("payload")
    return (
        "id" in message
        and isinstance(payload, dict)
        and isinstance(payload.get("query"), str)
        and isinstance(payload.get("variables"), dict | None)
        and isinstance(payload.get("operationName"), str | None)
    )


class Handler(BaseGraphQLTransportWSHandler[Context, None]):
    """Closes with 4400 what Strawberry would drop with a traceback; codes on all errors."""

    async def handle_message(self, message: Message) -> None:
        if is_readable(message):
            await super().handle_message(message)
        else:
            await self.handle_invalid_message("Failed to parse message")

    async def send_message(self, message: Message) -> None:
        if message["type"] == "error":
            for error in cast("list[dict[str, Any]]", message["payload"]):
                # The one error the handler makes itself: too many operations on one socket.
                error.setdefault("extensions", {"code": ErrorCode.RATE_LIMITED})
        await super().send_message(message)

    async def handle_task_exception(self, error: Exception) -> None:
        if not isinstance(error, WebSocketDisconnected):  # a client that left is no bug
            await super().handle_task_exception(error)
