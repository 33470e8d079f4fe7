"""MCP servers to try: the SDK's own, with tools that can be changed, and some that misbehave."""

import asyncio
import json
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


class ByHand:
    """A server of the handshake's age, written by hand: it says what the SDK's own would not.

    ``says``, by method: the result, or what makes it or an application of the message. ``asked``
    has the methods, ``called`` the arguments of the tools' calls.
    """

    def __init__(self, **says: Any) -> None:
        self.says = {name.replace("_", "/"): one for name, one in says.items()}
        self.asked: list[str] = []
        self.called: list[tuple[str, dict[str, Any]]] = []
        self.heard: list[dict[str, Any]] = []
        self.url = ""

    def offer(self, *tools: Mapping[str, Any]) -> None:
        """Offer these tools, told as the protocol does."""
        self.says["tools/list"] = {"tools": list(tools)}

    @contextmanager
    def served(self) -> Iterator["ByHand"]:
        """Serve it at ``url``, which has a path."""
        with serving(self._app) as host:
            self.url = f"{host}/mcp"
            yield self

    def endpoint(self, **headers: str) -> McpEndpoint:
        return McpEndpoint(name="Tries", url=self.url, transport=STREAMABLE, headers=headers)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await lifespan(receive, send)
        if scope["method"] != "POST":
            return await answer(405 if scope["method"] == "GET" else 200, b"")(scope, receive, send)
        message = await _read(receive)
        self.heard.append(message)
        method = message.get("method", "")
        self.asked.append(method)
        if method == "tools/call":
            params = message["params"]
            self.called.append((params["name"], params.get("arguments") or {}))
        said = self.says.get(method, _USUAL.get(method))
        if callable(said):
            said = said(message)
        if "id" not in message or not method:
            app = answer(202, b"")
        elif said is None:
            app = error(message, -32601, "Method not found")
        else:
            app = said if callable(said) else result(message, said)
        return await app(scope, receive, send)


_USUAL: Final[Mapping[str, Any]] = {
    "initialize": {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "by hand", "version": "1"},
    },
    "tools/list": {"tools": [{"name": "search", "inputSchema": {"type": "object"}}]},
    "tools/call": {"content": [{"type": "text", "text": "found"}]},
}


def result(
    message: Mapping[str, Any], said: Any, headers: Mapping[str, str] | None = None
) -> ASGIApp:
    """The answer to ``message``; what opens a session is its header."""
    more = {"mcp-session-id": "one"} if message["method"] == "initialize" else {}
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": said})
    return answer(200, body.encode(), {**JSON, **more, **(headers or {})})


def error(message: Mapping[str, Any], code: int, text: str, *, status: int = 200) -> ASGIApp:
    """A refusal of ``message``."""
    told = {"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": text}}
    return answer(status, json.dumps(told).encode(), JSON)


async def _read(receive: Receive) -> dict[str, Any]:
    body = b""
    while True:
        part = await receive()
        body += part.get("body", b"")
        if not part.get("more_body"):
            break
    message: dict[str, Any] = json.loads(body)
    return message


JSON: Final = {"content-type": "application/json"}


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
