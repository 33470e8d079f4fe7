"""How a row becomes JSON: the reference's keys, in its order, with the types the document shows."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

import orjson
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from aether.clock import to_wire

_typed_dict: Any = TypedDict  # its functional form, which mypy wants literal
Getter = Callable[[Any], Any]
WireField = Any
"""A type (the attribute is named like the key) or ``(attribute or callable, type)``."""


class Shape:
    """An ordered mapping of wire key to attribute. Encodes only.

    ``Shape("Agent", id=str, role_id=("role", AgentRole), created_at=datetime)``: a key's value is
    its type, where the attribute is named like the key; else the attribute's name, or a callable
    that is given the row, and the type. Rows are objects or mappings. Moments become
    ``2026-02-18T10:00:00Z`` wherever they stand.
    """

    def __init__(self, name: str, /, **fields: WireField) -> None:
        self.name = name
        self.types: dict[str, Any] = {}
        self._getters: list[tuple[str, str | None, Getter]] = []
        for key, told in fields.items():
            source, kind = told if isinstance(told, tuple) else (key, told)
            self.types[key] = kind
            if callable(source):
                self._getters.append((key, None, source))
            else:
                self._getters.append((key, source, attrgetter(source)))

    def encode(self, row: Any) -> dict[str, Any]:
        """One row as a JSON object."""
        if isinstance(row, Mapping):
            return {
                key: get(row) if attribute is None else row[attribute]
                for key, attribute, get in self._getters
            }
        return {key: get(row) for key, _, get in self._getters}

    @property
    def typed_dict(self) -> Any:
        """The type of what ``encode`` gives, for a key of another shape."""
        return _typed_dict(self.name, self.types)

    def adapter(self) -> TypeAdapter[Any]:
        """What the OpenAPI document is made from."""
        return TypeAdapter(self.typed_dict)


SEEDED: Final = Shape("Seeded", created=int, skipped=int)
DELETED: Final = Shape("Deleted", deleted=int)
DELETED_BY_NAME: Final = Shape("DeletedByName", deleted=str)

Out = Shape | Sequence[Shape] | None
"""How a handler's result is encoded: by a shape, each by a shape (``[AGENT]``), or as it is."""


def shaped(out: Out, value: Any) -> Any:
    """``value`` as ``out`` says."""
    if isinstance(out, Shape):
        return out.encode(value)
    if out:
        encode = out[0].encode
        return [encode(row) for row in value]
    return value


def to_json(value: Any) -> bytes:
    """JSON for the wire; integers of any size keep their digits."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except orjson.JSONEncodeError:  # beyond 64 bits
        text = json.dumps(value, default=_plain, separators=(",", ":"), allow_nan=False)
        return text.encode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_wire(value)
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
