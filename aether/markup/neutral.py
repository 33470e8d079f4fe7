"""Takes out of generated Markdown what would act on a tracker, and leaves it looking the same.

What acts, by the platforms' own pages:

- Mentions notify: https://docs.github.com/en/get-started/writing-on-github/getting-started-with-writing-and-formatting-on-github/basic-writing-and-formatting-syntax#mentioning-people-and-teams
  No backslash prevents it (https://github.com/github/markup/issues/1168). Dependabot and Renovate
  put a zero-width space behind the ``@``, which also survives where a mail reply is read as plain
  text: https://github.com/dependabot/dependabot-core/pull/3157. So do we.
- Closing words close, on GitHub and GitLab:
  https://docs.github.com/en/issues/tracking-your-work-with-issues/linking-a-pull-request-to-an-issue
  https://docs.gitlab.com/user/project/issues/managing_issues/#default-closing-pattern
  Neither allows anything but a colon and spaces behind the word; a zero-width space goes there.
  The reference itself stays a link: it tells people where to look, and changes nothing.
- Lines that begin with a slash are commands (https://docs.gitlab.com/user/project/quick_actions/,
  and of bots at GitHub); a zero-width space before the slash makes them text.
- Remote images are loaded, and so tell their server: each becomes a link.
- Raw HTML is shown as it was written, but for a few tags that only lay out.
- A link of another scheme than http, https or mailto is shown as it was written.

Code is left byte for byte. What is code is asked of the parser, block by block; within a line
it is read here, by CommonMark's rule. Changing a text may change what is code in it, so the text
is gone through until nothing changes: what comes out holds nothing that would be changed again.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from markdown_it import MarkdownIt

from aether.markup.inline_scan import TAG_START, Edit, Scan, apply, scan
from aether.markup.links import has_safe_scheme
from aether.markup.tree import MOST_DEPTH, SIMPLE_TAG
from aether.vocabulary import OutputAct

ZERO_WIDTH_SPACE: Final = "\u200b"
MOST_PASSES: Final = 8


_AT: Final = r"(?:@|&#0{0,7}64;|&#[xX]0{0,7}40;|&commat;)"
_MENTION: Final = re.compile(rf"(?<![A-Za-z0-9])({_AT})(?=[A-Za-z0-9_.\\&-])")
_IN_HTML: Final = re.compile(
    r"&(?=[#A-Za-z])(?!(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)"
)
"""Begins what HTML alone may take for a character: without a semicolon, or of many digits.
https://html.spec.whatwg.org/multipage/parsing.html#character-reference-state"""
_SPELT: Final = re.compile(r"&(?:#0{0,5}([1-9][0-9]{1,2})|#[xX]0{0,4}([0-9A-Fa-f]{2})|sol);")
"""May be a letter or a slash by its number."""
_HASH: Final = r"(?:#|&#0{0,7}35;|&#[xX]0{0,7}23;|&num;)"
_REFERENCE: Final = (
    rf"(?:[\w.-]{{1,100}}(?:/[\w.-]{{1,100}}){{1,5}})?(?:{_HASH}|!)[0-9]|GH-[0-9]|[A-Z][A-Z0-9_]{{1,30}}-[0-9]"
    r"|(?:(?<=\[)[^\[\]\n]{1,200}\]\(<?)?"
    r"https?://[^\s]{3,300}/(?:issues|pull|merge_requests|work_items|epics|browse)/"
)
_GAP: Final = r"(?:[\s:*_~(\[<\\]|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,31});){1,20}"
_CLOSING: Final = re.compile(
    r"(?i:(?<![A-Za-z0-9])(clos(?:e[sd]?|ing)|fix(?:e[sd]|ing)?|resolv(?:e[sd]?|ing)"
    r"|implement(?:s|ed|ing)?|duplicate[ \t]{1,5}of))"
    rf"(?={_GAP}(?:(?i:issues?)[\s*_]{{1,5}})?[\[<(]{{0,3}}(?:{_REFERENCE}))"
)
_SPACES: Final = r"[^\S\n\x0b\x0c\x85\u2028\u2029]*"
_COMMAND: Final = re.compile(
    rf"(?m)((?:^|(?<=[\x0b\x0c\x85\u2028\u2029])){_SPACES}(?:\ufeff{_SPACES})?"
    rf"(?:(?:>|[-*+]|[0-9]{{1,9}}[.)]){_SPACES}){{0,20}})(/[A-Za-z][A-Za-z0-9_-]*)(?=\s|$)"
)
"""JavaScript begins a line behind its own separators, and counts U+FEFF among the spaces."""
_URL: Final = re.compile(
    r"(?<![A-Za-z0-9])https?://[A-Za-z0-9][A-Za-z0-9.-]{0,250}(?::[0-9]{1,5})?[/?#]"
    r"(?:[A-Za-z0-9./?=%:#+,;@-]|&(?!#?[A-Za-z0-9]{1,31};)|(?<=[A-Za-z0-9])_(?=[A-Za-z0-9]))*"
)
"""A bare address up to what may be markup; an ``@`` in it is none of a mention."""
_BAR: Final = re.compile(r"(?<!\\)\|")
_LEAVES: Final = frozenset({"fence", "code_block", "hr", "html_block", "inline", "table_open"})
_FOOTNOTE: Final = re.compile(r"(?m)^[ \t>]*\[\^[^\]\s]{1,999}\]:")
_DEFINITION: Final = re.compile(
    r"(?m)^(?P<before>[ \t>*+-]*)\[(?P<label>[^\[\]\n]{1,999})\]:[ \t]*<?(?P<address>[^\s<>]*)"
)


