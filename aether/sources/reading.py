"""Reads JSON that a platform sent, without trusting its shape.

What comes out of ``decode_json`` can be stored in PostgreSQL, written out again by any JSON
writer, and walked by recursive code.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from aether.errors import InvalidInputError

MAX_DEPTH: Final = 100
"""Levels of nesting that are read. Platforms send about 10, Jira's documents about 30; a
recursive copy takes two frames a level, and orjson writes at most 254 levels."""

_INTEGERS: Final = range(-(2**63), 2**63)
_DIGITS: Final = re.compile(r"[0-9]{1,20}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_UNSTORABLE_ESCAPE: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_NOTHING: Final[Mapping[str, Any]] = {}


def decode_json(body: bytes, *, field: str = "body") -> dict[str, Any]:
    """The JSON object in ``body``: UTF-8, at most ``MAX_DEPTH`` levels.

    NUL is removed from strings and keys, a lone surrogate becomes U+FFFD. An integer beyond 64
    bits becomes a float, as other JSON readers have it.

    Raises:
        InvalidInputError: ``body`` is something else; the text names ``field``.
    """
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise InvalidInputError(field, "is not UTF-8") from None
    except json.JSONDecodeError as error:
        problem = f"is not JSON ({error.msg} at character {error.pos})" if body else "is empty"
        raise InvalidInputError(field, problem) from None
    except RecursionError:
        raise InvalidInputError(field, f"is nested more than {MAX_DEPTH} levels deep") from None
    except ValueError:  # NaN and Infinity; an integer of more digits than Python converts
        raise InvalidInputError(field, "holds a number out of range") from None
    if not isinstance(value, dict):
        raise InvalidInputError(field, "must be a JSON object")
    _make_storable(value, field, unclean=_UNSTORABLE_ESCAPE.search(body) is not None)
    return value


def storable(value: dict[str, Any], *, field: str = "item") -> dict[str, Any]:
    """``value``, decoded by somebody else's reader, as ``decode_json`` would have given it.

    It is changed in place.

    Raises:
        InvalidInputError: it is nested too deeply or holds a number out of range.
    """
    _make_storable(value, field, unclean=True)
    return value


def moment(value: object) -> datetime | None:
    """A time in ISO 8601, aware; None where it is something else. UTC where it names no zone."""
    try:
        told = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    if told.tzinfo is None:
        return told.replace(tzinfo=UTC)
    try:
        return told.astimezone(UTC)
    except OverflowError:
        return None


def moment_text(value: object) -> str | None:
    """A time in ISO 8601 as ``SourceEvent.happened_at`` is written."""
    told = moment(value)
    return told.isoformat().replace("+00:00", "Z") if told is not None else None


def clean(value: str) -> str:
    """``value`` without NUL, and with U+FFFD where a lone surrogate was."""
    return _SURROGATE.sub("\ufffd", value.replace("\0", ""))


def text(value: object) -> str:
    """``value`` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else _NOTHING


def sequence(value: object) -> list[Any]:
    """``value`` if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def key(value: object) -> str | None:
    """An id as text: an integer or a string that is not blank, else None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value).strip() or None


def number_key(value: object) -> str | None:
    """An id that must be a whole number, sent as an integer or as its digits, else None."""
    told = key(value)
    return str(int(told)) if told and _DIGITS.fullmatch(told) else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _make_storable(root: dict[str, Any], field: str, *, unclean: bool) -> None:
    # Level by level and not recursively: the depth is what has to be bounded.
    level: list[Any] = [root]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        try:
            for container in level:
                _make_container_storable(container, deeper, unclean=unclean)
        except OverflowError:
            raise InvalidInputError(field, "holds a number out of range") from None
        if not deeper:
            return
        level = deeper
    raise InvalidInputError(field, f"is nested more than {MAX_DEPTH} levels deep")


def _make_container_storable(container: Any, deeper: list[Any], *, unclean: bool) -> None:
    if unclean and isinstance(container, dict):
        told = [(clean(name), value) for name, value in container.items()]
        container.clear()
        container.update(told)
    for place, value in container.items() if type(container) is dict else enumerate(container):
        kind = type(value)
        if kind is dict or kind is list:
            deeper.append(value)
        elif kind is str:
            if unclean:
                container[place] = clean(value)
        elif kind is int:
            if value not in _INTEGERS:
                container[place] = float(value)
        elif kind is float and not math.isfinite(value):
            raise OverflowError
