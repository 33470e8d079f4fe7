"""Reads Jira's wiki markup: the tree of what people wrote in it."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from aether.markup.links import safe_address
from aether.markup.tree import BOXES, Node, text_node

HOLE: Final = "\x02"
_HOLE: Final = re.compile(f"^[ \t]*{HOLE}([0-9]+){HOLE}[ \t]*$")
_MACRO: Final = re.compile(r"(?<![\\{])\{(code|noformat)(?::[^{}\n]{0,300})?\}")
_QUOTE: Final = re.compile(r"^[ \t]*\{(quote|panel)(?::[^{}\n]{0,300})?\}[ \t]*", re.IGNORECASE)
_HEADING: Final = re.compile(r"^[ \t]*h([1-6])\.[ \t]*(.*)$")
_ITEM: Final = re.compile(r"^[ \t]*([*#]{1,20}|-)[ \t]+(.*)$")
_RULE: Final = re.compile(r"^[ \t]*-{4,}[ \t]*$")
_TOKEN: Final = re.compile(
    r"\\\\(?:[ \t]|\r?\n|$)?"
    r"|\\(?P<escaped>[^A-Za-z0-9\s])"
    r"|(?P<code>\{(?=\{))"
    r"|\{(?:color|anchor)(?::[^{}\n]{0,100})?\}"
    r"|\[~(?:accountid:)?(?P<mention>[^\]\n|]{1,200})\]"
    r"|\[(?P<link>[^\[\]\n]{1,2000})\]"
    r"|!(?P<image>[^\s!|]{1,500})(?:\|[^!\n]{0,200})?!"
    r"|&#(?P<entity>\d{1,7});|&(?P<named>amp|lt|gt|quot|nbsp);"
    r"|(?P<open>(?<![A-Za-z0-9\\])|\{)(?P<mark>[*_-])(?(open)\}?)"
)
_KINDS: Final = {"*": "strong", "_": "em", "-": "strike"}
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "nbsp": " "}
_CLOSINGS: Final = {
    **{mark: re.compile(rf"(?<![ \\]){re.escape(mark)}(?![^\W_])") for mark in _KINDS},
    **{f"{{{mark}}}": re.compile(re.escape(f"{{{mark}}}")) for mark in _KINDS},
}
"""Where a mark may end; what stands before its beginning does not count."""
LONGEST_MARKED: Final = 400
LONGEST_CODE: Final = 500
MOST_QUOTES: Final = 5
DEEPEST_LIST: Final = 10


def from_wiki(markup: str) -> Node:
    """The tree of a text in wiki markup; what is no markup is its text. Never raises."""
    text, codes = _cut_code(re.sub(f"\r\n?|{HOLE}", "\n", markup))
    return Node("document", _lines_of(text, codes, 0))


def _cut_code(markup: str) -> tuple[str, list[Node]]:
    """The text with a line of ``HOLE`` in place of each macro that holds text as it is."""
    codes: list[Node] = []
    kept: list[str] = []
    place = 0
    while (macro := _MACRO.search(markup, place)) is not None:
        end = markup.find(f"{{{macro[1]}}}", macro.end())
        if end < 0:
            break
        code = Node("code", text=markup[macro.end() : end].strip("\n"))
        code.language = _language(macro[0])
        before = markup[place : macro.start()]
        place = end + len(macro[1]) + 2
        kept += [before, "" if before.endswith("\n") else "\n", f"{HOLE}{len(codes)}{HOLE}"]
        kept += ["" if markup.startswith("\n", place) else "\n"]
        codes.append(code)
    return "".join([*kept, markup[place:]]), codes


def _language(macro: str) -> str:
    words = macro.strip("{}").partition(":")[2].split("|")
    named = [one.partition("=")[2] for one in words if one.startswith("language=")]
    plain_words = [one for one in words if one and "=" not in one]
    return next(iter([*named, *plain_words]), "").strip().lower()


def _lines_of(markup: str, codes: Sequence[Node], depth: int) -> list[Node]:
    found: list[Node] = []
    lines = markup.split("\n")
    number = 0
    while number < len(lines):
        number = _take(lines, number, codes, found, depth)
    return found


def _take(
    lines: list[str], number: int, codes: Sequence[Node], found: list[Node], depth: int
) -> int:
    """Read one block; the number of the line after it."""
    line = lines[number]
    if not line.strip():
        return number + 1
    if (hole := _HOLE.match(line)) is not None:
        found.append(codes[int(hole[1])])
        return number + 1
    if (quote := _QUOTE.match(line)) is not None and depth < MOST_QUOTES:
        return _take_quote(lines, number, quote, codes, found, depth)
    if (heading := _HEADING.match(line)) is not None:
        made = Node("heading", _inline_of(heading[2]))
        made.level = int(heading[1])
        found.append(made)
        return number + 1
    if line.lstrip().startswith("bq. "):
        text = line.lstrip()[4:]
        found.append(Node("quote", [Node("paragraph", _inline_of(text))]))
        return number + 1
    if _RULE.match(line):
        found.append(Node("rule"))
        return number + 1
    if _ITEM.match(line):
        return _take_list(lines, number, codes, found)
    if line.lstrip().startswith("|"):
        return _take_table(lines, number, found)
    return _take_paragraph(lines, number, found)


def _take_quote(
    lines: list[str],
    number: int,
    quote: re.Match[str],
    codes: Sequence[Node],
    found: list[Node],
    depth: int,
) -> int:
    closing = f"{{{quote[1]}}}"
    inner = [lines[number][quote.end() :]]
    while closing not in inner[-1] and number + 1 < len(lines):
        number += 1
        inner.append(lines[number])
    before, _, after = inner[-1].partition(closing)
    inner[-1] = before
    found.append(Node("quote", _lines_of("\n".join(inner), codes, depth + 1)))
    if after.strip():
        found.append(Node("paragraph", _inline_of(after)))
    return number + 1


def _take_list(lines: list[str], number: int, codes: Sequence[Node], found: list[Node]) -> int:
    stack: list[Node] = []
    while number < len(lines) and lines[number].strip():
        item = _ITEM.match(lines[number])
        if (hole := _HOLE.match(lines[number])) is not None:
            stack[-1].children[-1].children.append(codes[int(hole[1])])
            number += 1
            continue
        if item is None:
            if _starts_block(lines[number]):
                break
            _continue(stack[-1].children[-1], lines[number])
        else:
            _add_item(item[1][:DEEPEST_LIST], item[2], stack, found)
        number += 1
    return number


def _starts_block(line: str) -> bool:
    return bool(_HEADING.match(line) or _QUOTE.match(line) or _RULE.match(line)) or (
        line.lstrip().startswith(("|", "bq. "))
    )


def _add_item(marks: str, text: str, stack: list[Node], found: list[Node]) -> None:
    ordered = marks[-1] == "#"
    del stack[len(marks) :]
    if stack and len(stack) == len(marks) and stack[-1].ordered != ordered:
        stack.pop()
    while len(stack) < len(marks):
        made = Node("list", ordered=marks[len(stack)] == "#")
        if stack:
            if not stack[-1].children:
                stack[-1].children.append(Node("item"))
            stack[-1].children[-1].children.append(made)
        else:
            found.append(made)
        stack.append(made)
    item = Node("item")
    for checked, box in BOXES.items():
        if text.startswith(box):
            item.checked, text = checked, text.removeprefix(box)
    item.children = [Node("paragraph", _inline_of(text))]
    stack[-1].children.append(item)


def _continue(item: Node, line: str) -> None:
    if not item.children or item.children[-1].kind != "paragraph":
        item.children.append(Node("paragraph"))
        item.children[-1].children = _inline_of(line)
        return
    item.children[-1].children += [Node("break"), *_inline_of(line.strip())]


def _take_table(lines: list[str], number: int, found: list[Node]) -> int:
    made = Node("table")
    while number < len(lines) and lines[number].lstrip().startswith("|"):
        cells = _cells(lines[number].strip())
        made.children.append(Node("row", [Node("cell", _inline_of(one)) for one in cells]))
        number += 1
    found.append(made)
    return number


def _cells(line: str) -> list[str]:
    """A row's cells; a bar in a link or behind a backslash is none of its bars."""
    cells, current, depth, place = [], "", 0, 0
    while place < len(line):
        one = line[place]
        if one == "\\" and place + 1 < len(line):
            current += line[place : place + 2]
            place += 2
            continue
        depth += {"[": 1, "]": -1}.get(one, 0)
        if one == "|" and depth <= 0:
            depth = 0
            cells.append(current)
            current = ""
            place += 2 if line[place : place + 2] == "||" else 1
            continue
        current += one
        place += 1
    cells.append(current)
    cells = cells[1:] if not cells[0].strip() else cells
    cells = cells[:-1] if cells and not cells[-1].strip() else cells
    return [one.strip() for one in cells]


