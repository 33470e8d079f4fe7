"""GraphQL types served straight from the rows that resolvers return.

A type declares, under the row's own attribute names, what of the row is shown; Strawberry and our
executor read those attributes from any object, so nothing is copied. In a method of such a type
``self`` is the row, of which only the declared attributes are to be used.
"""

from collections.abc import Iterable
from typing import TypeVar, cast

T = TypeVar("T")


def one(kind: type[T], row: object) -> T:
    """``row``, as the GraphQL type that shows it."""
    return cast("T", row)


def many(kind: type[T], rows: Iterable[object]) -> list[T]:
    """``rows``, as a list of the GraphQL type that shows them."""
    return cast("list[T]", rows if isinstance(rows, list) else list(rows))
