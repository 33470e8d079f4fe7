"""Reads Atlassian Document Format: the tree of what a site and its apps wrote."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from aether.markup.links import safe_address
from aether.markup.tree import BOXES, MOST_DEPTH, Node, merged, plain, text_node

KINDS: Final = {"strong": "strong", "em": "em", "strike": "strike"}
DEEPEST: Final = 3 * MOST_DEPTH


def from_adf(document: Any) -> Node:
    """The tree of a document. Unknown nodes give their content; what has no text is left out."""
    if isinstance(document, str):
        return Node("document", [Node("paragraph", [text_node(document)])] if document else [])
    return Node("document", _blocks_of(_content(document), 0))


def _content(node: Any) -> list[Mapping[str, Any]]:
    found = node.get("content") if isinstance(node, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _attr(node: Mapping[str, Any], name: str) -> Any:
    attrs = node.get("attrs")
    return attrs.get(name) if isinstance(attrs, Mapping) else None


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _blocks_of(nodes: Sequence[Mapping[str, Any]], depth: int) -> list[Node]:
    """Blocks; inline nodes that stand among them become a paragraph."""
    found: list[Node] = []
    loose: list[Node] = []
    for one in nodes:
        blocks = _block_of(one, depth)
        if blocks is None:
            loose += _inline_of(one, depth)
            continue
        if loose:
            found.append(Node("paragraph", merged(loose)))
            loose = []
        found += blocks
    return [*found, Node("paragraph", merged(loose))] if loose else found


_GROUPS: Final = frozenset(
    {"doc", "layoutSection", "layoutColumn", "bodiedExtension", "bodiedSyncBlock",
     "multiBodiedExtension", "extensionFrame", "mediaGroup", "mediaSingle", "caption", "expand",
     "nestedExpand"}
)  # fmt: skip
_QUOTES: Final = frozenset({"blockquote", "panel"})
_LISTS: Final = frozenset({"bulletList", "orderedList", "taskList", "decisionList"})


def _block_of(one: Mapping[str, Any], depth: int) -> list[Node] | None:
    """None: it is inline, or unknown and without content."""
    kind, content = _word(one.get("type")), _content(one)
    if depth > DEEPEST:
        text = _deep_text(one)
        return [Node("paragraph", [text_node(text)])] if text else []
    if kind in _LISTS:
        return [_list_of(one, depth)]
    if kind in _GROUPS or kind in _QUOTES:
        inner = _blocks_of(content, depth + 1)
        return [Node("quote", inner)] if kind in _QUOTES else [*_titled(one), *inner]
    if kind in {"paragraph", "heading", "codeBlock"}:
        return [_text_block(kind, one, depth)]
    if kind == "rule":
        return [Node("rule")]
    if kind == "table":
        return [_table_of(content, depth)]
    if kind in {"blockCard", "embedCard"}:
        return [Node("paragraph", _card(one))]
    return _blocks_of(content, depth + 1) if any(map(_is_block, content)) else None


def _text_block(kind: str, one: Mapping[str, Any], depth: int) -> Node:
    content = _content(one)
    if kind == "codeBlock":
        made = Node("code", text="".join(_word(part.get("text")) for part in content))
        made.language = _word(_attr(one, "language"))
        return made
    made = Node("paragraph", _inlines_of(content, depth))
    if kind == "heading":
        level = _attr(one, "level")
        known = isinstance(level, int | float) and not isinstance(level, bool) and 1 <= level <= 6
        made.kind, made.level = "heading", int(level) if known else 3
    return made


def _is_block(one: Mapping[str, Any]) -> bool:
    return _word(one.get("type")) in {
        "paragraph", "heading", "codeBlock", "rule", "table", *_QUOTES, *_LISTS, *_GROUPS,
    }  # fmt: skip


def _titled(one: Mapping[str, Any]) -> list[Node]:
    title = _word(_attr(one, "title"))
    return [Node("paragraph", [Node("strong", [text_node(title)])])] if title else []


def _list_of(one: Mapping[str, Any], depth: int) -> Node:
    made = Node("list", ordered=one.get("type") == "orderedList")
    order = _attr(one, "order")
    if isinstance(order, int) and not isinstance(order, bool) and 0 <= order < 10**9:
        made.start = order
    for child in _content(one):
        kind = _word(child.get("type"))
        if kind in _LISTS:  # a nested list of tasks stands beside its item
            nested = _list_of(child, depth + 1) if depth < DEEPEST else Node("list")
            if not made.children:
                made.children.append(Node("item"))
            made.children[-1].children.append(nested)
        elif kind == "taskItem":
            item = Node("item", [Node("paragraph", _inlines_of(_content(child), depth))])
            item.checked = _attr(child, "state") == "DONE"
            made.children.append(item)
        else:
            item = Node("item", _blocks_of(_content(child), depth + 1))
            _uncheck(item)
            if kind == "blockTaskItem":
                item.checked = _attr(child, "state") == "DONE"
            made.children.append(item)
    return made


def _uncheck(item: Node) -> None:
    """Read a box that we wrote as text for what it stands for."""
    first = item.children[0].children[:1] if item.children else []
    for checked, box in BOXES.items():
        if first and first[0].kind == "text" and first[0].text.startswith(box):
            item.checked = checked
            item.children[0].children[0] = text_node(first[0].text.removeprefix(box))
            return


def _table_of(rows: Sequence[Mapping[str, Any]], depth: int) -> Node:
    made = Node("table")
    for row in rows:
        cells = [Node("cell", _cell_of(cell, depth)) for cell in _content(row)]
        if cells:
            made.children.append(Node("row", cells))
    return made


def _cell_of(cell: Mapping[str, Any], depth: int) -> list[Node]:
    """A cell's inline nodes; its blocks are told apart by line breaks."""
    found: list[Node] = []
    for block in _blocks_of(_content(cell), depth + 1):
        found += [Node("break")] if found else []
        found += block.children if block.kind == "paragraph" else [text_node(plain([block]))]
    return merged(found)


