"""The door of a stand-in: records each call and applies the faults that a test arranged."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aether.demo.serving import break_connection

Delay = float | threading.Event | threading.Semaphore
"""Seconds to wait, an event to wait for, or a semaphore to acquire."""

_EVENT_POLL_SECONDS: Final = 0.005
_ANY: Final = ".*"

Ending = Literal["answer", "drop", "drop_after_commit"]


@dataclass(kw_only=True)
class Call:
    """One request as it came in.

    ``token`` holds the last four characters only, ``headers`` no authorization. ``at`` and
    ``ended_at`` are seconds of ``time.monotonic``; ``status`` stays None while the call runs and
    for a connection that was broken.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    token: str
    json: Any
    at: float
    status: int | None = None
    ended_at: float | None = None


def most_at_once(calls: Sequence[Call]) -> int:
    """How many of ``calls`` were in flight at the same moment, at most."""
    moments = [(call.at, 1) for call in calls]
    moments += [(call.ended_at, -1) for call in calls if call.ended_at is not None]
    now, most = 0, 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    return most


@dataclass(kw_only=True)
class _Fault:
    method: re.Pattern[str]
    path: re.Pattern[str]
    left: int
    ending: Ending | None = None
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    delay: Delay | None = None
    after_commit: bool = False


class Faults:
    """What the next matching calls shall suffer, in the order in which it was arranged.

    ``method`` is a regular expression for the whole method, ``path`` one to be found in the
    path. A call uses up at most one delay and one ending (answer or drop).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[_Fault] = []

    def fail_next(
        self,
        method: str = _ANY,
        path: str = _ANY,
        *,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        times: int = 1,
    ) -> None:
        """Answer ``status`` without doing anything; ``body`` as JSON, or as it is if a string."""
        self._add(method, path, times, "answer", status=status, headers=headers or {}, body=body)

    def drop_next(self, method: str = _ANY, path: str = _ANY, *, times: int = 1) -> None:
        """Reset the connection before anything is done."""
        self._add(method, path, times, "drop")

    def drop_after_commit_next(
        self, method: str = _ANY, path: str = _ANY, *, times: int = 1
    ) -> None:
        """Do what was asked, then reset the connection: the caller cannot know what became."""
        self._add(method, path, times, "drop_after_commit")

    def delay_next(
        self,
        method: str = _ANY,
        path: str = _ANY,
        *,
        delay: Delay,
        after_commit: bool = False,
        times: int = 1,
    ) -> None:
        """Wait before doing it, or with ``after_commit`` between doing and answering.

        A caller who gives up meanwhile does not stop it, as with a real server.
        """
        self._add(method, path, times, None, delay=delay, after_commit=after_commit)

    def clear(self) -> None:
        """Forget every fault that was arranged."""
        with self._lock:
            self._faults.clear()

    def _add(
        self, method: str, path: str, times: int, ending: Ending | None, **values: Any
    ) -> None:
        fault = _Fault(
            method=re.compile(method), path=re.compile(path), left=times, ending=ending, **values
        )
        with self._lock:
            self._faults.append(fault)

    def take(self, method: str, path: str) -> tuple[_Fault | None, _Fault | None]:
        """The delay and the ending that this call suffers; used up once each."""
        with self._lock:
            matching = [
                fault
                for fault in self._faults
                if fault.method.fullmatch(method) and fault.path.search(path)
            ]
            delay = next((fault for fault in matching if fault.ending is None), None)
            ending = next((fault for fault in matching if fault.ending is not None), None)
            for fault in (delay, ending):
                if fault is not None:
                    fault.left -= 1
            self._faults = [fault for fault in self._faults if fault.left > 0]
        return delay, ending


async def pause(delay: Delay) -> None:
    """Wait that many seconds, for the event, or until the semaphore is acquired."""
    if isinstance(delay, (int, float)):
        await asyncio.sleep(delay)
        return
    is_over = (
        delay.is_set
        if isinstance(delay, threading.Event)
        else partial(delay.acquire, blocking=False)
    )
    # It belongs to another thread; a thread that waits for it could not be ended.
    while not is_over():  # noqa: ASYNC110
        await asyncio.sleep(_EVENT_POLL_SECONDS)


class Door:
    """An ASGI application around the stand-in's own: records, then applies ``faults``."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults
        self._lock = threading.Lock()
        self._calls: list[Call] = []

    @property
    def calls(self) -> list[Call]:
        """Every call so far, in the order of arrival."""
        with self._lock:
            return list(self._calls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _read_body(receive)
        call = _call(scope, body)
        with self._lock:
            self._calls.append(call)
        try:
            await self._answer(call, scope, _replay(body, receive), _noting(call, send))
        finally:
            call.ended_at = time.monotonic()

    async def _answer(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        delay, ending = self._faults.take(call.method, call.path)
        if delay is not None and delay.delay is not None and not delay.after_commit:
            await pause(delay.delay)
        if ending is not None and ending.ending == "drop":
            await break_connection(scope, receive)
            return
        held: list[Message] = []
        if ending is not None and ending.ending == "answer":
            await _fault_response(ending)(scope, receive, _hold(held))
        else:
            holds = ending is not None or delay is not None
            await self._app(scope, receive, _hold(held) if holds else send)
        if delay is not None and delay.delay is not None and delay.after_commit:
            await pause(delay.delay)
        if ending is not None and ending.ending == "drop_after_commit":
            await break_connection(scope, receive)
            return
        for message in held:
            await send(message)


def _fault_response(fault: _Fault) -> Response:
    body, headers = fault.body, dict(fault.headers)
    if isinstance(body, (str, bytes)):
        return Response(body, fault.status, headers)
    if body is None:
        body = {"message": HTTPStatus(fault.status).phrase}
    return Response(json.dumps(body), fault.status, headers, "application/json; charset=utf-8")


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _noting(call: Call, send: Send) -> Send:
    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
        await send(message)

    return noting


def _hold(held: list[Message]) -> Send:
    async def hold(message: Message) -> None:
        held.append(message)

    return hold


def _call(scope: Scope, body: bytes) -> Call:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    token = headers.pop("authorization", "").rpartition(" ")[2]
    try:
        told = json.loads(body) if body else None
    except ValueError:
        told = None
    return Call(
        method=scope["method"],
        path=scope["path"],
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers=headers,
        token=token[-4:],
        json=told,
        at=time.monotonic(),
    )
