"""Arguments of fields as the use cases' filters, and the words that inputs share with outputs."""

from collections.abc import Callable
from typing import Any, TypeVar

import strawberry
from pydantic import BaseModel
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.utils.str_converters import to_camel_case

from aether.errors import InvalidInputError
from resolvers.fields import read
from schema.scalars import DIGITS

Filter = TypeVar("Filter", bound=BaseModel)
T = TypeVar("T")


def chosen(model: type[Filter], /, **arguments: Any) -> Filter:
    """The filter that a field's arguments ask for.

    Raises:
        InvalidInputError: names the first argument that is wrong, as GraphQL spells it.
    """
    try:
        return read(model, arguments, by_name=True)
    except InvalidInputError as refused:
        problem = str(refused).removeprefix(f"{refused.field}: ")
        raise InvalidInputError(to_camel_case(refused.field), problem) from None


def number(name: str, id: strawberry.ID | None) -> int | None:
    """The integer id that rows are filtered by, whether or not anything has it.

    Raises:
        InvalidInputError: it is no such number; names the argument ``name``.
    """
    if id is None:
        return None
    if not DIGITS.fullmatch(id):
        raise InvalidInputError(name, "must be a whole number")
    return int(id)


def described_like(kind: type, **more: str) -> Callable[[type[T]], type[T]]:
    """Give each field of an input the description that ``kind`` has for the field of that name.

    ``more``: descriptions of fields that ``kind`` does not have.
    """
    shown: StrawberryObjectDefinition = vars(kind)["__strawberry_definition__"]
    texts = {**{one.python_name: one.description for one in shown.fields}, **more}

    def decorate(model: type[T]) -> type[T]:
        definition: StrawberryObjectDefinition = vars(model)["__strawberry_definition__"]
        for one in definition.fields:
            one.description = texts[one.python_name]
        return model

    return decorate