def _inlines_of(nodes: Sequence[Mapping[str, Any]], depth: int) -> list[Node]:
    return _joined([made for one in nodes for made in _inline_of(one, depth)])


def _inline_of(one: Mapping[str, Any], depth: int) -> list[Node]:
    kind = _word(one.get("type"))
    match kind:
        case "text":
            return _text_of(one)
        case "hardBreak":
            return [Node("break")]
        case "mention":
            name = _word(_attr(one, "text")) or _word(_attr(one, "id"))
            return [text_node(name if name.startswith("@") else f"@{name}")] if name else []
        case "emoji":
            return [text_node(_word(_attr(one, "text")) or _word(_attr(one, "shortName")))]
        case "status" | "placeholder":
            return [text_node(_word(_attr(one, "text")))]
        case "date":
            return [text_node(_date(_attr(one, "timestamp")))]
        case "inlineCard":
            return _card(one)
        case "media" | "mediaInline":
            return _media(one)
    if depth > DEEPEST:
        return [text_node(_deep_text(one))]
    return [made for child in _content(one) for made in _inline_of(child, depth + 1)]


def _text_of(one: Mapping[str, Any]) -> list[Node]:
    text = _word(one.get("text"))
    marks = one.get("marks")
    told = [mark for mark in marks if isinstance(mark, Mapping)] if isinstance(marks, list) else []
    types = {_word(mark.get("type")) for mark in told}
    made = Node("code_span", text=text) if "code" in types else text_node(text)
    if not text:
        return []
    for kind in ("strike", "em", "strong"):
        if kind in types:
            made = Node(KINDS[kind], [made])  # type: ignore[arg-type]
    for mark in told:
        href = safe_address(_word(_attr(mark, "href"))) if mark.get("type") == "link" else None
        if href:
            return [Node("link", [made], href=href)]
    return [made]


def _joined(nodes: Sequence[Node]) -> list[Node]:
    """Neighbours of one kind as one: ADF marks each piece of text by itself."""
    found: list[Node] = []
    for (kind, href), together in groupby(merged(nodes), lambda one: (one.kind, one.href)):
        pieces = list(together)
        if len(pieces) > 1 and kind in {"strong", "em", "strike", "link"}:
            children = [child for one in pieces for child in one.children]
            found.append(Node(kind, _joined(children), href=href))
        else:
            found += pieces
    return found


def _card(one: Mapping[str, Any]) -> list[Node]:
    data = _attr(one, "data")
    told = _word(_attr(one, "url")) or _word(data.get("url") if isinstance(data, Mapping) else "")
    href = safe_address(told)
    return [Node("link", [text_node(href)], href=href)] if href else [text_node(told)]


def _media(one: Mapping[str, Any]) -> list[Node]:
    alt = _word(_attr(one, "alt"))
    href = safe_address(_word(_attr(one, "url")))
    if href:
        return [Node("image", text=alt, href=href)]
    return [text_node(f"[attachment: {alt}]" if alt else "[attachment]")]


def _date(timestamp: Any) -> str:
    """ADF's dates are milliseconds since 1970, as text."""
    try:
        return datetime.fromtimestamp(int(timestamp) / 1000, UTC).date().isoformat()
    except (TypeError, ValueError, OverflowError, OSError):
        return _word(timestamp)


def _deep_text(one: Mapping[str, Any]) -> str:
    """All text of a node, however deep, without recursion."""
    found: list[str] = []
    waiting: list[Mapping[str, Any]] = [one]
    while waiting:
        node = waiting.pop()
        found.append(_word(node.get("text")) or _word(_attr(node, "text")))
        waiting += reversed(_content(node))
    return " ".join(part for part in found if part)