def _take_paragraph(lines: list[str], number: int, found: list[Node]) -> int:
    taken = [lines[number]]
    number += 1
    while number < len(lines) and lines[number].strip():
        if _starts_block(lines[number]) or _ITEM.match(lines[number]) or HOLE in lines[number]:
            break
        taken.append(lines[number])
        number += 1
    nodes: list[Node] = []
    for place, line in enumerate(taken):  # Jira shows each line as one
        nodes += [Node("break")] if place and nodes and nodes[-1].kind != "break" else []
        nodes += _inline_of(line.strip())
    found.append(Node("paragraph", nodes))
    return number


def _inline_of(text: str, depth: int = 0) -> list[Node]:
    nodes: list[Node] = []
    closings: dict[str, list[int]] = {}  # looked for once, not once for each mark
    place = kept = 0
    while (found := _TOKEN.search(text, place)) is not None:
        made, end = _token(text, found, depth, closings)
        if made is None:
            place = max(found.end(), place + 1)
            continue
        nodes += [text_node(text[kept : found.start()]), *made]
        place = kept = end
    return [one for one in [*nodes, text_node(text[kept:])] if one.kind != "text" or one.text]


def _token(
    text: str, found: re.Match[str], depth: int, closings: dict[str, list[int]]
) -> tuple[list[Node] | None, int]:
    """What a token stands for and where it ends; None: it is text after all."""
    end = found.end()
    if found["mark"]:
        return _marked_of(text, found, depth, closings)
    if found["escaped"]:
        return [text_node(found["escaped"])], end
    if found["code"]:
        return _code_of(text, end + 1)
    if found["mention"]:
        return [text_node(f"@{found['mention']}")], end
    if found["link"]:
        return _link_of(found["link"], depth), end
    if found["image"]:
        href = safe_address(found["image"])
        name = found["image"].rpartition("/")[2]
        if href and "://" in href:
            return [Node("image", text=name, href=href)], end
        return [text_node(f"[attachment: {name}]")], end
    if found["entity"]:
        code = int(found["entity"])
        known = 31 < code < 0x110000 and not 0xD800 <= code < 0xE000
        return [text_node(chr(code) if known else found[0])], end
    if found["named"]:
        return [text_node(_NAMED[found["named"]])], end
    return ([Node("break")], end) if found[0].startswith("\\\\") else ([], end)


