"""Atlassian Document Format, what Jira Cloud's API v3 takes and gives in place of a text.

https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/ and the JSON schema of
@atlaskit/adf-schema, which says what may stand in what.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aether.markup.links import safe_address
from aether.markup.tree import BOXES, Node, plain, text_node

Adf = dict[str, Any]

MARK_TYPES: Final = {"strong": "strong", "em": "em", "strike": "strike"}


def to_adf(tree: Node) -> Adf:
    """A document that Jira takes: no empty texts, and nothing where the schema forbids it."""
    content = [made for one in tree.children for made in _block(one)]
    return {"type": "doc", "version": 1, "content": content or [_paragraph([])]}


def _block(one: Node) -> list[Adf]:
    """A block where anything may stand."""
    match one.kind:
        case "heading":
            level = min(max(one.level, 1), 6)
            return [_with("heading", _inline(one.children), attrs={"level": level})]
        case "quote":
            content = [made for child in one.children for made in _nested(child, in_quote=True)]
            return [{"type": "blockquote", "content": content or [_paragraph([])]}]
        case "rule":
            return [{"type": "rule"}]
        case "table":
            return _table(one)
        case "list" if _is_task_list(one):
            return [_task_list(one)]
        case _:
            return _nested(one)


def _nested(one: Node, *, in_quote: bool = False) -> list[Adf]:
    """A block inside a quote or an item, where only paragraphs, lists and code may stand."""
    match one.kind:
        case "list" if _is_task_list(one) and not in_quote:
            return [_task_list(one)]
        case "list":
            return [_list(one)] if one.children else []
        case "code":
            return [_code(one)]
        case "heading":
            return [_paragraph([Node("strong", one.children)])]
        case "rule":
            return [_paragraph([text_node("\u2014\u2014\u2014")])]
        case "table":
            return [_paragraph(_row_as_text(row)) for row in one.children]
        case "quote" | "document" | "item":
            return [made for child in one.children for made in _nested(child, in_quote=in_quote)]
        case "paragraph" | "cell":
            return [_paragraph(one.children)]
        case _:
            return [_paragraph([one])]


def _with(kind: str, content: list[Adf], *, attrs: Mapping[str, Any] | None = None) -> Adf:
    made: Adf = {"type": kind}
    if attrs is not None:
        made["attrs"] = dict(attrs)
    if content:
        made["content"] = content
    return made


def _paragraph(nodes: Sequence[Node]) -> Adf:
    return {"type": "paragraph", "content": _inline(nodes)}


def _code(one: Node) -> Adf:
    attrs = {"language": one.language} if one.language else {}
    content = [{"type": "text", "text": one.text}] if one.text else []
    return _with("codeBlock", content, attrs=attrs)


def _list(one: Node) -> Adf:
    return _with(
        "orderedList" if one.ordered else "bulletList",
        [_item(item) for item in one.children],
        attrs={"order": max(one.start, 0)} if one.ordered and one.start != 1 else None,
    )


def _item(item: Node) -> Adf:
    content = [made for child in item.children for made in _nested(child)]
    if item.checked is not None:
        box = {"type": "text", "text": BOXES[item.checked]}
        if content and content[0]["type"] == "paragraph":
            content[0]["content"].insert(0, box)
        else:
            content.insert(0, {"type": "paragraph", "content": [box]})
    if not content or content[0]["type"] not in {"paragraph", "codeBlock"}:
        content.insert(0, _paragraph([]))
    return {"type": "listItem", "content": content}


def _is_task_list(one: Node) -> bool:
    """Whether a list holds what a taskList can: one line of text each, and lists of such."""
    return (
        one.kind == "list"
        and bool(one.children)
        and all(
            item.checked is not None
            and item.children[:1]
            and item.children[0].kind == "paragraph"
            and all(_is_task_list(child) for child in item.children[1:])
            for item in one.children
        )
    )


def _task_list(one: Node, path: str = "t") -> Adf:
    content: list[Adf] = []
    for number, item in enumerate(one.children):
        place = f"{path}-{number}"
        attrs = {"localId": place, "state": "DONE" if item.checked else "TODO"}
        content.append(_with("taskItem", _inline(item.children[0].children), attrs=attrs))
        content += [_task_list(child, place) for child in item.children[1:]]
    return {"type": "taskList", "attrs": {"localId": path}, "content": content}


def _table(one: Node) -> list[Adf]:
    width = max((len(row.children) for row in one.children), default=0)
    if not width:
        return []
    rows = []
    for number, row in enumerate(one.children):
        kind = "tableCell" if number else "tableHeader"
        cells = [*row.children, *[Node("cell")] * (width - len(row.children))]
        content = [{"type": kind, "attrs": {}, "content": _cell(cell)} for cell in cells]
        rows.append({"type": "tableRow", "content": content})
    attrs = {"isNumberColumnEnabled": False, "layout": "default"}
    return [{"type": "table", "attrs": attrs, "content": rows}]


def _cell(cell: Node) -> list[Adf]:
    if any(one.is_block for one in cell.children):
        return [made for one in cell.children for made in _nested(one)]
    return [_paragraph(cell.children)]


def _row_as_text(row: Node) -> list[Node]:
    found: list[Node] = []
    for number, cell in enumerate(row.children):
        found += [text_node(" | ")] if number else []
        found += cell.children
    return found


def _inline(nodes: Iterable[Node], marks: Sequence[Adf] = ()) -> list[Adf]:
    made: list[Adf] = []
    for one in nodes:
        match one.kind:
            case "text":
                text = one.text.replace("\n", " ")  # a softbreak; Jira would show a line break
                made += [_text(text, marks)] if text else []
            case "code_span":
                links = [mark for mark in marks if mark["type"] == "link"]
                made += [_text(one.text, [*links, {"type": "code"}])] if one.text else []
            case "break":
                made.append({"type": "hardBreak"})
            case "image":
                made.append(_text(one.text or one.href, _and_link(marks, one.href)))
            case "link":
                shown = one.children or [text_node(one.href)]
                made += _inline(shown, _and_link(marks, one.href))
            case "strong" | "em" | "strike":
                made += _inline(one.children, _and(marks, {"type": MARK_TYPES[one.kind]}))
            case _:
                text = plain([one])
                made += [_text(text, marks)] if text else []
    return made


def _text(text: str, marks: Sequence[Adf]) -> Adf:
    return {"type": "text", "text": text, **({"marks": list(marks)} if marks else {})}


def _and(marks: Sequence[Adf], mark: Adf) -> Sequence[Adf]:
    return marks if any(one["type"] == mark["type"] for one in marks) else [*marks, mark]


def _and_link(marks: Sequence[Adf], href: str) -> Sequence[Adf]:
    return _and(marks, {"type": "link", "attrs": {"href": href}}) if safe_address(href) else marks
