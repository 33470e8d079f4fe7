"""JSON in and out of the GraphQL endpoint: fast, and exact for integers of any size."""

import contextlib
import json
import re
from typing import Any, Final

import orjson

LONG_NUMBER: Final = re.compile(rb"\d{19}")


JSON_TYPE: Final = "application/json"
RESPONSE_TYPE: Final = "application/graphql-response+json"
"""With it the status says whether the operation was run; with JSON_TYPE it is 200 either way:
https://graphql.github.io/graphql-over-http/draft/#sec-Media-Types"""


def media_type(accept: str | None) -> str:
    """What an answer is sent as to who accepts this; RESPONSE_TYPE only to who names it."""
    weights = {JSON_TYPE: 0.0, RESPONSE_TYPE: 0.0}
    for part in (accept or "").split(","):
        name, *parameters = (one.strip().lower() for one in part.split(";"))
        if name in weights:
            told = [one[2:] for one in parameters if one.startswith("q=")]
            weights[name] = _weight(told[0]) if told else 1.0
    wanted = weights[RESPONSE_TYPE]
    return RESPONSE_TYPE if wanted and wanted >= weights[JSON_TYPE] else JSON_TYPE


def _weight(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


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
