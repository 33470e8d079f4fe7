"""Markdown as a tree, and a tree as Markdown: what is written reads as what was read."""

import pytest
from hypothesis import given

from aether.markup.markdown import write
from aether.markup.tree import MOST_DEPTH, Node, parse, text_node
from tests.markup.samples import FEW, HARD, TEXTS, WHOLE, outline


def test_every_part_of_a_text_is_read() -> None:
    kinds = {one[1] for one in outline(parse(WHOLE))}

    assert kinds == {
        "heading", "paragraph", "list", "item", "quote", "code", "table", "rule",
    }  # fmt: skip


@pytest.mark.parametrize("text", [WHOLE, *HARD])
def test_what_is_written_reads_as_what_was_read(text: str) -> None:
    tree = parse(text)

    written = write(tree)

    assert outline(parse(written)) == outline(tree)
    assert write(parse(written)) == written


@pytest.mark.parametrize(
    "text",
    ["*a*", "# a", "- a", "1. a", "> a", "`a`", "[a](b)", "![a](b)", "<b>", "&amp;", "a_b_ c",
     "---", "===", "```\na", "    a", "| a |\n|---|", "~~a~~", "\\", "+ a", "1) a", "~~~", "a\n---"],
)  # fmt: skip
def test_what_was_text_stays_text(text: str) -> None:
    tree = Node("document", [Node("paragraph", [text_node(text)])])

    [read] = parse(write(tree)).children

    assert read.kind == "paragraph"
    assert [one.kind for one in read.children] == ["text"]
    assert read.children[0].text.split() == text.split()


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "JAVASCRIPT:x", "data:text/html,x", "vbscript:x", "file:///etc/passwd",
     "java\tscript:x", "&#106;avascript:x", "javascript&colon;x", "\x01javascript:x"],
)  # fmt: skip
def test_a_link_of_an_unsafe_scheme_is_its_text(address: str) -> None:
    for text in (
        f"[click](<{address}>)",
        f"![click](<{address}>)",
        f"[click][r]\n\n[r]: <{address}>",
    ):
        assert "link" not in str(outline(parse(text)))
        assert "click" in write(parse(text))
        assert "](" not in write(parse(text))


def test_a_comment_is_not_shown_and_other_html_is_text() -> None:
    text = "before <!-- aether:x_y_z --> <script>alert(1)</script> after\n\n<!-- aether:m -->"

    assert write(parse(text)) == "before  \\<script>alert(1)\\</script> after"


def test_code_may_hold_anything_a_fence_is_made_of() -> None:
    code = Node("code", text="```\n````\n~~~\n", language="a`b c")

    [read] = parse(write(Node("document", [code]))).children

    assert (read.kind, read.text) == ("code", "```\n````\n~~~\n")


def test_nesting_beyond_the_bound_is_flat_and_no_error() -> None:
    for deep in ("> " * 5_000, "- " * 5_000, "[" * 5_000, "*a **b " * 2_000):
        tree = parse(f"{deep}end")
        assert write(tree) is not None

    levels, one = 0, parse("> " * 100 + "end")
    while one.children and one.children[0].is_block:
        levels, one = levels + 1, one.children[0]
    assert levels <= MOST_DEPTH


@FEW
@given(TEXTS)
def test_any_text_is_read_and_written(text: str) -> None:
    assert isinstance(write(parse(text)), str)
