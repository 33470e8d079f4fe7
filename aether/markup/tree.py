"""The tree between Markdown and the platforms' formats, and how Markdown becomes one.

Markdown is GitHub's: CommonMark with tables, strikethrough and task lists.
https://github.github.com/gfm/
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

from aether.markup.links import safe_address

BlockKind = Literal[
    "document", "paragraph", "heading", "list", "item", "quote", "code", "rule", "table", "row",
    "cell",
]  # fmt: skip
InlineKind = Literal["text", "code_span", "strong", "em", "strike", "link", "image", "break"]
Kind = BlockKind | InlineKind

MOST_DEPTH: Final = 20
"""Containers inside containers; Markdown beyond it is plain text."""

BLOCKS: Final = frozenset(
    {"document", "paragraph", "heading", "list", "item", "quote", "code", "rule", "table", "row",
     "cell"}
)  # fmt: skip

SIMPLE_TAG: Final = re.compile(
    r"</?(?:details(?: open)?|summary|sub|sup|kbd|br) ?/?>", re.IGNORECASE
)
"""Tags without attributes that GitHub and GitLab render and that do nothing else."""

BOXES: Final = {True: "\u2611 ", False: "\u2610 "}
"""How a task is shown where there are no tasks."""

_COMMENT: Final = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_TAG: Final = re.compile(r"<(?=[A-Za-z/!?])(?!br ?/?>)", re.IGNORECASE)
_BREAK: Final = re.compile(r"<br ?/?>", re.IGNORECASE)
_CHECKBOX: Final = re.compile(r"\[([ xX])\][ \t]+")
_HREF: Final = 2_000


@dataclass(slots=True)
class Node:
    """One part of a text; which fields count depends on ``kind``.

    A list has items; an item, a quote and a document have blocks; a paragraph, a heading and a
    cell have inline nodes; a table has rows, the first of which is its head.
    """

    kind: Kind
    children: "list[Node]" = field(default_factory=list)
    text: str = ""  # of text, code_span, code; of an image what stands in for it
    level: int = 0  # of a heading, 1 to 6
    ordered: bool = False  # of a list
    start: int = 1  # of an ordered list
    tight: bool = True  # of a list: no blank lines between its items
    checked: bool | None = None  # of an item; None: no task
    language: str = ""  # of code
    href: str = ""  # of a link, an image
    # of a table: left, right, center or nothing, by column
    aligns: list[str] = field(default_factory=list)

    @property
    def is_block(self) -> bool:
        return self.kind in BLOCKS


def text_node(text: str) -> Node:
    return Node("text", text=text)


def plain(nodes: Iterable[Node]) -> str:
    """The text of inline nodes without what marks it up."""
    return "".join(_plain(nodes))


def _plain(nodes: Iterable[Node]) -> Iterator[str]:
    for one in nodes:
        if one.kind == "break":
            yield "\n"
        elif one.kind in {"text", "code_span", "image", "code"}:
            yield one.text
        yield from _plain(one.children)


def merged(nodes: Iterable[Node]) -> list[Node]:
    """Inline nodes without empty texts, neighbouring texts as one."""
    found: list[Node] = []
    texts: list[str] = []
    for one in nodes:
        if one.kind == "text":
            texts.append(one.text)
            continue
        _end_text(texts, found)
        found.append(one)
    _end_text(texts, found)
    return found


def _end_text(texts: list[str], found: list[Node]) -> None:
    if text := "".join(texts):
        found.append(text_node(text))
    texts.clear()


@cache
def _parser() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"maxNesting": MOST_DEPTH})
    made.validateLink = lambda url: True  # type: ignore[method-assign] # we judge them ourselves
    return made.enable(["table", "strikethrough"])


def parse(markdown: str) -> Node:
    """The tree of a Markdown text. Never raises; a link of an unsafe scheme is its text alone."""
    root = Node("document", _read(markdown, html=True))
    _find_tasks(root)
    return root


def _read(markdown: str, *, html: bool) -> list[Node]:
    root = Node("document")
    open_nodes = [root]
    for token in _parser().parse(markdown):
        if token.type == "html_block":
            # What it holds is read as Markdown: its tags are shown, or say nothing.
            shown = _TAG.sub(r"\\<", SIMPLE_TAG.sub(_only_break, _COMMENT.sub("", token.content)))
            open_nodes[-1].children += (
                _read(shown, html=False) if html else [Node("paragraph", [text_node(shown)])]
            )
        else:
            _take(token, open_nodes)
    return root.children


def _only_break(found: re.Match[str]) -> str:
    return found[0] if _BREAK.fullmatch(found[0]) else ""


_CONTAINERS: Final[dict[str, BlockKind]] = {
    "paragraph": "paragraph", "heading": "heading", "bullet_list": "list", "ordered_list": "list",
    "list_item": "item", "blockquote": "quote", "table": "table", "tr": "row", "th": "cell",
    "td": "cell",
}  # fmt: skip


def _take(token: Token, open_nodes: list[Node]) -> None:
    name, _, ending = token.type.rpartition("_")
    if ending == "open" and name in _CONTAINERS:
        _open(token, name, open_nodes)
    elif ending == "close" and name in _CONTAINERS:
        open_nodes.pop()
    elif token.type == "inline":
        open_nodes[-1].children = _inline(token.children or ())
    elif token.type in {"fence", "code_block"}:
        words = token.info.split() if token.type == "fence" else []
        code = Node("code", text=token.content.removesuffix("\n"))
        code.language = words[0] if words else ""
        open_nodes[-1].children.append(code)
    elif token.type == "hr":
        open_nodes[-1].children.append(Node("rule"))


def _open(token: Token, name: str, open_nodes: list[Node]) -> None:
    made = Node(_CONTAINERS[name])
    parent = open_nodes[-1]
    if name == "heading":
        made.level = int(token.tag[1:])
    elif name == "ordered_list":
        made.ordered, made.start = True, int(token.attrGet("start") or 1)
        if token.attrGet("start") == 0:
            made.start = 0
    elif name == "paragraph" and not token.hidden and parent.kind == "item":
        open_nodes[-2].tight = False
    elif name == "th":
        style = str(token.attrGet("style") or "")
        open_nodes[-2].aligns.append(style.removeprefix("text-align:"))
    parent.children.append(made)
    open_nodes.append(made)


def _inline(tokens: Sequence[Token]) -> list[Node]:
    root = Node("paragraph")
    open_nodes = [root]
    for token in tokens:
        _take_inline(token, open_nodes)
    return merged(root.children)


_MARKS: Final[dict[str, InlineKind]] = {"strong": "strong", "em": "em", "s": "strike"}


def _take_inline(token: Token, open_nodes: list[Node]) -> None:
    name, _, ending = token.type.rpartition("_")
    if name in _MARKS or name == "link":
        if ending == "open":
            made = Node(_MARKS.get(name, "link"))
            made.href = safe_address(str(token.attrGet("href") or "")) or ""
            open_nodes[-1].children.append(made)
            open_nodes.append(made)
        else:
            _close_inline(open_nodes)
    else:
        open_nodes[-1].children += _leaf(token)


def _close_inline(open_nodes: list[Node]) -> None:
    closed = open_nodes.pop()
    closed.children = merged(closed.children)
    if closed.kind == "link" and not closed.href:
        open_nodes[-1].children.pop()
        open_nodes[-1].children += closed.children


def _leaf(token: Token) -> list[Node]:
    match token.type:
        case "code_inline":
            return [Node("code_span", text=token.content)]
        case "image":
            return [_image(token)]
        case "html_inline":
            return _shown_html(token.content)
        case "softbreak":
            return [text_node("\n")]
        case "hardbreak":
            return [Node("break")]
        case _:
            return [text_node(token.content)]


def _image(token: Token) -> Node:
    alt = plain(_inline(token.children or ()))
    address = safe_address(str(token.attrGet("src") or ""))
    return Node("image", text=alt, href=address) if address else text_node(alt)


def _shown_html(tag: str) -> list[Node]:
    """A tag as a reader should see it: a break breaks, comments and simple tags say nothing."""
    if _BREAK.fullmatch(tag):
        return [Node("break")]
    return [] if tag.startswith("<!--") or SIMPLE_TAG.fullmatch(tag) else [text_node(tag)]


def _find_tasks(root: Node) -> None:
    """Items that begin with a checkbox: https://github.github.com/gfm/#task-list-items-extension-"""
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if one.kind == "item" and one.children and one.children[0].kind == "paragraph":
            first = one.children[0].children[:1]
            found = _CHECKBOX.match(first[0].text) if first and first[0].kind == "text" else None
            if found is not None:
                one.checked = found[1] != " "
                one.children[0].children[0] = text_node(first[0].text[found.end() :])
        waiting += [child for child in one.children if child.is_block]
