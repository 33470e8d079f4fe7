"""Reads HTML, of Plane's editor or anybody's: the tree of a page."""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aether.markup.links import safe_address
from aether.markup.tree import MOST_DEPTH, Node, merged, plain, text_node

DEEPEST: Final = 3 * MOST_DEPTH
LONGEST_TAG: Final = 8_000


@dataclass(slots=True)
class _Element:
    """One element of the page; children are elements and texts, in their order."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    children: "list[_Element | str]" = field(default_factory=list)


_NAME: Final = re.compile(r"</?([A-Za-z][A-Za-z0-9-]{0,50})")
_ATTRIBUTE: Final = re.compile(
    r"([^\s=\"'<>/]{1,100})(?:\s{0,20}=\s{0,20}(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'<>]+)))?"
)
_VOID: Final = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
_HIDDEN: Final = frozenset(
    {"script", "style", "head", "title", "template", "noscript", "iframe", "object", "svg"}
)
_RAW: Final = frozenset({"script", "style"})
_BLOCKS: Final = frozenset(
    {"p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "hr",
     "table", "thead", "tbody", "tfoot", "tr", "td", "th", "section", "article", "details",
     "summary", "figure", "dl", "dt", "dd", "body", "html", "main", "header", "footer", "nav"}
)  # fmt: skip
_INLINE_KINDS: Final = {
    "strong": "strong", "b": "strong", "em": "em", "i": "em", "s": "strike", "del": "strike",
    "strike": "strike",
}  # fmt: skip
_SPACE: Final = re.compile(r"[ \t\r\n\f]+")


def from_html(page: str) -> Node:
    """The tree of a page. Never raises: what is open is closed, what is unknown is its text."""
    return Node("document", _blocks_of(_read(page).children, 0))


def _read(page: str) -> _Element:
    root = _Element("body")
    stack = [root]
    for kind, told, attributes in _tokens(page):
        if kind == "text":
            stack[-1].children.append(told)
        elif kind == "close":
            _close(stack, told)
        else:
            _imply_ends(stack, told)
            made = _Element(told, attributes)
            stack[-1].children.append(made)
            if told not in _VOID and len(stack) < DEEPEST:
                stack.append(made)
    return root


def _close(stack: list[_Element], name: str) -> None:
    for place in range(len(stack) - 1, 0, -1):
        if stack[place].name == name:
            del stack[place:]
            return


_ENDS: Final = {"li": frozenset({"li"}), "tr": frozenset({"tr", "td", "th"}),
                "td": frozenset({"td", "th"}), "th": frozenset({"td", "th"})}  # fmt: skip


def _imply_ends(stack: list[_Element], name: str) -> None:
    """What a new tag closes: a block an open paragraph, an item an open item of the same list."""
    if name in _BLOCKS and stack[-1].name == "p":
        stack.pop()
    while stack[-1].name in _ENDS.get(name, ()) and len(stack) > 1:
        stack.pop()


def _tokens(page: str) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """(``text``, ``open`` or ``close``; text or name; attributes), in one pass."""
    place = 0
    comments_end = True  # whether a further comment may be closed
    while (start := page.find("<", place)) >= 0:
        if start > place:
            yield "text", html.unescape(page[place:start]), {}
        if page.startswith("<!--", start):
            end = page.find("-->", start) if comments_end else -1
            comments_end = end >= 0
            place = end + 3 if end >= 0 else len(page)
            continue
        named = _NAME.match(page, start)
        end = _tag_end(page, start) if named or page[start + 1 : start + 2] in {"!", "?"} else -1
        if end < 0:
            yield "text", "<", {}
            place = start + 1
            continue
        place = end + 1
        if named is None:
            continue
        name = named[1].lower()
        if page[start + 1] == "/":
            yield "close", name, {}
            continue
        yield "open", name, _attributes(page[named.end() : end])
        if name in _RAW:
            ends = page.lower().find(f"</{name}", place) if len(page) < 1_000_000 else -1
            place = ends if ends >= 0 else len(page)
    if place < len(page):
        yield "text", html.unescape(page[place:]), {}


def _tag_end(page: str, start: int) -> int:
    """Where the tag ends, quotes respected; -1: nowhere near."""
    quote = ""
    for place in range(start + 1, min(len(page), start + LONGEST_TAG)):
        one = page[place]
        if quote:
            quote = "" if one == quote else quote
        elif one in "\"'" and page[place - 1] in "= \t\n":
            quote = one
        elif one == ">":
            return place
        elif one == "<":
            return -1
    return -1


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in _ATTRIBUTE.finditer(text):
        value = next((part for part in one.groups()[1:] if part is not None), "")
        found.setdefault(one[1].lower(), html.unescape(value))
    return found


def _blocks_of(children: Sequence[_Element | str], depth: int) -> list[Node]:
    found: list[Node] = []
    loose: list[Node] = []

    def close() -> None:
        nodes = _trimmed(loose)
        if nodes:
            found.append(Node("paragraph", nodes))
        loose.clear()

    for one in children:
        if isinstance(one, _Element) and one.name in _HIDDEN:
            continue
        if isinstance(one, _Element) and (one.name in _BLOCKS or _holds_blocks(one)):
            close()
            found += _block_of(one, depth)
        else:
            loose += _inline_of(one, depth)
    close()
    return found


def _holds_blocks(one: _Element) -> bool:
    return one.name not in _INLINE_KINDS and any(
        isinstance(child, _Element) and child.name in _BLOCKS for child in one.children
    )


def _block_of(one: _Element, depth: int) -> list[Node]:
    deeper = depth + 1
    match one.name:
        case "h1" | "h2" | "h3" | "h4" | "h5" | "h6":
            made = Node("heading", _trimmed(_inlines_of(one, depth)))
            made.level = int(one.name[1])
            return [made]
        case "ul" | "ol":
            return [_list_of(one, deeper)]
        case "blockquote":
            return [Node("quote", _blocks_of(one.children, deeper))]
        case "pre":
            return [_code_of(one)]
        case "hr":
            return [Node("rule")]
        case "table":
            return [_table_of(one, deeper)]
        case "summary" | "dt":
            return [Node("paragraph", [Node("strong", _trimmed(_inlines_of(one, depth)))])]
        case "p":
            nodes = _trimmed(_inlines_of(one, depth))
            return [Node("paragraph", nodes)] if nodes else []
        case _:
            return _blocks_of(one.children, deeper)


def _list_of(one: _Element, depth: int) -> Node:
    made = Node("list", ordered=one.name == "ol")
    start = one.attributes.get("start", "1")
    if re.fullmatch(r"[0-9]{1,9}", start):
        made.start = int(start)
    for child in one.children:
        if isinstance(child, str):
            if child.strip():
                made.children.append(Node("item", _blocks_of([child], depth)))
        elif child.name in {"ul", "ol"}:  # beside its item, as old editors write it
            if not made.children:
                made.children.append(Node("item"))
            made.children[-1].children.append(_list_of(child, depth + 1))
        elif child.name not in _HIDDEN:
            made.children.append(_item_of(child, depth))
    return made


def _item_of(one: _Element, depth: int) -> Node:
    checked = one.attributes.get("data-checked")
    if checked is None and one.attributes.get("data-type") == "taskItem":
        checked = "false"
    box = next(
        (part for part in _within(one, 3)
         if part.name == "input" and part.attributes.get("type") == "checkbox"),
        None,
    )  # fmt: skip
    if checked is None and box is not None:
        checked = str("checked" in box.attributes).lower()
    made = Node("item", _blocks_of(one.children, depth))
    made.checked = None if checked is None else checked == "true"
    return made


def _within(one: _Element, levels: int) -> Iterator[_Element]:
    for child in one.children:
        if isinstance(child, _Element) and child.name not in {"ul", "ol"}:
            yield child
            if levels:
                yield from _within(child, levels - 1)


def _code_of(one: _Element) -> Node:
    made = Node("code", text=_raw_text(one).removeprefix("\n").removesuffix("\n"))
    for element in (one, *_within(one, 1)):
        found = re.search(
            r"(?:^|\s)(?:language|lang)-([^\s]+)", element.attributes.get("class", "")
        )
        if found is not None:
            made.language = found[1]
    return made


def _raw_text(one: _Element) -> str:
    """The text of an element as it stands, line breaks included."""
    found: list[str] = []
    waiting: list[_Element | str] = [one]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            found.append(part)
        elif part.name == "br":
            found.append("\n")
        else:
            waiting += reversed(part.children)
    return "".join(found)


def _table_of(one: _Element, depth: int) -> Node:
    made = Node("table")
    groups = [one, *(part for part in one.children if isinstance(part, _Element))]
    for group in groups:
        if group is not one and group.name not in {"thead", "tbody", "tfoot"}:
            continue
        for row in group.children:
            if isinstance(row, _Element) and row.name == "tr":
                cells = [
                    Node("cell", _cell_of(cell, depth))
                    for cell in row.children
                    if isinstance(cell, _Element) and cell.name in {"td", "th"}
                ]
                made.children += [Node("row", cells)] if cells else []
    return made


def _cell_of(cell: _Element, depth: int) -> list[Node]:
    found: list[Node] = []
    for block in _blocks_of(cell.children, depth + 1):
        found += [Node("break")] if found else []
        found += block.children if block.kind == "paragraph" else [text_node(plain([block]))]
    return merged(found)


def _inlines_of(one: _Element, depth: int) -> list[Node]:
    return [made for child in one.children for made in _inline_of(child, depth + 1)]


def _inline_of(one: _Element | str, depth: int) -> list[Node]:
    if isinstance(one, str):
        return [text_node(_SPACE.sub(" ", one))]
    if one.name in _HIDDEN or one.name == "input":
        return []
    if one.name == "br":
        return [Node("break")]
    if one.name == "code":
        return [Node("code_span", text=_raw_text(one))] if _raw_text(one) else []
    if one.name in {"mention-component", "mention"} or one.attributes.get("data-type") == "mention":
        return [text_node(_mention(one))]
    if one.name in {"img", "image-component"}:
        return _image_of(one)
    inner = _inlines_of(one, depth)
    if one.name == "a" and (href := safe_address(one.attributes.get("href", ""))):
        return [Node("link", merged(inner), href=href)] if plain(inner).strip() else inner
    kind = _INLINE_KINDS.get(one.name)
    if kind is not None and plain(inner).strip():
        return [Node(kind, merged(inner))]  # type: ignore[arg-type]
    return inner


def _mention(one: _Element) -> str:
    told = one.attributes
    name = _raw_text(one).strip() or next(
        (told[key] for key in ("label", "data-label", "entity_name", "title", "entity_identifier")
         if told.get(key) and not told[key].endswith("_mention")),
        "somebody",
    )  # fmt: skip
    return name if name.startswith("@") else f"@{name}"


def _image_of(one: _Element) -> list[Node]:
    alt = one.attributes.get("alt", "")
    href = safe_address(one.attributes.get("src", ""))
    if href and re.match(r"https?:", href, re.IGNORECASE):
        return [Node("image", text=alt, href=href)]
    return [text_node(f"[attachment: {alt}]" if alt else "[attachment]")]


def _trimmed(nodes: Sequence[Node]) -> list[Node]:
    """Inline nodes without spaces at either end and around breaks."""
    found = merged(nodes)
    kept: list[Node] = []
    for number, one in enumerate(found):
        text = one.text
        if one.kind == "text" and (not kept or kept[-1].kind == "break"):
            text = text.lstrip()
        if one.kind == "text" and (number + 1 == len(found) or found[number + 1].kind == "break"):
            text = text.rstrip()
        if one.kind != "text":
            kept.append(one)
        elif text:
            kept.append(text_node(text))
    shown = [number for number, one in enumerate(kept) if one.kind != "break"]
    return kept[shown[0] : shown[-1] + 1] if shown else []
