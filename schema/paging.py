"""The two arguments that every list takes."""

from typing import Annotated

import strawberry

from resolvers.fields import Page
from schema.arguments import chosen
from schema.limits import DEFAULT_PAGE, MAX_PAGE, UNPAGED_LIST

Limit = Annotated[int, strawberry.argument(description=f"At most this many, from 1 to {MAX_PAGE}.")]
InnerLimit = Annotated[
    int | None,
    strawberry.argument(
        description=f"At most this many, from 1 to {MAX_PAGE}; {DEFAULT_PAGE} unless given, and "
        f"then counted as {UNPAGED_LIST} where a request's fields are."
    ),
]
"""Of a list inside another that is short as a rule: what each object has a few of."""
Offset = Annotated[int, strawberry.argument(description="Leave out this many, 0 or more.")]


def inner_page(limit: int | None, offset: int) -> tuple[int, int]:
    """The limit and the offset of a list with an ``InnerLimit``.

    Raises:
        InvalidInputError: names the argument.
    """
    page = chosen(Page, limit=DEFAULT_PAGE if limit is None else limit, offset=offset)
    return page.limit, page.offset
