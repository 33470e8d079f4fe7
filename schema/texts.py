"""Text that PostgreSQL cannot store: NUL, lone surrogates. Found before anything runs."""

from typing import Any

import orjson
from graphql import DocumentNode, Node, StringValueNode
from graphql.language import Visitor, visit


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


class _Texts(Visitor):
    """Finds string literals that cannot be stored."""

    def __init__(self) -> None:
        super().__init__()
        self.problem: str | None = None

    def enter_string_value(
        self, node: StringValueNode, _key: Any, parent: Node | None, *_: Any
    ) -> None:
        problem = _unfit(node.value)
        if problem:
            named = getattr(parent, "name", None)
            self.problem = f"{named.value if named else 'text'}: {problem}"


def literal_problem(query: str, document: DocumentNode) -> str | None:
    """The same for the string literals of a document."""
    if "\0" not in query and "\\" not in query:
        return None  # only an escape, or NUL itself, can make such a text
    texts = _Texts()
    visit(document, texts)
    return texts.problem
