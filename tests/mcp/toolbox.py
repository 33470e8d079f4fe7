"""MCP servers to try: the SDK's own, with tools that can be changed, and some that misbehave."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations
from starlette.types import ASGIApp, Receive, Scope, Send

from aether.demo.serving import break_connection, serving
from aether.reach import Reach
from aether.tools.mcp import McpEndpoint
from aether.vocabulary import McpTransport

STREAMABLE: Final = McpTransport.STREAMABLE_HTTP
SSE: Final = McpTransport.SSE
LOOPBACK: Final = Reach(("127.0.0.1",))
READS: Final = ToolAnnotations(read_only_hint=True)
IDEMPOTENT: Final = ToolAnnotations(idempotent_hint=True)
OPEN: Final = TransportSecuritySettings(enable_dns_rebinding_protection=False)

Tool = Callable[..., Any]


class Toolbox:
    """An MCP server made with the SDK; ``asked`` has the requests, ``called`` the tools' calls.

    With ``required`` every request must carry these headers.
    """

    def __init__(self, *, required: Mapping[str, str] | None = None) -> None:
        self.server: MCPServer[Any] = MCPServer("Tries")
        self.required = dict(required or {})
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.called: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    def put(
        self,
        name: str,
        tool: Tool,
        description: str = "Do it.",
        *,
        annotations: ToolAnnotations | None = None,
    ) -> None:
        """Offer a tool, or another one under its name."""
        if name in {one.name for one in self.server._tool_manager.list_tools()}:
            self.server.remove_tool(name)
        self.server.add_tool(tool, name, description=description, annotations=annotations)

    def take(self, name: str) -> None:
        """Offer it no more."""
        self.server.remove_tool(name)

    def put_search(self, description: str = "Search the pages.", **told: Any) -> None:
        """``search(query)``, which reads."""

        def search(query: str) -> str:
            self.called.append(("search", {"query": query}))
            return f"found: {query}"

        self.put("search", search, description, **{"annotations": READS, **told})

    def put_publish(self, **told: Any) -> None:
        """``publish(text)``, which writes."""

        def publish(text: str) -> str:
            self.called.append(("publish", {"text": text}))
            return f"published: {text}"

        self.put("publish", publish, "Publish a page.", **told)

    @contextmanager
    def served(self, transport: McpTransport = STREAMABLE, **told: Any) -> Iterator["Toolbox"]:
        """Serve it at ``url``, a host without a path."""
        app: ASGIApp = (
            self.server.sse_app(transport_security=OPEN, **told)
            if transport is SSE
            else self.server.streamable_http_app(transport_security=OPEN, **told)
        )

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                headers = {key.decode(): value.decode() for key, value in scope["headers"]}
                self.asked.append((scope["method"], scope["path"], headers))
                if any(headers.get(key.lower()) != one for key, one in self.required.items()):
                    await answer(401, b"who are you")(scope, receive, send)
                    return
            await app(scope, receive, send)

        with serving(guarded) as self.url:
            yield self

    def endpoint(self, transport: McpTransport = STREAMABLE, **headers: str) -> McpEndpoint:
        return McpEndpoint(name="Tries", url=self.url, transport=transport, headers=headers)


def answer(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> ASGIApp:
    """An application that always says this."""
    told = {"content-type": "text/plain", **(headers or {})}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await lifespan(receive, send)
        raw = [(key.encode(), one.encode()) for key, one in told.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})
        return None

    return app


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes every request and never says anything."""
    if scope["type"] != "http":
        return await lifespan(receive, send)
    while (await receive())["type"] != "http.disconnect":
        pass
    await asyncio.Event().wait()
    return None


async def dripping(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers every request with an event stream of keep-alives and nothing else."""
    if scope["type"] != "http":
        return await lifespan(receive, send)
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})
        await asyncio.sleep(0.02)


def dying(inner: ASGIApp, *, at: bytes = b"tools/call") -> ASGIApp:
    """``inner``, whose connection breaks without an answer once a request's body holds ``at``."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await inner(scope, receive, send)
            return
        message = await receive()
        if at in message.get("body", b""):
            await break_connection(scope, receive)
            return

        waiting = [message]

        async def again() -> Any:
            return waiting.pop() if waiting else await receive()

        await inner(scope, again, send)

    return app
