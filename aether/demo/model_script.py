"""What the scripted model says: replies, tool calls, and how a script picks among them."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Self

from aether.demo.faults import Delay


class Absent(Enum):
    """``ABSENT`` leaves a member out where None would send null."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True)
class ToolCallScript:
    """One tool call that the model makes.

    ``arguments`` is sent as JSON if it is a mapping, as it stands if a string (so that broken
    ones can be sent), as null if None, not at all if ``ABSENT``. Without ``id`` one is made
    that is the same for the same conversation.
    """

    name: str
    arguments: Mapping[str, Any] | str | Absent | None = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens to report; ``cached`` of the prompt's."""

    prompt: int
    completion: int
    cached: int = 0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer of the model. Made by ``text``, ``calls``, ``error`` and the like."""

    content: str | None = None
    tool_calls: tuple[ToolCallScript, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    usage: Usage | None = None
    finish_reason: str | None = None
    delay: Delay = 0.0
    resets: bool = False
    cut_after: int | None = None
    pace: Delay = 0.0
    deltas: tuple[Mapping[str, Any], ...] | None = None
    breaks_after: int | None = None
    error_event: Any = None
    ends_after: int | None = None
    tells_usage: bool = True
    ignores_stream: bool = False

    @classmethod
    def text(cls, content: str | None) -> Self:
        """Plain text; None sends null."""
        return cls(content=content)

    @classmethod
    def calls(cls, *tool_calls: ToolCallScript, content: str | None = None) -> Self:
        """Tool calls, perhaps with some text beside them."""
        return cls(content=content, tool_calls=tool_calls)

    @classmethod
    def error(
        cls,
        status: int,
        *,
        message: str = "The scripted model was told to fail.",
        code: str | None = None,
        type: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Self:
        """An error answer in OpenAI's form, or with ``body`` in any other (a string as it is)."""
        told = dict(headers or {})
        if retry_after is not None:
            told["retry-after"] = f"{retry_after:g}"
        default_type, default_code = _ERRORS.get(status, ("invalid_request_error", None))
        error = error_body(message, type=type or default_type, code=code or default_code)
        return cls(status=status, headers=told, body=error if body is None else body)

    @classmethod
    def context_too_long(cls, limit: int = 8000, got: int = 9000) -> Self:
        """The refusal of a prompt that does not fit the model's window."""
        return cls(status=400, body=context_error(limit, got))

    @classmethod
    def raw(cls, body: Any, status: int = 200) -> Self:
        """Any body at all, such as one without ``choices``; a string is sent as it is."""
        return cls(status=status, body=body)

    @classmethod
    def reset(cls) -> Self:
        """The connection is reset before anything is answered."""
        return cls(resets=True)

    @classmethod
    def cut(cls, content: str, after_chunks: int = 2) -> Self:
        """A stream that ends after some chunks, without its end; not streamed, half a body."""
        return cls(content=content, cut_after=after_chunks)

    @classmethod
    def streaming(cls, *deltas: Mapping[str, Any]) -> Self:
        """A stream of just these deltas, such as tool calls in some server's own way."""
        return cls(deltas=deltas)

    @classmethod
    def breaking(
        cls, content: str, after_chunks: int = 2, *, message: str = "The model broke down."
    ) -> Self:
        """A stream that ends in an error event after some chunks; not streamed, all is well."""
        event = error_body(message, type="server_error", code="internal_error")
        return cls(content=content, breaks_after=after_chunks, error_event=event)

    @classmethod
    def unfinished(cls, content: str, after_chunks: int = 2) -> Self:
        """A stream that ends in order after some chunks, without a finish or ``[DONE]``."""
        return cls(content=content, ends_after=after_chunks)

    def paced(self, pace: Delay) -> Self:
        """The same, waiting before each chunk but the first when streamed."""
        return replace(self, pace=pace)

    def without_usage(self) -> Self:
        """The same, but a stream does not tell the usage though it was asked for."""
        return replace(self, tells_usage=False)

    def unstreamed(self) -> Self:
        """The same, but whole, in JSON, also where a stream was asked for."""
        return replace(self, ignores_stream=True)

    def after(self, delay: Delay) -> Self:
        """The same, but only after so many seconds, or once the event is set."""
        return replace(self, delay=delay)

    def using(self, prompt: int, completion: int, cached: int = 0) -> Self:
        """The same, but reporting these tokens."""
        return replace(self, usage=Usage(prompt, completion, cached))

    def finishing(self, reason: str) -> Self:
        """The same, but with this finish_reason, such as ``length``."""
        return replace(self, finish_reason=reason)


