"""Field types that every input model is made of, and the one translation of a refused input.

Both doors validate by these, so both say the same about the same mistake. Base your models on
``Input``; read them with ``read`` (a decoded JSON object, GraphQL arguments) or
``read_strings`` (query parameters).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
)
from pydantic.types import Strict

from aether.errors import InvalidInputError, NotFoundError
from aether.vocabulary import AgentRole, MemoryScope, SourceName

MAX_INTEGER: Final = 2**63 - 1  # PostgreSQL's bigint
MAX_OFFSET: Final = 2**31
MAX_TEXT: Final = 500_000  # characters; a body is bounded to 1 MiB anyway

ABSENT: Any = Field(default_factory=lambda: None)
"""Default of a field that may be left out though it may not be null: ``name: Name = ABSENT``.
What was sent is in ``model_fields_set``; ``model_dump(exclude_unset=True)`` gives it."""


class Input(BaseModel):
    """Base of every input model: strict types, unknown fields refused, no input in a repr'd error.

    The fields carry the wire's names. Not frozen: the GraphQL door may subclass it.
    """

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


def _integral(value: Any, info: ValidationInfo) -> Any:
    # JSON Schema calls 5.0 an integer; a query parameter is text that must be plain digits
    # (int() alone would also take "1_0", " 5" and digits of other scripts).
    if isinstance(value, float) and value.is_integer():
        return int(value)
    mode: str = str(info.mode)  # pydantic's annotation leaves "string" out
    if mode == "string" and isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,40}", value):
        return int(value)
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


SNAKE_CASE: Final = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
WORDS: Final = r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$"
HTTP_ADDRESS: Final = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\\]+$"
"""For the document: what no address is without. ``_http_address`` says the rest."""
SLUG: Final = r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$"


def _snake_case(value: str) -> str:
    if not re.fullmatch(SNAKE_CASE[1:-1], value):
        raise ValueError("must be snake_case, such as pm_sarah")
    return value


def _words(value: str) -> str:
    if not re.fullmatch(WORDS[1:-1], value):
        raise ValueError("must be letters, digits, '.', '_', ':' and '-', such as issue.created")
    return value


def _slug(value: str) -> str:
    if not re.fullmatch(SLUG[1:-1], value):
        raise ValueError("must be lower-case letters, digits, '-' and '_', such as my-hook")
    return value


def _http_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        well_formed = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port  # raises ValueError beyond 65535
    except ValueError:
        well_formed = False
    if not well_formed or re.search(r"[\s\\]", value):
        raise ValueError("must be an http:// or https:// address")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or a password")
    return value


def _text_moment(value: Any) -> Any:
    # Numbers, and texts that look like numbers, would be read as seconds since 1970.
    if isinstance(value, datetime) or (isinstance(value, str) and re.match(r"\d{4}-\d", value)):
        return value
    raise ValueError("must be a time such as 2026-02-18T10:00:00Z")


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must say its offset, such as 2026-02-18T10:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time such as 2026-02-18T10:00:00Z") from None


INTEGRAL: Final = BeforeValidator(_integral)
"""Last in an integer's ``Annotated``, after ``Field``: the other order spoils the JSON schema."""

Whole = Annotated[int, Strict(), Field(ge=0, le=2**31 - 1), INTEGRAL]
"""A count or a duration: 0 to 2,147,483,647."""
Positive = Annotated[int, Strict(), Field(ge=1, le=2**31 - 1), INTEGRAL]
Integer64 = Annotated[int, Strict(), Field(ge=-(2**63), le=MAX_INTEGER), INTEGRAL]
"""A reference by number that need not exist."""
Concurrent = Annotated[int, Strict(), Field(ge=1, le=10_000), INTEGRAL]
"""How many at once."""
RowId = Annotated[int, Strict(), Field(ge=1, le=MAX_INTEGER), INTEGRAL]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Dollars = Annotated[float, Strict(), Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]
"""A bound of what may be spent."""
Tokens = Annotated[int, Strict(), Field(ge=0, le=2**53 - 1), INTEGRAL]
"""A bound of what a model may read and write together; no larger than a JSON number is exact."""
Flag = Annotated[bool, Strict()]

