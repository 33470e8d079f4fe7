"""HTML as Plane's editor keeps it, outward and inward.

What its pages are made of (ProseMirror's StarterKit with tables, task lists and images):
https://github.com/makeplane/plane/tree/preview/packages/editor/src/core/extensions
"""

import html
import re
from collections.abc import Sequence
from typing import Final

from aether.markup.links import safe_address
from aether.markup.tree import BOXES, Node, plain, text_node

TAGS: Final = {"strong": "strong", "em": "em", "strike": "s"}


def to_html(tree: Node) -> str:
    """The HTML of a document; all text is escaped, and of attributes only safe addresses come."""
    return "".join(_block(one) for one in tree.children)


def _block(one: Node) -> str:
    match one.kind:
        case "paragraph":
            return f"<p>{_inline(one.children)}</p>"
        case "heading":
            tag = f"h{min(max(one.level, 1), 6)}"
            return f"<{tag}>{_inline(one.children)}</{tag}>"
        case "list":
            return _list(one)
        case "quote":
            return f"<blockquote>{_blocks(one.children)}</blockquote>"
        case "code":
            name = re.sub(r"[^A-Za-z0-9+#._-]", "", one.language)
            attribute = f' class="language-{name}"' if name else ""
            return f"<pre><code{attribute}>{_escaped(one.text)}</code></pre>"
        case "rule":
            return "<hr>"
        case "table":
            return _table(one)
        case "document" | "item":
            return _blocks(one.children)
        case _:
            return f"<p>{_inline([one])}</p>"


def _blocks(nodes: Sequence[Node]) -> str:
    return "".join(_block(one) for one in nodes) or "<p></p>"


def _list(one: Node) -> str:
    if one.children and all(item.checked is not None for item in one.children):
        items = "".join(
            f'<li data-type="taskItem" data-checked="{str(bool(item.checked)).lower()}">'
            f"{_blocks(item.children)}</li>"
            for item in one.children
        )
        return f'<ul data-type="taskList">{items}</ul>'
    items = "".join(f"<li>{_blocks(_boxed(item))}</li>" for item in one.children)
    if not one.ordered:
        return f"<ul>{items}</ul>"
    start = f' start="{one.start}"' if one.start != 1 else ""
    return f"<ol{start}>{items}</ol>"


def _boxed(item: Node) -> list[Node]:
    if item.checked is None:
        return item.children
    box = text_node(BOXES[item.checked])
    first = item.children[0] if item.children else Node("paragraph")
    if first.kind != "paragraph":
        return [Node("paragraph", [box]), *item.children]
    return [Node("paragraph", [box, *first.children]), *item.children[1:]]


def _table(one: Node) -> str:
    width = max((len(row.children) for row in one.children), default=0)
    rows = []
    for number, row in enumerate(one.children):
        tag = "td" if number else "th"
        cells = [*row.children, *[Node("cell")] * (width - len(row.children))]
        rows.append("".join(f"<{tag}>{_cell(cell)}</{tag}>" for cell in cells))
    return f"<table><tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"


def _cell(cell: Node) -> str:
    if any(one.is_block for one in cell.children):
        return _blocks(cell.children)
    return f"<p>{_inline(cell.children)}</p>"


def _inline(nodes: Sequence[Node]) -> str:
    written = []
    for one in nodes:
        match one.kind:
            case "code_span":
                written.append(f"<code>{_escaped(one.text)}</code>")
            case "break":
                written.append("<br>")
            case "strong" | "em" | "strike":
                tag = TAGS[one.kind]
                written.append(f"<{tag}>{_inline(one.children)}</{tag}>")
            case "link" | "image":
                written.append(_link(one))
            case _:
                text = one.text if one.kind == "text" else plain([one])
                written.append(_escaped(text.replace("\n", " ")))
    return "".join(written)


def _link(one: Node) -> str:
    """A link; an image too, since it would be loaded by whoever looks at the page."""
    shown = _escaped(one.text) if one.kind == "image" else _inline(one.children)
    href = safe_address(one.href)
    if href is None:
        return shown
    address = html.escape(href)
    rel = ' target="_blank" rel="noopener noreferrer nofollow"'
    return f'<a{rel} href="{address}">{shown or address}</a>'


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
