"""The executor: leaf fields are served straight from attributes, the rest in the ordinary way.

graphql-core spends some 3.5 us on each field, most of it on generality that a plain attribute
does not need; this takes about a quarter of the time for a list of 50 objects of 10 fields.
Touches two private names of Strawberry (``_is_default`` and the ``strawberry-definition``
extension), which is why pyproject.toml pins its exact version.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Self, cast

from graphql import (
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    is_leaf_type,
)
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

SIMPLE: Final = frozenset({str, int, float, bool, dict, list})
"""What a coerced leaf may be; anything else is looked at again by the ordinary code."""

UNSERVED: Final = object()


class Step(NamedTuple):
    """How one field of a selection is served: from an attribute, or in the ordinary way."""

    name: str
    details: Any
    attribute: str | None = None
    read: Callable[[Any], Any] | None = None  # coerces; UNSERVED where the ordinary way must decide
    native: type | None = None  # a value of this type is served as it is
    nullable: bool = False


NATIVE: Final[Mapping[str, type]] = {"String": str, "ID": str, "Boolean": bool}
"""Built-in scalars, and the one type of value that their coercion leaves alone."""


def _nullable(kind: Any) -> tuple[Any, bool]:
    return (kind.of_type, False) if isinstance(kind, GraphQLNonNull) else (kind, True)


def _plain_attribute(field: GraphQLField) -> str | None:
    """The attribute a field is read from, if nothing stands between: no resolver, no permission."""
    definition = field.extensions.get("strawberry-definition")
    default = getattr(field.resolve, "_is_default", False)
    if not default or definition is None or not definition.is_basic_field:
        return None  # Strawberry calls fields with permissions default, too: they are not basic
    name: str = definition.python_name
    return name


def _leaf_reader(coerce: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        value = coerce(value)
        return value if type(value) in SIMPLE else UNSERVED

    return read


def _list_reader(coerce: Callable[[Any], Any], nullable_items: bool) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not list:
            return UNSERVED
        items = [None if item is None else coerce(item) for item in value]
        for item in items:
            if type(item) not in SIMPLE and not (item is None and nullable_items):
                return UNSERVED
        return items

    return read


def _constant(value: str) -> Callable[[Any], Any]:
    return lambda _: value


def _step(name: str, details: Any, field: GraphQLField) -> Step:
    attribute = _plain_attribute(field)
    kind, nullable = _nullable(field.type)
    if attribute is None:
        return Step(name, details)
    if isinstance(kind, GraphQLList):
        kind, nullable_items = _nullable(kind.of_type)
        if is_leaf_type(kind):
            read = _list_reader(kind.coerce_output_value, nullable_items)
            return Step(name, details, attribute, read, None, nullable)
    elif is_leaf_type(kind):
        read = _leaf_reader(kind.coerce_output_value)
        return Step(name, details, attribute, read, NATIVE.get(kind.name), nullable)
    return Step(name, details)


def _served(read: Callable[[Any], Any] | None, value: Any, nullable: bool) -> Any:
    """The value of a leaf, or UNSERVED."""
    if read is None or value is UNSERVED:
        return UNSERVED
    if value is None:
        return None if nullable else UNSERVED
    try:
        return read(value)
    except Exception:  # noqa: BLE001 - the ordinary code meets the same error and reports it
        return UNSERVED


def _serve(plan: list[Step], source: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The leaves of one object, and what is left for the ordinary way (None in the leaves)."""
    results: dict[str, Any] = {}
    ordinary: dict[str, Any] = {}
    for name, details, attribute, read, native, nullable in plan:
        try:
            value = UNSERVED if attribute is None else getattr(source, attribute)
        except Exception:  # noqa: BLE001 - as in _served
            value = UNSERVED
        if type(value) is not native:
            value = _served(read, value, nullable)
            if value is UNSERVED:
                ordinary[name] = details
                value = None  # keeps the order of the query
        results[name] = value
    return results, ordinary


class FastExecutor(StrawberryGraphQLCoreExecutionContext):
    """Same data, same order of keys, same errors as the ordinary executor."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plans: dict[tuple[GraphQLObjectType, int], tuple[Any, list[Step]]] = {}

    def build_per_event_executor(self, payload: Any) -> Self:
        """A subscription's events share nothing that grows: their field sets are new each time."""
        executor = cast("Self", super().build_per_event_executor(payload))
        executor._plans = {}  # noqa: SLF001 - of this class
        # graphql-core's own memory has the same fault.
        executor._relevant_sub_fields = {}  # noqa: SLF001
        return executor

    def _plan(self, parent: GraphQLObjectType, grouped: GroupedFieldSet) -> list[Step]:
        key = (parent, id(grouped))
        known = self._plans.get(key)
        if known is None:
            known = (grouped, list(self._steps(parent, grouped)))  # kept, so that its id stays
            self._plans[key] = known
        return known[1]

    def _steps(self, parent: GraphQLObjectType, grouped: GroupedFieldSet) -> Iterator[Step]:
        # The manager itself is always truthy, also without any middleware.
        wrapped = self.middleware_manager is not None and bool(self.middleware_manager.middlewares)
        for name, details in grouped.items():
            field_name = details[0].node.name.value
            field = self.schema.get_field(parent, field_name)
            if field is None:
                continue
            if wrapped:
                yield Step(name, details)
            elif field_name == "__typename":
                yield Step(name, details, "__class__", _constant(parent.name))
            else:
                yield _step(name, details, field)

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: GroupedFieldSet,
        position_context: Any,
    ) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        results, ordinary = _serve(self._plan(parent_type, grouped_field_set), source_value)
        if not ordinary:
            return results
        rest = super().execute_fields(parent_type, source_value, path, ordinary, position_context)
        if isinstance(rest, dict):
            results.update(rest)
            return results

        async def merged(rest: Awaitable[dict[str, Any]]) -> dict[str, Any]:
            results.update(await rest)
            return results

        return merged(rest)

    def complete_iterable_value(
        self,
        item_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: Any,
        path: Path,
        items: Iterable[Any],
        position_context: Any,
    ) -> list[Any] | Awaitable[list[Any]]:
        served = self._served_list(item_type, field_details_list, items)
        if served is not None:
            return served
        return super().complete_iterable_value(
            item_type, field_details_list, info, path, items, position_context
        )

    def _served_list(
        self, item_type: GraphQLOutputType, details: FieldDetailsList, items: Iterable[Any]
    ) -> list[Any] | None:
        """A list of objects of which only leaves are asked; None where anything is not simple."""
        kind, _ = _nullable(item_type)
        if type(items) is not list or not isinstance(kind, GraphQLObjectType) or kind.is_type_of:
            return None
        plan = self._plan(kind, self.collect_subfields(kind, details)[0])
        served = []
        for item in items:
            results, ordinary = _serve(plan, item)
            if ordinary or item is None or self.is_awaitable(item):
                return None
            served.append(results)
        return served
