"""How others write a secret that they quote, and any of many texts found in another."""

import base64
import html
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import quote, quote_plus

START: Final = 6  # characters that a text to be found has at least; it is looked up by them
FEW: Final = 1_500  # so many are looked for one by one in the time of one way through the text
CASED_FROM: Final = 8  # a shorter one in other cases may be an ordinary word

_PERCENT: Final = re.compile(r"%[0-9A-F]{2}")
_ESCAPE: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u([0-9a-f]{4})")


@lru_cache(maxsize=8_192)
def spellings(secret: str) -> frozenset[str]:
    """The secret as it is, in addresses and forms, in JSON, in HTML, and within base64.

    As the encoders of several languages write them, and as one that writes another's text again.
    Base64 is that of any text that holds the secret, as ``user:password`` of Basic authentication
    does; its other two alphabets and cases of letters, too.
    """
    in_addresses = _in_addresses(secret)
    in_texts = _in_json(secret) | _in_markup(secret) | {secret.replace("'", "'\\''")}  # a shell's
    found = {secret, *in_texts, *in_addresses}
    for one in in_texts - {secret}:
        again = json.dumps(one, ensure_ascii=False)[1:-1]
        found |= {again, again.replace("/", "\\/"), json.dumps(again, ensure_ascii=False)[1:-1]}
    for one in in_addresses - {secret}:
        found |= _in_either_case(quote(one, safe=""))
    for one in _within_base64(secret.encode("utf-8", "surrogatepass")):
        found |= {one, one.replace("/", "\\/"), *_in_either_case(quote(one, safe=""))}
    if len(secret) >= CASED_FROM and not secret.isalpha():
        found |= {secret.upper(), secret.lower(), secret.swapcase()}
    return frozenset(one for one in found if len(one) >= START)


def _in_json(text: str) -> set[str]:
    """What stands between the quotes: Python's and JavaScript's, PHP's ``\\/``, and those that
    escape what HTML knows: Go, Rails, Gson, .NET. Python's ``repr``, which looks alike, too.
    """
    found = {text.replace("\\", "\\\\").replace("'", "\\'")}
    for is_ascii in (True, False):
        plain = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
        for one in (plain, plain.replace("/", "\\/")):
            for known in ("", "<>&", "<>&='"):
                found |= _in_hex(one, known)
    return found | _in_hex(json.dumps(text)[1:-1].replace('\\"', '"'), "\"&'+<>`")


def _in_hex(text: str, escaped: str) -> set[str]:
    """``text`` with those characters as ``\\u003c``; and with all such escapes as ``\\u003C``."""
    told = text.translate({ord(one): f"\\u{ord(one):04x}" for one in escaped})
    return {told, _ESCAPE.sub(lambda one: f"{one[1]}\\u{one[2].upper()}", told)}


def _in_addresses(text: str) -> set[str]:
    """As Python, JavaScript (``encodeURIComponent``, ``encodeURI``) and Java write them."""
    data = text.encode("utf-8", "surrogatepass")
    found = {
        quote(data, safe=""),
        quote(data),
        quote(data, safe="!*'()"),
        quote(data, safe=";/?:@&=+$,#!*'()"),
        quote_plus(data),
        quote_plus(data, safe="*").replace("~", "%7E"),
    }
    return {spelled for one in found for spelled in _in_either_case(one)}


def _in_either_case(address: str) -> set[str]:
    return {address, _PERCENT.sub(lambda one: one[0].lower(), address)}


def _in_markup(text: str) -> set[str]:
    """As Python, Jinja, Go, XML's writers and Mustache escape it; quotes are often left alone."""
    bare = html.escape(text, quote=False)
    found = {bare}
    for double in ("&quot;", "&#34;"):
        for single in ("&#x27;", "&#39;", "&apos;"):
            escaped = bare.replace('"', double).replace("'", single)
            found |= {escaped, escaped.replace("+", "&#43;")}
            found.add(escaped.translate({ord(one): f"&#x{ord(one):X};" for one in "/`="}))
    return found


def _within_base64(secret: bytes) -> Iterator[str]:
    """What of a base64 text is this secret's alone, for each of the three places it may begin."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + secret).decode()
        own = whole[(before * 8 + 5) // 6 : (before + len(secret)) * 8 // 6]
        yield own
        yield own.replace("+", "-").replace("/", "_")


class Finder:
    """Takes any of many texts out of another: 17 ms for 60,000 characters at most, however many."""

    def __init__(self, wanted: Iterable[str]) -> None:
        """``wanted`` have ``START`` characters or more."""
        self._ordered = sorted(set(wanted))
        self._by_start: dict[str, list[str]] = {}
        for one in sorted(self._ordered, key=len, reverse=True):
            self._by_start.setdefault(one[:START], []).append(one)
        self.longest = max(map(len, self._ordered), default=0)

    def masked(self, text: str, mask: str) -> str:
        """``text`` with ``mask`` for each that it holds; those that overlap are one."""
        if len(self._ordered) <= FEW and not any(one in text for one in self._ordered):
            return text
        kept: list[str] = []
        end = 0
        for start, stop in self._found(text):
            if start >= end:
                kept += [text[end:start], mask]
            end = max(end, stop)
        return "".join([*kept, text[end:]]) if kept else text

    def begins_with(self, text: str) -> bool:
        """Whether any of them begins so."""
        place = bisect_left(self._ordered, text)
        return place < len(self._ordered) and self._ordered[place].startswith(text)

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        by_start = self._by_start
        for at in range(len(text) - START + 1 if by_start else 0):
            start = text[at : at + START]
            if start in by_start:
                for one in by_start[start]:
                    if text.startswith(one, at):
                        yield at, at + len(one)
                        break  # the longest that begins here
