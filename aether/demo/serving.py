"""Serves one ASGI application on loopback from a thread of its own.

``with serving(app) as base_url`` is ready when the block starts, and has closed every
connection, socket and thread when it ends; requests still waiting then are broken off.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HOST: Final = "127.0.0.1"
_CONNECTION: Final = "aether.connection"
_DATE_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.002
_SETTING_UP_TURNS: Final = 5
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: the kernel sends RST, not FIN


@contextmanager
def serving(app: ASGIApp, *, port: int = 0) -> Iterator[str]:
    """Serve ``app`` on 127.0.0.1 while the block runs; yields ``http://127.0.0.1:PORT``.

    Args:
        app: any ASGI application; its lifespan is run in the serving thread.
        port: 0 takes a free one.

    Raises:
        OSError: the port is taken.
        TimeoutError: a request of the application would not end within 5 s of the block.
        RuntimeError: the application's lifespan failed.
    """
    listener = _listen(port)
    base_url = f"http://{HOST}:{listener.getsockname()[1]}"
    server = _Server(app)
    with ThreadPoolExecutor(1, thread_name_prefix="stand-in") as executor:
        running = executor.submit(server.run_until_stopped, listener)
        running.add_done_callback(lambda _: server.ready.set())
        server.ready.wait()
        if running.done():
            listener.close()
            running.result()
            raise RuntimeError("the application's lifespan failed to start")
        try:
            yield base_url
        finally:
            server.stop()
            running.result()


def _listen(port: int) -> socket.socket:
    # asyncio switches Nagle's delay off only where the protocol is named; create_server names
    # none, and each answer then waits 40 ms for the client's delayed ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


async def break_connection(scope: Scope, receive: Receive, *, reset: bool = True) -> None:
    """End the connection of this request without finishing its answer.

    With ``reset`` the client sees a connection reset, and what was written may be lost; without,
    it receives what was written and then an end in the middle. Outside of ``serving`` there is
    no connection to break, so that the error is raised into whoever called the application.
    """
    transport: asyncio.Transport | None = scope.get("state", {}).get(_CONNECTION)
    if transport is None:
        raise ConnectionResetError("the stand-in broke the connection")
    if reset:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
    else:
        transport.close()
    # uvicorn answers 500 for an application that returns while the client is still there.
    while (await receive())["type"] != "http.disconnect":
        pass


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also tells the application the connection it came by."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][_CONNECTION] = self.transport


class _Server(uvicorn.Server):
    """A uvicorn server that starts and stops without its tenth-of-a-second ticks."""

    def __init__(self, app: ASGIApp) -> None:
        self.ready = threading.Event()
        self._requests = _Interruptible(app)
        self._stopped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        config = Config(
            self._requests,
            http=_Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            server_header=False,
        )
        super().__init__(config)

    def run_until_stopped(self, listener: socket.socket) -> None:
        # Not the policy's loop: breaking a connection needs the plain transport's socket.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve_guarded(listener))

    async def _serve_guarded(self, listener: socket.socket) -> None:
        try:
            await self.serve(sockets=[listener])
        except SystemExit:  # uvicorn's word for a lifespan that failed; it has logged the cause
            return

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)  # sets the Date header, here and once a second below
        self.ready.set()
        while not self._stopped.is_set():
            try:
                async with asyncio.timeout(_DATE_SECONDS):
                    await self._stopped.wait()
            except TimeoutError:
                await self.on_tick(0)
        self._requests.interrupt()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, but it looks every few milliseconds: a suite stops hundreds of times."""
        loop = asyncio.get_running_loop()
        for listener in sockets or ():
            loop.remove_reader(listener.fileno())
        # asyncio loses a connection that it has accepted but not yet set up when its server
        # closes: https://github.com/python/cpython/issues/109564
        for _ in range(_SETTING_UP_TURNS):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        async with asyncio.timeout(_STOP_SECONDS):
            for connection in list(self.server_state.connections):
                connection.shutdown()
            # uvicorn tells nobody when the last connection has gone.
            while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)
            for server in self.servers:
                await server.wait_closed()
        await self.lifespan.shutdown()

    def stop(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopped.set)


class _Interruptible:
    """Runs each request as a task that the end of the server may cancel in silence."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()
        self._interrupted = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        task = asyncio.create_task(self._run(scope, receive, send))
        self._tasks.add(task)
        try:
            await task
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            await break_connection(scope, receive)
        finally:
            self._tasks.discard(task)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def interrupt(self) -> None:
        self._interrupted = True
        for task in self._tasks:
            task.cancel()
