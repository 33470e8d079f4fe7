"""Reads one paragraph's source by CommonMark's rules: where code is, and what must not stay live.

The parser gives no places inside a line, so this reads them itself: code spans, tags, autolinks,
links and images bind as https://spec.commonmark.org/0.31.2/#inlines says. It makes edits of the
source, each a place and what comes there, and never looks at a character twice for long.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from markdown_it.common.utils import normalizeReference
from markdown_it.helpers import parseLinkDestination, parseLinkTitle

from aether.markup.links import has_safe_scheme
from aether.markup.tree import SIMPLE_TAG

PLATFORM_IMAGES: Final = frozenset(
    {"github.com", "user-images.githubusercontent.com", "private-user-images.githubusercontent.com",
     "raw.githubusercontent.com", "avatars.githubusercontent.com"}
)  # fmt: skip
"""Whose images tell nobody but the platform; an item's own pictures are there."""

TAG_START: Final = re.compile(r"<(?=[A-Za-z/!?])")
LONGEST_LABEL: Final = 999

_NEXT: Final = re.compile(r"[\\`<!\[\]]")
_RUN: Final = re.compile("`+")
_ESCAPED: Final = re.compile(r"\\([!-/:-@\[-`{-~])")
_AUTOLINK: Final = re.compile(r"<([A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]{0,4000})>")
_MAIL: Final = re.compile(r"<[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}>")
_SPACE: Final = re.compile(r"[ \t\n\x0b\x0c]*")
_LABEL: Final = re.compile(r"\[((?:[^\[\]\\]|\\.){0,999})\]")


@dataclass(frozen=True, slots=True)
class Edit:
    """``new`` in place of what is from ``start`` to ``end``."""

    start: int
    end: int
    new: str


@dataclass(slots=True)
class Scan:
    """What was found: edits to make, and spans that words are not looked for in, in order."""

    edits: list[Edit] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    def covers(self, place: int) -> bool:
        """Whether a place is in one of the spans."""
        found = bisect_right(self.spans, (place, 1 << 60)) - 1
        return found >= 0 and place < self.spans[found][1]


@dataclass(slots=True)
class _Bracket:
    start: int
    is_image: bool


@dataclass(frozen=True, slots=True)
class _Target:
    start: int
    end: int  # of the address
    address: str
    after: int  # the parenthesis


def apply(text: str, edits: Iterable[Edit]) -> str:
    """``text`` with its edits made; of two that overlap, the first."""
    parts: list[str] = []
    place = 0
    for one in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if one.start >= place:
            parts += [text[place : one.start], one.new]
            place = one.end
    return "".join([*parts, text[place:]])


def tells_nobody(address: str) -> bool:
    """Whether an image is the platform's own: relative, or on a host of its."""
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        return False
    return not (parts.scheme or parts.netloc) or parts.hostname in PLATFORM_IMAGES


def scan(
    text: str, start: int, end: int, references: Mapping[str, str], *, keep_images: bool
) -> Scan:
    """Read ``text`` from ``start`` to ``end``, which is one paragraph, heading or cell.

    Args:
        references: addresses by label, of the document's link reference definitions.
        keep_images: whether images may be loaded.
    """
    if _NEXT.search(text, start, end) is None:
        return Scan()
    return _Scanner(text, start, end, references, keep_images).run()