@cache
def _blocks() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"maxNesting": MOST_DEPTH}).enable("table")
    made.validateLink = lambda url: True  # type: ignore[method-assign] # we judge them ourselves
    return made.disable(["inline", "text_join"])


def neutralise(markdown: str, *, let: frozenset[OutputAct] = frozenset()) -> str:
    """``markdown`` with nothing in it that acts, but for what ``let`` names.

    ``neutralise(neutralise(x)) == neutralise(x)``. Takes time in proportion to the text.
    """
    text = markdown.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    for _ in range(MOST_PASSES):
        changed = _Pass(text, let).run()
        if changed == text:
            return text
        text = changed
    return _bluntly(text, let)


def neutralise_line(text: str, *, let: frozenset[OutputAct] = frozenset()) -> str:
    """The same for a title, which is one line and no Markdown."""
    return _without_words(text, let)


def _without_words(text: str, let: frozenset[OutputAct]) -> str:
    """Mentions, closing words and commands, wherever they stand."""
    if OutputAct.MENTIONS not in let:
        text = _MENTION.sub(rf"\1{ZERO_WIDTH_SPACE}", text)
    if OutputAct.CLOSING_WORDS not in let:
        text = _CLOSING.sub(rf"\1{ZERO_WIDTH_SPACE}", text)
    if OutputAct.QUICK_ACTIONS not in let:
        text = _COMMAND.sub(rf"\1{ZERO_WIDTH_SPACE}\2", text)
    return text


def _bluntly(text: str, let: frozenset[OutputAct]) -> str:
    """For what never comes to rest: as if nothing in it were code, a link or a tag."""
    text = TAG_START.sub("&lt;", _without_words(text, let))
    return re.sub(r"(!)(?=\[)|(\])(?=[(:\[])", rf"\g<0>{ZERO_WIDTH_SPACE}", text)


def _letter(reference: re.Match[str]) -> str:
    """The letter or the slash that a reference stands for; any other stays as it is."""
    decimal, hexadecimal = reference.groups()
    code = int(decimal) if decimal else int(hexadecimal, 16) if hexadecimal else ord("/")
    one = chr(code)
    return one if one == "/" or (one.isascii() and one.isalpha()) else reference[0]


