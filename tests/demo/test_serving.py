"""The server of the stand-ins starts at once and leaves nothing behind."""

import asyncio
import contextlib
import gc
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from aether.demo.serving import break_connection, serving


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


HELLO = Starlette(routes=[Route("/", hello)])


def test_it_answers_as_soon_as_the_block_starts() -> None:
    with serving(HELLO) as url:
        answer = httpx.get(url)

    assert url.startswith("http://127.0.0.1:")
    assert answer.text == "hello"


def test_after_the_block_no_thread_and_no_listener_is_left() -> None:
    threads = set(threading.enumerate())

    with serving(HELLO) as url, httpx.Client() as client:
        client.get(url)
        assert len(threading.enumerate()) == len(threads) + 1

    assert set(threading.enumerate()) == threads
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_request_that_still_waits_is_broken_off_at_the_end() -> None:
    arrived = threading.Event()

    async def forever(_: Request) -> Response:
        arrived.set()
        await asyncio.Event().wait()
        return PlainTextResponse("never")

    with ThreadPoolExecutor(1) as caller:
        with serving(Starlette(routes=[Route("/", forever)])) as url:
            waiting = caller.submit(httpx.get, url, timeout=10)
            assert arrived.wait(5)

        assert isinstance(waiting.exception(5), httpx.ReadError)


def test_a_taken_port_is_told_and_a_freed_one_can_be_used_again() -> None:
    with serving(HELLO) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), serving(HELLO, port=port):
            pass

    with serving(HELLO, port=port) as again:
        assert again == url
        assert httpx.get(again).status_code == 200


def test_a_lifespan_that_fails_is_told_and_leaves_no_thread() -> None:
    threads = set(threading.enumerate())

    class Broken(AbstractAsyncContextManager[None]):
        async def __aenter__(self) -> None:
            raise ValueError("no")

        async def __aexit__(self, *_: object) -> None: ...

    app = Starlette(lifespan=lambda _: Broken())

    with pytest.raises(RuntimeError, match="lifespan"), serving(app):
        pass

    assert set(threading.enumerate()) == threads


def test_an_error_in_the_block_stops_the_server_and_comes_through() -> None:
    with pytest.raises(KeyError), serving(HELLO) as url:
        raise KeyError("mine")

    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_answers_do_not_wait_for_delayed_acknowledgements() -> None:
    async def no_delay(request: Request) -> Response:
        connection = request.scope["state"]["aether.connection"].get_extra_info("socket")
        return PlainTextResponse(str(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))

    with serving(Starlette(routes=[Route("/", no_delay)])) as url:
        assert httpx.get(url).text == "1"


async def test_outside_of_serving_a_broken_connection_is_an_error() -> None:
    async def receive() -> dict[str, object]:
        raise AssertionError("not asked")

    with pytest.raises(ConnectionResetError):
        await break_connection({"type": "http"}, receive)


def test_it_listens_on_loopback_only() -> None:
    with serving(HELLO) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), timeout=1)


def test_a_connection_that_comes_while_the_server_stops_is_closed_with_it() -> None:
    for _ in range(50):
        with serving(HELLO) as base_url:
            host, port = base_url.removeprefix("http://").split(":")
            late = socket.create_connection((host, int(port)), timeout=5)
        with contextlib.suppress(ConnectionResetError):  # it was not even accepted
            assert late.recv(1) == b""
        late.close()
    gc.collect()  # a connection that was left open warns here, and warnings are errors
