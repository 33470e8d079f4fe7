"""What one request may ask for: text, tokens, depth, aliases, directives, page sizes, cost.

Everything is refused before validation and before any resolver. Each fragment is worked out
once: Strawberry's own depth and alias limiters follow every spread, so that twenty fragments of
two spreads each cost them seconds and thirty would hold the process for an hour.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLList,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    parse,
)
from strawberry.extensions import SchemaExtension

from aether.errors import ErrorCode
from schema.texts import literal_problem, text_problem

MAX_CHARACTERS: Final = 100_000  # of query text; data belongs into variables
MAX_TOKENS: Final = 1_000  # graphql-core's rule on overlapping fields is quadratic in them
MAX_DEPTH: Final = 10  # fields inside fields; introspection is bounded by graphql-core's own rule
MAX_ALIASES: Final = 15
MAX_DIRECTIVES: Final = 50
MAX_REPEATS: Final = 50  # the same field again in one selection; validation pairs them all
MAX_COST: Final = 20_000  # fields of the answer at worst

DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 500
UNPAGED_LIST: Final = 10  # assumed length of a list of objects where no limit is given or known
INTROSPECTION_COST: Final = MAX_COST // 2 - 1_000  # so two of them in one request, not more
COUNTED: Final = 10**9  # counting stops here; numbers beyond say nothing more

LIMITS_TEXT: Final = (
    f"A request may have {MAX_DEPTH} levels of fields, {MAX_ALIASES} aliases, {MAX_DIRECTIVES} "
    f"directives, {MAX_TOKENS} tokens, {MAX_CHARACTERS} characters, and ask for {MAX_COST} fields "
    f"in its answer at worst; `limit`, `first` and `last` are from 1 to {MAX_PAGE}."
)
"""The limits in words, for the schema's description."""

REFUSED: Final = parse("{ __typename }", no_location=True)
"""Stands in for a text that is too long to be parsed."""


class Size(NamedTuple):
    """How large a selection is, its fragments expanded."""

    depth: int = 0
    cost: int = 0
    aliases: int = 0
    directives: int = 0


