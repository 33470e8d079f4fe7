"""Jira's wiki markup, what Jira Server and Data Center's API v2 takes for a text.

https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa?section=all
"""

import re
from collections.abc import Sequence
from typing import Final

from aether.markup.links import safe_address
from aether.markup.tree import BOXES, Node, plain, text_node

LANGUAGES: Final = frozenset(
    {"actionscript", "ada", "applescript", "bash", "c", "c#", "c++", "css", "erlang", "go",
     "groovy", "haskell", "html", "java", "javascript", "json", "lua", "objc", "perl", "php",
     "python", "r", "ruby", "scala", "sql", "swift", "visualbasic", "xml", "yaml"}
)  # fmt: skip
"""What the code macro knows; it shows an error in place of highlighting for any other."""
ALIASES: Final = {
    "js": "javascript", "jsx": "javascript", "ts": "javascript", "typescript": "javascript",
    "py": "python", "sh": "bash", "shell": "bash", "zsh": "bash", "cpp": "c++", "csharp": "c#",
    "cs": "c#", "yml": "yaml", "rb": "ruby", "golang": "go", "objective-c": "objc",
}  # fmt: skip

ZERO_WIDTH_SPACE: Final = "\u200b"

_MARKS: Final = {"strong": "*", "em": "_", "strike": "-"}
_URL: Final = re.compile(r"(?<![A-Za-z0-9])https?://[^\s\\|\[\]{}()<>\"'*^!]+")
_SPECIAL: Final = re.compile(
    r"(?P<backslash>\\(?![A-Za-z0-9 ]))"
    r"|(?P<entity>&(?=#?[A-Za-z0-9]{1,32};))"
    r"|(?P<mark>[*{}\[\]|^~]"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9-])[-+!](?=[^\s-])|(?<=[^\s-])[-+](?![A-Za-z0-9-])|(?<![^\s])--?-?(?=\s)"
    r"|\?(?=\?)|!(?=\S)"
    r"|\((?=(?:[yni/x!?+*-]|on|off|\*[rgby]|flag|flagoff)\))|[:;](?=[()DP]))"
)
_LINE_START: Final = re.compile(r"^(?:(?P<word>h[1-6]|bq)\.|(?=#+ |-+ |-{4,}\s*$))")


def to_wiki(tree: Node) -> str:
    """The wiki markup of a document."""
    return "\n\n".join(told for one in tree.children if (told := _block(one)))


def _block(one: Node, *, in_quote: bool = False) -> str:
    match one.kind:
        case "paragraph" | "cell":
            return _line(one.children)
        case "heading":
            return f"h{min(max(one.level, 1), 6)}. {_inline(one.children)}"
        case "list":
            return "\n".join(_list(one, ""))
        case "quote":
            told = [_block(child, in_quote=True) for child in one.children]
            inner = "\n\n".join(part for part in told if part)
            return inner if in_quote else f"{{quote}}\n{inner}\n{{quote}}"
        case "code":
            return _code(one)
        case "rule":
            return "----"
        case "table":
            return "\n".join(_row(row, "|" if number else "||") for number, row in
                             enumerate(one.children) if row.children)  # fmt: skip
        case "document" | "item":
            return "\n\n".join(part for child in one.children if (part := _block(child)))
        case _:
            return _line([one])


def _line(nodes: Sequence[Node]) -> str:
    return _LINE_START.sub(_escape_start, _inline(nodes).strip())


def _escape_start(found: re.Match[str]) -> str:
    return f"{found['word']}&#46;" if found["word"] else "\\"  # no backslash escapes a letter


def _list(one: Node, path: str) -> list[str]:
    path += "#" if one.ordered else "*"
    lines = []
    for item in one.children:
        box = "" if item.checked is None else BOXES[item.checked]
        children = list(item.children)
        first = children.pop(0) if children and children[0].kind == "paragraph" else None
        lines.append(f"{path} {box}{_inline(first.children).strip() if first else ''}".rstrip())
        for child in children:
            if child.kind == "list":
                lines += _list(child, path)
            else:  # a blank line would end the list
                told = _block(child, in_quote=False)
                lines.append(told if child.kind == "code" else re.sub(r"\n\s*\n", "\n", told))
    return lines


def _code(one: Node) -> str:
    name = one.language.lower()
    name = ALIASES.get(name, name)
    text = one.text
    if name in LANGUAGES and "{code" not in text:
        return f"{{code:{name}}}\n{text}\n{{code}}"
    if "{noformat" not in text:
        return f"{{noformat}}\n{text}\n{{noformat}}"
    if "{code" in text:  # neither can hold it as it is
        text = text.replace("{code", f"{{{ZERO_WIDTH_SPACE}code")
    return f"{{code}}\n{text}\n{{code}}"


def _row(row: Node, mark: str) -> str:
    cells = [_inline(_flat(cell.children)).strip() or " " for cell in row.children]
    return f"{mark}{mark.join(cells)}{mark}"


def _flat(nodes: Sequence[Node]) -> list[Node]:
    if not any(one.is_block for one in nodes):
        return list(nodes)
    found: list[Node] = []
    for one in nodes:
        found += [Node("break")] if found else []
        found += one.children if one.kind == "paragraph" else [text_node(plain([one]))]
    return found


def _inline(nodes: Sequence[Node]) -> str:
    written: list[str] = []
    before = ""  # the last character so far
    for number, one in enumerate(nodes):
        match one.kind:
            case "text":
                told = _text(one.text)
            case "code_span":
                told = f"{{{{{_escaped(one.text)}}}}}" if one.text else ""
            case "break":
                told = "\\\\ "
            case "link" | "image":
                told = _link(one)
            case "strong" | "em" | "strike":
                after = plain(nodes[number + 1 : number + 2])[:1]
                told = _marked(_inline(one.children), _MARKS[one.kind], before, after)
            case _:
                told = _text(plain([one]))
        written.append(told)
        before = told[-1:] or before
    return "".join(written)


def _marked(inner: str, mark: str, before: str, after: str) -> str:
    core = inner.strip()
    if not core:
        return inner
    start = inner.index(core)
    inside_word = (before.isalnum() and not start) or after.isalnum()
    told = f"{{{mark}}}" if inside_word else mark
    return f"{inner[:start]}{told}{core}{told}{inner[start + len(core) :]}"


def _link(one: Node) -> str:
    shown = _text(one.text) if one.kind == "image" else _inline(one.children)
    href = safe_address(one.href)
    if href is None:
        return shown
    href = re.sub(r"[\s|\[\]{}\\]", lambda found: f"%{ord(found[0]):02X}", href)
    return f"[{shown}|{href}]" if shown and shown != href else f"[{href}]"


def _text(text: str) -> str:
    """Text whose marks are escaped, but for addresses, which Jira links by itself."""
    text = text.replace("\n", " ")
    written, place = [], 0
    for found in _URL.finditer(text):
        written += [_escaped(text[place : found.start()]), found[0]]
        place = found.end()
    return "".join([*written, _escaped(text[place:])])


def _escaped(text: str) -> str:
    return _SPECIAL.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    if found["backslash"]:
        return "&#92;"
    return "&amp;" if found["entity"] else f"\\{found[0]}"
