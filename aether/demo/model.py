"""A language model on loopback that says what a script tells it, in OpenAI's protocol."""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from aether.demo import model_rules as rules
from aether.demo import model_wire as wire
from aether.demo.faults import Call, Door, Faults, pause
from aether.demo.model_answer import answer, json_answer
from aether.demo.model_rules import RefusedError
from aether.demo.model_script import (
    ABSENT,
    ChatRequest,
    Playing,
    Reply,
    Script,
    ScriptEndedError,
    ToolCallScript,
    Usage,
    by_turn,
    context_error,
    digest,
    error_body,
)

__all__ = [
    "ABSENT",
    "ChatRequest",
    "Reply",
    "Script",
    "ScriptedModel",
    "ToolCallScript",
    "Usage",
    "by_turn",
]

When = str | Callable[[ChatRequest], bool]
"""A text that the system prompt holds as a word of its own, or a judgement of the request."""

MODEL: Final = "scripted"
EMBEDDING_MODEL: Final = "scripted-embedding"
DEFAULT_REPLY: Final = "Understood."


class ScriptedModel:
    """An OpenAI-compatible server whose model follows scripts.

    Serve ``app`` with ``serving`` and call it under ``<base_url>/v1``. It refuses what a real
    server refuses, before any script is asked. ``when`` gives scripts to some requests (the
    first that matches counts), ``script`` is for all others.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        key: str = "sk-scripted-0001",
        models: Iterable[str] = (MODEL,),
        embedding_models: Iterable[str] = (EMBEDDING_MODEL,),
        dimensions: int = 256,
        context_tokens: int | None = None,
    ) -> None:
        """A model that has not been asked anything yet.

        Args:
            script: for requests that no ``when`` claims; absent, a short text.
            key: the API key that callers must send.
            models: the names it is known by for chat.
            embedding_models: the names it is known by for embeddings.
            dimensions: of the embeddings, unless the request says how many.
            context_tokens: prompts above get the context-length error; counted in words, or a
                token every four characters where that is more.
        """
        self.key = key
        self.models = list(models)
        self.embedding_models = list(embedding_models)
        self.dimensions = dimensions
        self.context_tokens = context_tokens
        self.faults = Faults()
        self._lock = threading.Lock()
        self._default = Playing(script if script is not None else Reply.text(DEFAULT_REPLY))
        self._cases: list[tuple[When, Playing]] = []
        self._requests: list[dict[str, Any]] = []
        self._attempts: Counter[str] = Counter()
        self._problems: list[str] = []
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/embeddings", self._embeddings, methods=["POST"]),
            Route("/v1/models", self._list_models, methods=["GET"]),
            Route("/v1/models/{name:path}", self._get_model, methods=["GET"]),
        ]
        handlers: dict[Any, Any] = {
            404: _unknown_route,
            405: _unknown_route,
            RefusedError: _refusal,
        }
        self._door = Door(Starlette(routes=routes, exception_handlers=handlers), self.faults)

    def __repr__(self) -> str:
        return f"ScriptedModel(models={self.models})"

    @property
    def app(self) -> ASGIApp:
        """The ASGI application to serve."""
        return self._door

    @property
    def calls(self) -> list[Call]:
        """Every HTTP request so far, with its time and status."""
        return self._door.calls

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The JSON of every chat request so far that had the key, refused ones included."""
        with self._lock:
            return list(self._requests)

    @property
    def problems(self) -> list[str]:
        """Why chat requests were refused, and scripts that had no more to say; best empty."""
        with self._lock:
            return list(self._problems)

    def when(self, condition: When, script: Script) -> "ScriptedModel":
        """Follow ``script`` for requests that meet ``condition``; returns itself."""
        with self._lock:
            self._cases.append((condition, Playing(script)))
        return self

    def say(self, script: Script) -> "ScriptedModel":
        """Follow ``script`` from now on where no ``when`` matches; returns itself."""
        with self._lock:
            self._default = Playing(script)
        return self

    async def _chat(self, request: Request) -> Response:
        rules.check_key(request.headers.get("authorization", ""), self.key)
        told = _json_object(await request.body())
        with self._lock:
            self._requests.append(told)
        try:
            rules.check_model(told.get("model"), self.models)
            rules.check_chat(told)
            self._check_size(told)
            chat = self._numbered(told)
            reply = self._choose(chat).reply(chat)
        except (RefusedError, ScriptEndedError) as error:
            with self._lock:
                self._problems.append(str(error))
            if isinstance(error, ScriptEndedError):
                raise rules.refused(str(error), code="script_ended") from error
            raise
        await pause(reply.delay)
        return answer(chat, reply)

    def _check_size(self, told: Mapping[str, Any]) -> None:
        size = wire.prompt_size(told)
        if self.context_tokens is not None and size > self.context_tokens:
            raise RefusedError(400, context_error(self.context_tokens, size))

    def _numbered(self, told: dict[str, Any]) -> ChatRequest:
        fingerprint = digest(told["messages"])
        with self._lock:
            attempt = self._attempts[fingerprint]
            self._attempts[fingerprint] += 1
        return ChatRequest(told, attempt)

    def _choose(self, chat: ChatRequest) -> Playing:
        with self._lock:
            cases, default = list(self._cases), self._default
        return next((script for when, script in cases if _meets(chat, when)), default)

    async def _embeddings(self, request: Request) -> Response:
        rules.check_key(request.headers.get("authorization", ""), self.key)
        told = _json_object(await request.body())
        model = rules.check_model(told.get("model"), self.embedding_models)
        texts = told.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not texts or not all(_is_text(one) for one in texts):
            text = "Invalid 'input': expected a string or an array of strings, none of them empty."
            raise rules.refused(text, "input", "invalid_value")
        dimensions = told.get("dimensions", self.dimensions)
        if not isinstance(dimensions, int) or dimensions < 1:
            raise rules.refused("Invalid 'dimensions'.", "dimensions", "invalid_value")
        as_base64 = told.get("encoding_format") == "base64"
        return json_answer(wire.embeddings(model, texts, dimensions, as_base64=as_base64))

    async def _list_models(self, request: Request) -> Response:
        rules.check_key(request.headers.get("authorization", ""), self.key)
        names = [*self.models, *self.embedding_models]
        return json_answer({"object": "list", "data": [_model(name) for name in names]})

    async def _get_model(self, request: Request) -> Response:
        rules.check_key(request.headers.get("authorization", ""), self.key)
        known = [*self.models, *self.embedding_models]
        return json_answer(_model(rules.check_model(request.path_params["name"], known)))


def _meets(chat: ChatRequest, when: When) -> bool:
    if isinstance(when, str):
        return re.search(rf"(?<!\w){re.escape(when)}(?!\w)", chat.system) is not None
    return when(chat)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "scripted"}


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise rules.refused("We could not parse the JSON body of your request.")
    return told


async def _refusal(_: Request, error: RefusedError) -> Response:
    return json_answer(error.body, error.status)


async def _unknown_route(request: Request, _: Exception) -> Response:
    message = f"Invalid URL ({request.method} {request.url.path})"
    return json_answer(error_body(message), 404)
