"""JSON in and out of the GraphQL endpoint: fast, and exact for integers of any size."""

import contextlib
import json
import re
from typing import Any, Final

import orjson

LONG_NUMBER: Final = re.compile(rb"\d{19}")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def decode(data: str | bytes) -> Any:
    """JSON as Python values, integers of any size exact.

    Raises:
        json.JSONDecodeError: it is not JSON.
    """
    raw = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    if not LONG_NUMBER.search(raw):
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(raw)
    # orjson reads integers beyond 64 bits as floats, and refuses lone surrogates, which the
    # limits refuse by the name of their field.
    try:  # as text: given bytes, json.loads would read UTF-16 and UTF-32, too
        return json.loads(
            data if isinstance(data, str) else data.decode("utf-8-sig"),
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError("not JSON", "", 0) from error


def encode(data: object) -> str:
    """JSON as text: bytes would make sockets send binary frames, which browsers do not parse."""
    try:
        return orjson.dumps(data).decode()
    except TypeError:  # an integer beyond 64 bits, or keys that are not text
        return json.dumps(data, separators=(",", ":"))
