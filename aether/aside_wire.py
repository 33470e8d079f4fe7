"""How a process and its aside speak: framed JSON over a socket, and errors that keep their kind.

Each way a frame is its length in four bytes, then one JSON object. To the aside: ``settings``
(the first frame), ``id`` with ``job`` and ``arguments``, ``id`` with ``cancel`` or ``more`` (so
many items may follow), ``ping``. From it: ``ready``, ``id`` with ``item``, ``result``, ``end``
or ``error``, ``pong``.
"""

import asyncio
import json
from typing import Any, Final

from aether import errors
from aether.errors import AetherError

LARGEST: Final = 64 * 2**20
WINDOW: Final = 64
"""Items of one stream that may wait for their reader; the job pauses beyond."""

_KEPT: Final = ("retryable", "retry_after", "status", "may_have_happened", "field")


class TooLargeFrameError(ValueError):
    """What is to be sent, or what was announced, is more than a frame may hold."""


class AsideFailedError(RuntimeError):
    """A job ended in a bug of ours; its trace is in the aside's log."""


def encoded(frame: dict[str, Any]) -> bytes:
    """One frame as bytes.

    Raises:
        TooLargeFrameError: it is larger than 64 MiB.
        TypeError, ValueError: it is no JSON.
    """
    body = json.dumps(frame, separators=(",", ":"), allow_nan=False).encode()
    if len(body) > LARGEST:
        raise TooLargeFrameError(f"{len(body)} bytes")
    return len(body).to_bytes(4, "big") + body


async def read(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next frame.

    Raises:
        asyncio.IncompleteReadError, OSError: the other side is gone.
        ValueError: it is no frame.
    """
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > LARGEST:
        raise TooLargeFrameError(f"{size} bytes")
    frame = json.loads(await reader.readexactly(size))
    if not isinstance(frame, dict):
        raise ValueError("not a frame")  # noqa: TRY004 # a ValueError, like other broken ones
    return frame


def error_frame(error: AetherError) -> dict[str, Any]:
    """An error of ours: its nearest class of ``aether.errors``, its text, its attributes."""
    name = next(
        one.__name__ for one in type(error).__mro__ if getattr(errors, one.__name__, None) is one
    )
    kept = {one: getattr(error, one) for one in _KEPT if hasattr(error, one)}
    return {"kind": name, "code": error.code, "text": str(error), **kept}


def restored(told: dict[str, Any]) -> Exception:
    """The error that ``error_frame`` was made from; without a kind, a bug's."""
    kind = getattr(errors, str(told.get("kind")), None)
    if not isinstance(kind, type) or not issubclass(kind, AetherError):
        return AsideFailedError("a job of the aside failed; its log has the trace")
    error: AetherError = kind.__new__(kind)
    error.args = (told.get("text", ""),)
    for name in _KEPT:
        if name in told:
            setattr(error, name, told[name])
    if not hasattr(error, "code"):
        error.code = errors.ErrorCode(told["code"])  # type: ignore[misc] # the base has none
    return error