_ERRORS: Final[Mapping[int, tuple[str, str | None]]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    502: ("server_error", None),
    503: ("server_error", None),
}


def error_body(
    message: str,
    *,
    type: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
) -> dict[str, Any]:
    """An error as OpenAI words it: https://platform.openai.com/docs/guides/error-codes."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def context_error(limit: int, got: int) -> dict[str, Any]:
    """OpenAI's error for a prompt beyond the model's window."""
    message = (
        f"This model's maximum context length is {limit} tokens. However, your messages "
        f"resulted in {got} tokens. Please reduce the length of the messages."
    )
    return error_body(message, code="context_length_exceeded", param="messages")


@dataclass(frozen=True)
class ChatRequest:
    """A chat request that was found valid.

    ``attempt`` counts earlier requests with the very same messages: 0 for the first, 1 when it
    is tried again.
    """

    json: Mapping[str, Any]
    attempt: int = 0

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        messages: Sequence[Mapping[str, Any]] = self.json["messages"]
        return messages

    @property
    def turn(self) -> int:
        """How often the assistant has spoken in this conversation."""
        return sum(message["role"] == "assistant" for message in self.messages)

    @property
    def system(self) -> str:
        """The text of all system and developer messages."""
        return self._texts("system", "developer")

    @property
    def user(self) -> str:
        """The text of all user messages."""
        return self._texts("user")

    @property
    def tool_results(self) -> list[str]:
        """The text of each tool message, in order."""
        return [text_of(one["content"]) for one in self.messages if one["role"] == "tool"]

    @property
    def tools(self) -> list[str]:
        """The names of the tools on offer."""
        return [tool["function"]["name"] for tool in self.json.get("tools", ())]

    def _texts(self, *roles: str) -> str:
        told = [text_of(one["content"]) for one in self.messages if one["role"] in roles]
        return "\n".join(told)

    def call_id(self, index: int) -> str:
        """An id for the tool call of that index: the same for the same conversation."""
        return f"call_{digest(self.messages, index)[:24]}"


def digest(*told: Any) -> str:
    """A fingerprint of JSON values."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def text_of(content: Any) -> str:
    """The text of a message's content, which may be a string, a list of parts, or null."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())


Script = Reply | Callable[[ChatRequest], Reply] | Sequence[Reply]
"""A reply for ever, a choice by the request, or one reply after another as requests come in."""

Turn = Reply | Callable[[ChatRequest], Reply] | Sequence[Reply]
"""What to say in one turn; of a sequence the second when the same request comes again."""


def by_turn(turns: Sequence[Turn]) -> Callable[[ChatRequest], Reply]:
    """Pick by how often the assistant has spoken, so that conversations may run at once.

    After the last turn its reply is repeated. A turn may be a list: ``[error, answer]`` fails
    the first try of that turn and answers the next.
    """
    if not turns:
        raise ValueError("turns: at least one is needed")

    def choose(request: ChatRequest) -> Reply:
        turn = turns[min(request.turn, len(turns) - 1)]
        if isinstance(turn, Reply):
            return turn
        if callable(turn):
            return turn(request)
        return turn[min(request.attempt, len(turn) - 1)]

    return choose


class ScriptEndedError(Exception):
    """A sequence of replies had no more for this request."""


class Playing:
    """A script with the place where it stands; may be asked from several threads."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._lock = threading.Lock()
        self._next = 0

    def reply(self, request: ChatRequest) -> Reply:
        """The reply to ``request``; raises ScriptEndedError after the last of a sequence."""
        if isinstance(self._script, Reply):
            return self._script
        if callable(self._script):
            return self._script(request)
        with self._lock:
            place, self._next = self._next, self._next + 1
        if place >= len(self._script):
            raise ScriptEndedError(f"the script has {len(self._script)} replies, all given")
        return self._script[place]
