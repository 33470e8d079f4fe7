"""Runs jq programs for the process that started this one, where they can do no harm.

Started by path (``filters.py`` does), never imported: jq reads the environment and files, has
no way to be interrupted, and ends its process when memory runs out. Here there is no
environment, no file can be opened, memory is bounded, and the kernel's alarm ends the process.

Both ways a frame is its length in four bytes, then its bytes. A request is three frames:
``{"mode", "programs", "seconds"}``, the event's JSON, the payload's JSON. Its answer is one
empty frame when it has been read, then a frame for each program in turn: ``1`` or ``0`` (mode
``decide``), JSON text (``extract``), ``1`` (``check``), or empty for none. The first frame of
all, empty, says that this process is ready.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import jq

MEMORY_BYTES: Final = 256 * 2**20
LONGEST_ANSWER: Final = 1_000_000
CACHED_PROGRAMS: Final = 256
SHORTEST_SECONDS: Final = 0.001  # zero would switch the alarm off

_PR_SET_PDEATHSIG: Final = 1


def confine() -> None:
    """Give up files, memory and new processes; die with the parent."""
    if sys.platform == "linux":  # elsewhere the end of its input tells it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the parent's matter
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def wrapped(program: str, then: str) -> str:
    """``program`` with the payload as ``.`` and the event as ``$event``, piped into ``then``.

    The event comes with the input and not as an argument of jq's, so that a compiled program
    serves every event. The line break ends a comment that the program may end with.
    """
    return f".event as $event | .payload | ({program}\n) | {then}"


@lru_cache(maxsize=CACHED_PROGRAMS)
def compiled(program: str) -> Any:
    """The compiled program; ValueError where it is none."""
    return jq.compile(program)


def first_output(program: str, told: str) -> Any:
    """The program's first output, or None where it gives nothing."""
    return next(iter(compiled(program).input_text(told)), None)


def decide(program: str, told: str) -> bytes:
    """``1`` if the first output is what ``select`` would let through."""
    verdict = first_output(wrapped(program, "if . then true else false end"), told)
    return b"" if verdict is None else b"1" if verdict else b"0"


def extract(program: str, told: str) -> bytes:
    """The first output as JSON text."""
    output = first_output(wrapped(program, "tojson"), told)
    answer = b"" if output is None else output.encode()
    return answer if len(answer) <= LONGEST_ANSWER else b""


def check(program: str, told: str) -> bytes:
    """``1`` if it compiles by itself and in its wrapping; then it is run, for the alarm to see."""
    jq.compile(program, args={"event": None})  # refuses what only the wrapping would complete
    runnable = compiled(wrapped(program, "tojson"))
    try:
        next(iter(runnable.input_text(told)), None)
    except ValueError:
        return b"1"  # it compiles; this input was not for it
    return b"1"


MODES: Final[dict[str, Callable[[str, str], bytes]]] = {
    "decide": decide,
    "extract": extract,
    "check": check,
}


def answer(request: dict[str, Any], event: bytes, payload: bytes) -> None:
    """Run each program within its share of the time and send what it gives.

    A program has half of what is left, the last one all of it: an endless one leaves time for
    those after it.
    """
    mode, programs = MODES[request["mode"]], request["programs"]
    deadline = time.monotonic() + request["seconds"]
    try:
        told = f'{{"event":{event.decode()},"payload":{payload.decode()}}}'
    except UnicodeDecodeError:
        told = ""  # which every program fails on
    for index, program in enumerate(programs):
        left = deadline - time.monotonic()
        share = left if index == len(programs) - 1 else left / 2
        signal.setitimer(signal.ITIMER_REAL, max(SHORTEST_SECONDS, share))
        try:
            given = mode(program, told)
        except ValueError:  # does not compile, or an error of its own
            given = b""
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(given)


def send(frame: bytes) -> None:
    """Write one frame."""
    rest = memoryview(len(frame).to_bytes(4, "big") + frame)
    while rest:
        rest = rest[os.write(1, rest) :]


def receive() -> bytes | None:
    """Read one frame, or None when the parent has closed the pipe or is gone."""
    size = sys.stdin.buffer.read(4)
    if len(size) < 4:
        return None
    length = int.from_bytes(size, "big")
    frame = sys.stdin.buffer.read(length)
    return frame if len(frame) == length else None


def serve() -> None:
    """Answer requests until the parent closes the pipe."""
    confine()
    send(b"")
    while (header := receive()) is not None:
        event, payload = receive(), receive()
        if event is None or payload is None:
            return
        send(b"")
        answer(json.loads(header), event, payload)


if __name__ == "__main__":
    serve()
