"""Makes the JSON of a server readable that has half a character in it, as it comes in parts."""

import re
from typing import Final

_ESCAPES: Final = re.compile(
    rb"""(?P<begun>\\(?:u[0-9a-f]{0,3}|u d[89ab][0-9a-f]{2} (?:\\(?:u[0-9a-f]{0,3})?)?)? \Z)
       | \\u d[89ab][0-9a-f]{2} \\u d[c-f][0-9a-f]{2}
       | (?P<half>\\u d[89a-f][0-9a-f]{2})
       | \\. """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


class Mender:
    r"""Replaces a lone surrogate, ``\ud83d``, by U+FFFD; the reader of the SDK refuses all else.

    JavaScript writes one for a text that was cut within an emoji. What may be the beginning of an
    escape is held back until it is seen what follows.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, part: bytes) -> bytes:
        """What may be passed on once ``part`` has come."""
        data = self._held + part
        self._held = b""
        return _ESCAPES.sub(self._mended, data) if b"\\" in data else data

    def end(self) -> bytes:
        """What was held back, once nothing more comes."""
        held, self._held = self._held, b""
        return held

    def _mended(self, found: re.Match[bytes]) -> bytes:
        if found["begun"] is not None:
            self._held = found["begun"]
            return b""
        return rb"\ufffd" if found["half"] is not None else found[0]