@dataclass
class Measure:
    """Walks one document; ``variables`` are the request's, as sent."""

    schema: GraphQLSchema
    document: DocumentNode
    variables: Mapping[str, Any]
    problems: dict[str, None] = field(default_factory=dict)  # an ordered set

    def __post_init__(self) -> None:
        self._fragments = {
            node.name.value: node
            for node in self.document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._known: dict[str, Size] = {}
        self._open: set[str] = set()
        self._repeats = 0
        self._defaults: Mapping[str, Any] = {}

    def run(self) -> list[str]:
        """What is wrong with the document, in words; empty if nothing is."""
        for node in self.document.definitions:
            if isinstance(node, OperationDefinitionNode):
                self._known.clear()  # page sizes depend on the operation's variables
                self._defaults = {
                    one.variable.name.value: one.default_value
                    for one in node.variable_definitions or ()
                }
                root = self.schema.get_root_type(node.operation)
                self._judge(self._selection(node.selection_set, root))
        if self._repeats > MAX_REPEATS:
            self.problems[f"the query repeats fields {self._repeats} times"] = None
        return list(self.problems)

    def _judge(self, size: Size) -> None:
        for found, most, what in zip(
            size,
            (MAX_DEPTH, MAX_COST, MAX_ALIASES, MAX_DIRECTIVES),
            ("levels of fields", "fields in the answer at worst", "aliases", "directives"),
            strict=True,
        ):
            if found > most:
                self.problems[f"the query has {found} {what}; at most {most} are allowed"] = None

    def _selection(self, selected: SelectionSetNode | None, parent: Any) -> Size:
        depth = cost = aliases = directives = 0
        nodes = selected.selections if selected else ()
        names = [(one.alias or one.name).value for one in nodes if isinstance(one, FieldNode)]
        self._repeats += len(names) - len(set(names))
        for node in nodes:
            if isinstance(node, FieldNode):
                d, c, a, x = self._field(node, parent)
            elif isinstance(node, FragmentSpreadNode):
                d, c, a, x = self._fragment(node.name.value)
            else:
                assert isinstance(node, InlineFragmentNode)  # noqa: S101 - the third and last kind
                d, c, a, x = self._selection(node.selection_set, self._condition(node, parent))
            depth = max(depth, d)
            cost = min(cost + c, COUNTED)
            aliases = min(aliases + a, COUNTED)
            directives = min(directives + x + len(node.directives or ()), COUNTED)
        return Size(depth, cost, aliases, directives)

    def _condition(self, node: InlineFragmentNode | FragmentDefinitionNode, parent: Any) -> Any:
        return self._type(node.type_condition.name.value) if node.type_condition else parent

    def _type(self, name: str) -> GraphQLNamedType | None:
        return self.schema.get_type(name)

    def _fragment(self, name: str) -> Size:
        known = self._known.get(name)
        if known is None:
            fragment = self._fragments.get(name)
            if fragment is None or name in self._open:
                return Size()  # unknown, or a circle: validation reports both
            self._open.add(name)
            known = self._selection(fragment.selection_set, self._condition(fragment, None))
            self._open.discard(name)
            self._known[name] = known
        return known

    def _field(self, node: FieldNode, parent: Any) -> Size:
        name = node.name.value
        found = self.schema.get_field(parent, name) if is_composite_type(parent) else None
        kind = get_named_type(found.type) if found else None
        depth, cost, aliases, directives = self._selection(node.selection_set, kind)
        if name in ("__schema", "__type"):
            depth, cost = 0, INTROSPECTION_COST
        elif kind is not None and kind.name == "PageInfo":
            cost = 0  # one a connection, though what is in one counts as often as it lists
        elif found is not None:
            cost *= self._page(node, found, parent)
        return Size(depth + 1, min(cost + 1, COUNTED), aliases + bool(node.alias), directives)

    def _page(self, node: FieldNode, found: GraphQLField, parent: Any) -> int:
        """How many objects the field may give."""
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        offset = self._number(given.get("offset"))
        if offset is not None and offset < 0:
            self.problems["offset: must be at least 0"] = None
        if "limit" in found.args:
            default = found.args["limit"].default_value
            usual = default if isinstance(default, int) else UNPAGED_LIST
            return self._size("limit", given) or usual
        if "first" in found.args:  # a connection: what it lists is counted here, once
            sizes = (self._size(name, given) for name in ("first", "last"))
            return max((one for one in sizes if one is not None), default=DEFAULT_PAGE)
        if not isinstance(get_nullable_type(found.type), GraphQLList):
            return 1
        return 1 if "pageInfo" in getattr(parent, "fields", ()) else UNPAGED_LIST

    def _size(self, name: str, given: Mapping[str, Any]) -> int | None:
        """The page size in an argument, brought into its bounds; None: it is not given."""
        size = self._number(given.get(name))
        if size is None:
            return None
        if size < 1:
            self.problems[f"{name}: must be at least 1"] = None
        elif size > MAX_PAGE:
            self.problems[f"{name}: must be at most {MAX_PAGE}"] = None
        return max(1, min(size, MAX_PAGE))

    def _number(self, value: Any) -> int | None:
        if isinstance(value, VariableNode):
            name = value.name.value
            if name in self.variables:
                return _whole(self.variables[name])
            value = self._defaults.get(name)
        return int(value.value) if isinstance(value, IntValueNode) else None


def _whole(sent: Any) -> int | None:
    """A variable's value as GraphQL takes it for an Int, 500.0 being 500; None: as no number."""
    if isinstance(sent, float) and sent.is_integer():
        return int(sent)
    return sent if isinstance(sent, int) and not isinstance(sent, bool) else None


def _has_variables(document: DocumentNode) -> bool:
    return any(
        node.variable_definitions
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode)
    )


def _operations(document: DocumentNode) -> int:
    return sum(isinstance(node, OperationDefinitionNode) for node in document.definitions)


class RequestLimits(SchemaExtension):
    """Refuses what is over a limit; list it before the document cache."""

    too_long = False

    def on_operation(self) -> Iterator[None]:
        operation = self.execution_context
        operation.parse_options["max_tokens"] = MAX_TOKENS
        if operation.query and len(operation.query) > MAX_CHARACTERS:
            # Raised here or while parsing, an error would miss its code and end a socket.
            self.too_long = True
            operation.graphql_document = REFUSED
        yield

    def on_validate(self) -> Iterator[None]:
        problems = self._problems()
        if problems:
            self.execution_context.pre_execution_errors = [
                GraphQLError(problem, extensions={"code": ErrorCode.INVALID_INPUT})
                for problem in problems
            ]
        yield

    def _problems(self) -> list[str]:
        operation = self.execution_context
        if self.too_long:
            return [f"the query is longer than {MAX_CHARACTERS} characters"]
        document, variables = operation.graphql_document, operation.variables or {}
        if document is None:
            return []
        if operation._provided_operation_name is None and _operations(document) > 1:  # noqa: SLF001
            return ["operationName: needed, the query holds several operations"]
        for name, value in variables.items():
            if problem := text_problem(value, name):
                return [problem]
        cached = operation.pre_execution_errors is not None
        if cached and not _has_variables(document):  # it passed, and is always the same
            return []
        if not cached and (problem := literal_problem(operation.query or "", document)):
            return [problem]
        return Measure(operation.schema._schema, document, variables).run()  # noqa: SLF001
