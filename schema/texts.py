"""Text that PostgreSQL cannot store, numbers that Python does not read: found before all else."""

import re
from typing import Any, Final

import orjson
from graphql import DocumentNode, IntValueNode, Node, StringValueNode
from graphql.language import Visitor, visit

MOST_DIGITS: Final = 300
"""No number here has as many; int() refuses more than 4,300, and that would look like a bug."""
LONG_NUMBER: Final = re.compile(rf"[0-9]{{{MOST_DIGITS + 1}}}")


def text_problem(value: Any, name: str) -> str | None:
    """Where a JSON value holds text that PostgreSQL cannot store, as ``name: problem``.

    NUL and lone surrogates; asked of every request's variables, however deep they are.
    """
    try:
        if b"\\u0000" not in orjson.dumps(value):
            return None
    except TypeError:  # a lone surrogate, or only a number beyond 64 bits
        pass
    waiting: list[tuple[Any, Any]] = [((None, name), value)]  # a place is (its parent, its key)
    while waiting:
        place, one = waiting.pop()
        if isinstance(one, str):
            if problem := _unfit(one):
                return f"{_dotted(place)}: {problem}"
        elif isinstance(one, dict):
            waiting.extend(((place, key), inner) for key, inner in one.items())
            waiting.extend((place, key) for key in one)
        elif isinstance(one, list):
            waiting.extend(((place, index), inner) for index, inner in enumerate(one))
    return None


def _dotted(place: Any) -> str:
    names: list[str] = []
    while place is not None:
        place, name = place
        names.append(str(name))
    return ".".join(reversed(names))


def _unfit(text: str) -> str | None:
    if "\0" in text:
        return "must not hold a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not hold a lone surrogate"
    return None


class _Literals(Visitor):
    """Finds string literals that cannot be stored, and numbers of more digits than Python reads."""

    def __init__(self) -> None:
        super().__init__()
        self.problem: str | None = None

    def enter_string_value(
        self, node: StringValueNode, _key: Any, parent: Node | None, *_: Any
    ) -> None:
        self._note(parent, "text", _unfit(node.value))

    def enter_int_value(self, node: IntValueNode, _key: Any, parent: Node | None, *_: Any) -> None:
        if len(node.value) > MOST_DIGITS:
            self._note(parent, "number", "has too many digits")

    def _note(self, parent: Node | None, kind: str, problem: str | None) -> None:
        if problem:
            named = getattr(parent, "name", None)
            self.problem = f"{named.value if named else kind}: {problem}"


def literal_problem(query: str, document: DocumentNode) -> str | None:
    """The same for the string literals of a document, and of a number that is far too long."""
    # Only an escape, or NUL itself, can make such a text.
    if "\0" not in query and "\\" not in query and not LONG_NUMBER.search(query):
        return None
    literals = _Literals()
    visit(document, literals)
    return literals.problem
