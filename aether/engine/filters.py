"""Runs users' jq programs in child processes with limits.

A program sees the payload as ``.`` and the event's summary as ``$event``. What a child may do
and how it is spoken to: ``jq_child.py``.
"""

import asyncio
import contextlib
import json
import logging
import re
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from aether.errors import InvalidInputError, UnavailableError
from aether.sources.reading import decode_json

log = logging.getLogger(__name__)

LONGEST_PROGRAM: Final = 4_096
BUDGET_SECONDS: Final = 0.5
SHORTEST_BUDGET: Final = 0.01
"""Seconds; with less than this left no further program is tried."""

START_SECONDS: Final = 20.0
FALSE_STARTS: Final = 3
GRACE_SECONDS: Final = 5.0
"""How long a child may take to read a request, and to be silent beyond its budget: by then its
own alarm has ended it, unless it hangs."""

CHILD: Final = Path(__file__).with_name("jq_child.py")

Mode = Literal["decide", "extract", "check"]

_REFUSED_WORDS: Final = re.compile(
    r"(?<![.\w])(?:import|include|env|modulemeta|input_filename|get_search_list)\b|\$ENV\b"
)
"""What reads files or the environment. A child has neither; this is the clear refusal. A field
of such a name (``.env``) is none of them."""

_UNWRITABLE: Final = re.compile("[\0\ud800-\udfff]")


def refusal(program: str) -> str | None:
    """Why ``program`` is not even tried, or None."""
    if not program.strip():
        return "is empty"
    if len(program) > LONGEST_PROGRAM:
        return f"is longer than {LONGEST_PROGRAM} characters"
    if _UNWRITABLE.search(program):
        return "holds a NUL or half a character"
    if word := _REFUSED_WORDS.search(program):
        return f"the word {word.group()} is not allowed, also not inside a string"
    return None


class FilterPool:
    """A few child processes that answer in turn. Belongs to the event loop that first uses it.

    Any number of callers may ask at once; each waits for a child to be free. A caller may be
    cancelled at any time.
    """

    def __init__(self, *, children: int = 2) -> None:
        self._children = [_Child() for _ in range(children)]
        self._idle: asyncio.Queue[_Child] = asyncio.LifoQueue()  # the last used is the warmest
        for child in self._children:
            self._idle.put_nowait(child)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    async def start(self) -> None:
        """Start the children now rather than at their first use.

        Raises:
            UnavailableError: they do not start, or the pool is closed.
        """
        self._check_usable()
        await asyncio.gather(*(child.ready() for child in self._children))

    async def close(self) -> None:
        """End the children once the calls under way are over; further calls are refused."""
        self._is_closed = True
        for _ in self._children:
            await self._idle.get()
        await asyncio.gather(*(child.close() for child in self._children))
        for child in self._children:
            self._idle.put_nowait(child)  # whoever waits for one is refused

    async def evaluate(
        self,
        programs: Sequence[str],
        payload: bytes | Mapping[str, Any],
        event: Mapping[str, Any],
        *,
        budget_seconds: float = BUDGET_SECONDS,
    ) -> list[bool | None]:
        """What each program says: whether its first output is neither ``false`` nor ``null``.

        None: it gave no output, failed, was refused, or was ended for its time or memory. All
        share ``budget_seconds`` of running time; one that uses up its share does not take the
        others' away. ``payload`` as bytes is JSON text that ``decode_json`` has accepted; jq
        refuses it where it holds lone surrogates, which a decoded one no longer does.

        Raises:
            UnavailableError: no child can be started, or the pool is closed.
        """
        answers = await self._ask("decide", programs, payload, event, budget_seconds)
        return [answer == b"1" if answer else None for answer in answers]

    async def extract(
        self,
        programs: Mapping[str, str],
        payload: bytes | Mapping[str, Any],
        event: Mapping[str, Any],
        *,
        budget_seconds: float = BUDGET_SECONDS,
    ) -> dict[str, Any]:
        """The first output of each named program; None where ``evaluate`` would say None.

        Raises:
            UnavailableError: no child can be started, or the pool is closed.
        """
        asked = list(programs.values())
        answers = await self._ask("extract", asked, payload, event, budget_seconds)
        return dict(zip(programs, map(_decoded, answers), strict=True))

    async def check(self, program: str, *, field: str = "jq_filter") -> None:
        """Return quietly if the program can be saved.

        Raises:
            InvalidInputError: it is refused, does not compile, or does not end on ``null``.
            UnavailableError: no child can be started, or the pool is closed.
        """
        if problem := refusal(program):
            raise InvalidInputError(field, problem)
        [answer] = await self._ask("check", [program], b"null", {}, BUDGET_SECONDS)
        if answer is None:
            raise InvalidInputError(field, "does not end, or needs too much memory")
        if not answer:
            raise InvalidInputError(field, "is not a program that jq can read")

    async def _ask(
        self,
        mode: Mode,
        programs: Sequence[str],
        payload: bytes | Mapping[str, Any],
        event: Mapping[str, Any],
        seconds: float,
    ) -> list[bytes | None]:
        """An answer each; empty: nothing came of it. None: not tried, or the child was ended."""
        answers: list[bytes | None] = [None] * len(programs)
        waiting = [place for place, program in enumerate(programs) if refusal(program) is None]
        self._check_usable()
        if not waiting:
            return answers
        told = (_encoded(event), _encoded(payload))
        child = await self._idle.get()
        try:
            self._check_usable()
            false_starts = 0
            while waiting and seconds >= SHORTEST_BUDGET:
                asked = [programs[place] for place in waiting]
                given, took = await child.exchange(mode, asked, *told, seconds)
                if given is None:
                    false_starts += 1
                    if false_starts == FALSE_STARTS:
                        raise UnavailableError("jq: its process keeps ending before it reads")
                    continue
                seconds -= took
                for place, answer in zip(waiting, given, strict=False):
                    answers[place] = answer
                if len(given) < len(asked):
                    log.warning(
                        "jq: a program was ended, over its time or memory: %.200r",
                        asked[len(given)],
                    )
                waiting = waiting[len(given) + 1 :]
        finally:
            self._idle.put_nowait(child)
        return answers

    def _check_usable(self) -> None:
        if self._is_closed:
            raise UnavailableError("jq: the filters are shut down")
        loop = asyncio.get_running_loop()
        if self._loop not in {None, loop}:
            raise RuntimeError("a FilterPool belongs to one event loop")
        self._loop = loop