def _code_of(text: str, start: int) -> tuple[list[Node] | None, int]:
    end = text.find("}}", start, start + LONGEST_CODE + 2)
    code = text[start : max(end, start)]
    if not code or "\n" in code:
        return None, start
    return [Node("code_span", text=re.sub(r"\\([^A-Za-z0-9\s])", r"\1", code))], end + 2


def _marked_of(
    text: str, found: re.Match[str], depth: int, closings: dict[str, list[int]]
) -> tuple[list[Node] | None, int]:
    mark, start = found["mark"], found.end()
    closing = f"{{{mark}}}" if found["open"] else mark
    before = text[found.start() - 1 : found.start()]
    if depth >= 3 or start >= len(text) or text[start] in f" {mark}" or before == mark:
        return None, start
    if closing not in closings:
        closings[closing] = [one.start() for one in _CLOSINGS[closing].finditer(text)]
    ends = closings[closing]
    following = bisect_left(ends, start + 1)
    if following == len(ends) or ends[following] + len(closing) > start + LONGEST_MARKED:
        return None, start
    inner = _inline_of(text[start : ends[following]], depth + 1)
    return [Node(_KINDS[mark], inner)], ends[following] + len(closing)  # type: ignore[arg-type]


def _link_of(inner: str, depth: int) -> list[Node]:
    shown, bar, target = inner.rpartition("|")
    if not bar:
        shown, target = "", inner
    if bar and shown.count("|") and not safe_address(target):
        shown, _, target = inner.partition("|")
    href = safe_address(target.strip())
    if href is None or not re.match(r"(?:[a-z][a-z0-9+.-]*:|/|#)", href, re.IGNORECASE):
        return [text_node(f"[{inner}]")] if not bar else _inline_of(shown, depth + 1)
    return [Node("link", _inline_of(shown, depth + 1) if shown else [text_node(href)], href=href)]
