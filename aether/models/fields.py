"""What Tortoise lacks: pgvector's half-precision column."""

from collections.abc import Sequence
from typing import Any

from tortoise.fields.base import Field
from tortoise.models import Model


class HalfVectorField(Field[list[float]]):
    """A ``halfvec`` of any dimension; an index casts it to the dimension it serves.

    Sent and read as pgvector's text form, which asyncpg passes through without a codec.
    """

    SQL_TYPE = "HALFVEC"
    field_type = list
    indexable = False

    def to_db_value(
        self, value: Sequence[float] | None, instance: type[Model] | Model
    ) -> str | None:
        """The text form, or NULL."""
        return None if value is None else vector_text(value)

    def to_python_value(self, value: Any) -> list[float] | None:
        """Numbers from the text form."""
        if isinstance(value, str):
            return [float(part) for part in value.strip("[]").split(",") if part]
        return value  # type: ignore[no-any-return] # None, or a list given by our own code


def vector_text(vector: Sequence[float]) -> str:
    """``[0.1,-0.25]``: how pgvector reads a vector from text."""
    return "[" + ",".join(format(number, ".7g") for number in vector) + "]"
