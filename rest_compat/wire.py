"""Bodies and queries in, JSON out: bounded, decoded and cleared of what cannot be stored."""

import asyncio
import json
import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from aether.errors import InvalidInputError, TooLargeError, UnavailableError

MAX_BODY_BYTES: Final = 1_048_576
MAX_DEPTH: Final = 100  # far below where any JSON library of ours gives up
READ_SECONDS: Final = 60.0
ROOM_BYTES: Final = 268_435_456
JSON_TYPE: Final = re.compile(r"\s*application/([\w.+-]+\+)?json\s*(;|$)", re.IGNORECASE)
UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


class Room:
    """How many bytes of bodies this process holds at once, all requests together.

    Without it a few hundred callers, not yet known by any signature, could fill the memory.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held = 0

    def take(self, size: int) -> None:
        """Raises UnavailableError where there is no room left."""
        if self.held + size > self.max_bytes:
            busy = UnavailableError("too many request bodies at once; try again")
            busy.retry_after = 5
            raise busy
        self.held += size

    def give_back(self, size: int) -> None:
        self.held -= size


ROOM: Final = Room(ROOM_BYTES)


@asynccontextmanager
async def body_of(
    request: Request, max_bytes: int = MAX_BODY_BYTES, *, room: Room = ROOM
) -> AsyncIterator[bytes]:
    """The whole body, counted against ``room`` until the block ends.

    Raises:
        TooLargeError: more than ``max_bytes``, by its announcement or while it is read.
        InvalidInputError: it did not arrive within ``READ_SECONDS``.
        UnavailableError: no room for it now.
    """
    too_large = TooLargeError(f"body: more than {max_bytes} bytes")
    if _announced(request) > max_bytes:
        raise too_large
    read = bytearray()  # not a list of chunks: many tiny ones would weigh more than they hold
    taken = 0
    try:
        try:
            async with asyncio.timeout(READ_SECONDS):
                async for chunk in request.stream():
                    room.take(len(chunk))
                    taken += len(chunk)
                    if taken > max_bytes:
                        raise too_large
                    read += chunk
        except TimeoutError:
            problem = f"did not arrive within {READ_SECONDS:.0f} seconds"
            raise InvalidInputError("body", problem) from None
        body = bytes(read)
        del read
        yield body
    finally:
        room.give_back(taken)


def _announced(request: Request) -> int:
    told = request.headers.get("content-length", "")
    if not told.isascii() or not told.isdigit():
        return 0
    return int(told[:18])  # int() itself gives up beyond 4,300 digits


def json_object(body: bytes, content_type: str | None) -> dict[str, Any]:
    """The JSON object that a request carries.

    Raises:
        InvalidInputError: not JSON, not an object, or it holds what cannot be stored; names
            the field, or ``body`` where there is none.
    """
    # A form or text/plain is what a foreign page can post without asking first.
    if content_type and not JSON_TYPE.match(content_type):
        raise InvalidInputError("content-type", "must be application/json")
    value = _decoded(body)
    if not isinstance(value, dict):
        raise InvalidInputError("body", "must be a JSON object")
    return value


def _decoded(body: bytes) -> Any:
    # Not orjson: it turns integers beyond 64 bits into floats without a word, and cannot say
    # which field holds a lone surrogate.
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
        )
    except UnicodeDecodeError:
        raise InvalidInputError("body", "not valid UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise InvalidInputError("body", f"not valid JSON: {where}") from None
    except RecursionError:
        raise InvalidInputError("body", "nested too deeply") from None
    except ValueError:  # an integer of more digits than Python reads
        raise InvalidInputError("body", "holds a number with too many digits") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    if re.search(r"\\u(0000|[dD][89a-fA-F])", text):  # else no string can be unstorable
        _check_strings(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        [(twice, _)] = counts.most_common(1)
        raise InvalidInputError(_shown(twice), "given twice")
    return found


def _constant(word: str) -> Any:
    raise InvalidInputError("body", f"not valid JSON: {word} is not a number there")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise InvalidInputError("body", "holds a number that is too large")
    return number


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise InvalidInputError("body", "nested too deeply")


Place = tuple["Place | None", str]  # (where its container is, its key there)


def _check_strings(value: Any) -> None:
    # Places are chained and written out only for the error: a written path a value would let
    # one long key times many values fill the memory.
    waiting: list[tuple[Place | None, Any]] = [(None, value)]
    while waiting:
        place, one = waiting.pop()
        if isinstance(one, str) and UNSTORABLE.search(one):
            check_text(_path(place), one)
        elif isinstance(one, dict):
            for key, inner in one.items():
                if UNSTORABLE.search(key):
                    check_text(_path((place, key)), key)
                waiting.append(((place, key), inner))
        elif isinstance(one, list):
            waiting += [((place, str(index)), inner) for index, inner in enumerate(one)]


def _path(place: Place | None) -> str:
    steps: list[str] = []
    while place is not None:
        place, step = place
        steps.append(_shown(step))
    return ".".join(reversed(steps))[:100]


def check_text(field: str, text: str) -> None:
    """Refuse what PostgreSQL cannot store.

    Raises:
        InvalidInputError: a NUL or a lone surrogate; names ``field``.
    """
    if "\0" in text:
        raise InvalidInputError(field or "body", "must not hold a NUL character")
    if UNSTORABLE.search(text):
        raise InvalidInputError(field or "body", "must not hold a lone surrogate")


def _shown(name: str) -> str:
    return re.sub("[\0-\x1f\ud800-\udfff]", "\ufffd", name)[:100]


def query_strings(request: Request) -> Mapping[str, str]:
    """The query parameters, each once.

    Raises:
        InvalidInputError: one is given twice or cannot be stored, or there are too many.
    """
    raw = request.scope.get("query_string", b"").decode("latin-1")
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise InvalidInputError("query", "more than 50 parameters") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        check_text(_shown(name), name)
        check_text(name, value)
        if name in found:
            raise InvalidInputError(_shown(name), "given twice")
        found[name] = value
    return found