class _Pass:
    """One going through a text: block by block, then the lines that belong to none."""

    def __init__(self, text: str, let: frozenset[OutputAct]) -> None:
        self._text = text
        self._let = let
        self._starts = [0]
        for line in text.split("\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)
        spelt = _SPELT.sub(_letter, text)
        # asked of the whole text once: most have none, and a table has many thousand cells
        self._has_mentions = OutputAct.MENTIONS not in let and _MENTION.search(text) is not None
        self._has_closing_words, is_closing_spelt = (
            OutputAct.CLOSING_WORDS not in let and _CLOSING.search(one) is not None
            for one in (text, spelt)
        )
        self._has_commands, is_command_spelt = (
            OutputAct.QUICK_ACTIONS not in let and _COMMAND.search(one) is not None
            for one in (text, spelt)
        )
        self._is_spelt = text != spelt and (is_closing_spelt or is_command_spelt)
        self._references: Mapping[str, str] = {}
        self._edits: list[Edit] = []

    def run(self) -> str:
        """The text after it."""
        environment: dict[str, Any] = {}
        tokens = _blocks().parse(self._text, environment)
        known = environment.get("references", {})
        self._references = {label: str(one.get("href", "")) for label, one in known.items()}
        covered = bytearray(len(self._starts))
        has_footnotes = _FOOTNOTE.search(self._text) is not None
        tables = 0
        for token in tokens:
            tables += token.nesting if token.type.startswith("table_") else 0
            if token.map is None:
                continue
            first, last = token.map
            if token.type == "table_open":
                self._table(first, last)
            elif token.type == "html_block":
                self._raw(self._starts[first], self._end(last))
            elif token.type == "inline" and not tables:
                self._inline(self._starts[first], self._end(last))
            elif token.type == "code_block" and has_footnotes:
                # what is indented may belong to a footnote, of which the parser does not know
                self._inline(self._starts[first], self._end(last))
            elif token.type not in _LEAVES:
                continue
            covered[first:last] = b"\1" * (last - first)
        self._uncovered(covered)
        return apply(self._text, self._edits)

    def _end(self, line: int) -> int:
        return max(min(self._starts[line], len(self._text) + 1) - 1, 0)

    def _inline(self, start: int, end: int) -> None:
        keep = OutputAct.IMAGES in self._let
        found = scan(self._text, start, end, self._references, keep_images=keep)
        self._edits += found.edits
        self._words(start, end, found)

    def _raw(self, start: int, end: int) -> None:
        """Inside HTML nothing is code, and nothing is a link."""
        found = Scan()
        for tag in TAG_START.finditer(self._text, start, end):
            if SIMPLE_TAG.match(self._text, tag.start(), end) is None:
                self._edits.append(Edit(tag.start(), tag.start() + 1, "&lt;"))
        for sign in _IN_HTML.finditer(self._text, start, end):
            self._edits.append(Edit(sign.start(), sign.end(), "&amp;"))
        self._words(start, end, found, is_raw=True)

    def _table(self, first: int, last: int) -> None:
        for number in range(first, last):
            place = self._starts[number]
            end = self._end(number + 1)
            for bar in _BAR.finditer(self._text, place, end):
                self._inline(place, bar.start())
                place = bar.end()
            self._inline(place, end)

    def _uncovered(self, covered: bytearray) -> None:
        """Definitions of links, and what is nested too deeply for the parser."""
        for number in range(len(covered) - 1):
            if covered[number]:
                continue
            start, end = self._starts[number], self._end(number + 1)
            definition = _DEFINITION.match(self._text, start, end)
            if definition is None or definition["label"].startswith("^"):
                self._raw(start, end)
            else:
                self._define(definition, end)

    def _define(self, definition: re.Match[str], end: int) -> None:
        address = definition["address"]
        start = definition.start("label") - 1
        if not has_safe_scheme(address):
            self._edits.append(Edit(start, start, "\\"))
            return
        self._words(start, definition.start("address"), Scan())
        self._words(definition.end("address"), end, Scan(), is_raw=True)

    def _words(self, start: int, end: int, found: Scan, *, is_raw: bool = False) -> None:
        """Mentions, closing words and commands that are in none of the spans."""
        if self._is_spelt:
            for one in _SPELT.finditer(self._text, start, end):
                if not found.covers(one.start()):
                    self._edits.append(Edit(one.start(), one.end(), _letter(one)))
        if self._has_mentions:
            urls = Scan(spans=[] if is_raw else [
                one.span() for one in _URL.finditer(self._text, start, end)
            ])  # fmt: skip
            for one in _MENTION.finditer(self._text, start, end):
                if not found.covers(one.start()) and not urls.covers(one.start()):
                    self._insert(one.end())
        closing = _CLOSING.finditer(self._text, start, end) if self._has_closing_words else ()
        commands = _COMMAND.finditer(self._text, start, end) if self._has_commands else ()
        for word, place in (
            *((one.start(), one.end()) for one in closing),
            *((one.start(2), one.start(2)) for one in commands),
        ):
            if not found.covers(word):
                self._insert(place)

    def _insert(self, place: int) -> None:
        self._edits.append(Edit(place, place, ZERO_WIDTH_SPACE))