class _Scanner:
    def __init__(
        self, text: str, start: int, end: int, references: Mapping[str, str], keep_images: bool
    ) -> None:
        self._text = text
        self._end = end
        self._place = start
        self._references = references
        self._keep_images = keep_images
        self._runs: dict[int, list[int]] = {}
        for run in _RUN.finditer(text, start, end):
            self._runs.setdefault(len(run[0]), []).append(run.start())
        self._open: list[_Bracket] = []
        self._floor = 0  # brackets below it hold a link already, and can be none
        self._found = Scan()

    def run(self) -> Scan:
        while (special := _NEXT.search(self._text, self._place, self._end)) is not None:
            place = special.start()
            match special[0]:
                case "\\":
                    escapes = _ESCAPED.match(self._text, place, self._end) is not None
                    self._place = place + (2 if escapes else 1)
                case "`":
                    self._code(place)
                case "<":
                    self._tag(place)
                case "!":
                    is_image = self._text.startswith("[", place + 1) and place + 1 < self._end
                    if is_image:
                        self._open.append(_Bracket(place, is_image=True))
                    self._place = place + (2 if is_image else 1)
                case "[":
                    self._open.append(_Bracket(place, is_image=False))
                    self._place = place + 1
                case _:
                    self._close(place)
        self._found.spans.sort()
        return self._found

    def _code(self, place: int) -> None:
        run = _RUN.match(self._text, place, self._end)
        length = len(run[0]) if run else 1
        same = self._runs.get(length, [])
        after = bisect_right(same, place)
        if after < len(same):
            self._place = same[after] + length
            self._found.spans.append((place, self._place))
        else:
            self._place = place + length

    def _tag(self, place: int) -> None:
        auto = _AUTOLINK.match(self._text, place, self._end)
        if auto is not None and has_safe_scheme(auto[1]):
            found: re.Match[str] | None = auto
        else:
            found = _MAIL.match(self._text, place, self._end)
            found = found or SIMPLE_TAG.match(self._text, place, self._end)
        if found is not None:
            self._found.spans.append(found.span())
            self._place = found.end()
            return
        if TAG_START.match(self._text, place, self._end) is not None:
            self._found.edits.append(Edit(place, place + 1, "&lt;"))
        self._place = place + 1

    def _close(self, place: int) -> None:
        self._place = place + 1
        if not self._open:
            return
        opened = self._open.pop()
        is_active = opened.is_image or len(self._open) >= self._floor
        self._floor = min(self._floor, len(self._open))
        if not is_active:
            return
        inner = opened.start + (2 if opened.is_image else 1)
        is_inline = self._text.startswith("(", place + 1) and place + 1 < self._end
        target = self._target(place + 2) if is_inline else None
        if target is not None:
            self._inline_link(opened, place, target)
        elif is_inline and opened.is_image:  # a platform may read more than CommonMark does
            self._found.edits.append(Edit(place + 1, place + 1, "\\"))
        elif (end := self._reference_end(inner, place)) is not None:
            self._reference(opened, inner, place, end)

    def _target(self, place: int) -> "_Target | None":
        """What a link's parenthesis holds, as the parser itself reads it; ``place`` is within."""
        start = self._past_space(place)
        address = parseLinkDestination(self._text, start, self._end)
        end = address.pos if address.ok else start  # an address may be empty
        after = self._past_space(end)
        if after > end:
            title = parseLinkTitle(self._text, after, self._end)
            after = self._past_space(title.pos) if title.ok else after
        if after >= self._end or self._text[after] != ")":
            return None
        return _Target(start, end, address.str if address.ok else "", after + 1)

    def _past_space(self, place: int) -> int:
        found = _SPACE.match(self._text, place, self._end)
        return found.end() if found else place

    def _inline_link(self, opened: _Bracket, place: int, target: "_Target") -> None:
        if not has_safe_scheme(target.address):
            self._found.edits.append(Edit(place + 1, place + 1, "\\"))
            return
        self._found.spans.append((place + 1, target.after))
        self._at_signs(target.start, target.end)
        self._took(opened, place, target.after, target.address)

    def _at_signs(self, start: int, end: int) -> None:
        """Addresses with an ``@`` say it in per cent: harmless should this be no link after all."""
        for found in _AT_SIGN.finditer(self._text, start, end):
            self._found.edits.append(Edit(found.start(), found.end(), "%40"))

    def _reference_end(self, inner: int, place: int) -> int | None:
        """Where ``[text][label]``, ``[label][]`` or ``[label]`` ends, if its label is defined."""
        if not self._references:
            return None
        label = _LABEL.match(self._text, place + 1, self._end)
        if label is not None and label[1].strip():
            return label.end() if normalizeReference(label[1]) in self._references else None
        if place - inner > LONGEST_LABEL:
            return None
        own = normalizeReference(self._text[inner:place])
        if own not in self._references:
            return None
        return label.end() if label is not None else place + 1

    def _reference(self, opened: _Bracket, inner: int, place: int, end: int) -> None:
        label = self._text[place + 2 : end - 1].strip() or self._text[inner:place]
        address = self._references.get(normalizeReference(label), "")
        if not has_safe_scheme(address):
            self._found.edits.append(Edit(inner - 1, inner - 1, "\\"))
            return
        self._took(opened, place, end, address)

    def _took(self, opened: _Bracket, place: int, end: int, address: str) -> None:
        """It is a link or an image; what is within an image, or around a link, can be no link."""
        self._place = end
        if not opened.is_image:
            self._floor = len(self._open)
            return
        if self._keep_images or tells_nobody(address):
            return
        is_empty = not self._text[opened.start + 2 : place].strip()
        in_link = any(not one.is_image for one in self._open[self._floor :][-1:])
        if in_link:  # a picture that is a link: its text is the link's
            self._found.edits += [
                Edit(opened.start, opened.start + 2, "image" if is_empty else ""),
                Edit(place, end, ""),
            ]
        else:
            shown = "[image" if is_empty else "["
            self._found.edits.append(Edit(opened.start, opened.start + 2, shown))


_AT_SIGN: Final = re.compile(r"(?<![A-Za-z0-9])(?:@|&#0{0,7}64;|&#[xX]0{0,7}40;|&commat;)")
