"""One Strawberry schema with our scalars, limits, document cache, executor and errors."""

from typing import Any, Final

import strawberry
from graphql import GraphQLDefaultInput, GraphQLError, GraphQLInputObjectType
from strawberry.printer.ast_from_value import ast_from_leaf_type
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from schema.cache import DocumentCache, Documents
from schema.context import FreshLoaders
from schema.errors import finish_errors
from schema.executor import FastExecutor
from schema.limits import RequestLimits
from schema.literals import NamedLiterals
from schema.scalars import SCALARS

EXTENSIONS: Final = (RequestLimits, NamedLiterals, FreshLoaders, DocumentCache)


class Schema(strawberry.Schema):
    """A schema whose errors carry codes and whose valid documents are kept."""

    def __init__(self, **arguments: Any) -> None:
        self.documents = Documents()
        super().__init__(**arguments)
        _tell_json_defaults(self)

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        finish_errors(errors)


def _tell_json_defaults(schema: strawberry.Schema) -> None:
    """Give defaults that are objects as literals too.

    graphql-core makes one itself where introspection asks for a default, and fails on a dict:
    code generators refuse a schema whose introspection holds errors.
    """
    for kind in schema._schema.type_map.values():  # noqa: SLF001 # Strawberry has no other way to it
        if isinstance(kind, GraphQLInputObjectType):
            for one in kind.fields.values():
                if isinstance(one.default_value, dict):
                    literal = ast_from_leaf_type(one.default_value, None)
                    one.default = GraphQLDefaultInput(literal=literal)  # type: ignore[arg-type]


def make_schema(
    query: type,
    mutation: type | None = None,
    subscription: type | None = None,
    *,
    types: tuple[type, ...] = (),
) -> Schema:
    """The schema over these root types, as the view serves it.

    ``types``: those that are found nowhere but behind an interface.
    """
    return Schema(
        query=query,
        mutation=mutation,
        subscription=subscription,
        types=types,
        extensions=EXTENSIONS,
        execution_context_class=FastExecutor,
        config=StrawberryConfig(scalar_map=SCALARS),
    )