_NOT_BLANK: Final = (AfterValidator(_not_blank), Field(json_schema_extra={"pattern": r"\S"}))
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), *_NOT_BLANK]
"""A display name: 1 to 200 characters, not blank, kept as sent."""
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), *_NOT_BLANK]
"""A required text, not blank, kept as sent."""
LooseText = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
OptionalText = LooseText | None
"""A text that may be empty, null or left out."""
SnakeId = Annotated[
    str,
    StringConstraints(max_length=100),
    AfterValidator(_snake_case),
    Field(json_schema_extra={"pattern": SNAKE_CASE}),
]
"""An agent's or a task's id, at most 100 characters."""
Reference = Annotated[str, StringConstraints(min_length=1, max_length=200), *_NOT_BLANK]
"""The id of a user's choosing of something else; whether it exists is the resolver's question."""
Trigger = Annotated[
    str,
    StringConstraints(max_length=100),
    AfterValidator(_words),
    Field(json_schema_extra={"pattern": WORDS}),
]
"""A canonical trigger, built in or of the user's."""
Slug = Annotated[
    str,
    StringConstraints(max_length=100),
    AfterValidator(_slug),
    Field(json_schema_extra={"pattern": SLUG}),
]
HttpAddress = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2000),
    AfterValidator(_http_address),
    Field(json_schema_extra={"pattern": HTTP_ADDRESS}),
]
"""An http(s) address without credentials in it."""
Moment = Annotated[
    datetime, Strict(strict=False), AfterValidator(_aware), BeforeValidator(_text_moment)
]
"""ISO 8601 with an offset; read as UTC."""
# Not strict: values arrive as words from REST and as members from GraphQL.
Source = Annotated[SourceName, Strict(strict=False)]
Role = Annotated[AgentRole, Strict(strict=False)]
Scope = Annotated[MemoryScope, Strict(strict=False)]
JsonObject = dict[str, Any]

Limit = Annotated[int, Strict(), Field(ge=1, le=500), INTEGRAL]
Offset = Annotated[int, Strict(), Field(ge=0, le=MAX_OFFSET), INTEGRAL]


class Page(Input):
    """Which rows of a list: ``limit`` 1 to 500, ``offset`` 0 to 2^31.

    Subclass it to add filters, or another default: ``limit: Limit = 10``.
    """

    limit: Limit = 50
    offset: Offset = 0


M = TypeVar("M", bound=BaseModel)


def read(model: type[M], values: Mapping[str, Any], *, by_name: bool = False) -> M:
    """Validate a decoded JSON object, or GraphQL's arguments.

    Raises:
        InvalidInputError: names the first field that is wrong, by the wire's name.
    """
    try:
        return model.model_validate(dict(values), by_name=by_name or None)
    except ValidationError as error:
        raise invalid_input(error) from None


def read_strings(model: type[M], values: Mapping[str, str]) -> M:
    """Validate query parameters, which are all text.

    Raises:
        InvalidInputError: names the first parameter that is wrong.
    """
    try:
        return model.model_validate_strings(dict(values))
    except ValidationError as error:
        raise invalid_input(error, unknown="unknown parameter") from None


def read_id(noun: str, text: str) -> int:
    """The integer id of a row, as a path or GraphQL's ID gives it.

    Raises:
        NotFoundError: it is no such number, so nothing has it.
    """
    if not re.fullmatch("[1-9][0-9]{0,18}", text) or int(text) > MAX_INTEGER:
        raise NotFoundError(noun, text)
    return int(text)


def invalid_input(error: ValidationError, *, unknown: str = "unknown field") -> InvalidInputError:
    """What a refused model tells its caller: the first wrong field and what is expected of it.

    The text never holds what was sent.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    # "[key]" is pydantic's word for a key of an object that is itself not valid.
    field = ".".join(str(part) for part in first["loc"] if part != "[key]")[:100] or "body"
    # a bound of dollars is told as 0, not as 0.0
    context = {
        name: int(bound) if isinstance(bound, float) and bound.is_integer() else bound
        for name, bound in first.get("ctx", {}).items()
    }
    if first["type"] == "extra_forbidden":
        return InvalidInputError(field, unknown)
    return InvalidInputError(field, _problem(first["type"], first["msg"], context))


_EXPECTED: Final[Mapping[str, str]] = {
    "missing": "required",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "datetime_type": "must be a time such as 2026-02-18T10:00:00Z",
    "datetime_parsing": "must be a time such as 2026-02-18T10:00:00Z",
    "datetime_from_date_parsing": "must be a time such as 2026-02-18T10:00:00Z",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
}


def _problem(kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind in {"enum", "literal_error"}:
        return "one of " + ", ".join(re.findall(r"'([^']*)'", str(context["expected"])))
    if kind in {"string_too_short", "too_short"} and context["min_length"] == 1:
        return "must not be empty"
    if kind in {"value_error", "assertion_error"}:
        return str(context["error"])  # our own validators' words
    if kind in _EXPECTED:
        return _EXPECTED[kind].format_map(context)
    return message