class _Child:
    """One child process, started when it is first needed and again after it was ended."""

    def __init__(self) -> None:
        self._starting: asyncio.Task[Process] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def ready(self) -> Process:
        """The process, running and confined.

        Raises:
            UnavailableError: it does not start.
        """
        if self._starting is not None and self._starting.done() and not _is_alive(self._starting):
            self.end()
        if self._starting is None:
            self._starting = asyncio.create_task(_start())
        # shield: a caller that is cancelled leaves the new process to the next one
        return await asyncio.shield(self._starting)

    async def exchange(
        self, mode: Mode, programs: Sequence[str], event: bytes, payload: bytes, seconds: float
    ) -> tuple[list[bytes] | None, float]:
        """The answers that came before the child ended, and the seconds it took for them.

        None: it was gone before it had read the request, which no program is to blame for.
        Unless all answers came the child is ended, also when the caller is cancelled: what is
        left in its pipe belongs to nobody.
        """
        process = await self.ready()
        header = json.dumps({"mode": mode, "programs": programs, "seconds": seconds}).encode()
        answers: list[bytes] | None = None
        started = time.monotonic()
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await _write(process, header, event, payload)
                await _read(process)
            answers, started = [], time.monotonic()
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                while len(answers) < len(programs):
                    answers.append(await _read(process))
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            log.debug("a jq process ended early: %r", error)
        finally:
            if answers is None or len(answers) < len(programs):
                self.end()
        return answers, time.monotonic() - started

    def end(self) -> None:
        """Kill the process, or the one that is being started; ``close`` waits for it."""
        if self._starting is not None:
            task = asyncio.create_task(_end(self._starting))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            self._starting = None

    async def close(self) -> None:
        """End the process and wait until none is left."""
        self.end()
        await asyncio.gather(*self._ending)


async def _start() -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(CHILD), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}
    )
    is_ready = False
    try:
        async with asyncio.timeout(START_SECONDS):
            await _read(process)
        is_ready = True
    except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
        raise UnavailableError("jq: its process does not start") from error
    finally:
        if not is_ready:
            await _reap(process)
    return process


async def _end(starting: asyncio.Task[Process]) -> None:
    with contextlib.suppress(UnavailableError):
        await _reap(await starting)


async def _reap(process: Process) -> None:
    assert process.stdout is not None  # noqa: S101 # it was started with PIPE
    if not process.stdout.at_eof():  # else it has ended by itself, and its id may be another's
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.communicate()  # reads what is left, so that the pipe is closed, too


def _is_alive(started: asyncio.Task[Process]) -> bool:
    failed = started.cancelled() or started.exception() is not None
    return not failed and started.result().returncode is None


async def _write(process: Process, *frames: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 # it was started with PIPE
    for frame in frames:
        process.stdin.writelines((len(frame).to_bytes(4, "big"), frame))
    await process.stdin.drain()


async def _read(process: Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 # it was started with PIPE
    size = await process.stdout.readexactly(4)
    return await process.stdout.readexactly(int.from_bytes(size, "big"))


def _encoded(value: bytes | Mapping[str, Any]) -> bytes:
    if isinstance(value, bytes):
        return value
    return json.dumps(dict(value), separators=(",", ":")).encode()


def _decoded(answer: bytes | None) -> Any:
    """An answer's value, cleaned and bounded in depth like anything that comes from outside."""
    if not answer:
        return None
    try:
        return decode_json(b'{"value":%b}' % answer)["value"]
    except InvalidInputError:
        return None
