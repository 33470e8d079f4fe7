"""Relay's connections over the windows of lists that grow, and their cursors.

https://relay.dev/graphql/connections.htm
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Generic, TypeVar, cast

import strawberry

from aether.errors import InvalidInputError
from resolvers.fields import MAX_INTEGER
from resolvers.windows import DEFAULT, LAST_MICROSECOND, Position, Sizes, Slice, Window, window
from schema.arguments import chosen
from schema.limits import MAX_PAGE
from schema.scalars import BigInt

T = TypeVar("T")

First = Annotated[
    int | None,
    strawberry.argument(
        description=f"At most this many from the beginning, from 1 to {MAX_PAGE}; {DEFAULT} where "
        "neither this nor `last` is given."
    ),
]
After = Annotated[str | None, strawberry.argument(description="Only what comes after this cursor.")]
Last = Annotated[
    int | None,
    strawberry.argument(
        description=f"At most this many from the end, from 1 to {MAX_PAGE}; not with `first`."
    ),
]
Before = Annotated[
    str | None, strawberry.argument(description="Only what comes before this cursor.")
]

ID: Final = (MAX_INTEGER,)
MOMENT_AND_ID: Final = (LAST_MICROSECOND, MAX_INTEGER)  # in microseconds since 1970
LISTS: Final[Mapping[str, tuple[int, ...]]] = {
    "delivery": ID,
    "execution": ID,
    "tool_execution": ID,
    "audit": ID,  # of an agent
    "log": MOMENT_AND_ID,  # the whole audit log
    "watchdog": ID,
    "memory": MOMENT_AND_ID,
}
"""What a cursor of each list holds: the largest values of its positions."""


@strawberry.type(description="One of a connection's objects, and where it stands.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(
        description="Its place in the list, for `after` and `before`; stays good whatever is "
        "inserted or deleted."
    )
    node: T = strawberry.field(description="The object.")


@strawberry.type(description="Where a connection's page begins and ends.")
class PageInfo:
    start_cursor: str | None = strawberry.field(
        description="The cursor of its first object; null: it has none."
    )
    end_cursor: str | None = strawberry.field(
        description="The cursor of its last object; null: it has none."
    )
    part: strawberry.Private[Slice[Any]]

    @strawberry.field(description="Whether the list goes on after the page.")
    async def has_next_page(self) -> bool:
        return await self.part.has_next()

    @strawberry.field(description="Whether the list has something before the page.")
    async def has_previous_page(self) -> bool:
        return await self.part.has_previous()


@strawberry.type(description="A page of a list that grows, with cursors.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = strawberry.field(description="Its objects with their cursors.")
    nodes: list[T] = strawberry.field(description="Its objects alone.")
    page_info: PageInfo = strawberry.field(description="Where the page begins and ends.")
    counted: strawberry.Private[Callable[[], Awaitable[int]]]

    @strawberry.field(
        description="How many the list has, all its pages together. Counted only where it is "
        "selected, which takes time where there are millions."
    )
    async def total_count(self) -> BigInt:
        return BigInt(await self.counted())


def window_of(
    kind: str, first: int | None, after: str | None, last: int | None, before: str | None
) -> Window:
    """The window that a connection's arguments ask for; ``kind`` is the list's name in ``LISTS``.

    Raises:
        InvalidInputError: names the argument.
    """
    sizes = chosen(Sizes, first=first, last=last)
    return window(sizes, after=_read("after", kind, after), before=_read("before", kind, before))


def connection(
    of: type[T], kind: str, part: Slice[Any], *, count: Callable[[], Awaitable[int]] | None = None
) -> Connection[T]:
    """The connection that shows a slice of rows.

    ``kind`` is the list's name in ``LISTS``. ``count`` counts the list, where it is not the slice
    itself that does.
    """
    cursors = [_cursor(kind, one) for one in part.positions]
    nodes = cast("list[T]", list(part.rows))
    return Connection(
        edges=[Edge(cursor=cursor, node=node) for cursor, node in zip(cursors, nodes, strict=True)],
        nodes=nodes,
        page_info=PageInfo(
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
            part=part,
        ),
        counted=count or part.count,
    )


def _cursor(kind: str, position: Position) -> str:
    text = ".".join((kind, *map(str, position)))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(argument: str, kind: str, cursor: str | None) -> Position | None:
    if cursor is None:
        return None
    position = _position(kind, cursor)
    if position is None:
        raise InvalidInputError(argument, "not a cursor of this list")
    return position


def _position(kind: str, cursor: str) -> Position | None:
    try:
        told = urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
        given, *numbers = told.split(".")
        position = tuple(map(int, numbers))
    except ValueError:
        return None
    largest = LISTS[kind]
    if given != kind or len(position) != len(largest) or _cursor(kind, position) != cursor:
        return None
    fits = all(0 <= one <= most for one, most in zip(position, largest, strict=True))
    return position if fits else None
