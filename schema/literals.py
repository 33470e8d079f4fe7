"""Wrong values that stand in a query's own text: told by the name of their field.

graphql-core names the field of a variable's value, and of a literal only the place in the text.
"""

from collections.abc import Iterator
from typing import Any

from graphql import SKIP, GraphQLError, ValueNode, ValuesOfCorrectTypeRule, VisitorAction
from graphql.utilities import validate_input_literal
from strawberry.extensions import SchemaExtension


class NamedLiteralsRule(ValuesOfCorrectTypeRule):
    """graphql-core's rule, whose refusals of a scalar's value begin with the field."""

    def is_valid_value_node(self, node: ValueNode, input_type: Any) -> VisitorAction:
        """Report what is wrong with the literal, and where."""

        def report(error: GraphQLError, path: list[str | int]) -> None:
            if "cannot represent" in error.message or (error.extensions or {}).get("code"):
                error = GraphQLError(
                    f"{self._place(path)}{error.message}",
                    error.nodes or node,
                    extensions=error.extensions,
                )
            self.report_error(error)

        if input_type:
            hidden = self.context.hide_suggestions
            validate_input_literal(node, input_type, report, None, None, hidden)
        return SKIP

    def _place(self, path: list[str | int]) -> str:
        """As use cases name it: without the argument that holds the whole input."""
        field, argument = self.context.get_field_def(), self.context.get_argument()
        held = [name for name, one in field.args.items() if one is argument] if field else []
        names = path if path and isinstance(path[0], str) else [*held, *path]
        return f"{'.'.join(map(str, names))}: " if names else ""


class NamedLiterals(SchemaExtension):
    """Has that rule take the place of graphql-core's."""

    def on_operation(self) -> Iterator[None]:
        operation = self.execution_context
        operation.validation_rules = tuple(
            NamedLiteralsRule if one is ValuesOfCorrectTypeRule else one
            for one in operation.validation_rules
        )
        yield
