"""A server process for test_sockets: ``python -m tests.rest_compat.serve FD``."""

import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from aether.config import Settings
from resolvers import deliveries, monitoring
from rest_compat import OPS, exception_handlers, middleware
from rest_compat.op import routes
from tests.rest_compat import table


async def _health() -> Any:
    return SimpleNamespace(status="ok", timestamp=table.CREATED)


async def _receive(slug: str, _: Mapping[str, str], body: bytes) -> Any:
    return SimpleNamespace(
        status="ignored",
        delivery_id=len(body),
        canonical_trigger=None,
        canonical_triggers=[],
        executions=[],
    )


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


def main() -> None:
    monitoring.health = _health
    deliveries.receive_delivery = _receive  # type: ignore[assignment] # its arguments' names
    app = Starlette(
        routes=[*routes((*OPS, *table.OPS)), WebSocketRoute("/graphql", _socket)],
        middleware=middleware(Settings.from_environment({})),
        exception_handlers=exception_handlers(()),
    )
    app.router.redirect_slashes = False
    uvicorn.run(app, fd=int(sys.argv[1]), log_level="warning", lifespan="off")


if __name__ == "__main__":
    main()
