"""GraphQL's scalars beyond the built-in ones: DateTime, BigInt, and JSON for whatever is a dict."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NewType

import strawberry
from graphql import GraphQLError
from pydantic import JsonValue
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

from aether.clock import to_wire
from aether.errors import ErrorCode

__all__ = ["JSON", "SCALARS", "BigInt"]

BigInt = NewType("BigInt", int)
"""A 64-bit integer; GraphQL's own Int ends at 2,147,483,647."""

LARGEST_BIG_INT: Final = 2**63 - 1
SMALLEST_BIG_INT: Final = -(2**63)
LARGEST_EXACT_FLOAT: Final = 2**53

# https://www.rfc-editor.org/rfc/rfc3339#section-5.6; fromisoformat alone takes far more.
RFC_3339: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
DIGITS: Final = re.compile(r"-?\d{1,19}", re.ASCII)


def _refuse(text: str) -> GraphQLError:
    return GraphQLError(text, extensions={"code": ErrorCode.INVALID_INPUT})


def _read_moment(value: Any) -> datetime:
    if isinstance(value, str) and RFC_3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise _refuse("DateTime must be RFC 3339 with an offset, such as 2026-02-18T10:00:00Z")


def _write_moment(value: Any) -> str:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError("DateTime needs an aware datetime")
    return to_wire(value)


def _whole(value: Any) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer() and abs(value) <= LARGEST_EXACT_FLOAT:
            return int(value)
        case str() if DIGITS.fullmatch(value):
            return int(value)
    return None


def _read_big_int(value: Any) -> int:
    number = _whole(value)
    if number is None or not SMALLEST_BIG_INT <= number <= LARGEST_BIG_INT:
        raise _refuse("BigInt must be a whole number of 64 bits, or its digits as a string")
    return number


def _write_big_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("BigInt needs an int")
    if not SMALLEST_BIG_INT <= value <= LARGEST_BIG_INT:
        raise ValueError("BigInt is limited to 64 bits")
    return value


JSON_DEFINITION: Final = strawberry.scalar(
    name="JSON", description="Any JSON value, as it is.", serialize=lambda value: value
)

SCALARS: Final[Mapping[object, ScalarDefinition]] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="A moment in UTC to the second, `2026-02-18T10:00:00Z`. "
        "Input is RFC 3339 with any offset.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=_write_moment,
        parse_value=_read_moment,
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A 64-bit integer, written as a JSON number; input may also be its digits "
        "in a string. Beyond 2^53 some clients lose digits: ids are ID, a string, for that reason.",
        serialize=_write_big_int,
        parse_value=_read_big_int,
    ),
    JSON: JSON_DEFINITION,
    dict: JSON_DEFINITION,
    Any: JSON_DEFINITION,
    JsonValue: JSON_DEFINITION,
}
"""What each Python type is in GraphQL; ``dict[str, Any]`` and ``Any`` are JSON."""
