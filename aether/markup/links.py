"""Which addresses a text may link to."""

import html
import re
from typing import Final
from urllib.parse import unquote

SAFE_SCHEMES: Final = frozenset({"http", "https", "mailto"})
LONGEST: Final = 8_000

_IGNORED: Final = re.compile("[\x00-\x20\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ufeff]+")
"""What browsers drop from, or people do not see in, the beginning of an address."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def has_safe_scheme(address: str) -> bool:
    """Whether ``address`` is http, https, mailto or relative, however it is written."""
    bare = _IGNORED.sub("", unquote(html.unescape(html.unescape(address[:LONGEST]))))
    found = _SCHEME.match(bare)
    return found is None or found[1].lower() in SAFE_SCHEMES


def safe_address(address: str) -> str | None:
    """``address`` if a reader may be sent there, else None."""
    address = address.strip()
    if not address or len(address) > LONGEST or not has_safe_scheme(address):
        return None
    return address
