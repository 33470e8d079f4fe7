"""How much work a text makes: steps are counted, no clock is read."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from aether.markup import from_adf, from_html, from_wiki, parse, to_adf, to_wiki, write
from aether.markup.tree import Node, text_node


def steps(work: Callable[..., object], *given: object) -> int:
    """How many calls, of ours and of Python's own functions, one call of ``work`` makes."""
    count = 0

    def see(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        work(*given)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("unit", ["_a *", "]-a", "[*a", "# *", "{{a", "{{", "* {{", "{*}a", "[~"])
def test_hostile_wiki_markup_is_read_in_a_few_steps_for_each_character(unit: str) -> None:
    markup = unit * (8_000 // len(unit))

    taken = steps(from_wiki, markup)

    assert taken < 20 * len(markup)


def _document(pieces: int) -> dict[str, Any]:
    """One paragraph whose pieces are all strong, each other one emphasised as well."""
    marks = ([{"type": "strong"}], [{"type": "strong"}, {"type": "em"}])
    texts = [{"type": "text", "text": "a", "marks": marks[n % 2]} for n in range(pieces)]
    return {"type": "doc", "content": [{"type": "paragraph", "content": texts}]}


def _broken(breaks: int) -> Node:
    lines = [one for _ in range(breaks) for one in (text_node("a"), Node("break"))]
    return Node("document", [Node("paragraph", [Node("strong", lines), *lines])])


@pytest.mark.parametrize(
    ("work", "made"),
    [
        (from_adf, _document),
        (to_wiki, _broken),
        (to_adf, _broken),
        (write, _broken),
        (from_html, "<br>a".__mul__),
        (parse, "a\\\n".__mul__),
    ],
)
def test_eight_times_as_many_line_breaks_or_pieces_take_eight_times_as_many_steps(
    work: Callable[..., object], made: Callable[[int], object]
) -> None:
    few, many = made(250), made(2_000)

    taken = steps(work, few), steps(work, many)

    assert taken[1] < 10 * taken[0]


def test_marked_pieces_of_a_document_are_joined_however_many_there_are() -> None:
    document = _document(4)

    assert write(from_adf(document)) == "**a*a*a*a***"
