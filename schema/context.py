"""What one operation carries: the request and its data loaders."""

from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

import strawberry
from strawberry.dataloader import DataLoader
from strawberry.extensions import SchemaExtension
from strawberry.types.graphql import OperationType

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH: Final = 500


class Loaders:
    """The data loaders of one operation, one for each batch function, made when first used."""

    def __init__(self, *, cache: bool = True) -> None:
        self._cache = cache
        self._made: dict[Any, DataLoader[Any, Any]] = {}

    def load(self, batch: Callable[[list[K]], Awaitable[Sequence[V]]], key: K) -> Awaitable[V]:
        """``batch``'s value for ``key``, asked for together with the keys of the same moment.

        ``batch`` is a resolver: it takes keys and gives one value for each, in their order.
        Pass the function itself, not a lambda made in the field: it is what keys are gathered by.
        """
        loader = self._made.get(batch)
        if loader is None:
            loader = DataLoader(load_fn=batch, max_batch_size=MAX_BATCH, cache=self._cache)
            self._made[batch] = loader
        loaded: Awaitable[V] = loader.load(key)
        return loaded


@dataclass(kw_only=True)
class Context:
    """One operation's context. A socket has one that each of its operations copies."""

    authorization: str | None = None  # the header of the request or of the handshake
    connection_params: dict[str, object] | None = None  # set by Strawberry at connection_init
    loaders: Loaders = field(default_factory=Loaders)

    def for_operation(self, *, cache: bool) -> Self:
        """The same caller with loaders of its own; see ``FreshLoaders``."""
        return type(self)(
            authorization=self.authorization,
            connection_params=self.connection_params,
            loaders=Loaders(cache=cache),
        )


Info = strawberry.Info[Context, None]


class FreshLoaders(SchemaExtension):
    """Gives each operation its own loaders, since a socket has one context for all of them.

    A subscription's loaders keep nothing between its events: what they load would go stale.
    """

    def on_execute(self) -> Iterator[None]:
        operation = self.execution_context
        given = operation.context if isinstance(operation.context, Context) else Context()
        cache = operation.operation_type is OperationType.QUERY
        operation.context = given.for_operation(cache=cache)
        yield
