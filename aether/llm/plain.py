"""Puts what a server sends into OpenAI's form where it nearly has it, before LiteLLM reads it.

Servers that speak OpenAI's protocol differ in two places: arguments of a call that are JSON
themselves and not text of it, and a text that comes as a list of parts. LiteLLM refuses such a
reply, or drops the piece without a word.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

TEXTS: Final = frozenset({"text", "output_text", None})
"""The parts that are the answer; others are thoughts, images and the like."""

TOO_DEEP: Final = "(nested too deeply)"


def reply(told: dict[str, Any]) -> dict[str, Any]:
    """The body of a whole reply, changed in place where it must be."""
    choices = told.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            continue
        if "content" in message:
            message["content"] = text(message["content"])
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            _put(call, "id", identity)
            _put(call.get("function") if isinstance(call, dict) else None, "arguments", arguments)
        _put(message.get("function_call"), "arguments", arguments)
    return told


class Chunks:
    """A stream of the OpenAI client whose chunks are in OpenAI's form; else the stream itself."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> "Chunks":
        return self

    async def __anext__(self) -> Any:
        chunk = await anext(self._stream)
        for choice in getattr(chunk, "choices", None) or ():
            delta = getattr(choice, "delta", None)
            _set(delta, "content", text)
            calls = getattr(delta, "tool_calls", None)
            for call in calls if isinstance(calls, list) else ():
                _set(call, "id", identity)
                _set(getattr(call, "function", None), "arguments", arguments)
            _set(getattr(delta, "function_call", None), "arguments", arguments)
        return chunk


def text(content: Any) -> str | None:
    """The text of a message: that of its parts where it comes in parts, else JSON as it stands."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part(one) for one in content)
    if isinstance(content, Mapping) and isinstance(content.get("text"), str):
        return _part(content)
    return arguments(content)


def arguments(value: Any) -> str | None:
    """The arguments as text, whatever they are: what is no object is for the caller to refuse."""
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return TOO_DEEP


def identity(value: Any) -> str | None:
    """A call's id as text; some count."""
    return value if value is None or isinstance(value, str) else str(value)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    told = part.get("text") if isinstance(part, Mapping) and part.get("type") in TEXTS else None
    return told if isinstance(told, str) else ""


def _put(where: Any, name: str, form: Any) -> None:
    if isinstance(where, dict) and name in where:
        where[name] = form(where[name])


def _set(where: Any, name: str, form: Any) -> None:
    value = getattr(where, name, None)
    if value is not None and not isinstance(value, str):
        setattr(where, name, form(value))
