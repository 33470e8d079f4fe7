"""Puts a streamed reply's pieces together: its text, heard as it comes, and its tool calls."""

import json
import logging
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from aether.redact import Mask
from aether.rendering import clean

log = logging.getLogger(__name__)

_OPENINGS: Final = ("<think>", "<thinking>", "<budget:thinking>")
"""What LiteLLM takes from the beginning of a plain reply's text, up to its end."""

_CLOSING: Final = re.compile(r"</(?:think|thinking|budget:thinking)>")
_LONGEST_CLOSING: Final = len("</budget:thinking>")


class Hearing:
    """Passes a text on, piece by piece, to somebody whose failures are their own.

    A piece that ends in half a character is held back until the other half comes; so is a
    beginning that may be a thought, until it has ended, and one that may be a secret of ours.
    """

    def __init__(self, on_text: Callable[[str], None], mask: Mask | None = None) -> None:
        self._on_text = on_text
        self._mask = mask or Mask()
        self._pieces: list[str] = []
        self._held = ""  # the beginning, as long as it may be a thought
        self._looked = 0  # how far into it an end has been looked for
        self._has_begun = False
        self._half = ""
        self._thought = 0
        self.has_content = False
        self.has_heard = False  # whether anything was passed on

    def hear(self, piece: str | None) -> None:
        """The next piece, as it came."""
        if piece is None:
            return
        self.has_content = True
        self._pieces.append(piece)
        if self._has_begun:
            self._pass_on(piece)
            return
        self._held += piece
        self._begin()

    def end(self) -> None:
        """There is no more: what was held back is passed on."""
        held, self._held, self._has_begun = self._held, "", True
        self._pass_on(held)
        half, self._half = self._half, ""
        self._tell(clean(half))
        self._say(self._mask.end())

    @property
    def whole(self) -> str:
        """Everything that came, without the thought."""
        return "".join(self._pieces)[self._thought :]

    def _begin(self) -> None:
        if any(one.startswith(self._held) for one in _OPENINGS):
            return
        if self._held.startswith(_OPENINGS):
            closing = _CLOSING.search(self._held, self._looked)
            if closing is None:
                self._looked = max(0, len(self._held) - _LONGEST_CLOSING)
                return
            self._thought = closing.end()
        held, self._held, self._has_begun = self._held[self._thought :], "", True
        self._pass_on(held)

    def _pass_on(self, piece: str) -> None:
        piece = self._half + piece
        self._half = piece[-1:] if "\ud800" <= piece[-1:] <= "\udbff" else ""
        self._tell(clean(piece[: len(piece) - len(self._half)]))

    def _tell(self, text: str) -> None:
        self._say(self._mask.feed(text) if text else "")

    def _say(self, text: str) -> None:
        if not text:
            return
        self.has_heard = True
        try:
            self._on_text(text)
        except Exception:  # the reply goes on for whoever asked for it
            log.exception("a listener to the model's text failed")


class Calls:
    """Puts tool calls together from their pieces, whatever a server makes of index and id.

    OpenAI names a call once and then only its index. Others send each call whole, all of them
    under index 0, some of them without any id, repeat the id in every piece, or send a finished
    call a second time.
    """

    def __init__(self) -> None:
        self._calls: list[SimpleNamespace] = []
        self._open: dict[Any, SimpleNamespace] = {}

    def add(self, delta: Any) -> int:
        """Take one piece in; how many characters it had."""
        index = getattr(delta, "index", None)
        function = getattr(delta, "function", None)
        name, arguments = getattr(function, "name", None), getattr(function, "arguments", None)
        call_id = getattr(delta, "id", None)
        call = self._open.get(index)
        if call is None or _begins_another(call, call_id, name, arguments):
            call = SimpleNamespace(
                id=None,
                function=SimpleNamespace(name=None, arguments=None),
                provider_specific_fields=None,
            )
            self._calls.append(call)
            self._open[index] = call
        call.id = call.id or call_id
        call.function.name = call.function.name or name
        if isinstance(arguments, str):
            call.function.arguments = (call.function.arguments or "") + arguments
        fields = getattr(delta, "provider_specific_fields", None)
        call.provider_specific_fields = call.provider_specific_fields or fields
        return len(name or "") + len(arguments or "")

    def told(self) -> list[SimpleNamespace]:
        """The calls, in the form that LiteLLM has them."""
        return self._calls


def _begins_another(
    call: SimpleNamespace, call_id: str | None, name: str | None, arguments: str | None
) -> bool:
    """Whether a piece under a used index is another call, or the same one over again."""
    if call_id and call.id and call_id != call.id:
        return True
    if bool(call_id) != bool(call.id):
        return False
    return bool(name and arguments) and _is_whole(call.function.arguments)


def _is_whole(arguments: str | None) -> bool:
    try:
        return isinstance(json.loads(arguments or ""), dict)
    except (ValueError, RecursionError):
        return False
