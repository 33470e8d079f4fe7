"""Writes a tree as Markdown that reads as the tree does; what was text stays text."""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from aether.markup.tree import Node, merged, plain

_SPECIAL: Final = re.compile(
    r"[\\`*\[\]]"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
    r"|~(?=~)|(?<=~)~"
    r"|<(?=[A-Za-z/!?])"
    r"|&(?=#?[A-Za-z0-9]{1,32};)"
    r"|!(?=\[)"
)
_LINE_START: Final = re.compile(
    r"(?m)^[ \t]*(?:(?P<mark>[#>+=-]|~~~|[|:](?=[ \t|:-]*$))"
    r"|(?P<number>[0-9]{1,9})(?P<point>[.)])(?=[ \t]|$))"
)
_RUN: Final = re.compile("`+")
_LEADING: Final = re.compile(r"(?m)^[ \t]+")
_UNWRITABLE: Final = re.compile(r"[\s()<>\\|`]")
_MARKS: Final = {"strong": "**", "em": "*", "strike": "~~"}


def write(tree: Node) -> str:
    """The Markdown of a document, or of any block."""
    return "\n".join(_block(tree)).strip("\n")


def _blocks(nodes: Sequence[Node], *, tight: bool = False) -> list[str]:
    lines: list[str] = []
    before: Node | None = None
    for one in nodes:
        told = _block(one)
        if not told:
            continue
        if before is not None and not (tight and one.kind == "list"):
            lines.append("")
        if before is not None and before.kind == one.kind == "list":
            lines += ["<!-- -->", ""]  # two lists in a row would be read as one
        lines += told
        before = one
    return lines


def _block(one: Node) -> list[str]:
    match one.kind:
        case "document":
            return _blocks(one.children)
        case "paragraph" | "cell":
            return _paragraph(one.children)
        case "heading":
            text = " ".join(inline(one.children, line_break=" ").split("\n")).strip()
            return [f"{'#' * min(max(one.level, 1), 6)} {text}".rstrip()]
        case "list":
            return _list(one)
        case "item":
            return _blocks(one.children)
        case "quote":
            return [f"> {line}".rstrip() for line in _blocks(one.children)]
        case "code":
            return _code(one)
        case "rule":
            return ["---"]
        case "table":
            return _table(one)
        case _:
            return _paragraph([one])


def _paragraph(nodes: Sequence[Node]) -> list[str]:
    text = _LEADING.sub("", inline(nodes)).strip()
    if not text:
        return []
    return [line for line in _LINE_START.sub(_escape_start, text).split("\n") if line.strip()]


def _escape_start(found: re.Match[str]) -> str:
    if found["mark"]:
        before = found[0][: -len(found["mark"])]
        return f"{before}\\{found['mark']}"
    return f"{found['number']}\\{found['point']}"


def _list(one: Node) -> list[str]:
    lines: list[str] = []
    number = one.start
    for item in one.children:
        mark = f"{number}. " if one.ordered else "- "
        number += 1
        box = "" if item.checked is None else f"[{'x' if item.checked else ' '}] "
        told = _blocks(item.children, tight=one.tight) or [""]
        if box and item.children and item.children[0].kind != "paragraph":
            told = ["", *told]
        if lines and not one.tight:
            lines.append("")
        lines.append(f"{mark}{box}{told[0]}".rstrip() if told[0] or box else mark.rstrip())
        indent = " " * len(mark)
        lines += [f"{indent}{line}" if line else "" for line in told[1:]]
    return lines


def _code(one: Node) -> list[str]:
    longest = max((len(found[0]) for found in _RUN.finditer(one.text)), default=0)
    fence = "`" * max(3, longest + 1)
    language = re.sub(r"[`\s]", "", one.language)
    return [f"{fence}{language}", *one.text.split("\n"), fence]


def _table(one: Node) -> list[str]:
    rows = [[_cell(cell) for cell in row.children] for row in one.children]
    width = max((len(row) for row in rows), default=0)
    if not width:
        return []
    rows = [row + [""] * (width - len(row)) for row in rows]
    rules = {"left": ":--", "right": "--:", "center": ":-:"}
    aligns = [*one.aligns, *[""] * width][:width]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], f"| {' | '.join(rules.get(one, '---') for one in aligns)} |", *lines[1:]]


def _cell(cell: Node) -> str:
    nodes = cell.children
    if any(one.is_block for one in nodes):
        flat: list[Node] = []
        for number, one in enumerate(nodes):
            flat += [Node("break")] if number else []
            flat += one.children if one.kind == "paragraph" else [Node("text", text=plain([one]))]
        nodes = flat
    text = inline(nodes, line_break="<br>").replace("\n", " ")
    return re.sub(r"(?<!\\)((?:\\\\)*)\|", r"\1\\|", text).strip()


def inline(nodes: Sequence[Node], *, line_break: str = "\\\n") -> str:
    """The Markdown of inline nodes, on one or more lines."""
    written = []
    for one in merged(nodes):
        match one.kind:
            case "text":
                written.append(_escaped(one.text))
            case "code_span":
                written.append(_code_span(one.text))
            case "break":
                written.append(line_break)
            case "link":
                inner = inline(one.children, line_break=" ") or _escaped(one.href)
                written.append(f"[{inner}]({_address(one.href)})")
            case "image":
                written.append(f"![{_escaped(one.text)}]({_address(one.href)})")
            case "strong" | "em" | "strike":
                written.append(_marked(inline(one.children, line_break=line_break), one.kind))
            case _:
                written.append(_escaped(plain([one])))
    return "".join(written)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


def _marked(inner: str, kind: str) -> str:
    """``inner`` between two marks, which must not have spaces on their inner side."""
    core = inner.strip()
    if not core:
        return inner
    start = inner.index(core)
    mark = _MARKS[kind]
    return f"{inner[:start]}{mark}{core}{mark}{inner[start + len(core) :]}"


def _code_span(text: str) -> str:
    text = text.replace("\n", " ")
    if not text:
        return ""
    runs = {len(found[0]) for found in _RUN.finditer(text)}
    fence = "`" * next(number for number in range(1, len(runs) + 2) if number not in runs)
    pad = " " if text.startswith("`") or text.endswith("`") or _is_padded(text) else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _is_padded(text: str) -> bool:
    return text.startswith(" ") and text.endswith(" ") and bool(text.strip())


def _address(href: str) -> str:
    """An address as the destination of a link; what would end it is written in per cent."""
    return _UNWRITABLE.sub(lambda found: quote(found[0], safe=""), href)
