"""Sends a scripted reply over HTTP, whole or as server-sent events, with its faults."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aether.demo import model_wire as wire
from aether.demo.faults import Delay, pause
from aether.demo.model_script import ChatRequest, Reply, digest
from aether.demo.serving import break_connection


def answer(chat: ChatRequest, reply: Reply) -> Response:
    """The HTTP answer that says ``reply``."""
    if reply.resets:
        return _Broken([], {})
    if reply.body is not None:
        return json_answer(reply.body, reply.status, reply.headers)
    if not chat.json.get("stream") or reply.ignores_stream:
        body = json.dumps(wire.completion(chat, reply)).encode()
        if reply.cut_after is None:
            return Response(body, reply.status, {**reply.headers}, "application/json")
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        return _Broken([body[: len(body) // 2]], headers)
    headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    lines = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in wire.chunks(chat, reply)]
    if reply.cut_after is not None:
        return _Broken(lines[: reply.cut_after], headers)
    return _Streamed([*_ended(lines, reply)], headers | {**reply.headers}, reply.pace)


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``body`` as JSON, or as it is if it is text."""
    named = {"x-request-id": f"req_{digest(body)[:32]}", **(headers or {})}
    if isinstance(body, (str, bytes)):
        return Response(body, status, named, "text/plain; charset=utf-8")
    return Response(json.dumps(body), status, named, "application/json")


def _ended(lines: Sequence[bytes], reply: Reply) -> Iterator[bytes]:
    if reply.breaks_after is not None:
        yield from lines[: reply.breaks_after]
        yield f"data: {json.dumps(reply.error_event)}\n\n".encode()
        return
    if reply.ends_after is not None:
        yield from lines[: reply.ends_after]
        return
    yield from lines
    yield b"data: [DONE]\n\n"


class _Streamed(Response):
    """Sends each part as a chunk of its own, in its pace; ends when the client has gone."""

    def __init__(
        self, parts: Sequence[bytes], headers: Mapping[str, str], pace: Delay = 0.0
    ) -> None:
        self.parts = parts
        self.pace = pace
        super().__init__(None, 200, dict(headers))
        self.raw_headers = [
            (name.encode(), value.encode()) for name, value in headers.items()
        ]  # without the content-length of an empty body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await self.start(receive, send):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def start(self, receive: Receive, send: Send) -> bool:
        """Send the parts; whether the client was there to the end."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        for number, part in enumerate(self.parts):
            if number and self.pace and not await self._is_there(receive):
                return False
            await send({"type": "http.response.body", "body": part, "more_body": True})
        return True

    async def _is_there(self, receive: Receive) -> bool:
        """Wait for the pace; whether the client is still there after it."""
        waiting = asyncio.create_task(pause(self.pace))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return not leaving.done()
        finally:
            waiting.cancel()
            leaving.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Broken(_Streamed):
    """Sends its parts, then ends the connection; with none, resets it before any answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.parts:
            await self.start(receive, send)
        await break_connection(scope, receive, reset=not self.parts)
