"""One Strawberry schema with our scalars, limits, document cache, executor and errors."""

from typing import Any, Final

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from schema.cache import DocumentCache, Documents
from schema.context import FreshLoaders
from schema.errors import finish_errors
from schema.executor import FastExecutor
from schema.limits import RequestLimits
from schema.scalars import SCALARS

EXTENSIONS: Final = (RequestLimits, FreshLoaders, DocumentCache)


class Schema(strawberry.Schema):
    """A schema whose errors carry codes and whose valid documents are kept."""

    def __init__(self, **arguments: Any) -> None:
        self.documents = Documents()
        super().__init__(**arguments)

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        finish_errors(errors)


def make_schema(
    query: type, mutation: type | None = None, subscription: type | None = None
) -> Schema:
    """The schema over these root types, as the view serves it."""
    return Schema(
        query=query,
        mutation=mutation,
        subscription=subscription,
        extensions=EXTENSIONS,
        execution_context_class=FastExecutor,
        config=StrawberryConfig(scalar_map=SCALARS),
    )
