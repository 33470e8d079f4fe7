"""Asks for a reply in pieces: the text is heard as it comes, and the whole is put together.

What comes out is what the plain call would have given, so that ``chat`` reads both alike.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aether.errors import UpstreamError
from aether.llm import plain
from aether.llm.pieces import Calls, Hearing
from aether.llm.prices import TOLD
from aether.llm.provider import Target, failures
from aether.redact import Mask
from aether.rendering import clean

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 120.0
"""Longest silence between two pieces; how long the first takes is bounded by the whole alone."""

PROVIDERS_WITH_AN_END: Final = frozenset(
    {"anthropic", "azure", "bedrock", "gemini", "mistral", "openai", "vertex_ai"}
)
"""Beside every OpenAI-compatible server: whose streams always say why they end."""

MOST_CHARACTERS: Final = 8_000_000
MOST_REMEMBERED: Final = 1_000

Way = Literal["whole", "without usage", "not at all"]
"""What a server can stream: with its usage at the end, without it, nothing."""

_REFUSALS: Final = frozenset({400, 404, 405, 415, 422, 501})
_OPTIONS: Final = re.compile(r"stream_options|include_usage", re.IGNORECASE)
_STREAM: Final = re.compile(
    r"\bstream\w*\b.{0,60}(?:not|unsupported|n't|only|must be|cannot|disabled)"
    r"|(?:not|unsupported|n't|\bno|cannot|disabled)\b.{0,60}\bstream",
    re.IGNORECASE | re.DOTALL,
)

_ways: dict[tuple[str, str], Way] = {}


@dataclass
class Came:
    """What has come of a stream: LiteLLM's own chunks, and whether the last said that it was it."""

    chunks: list[Any] = field(default_factory=list)
    has_end: bool = False

    @property
    def has_usage(self) -> bool:
        """Whether the server has told of its usage; LiteLLM passes that on at the end only."""
        return any(getattr(one, "usage", None) for one in self.chunks)


async def completion(
    library: Any,
    target: Target,
    arguments: Mapping[str, Any],
    on_text: Callable[[str], None],
    mask: Mask | None = None,
    came: Came | None = None,
) -> Any:
    """LiteLLM's answer to ``arguments``, its text told to ``on_text`` in pieces as it comes.

    ``mask`` takes secrets out of what is heard. ``came`` is told what has come, also where the call
    then fails.

    A server that refuses to stream is asked once more without it, and from then on so at once; it
    has done no work by then. ``on_text`` is called in the event loop; what it raises is logged.

    Raises:
        Exception: as LiteLLM's plain call (``provider.failures``); the beginning of the text may
            have been heard by then.
        UpstreamError: there is no choice in what came, or no end to it.
    """
    server = (str(target.arguments.get("api_base", "")), target.name)
    hearing = Hearing(on_text, mask)
    came = came or Came()
    way = _ways.get(server, "whole")
    while True:
        try:
            if way == "not at all":
                answer = await library.acompletion(**arguments)
                hearing.hear(_content(answer))
            else:
                answer = await _streamed(library, arguments, hearing, way, came)
        except failures() as error:
            simpler = None if hearing.has_content else _simpler(error, way)
            if simpler is None:
                raise
            way = simpler
        else:
            _remember(server, way)
            hearing.end()
            return answer


def forget() -> None:
    """Forget which servers do not stream."""
    _ways.clear()


def _remember(server: tuple[str, str], way: Way) -> None:
    if _ways.get(server, "whole") == way:
        return
    if len(_ways) >= MOST_REMEMBERED:
        _ways.clear()
    _ways[server] = way
    log.info("the model %r does not stream as asked; from now on: %s", server[1], way)


def _simpler(error: Exception, way: Way) -> Way | None:
    """What to try instead where a server refused this way of streaming; None: it is another error.

    A word about tools or such in the same sentence is no matter: plainly it is refused again.
    """
    text = str(error)
    if way == "not at all" or getattr(error, "status_code", None) not in _REFUSALS:
        return None
    if way == "whole" and _OPTIONS.search(text):
        return "without usage"
    return "not at all" if _STREAM.search(text) else None


async def _streamed(
    library: Any, arguments: Mapping[str, Any], hearing: Hearing, way: Way, came: Came
) -> Any:
    options = {"stream_options": {"include_usage": True}} if way == "whole" else {}
    stream = await library.acompletion(**arguments, stream=True, **options)
    try:
        response = getattr(getattr(stream, "completion_stream", None), "response", None)
        kind = str(getattr(response, "headers", {}).get("content-type", ""))
        if response is not None and kind.partition(";")[0].strip().lower() == "application/json":
            return _unstreamed(library, await response.aread(), response.headers, hearing)
        if response is not None:
            stream.completion_stream = plain.Chunks(stream.completion_stream)
        chunks, calls = await _read(library, stream, hearing)
        if _is_cut(stream, response):
            raise UpstreamError("the model's stream ended before its end")
    finally:
        came.chunks = list(getattr(stream, "chunks", ()))
        came.has_end = _has_end(stream)
        with suppress(*failures()):
            await stream.aclose()
    return _put_together(library, chunks, calls, hearing, has_usage=came.has_usage)


def _is_cut(stream: Any, response: Any) -> bool:
    """Whether the server never said that it had finished; LiteLLM makes that up for some."""
    tells = response is not None or stream.custom_llm_provider in PROVIDERS_WITH_AN_END
    return tells and not _has_end(stream)


def _has_end(stream: Any) -> bool:
    told = ("received_finish_reason", "received_any_finish_reason", "intermittent_finish_reason")
    return any(getattr(stream, one, None) for one in told)


async def _read(library: Any, stream: Any, hearing: Hearing) -> tuple[list[Any], Calls]:
    chunks: list[Any] = []
    calls = Calls()
    size = 0
    while (chunk := await _next(library, stream, IDLE_SECONDS if chunks else None)) is not None:
        chunks.append(chunk)
        await asyncio.sleep(0)  # pieces that are there already would keep the loop from all others
        choices = getattr(chunk, "choices", None)
        if not choices:
            continue
        delta = choices[0].delta
        content = getattr(delta, "content", None)
        if isinstance(content, str):
            hearing.hear(content)
            delta.content = clean(content)  # half a character would stop LiteLLM's counting
            size += len(content)
        thought = getattr(delta, "reasoning_content", None)
        if isinstance(thought, str):
            delta.reasoning_content = clean(thought)
            size += len(thought)
        for one in getattr(delta, "tool_calls", None) or ():
            size += calls.add(one)
            function: Any = getattr(one, "function", None)  # a call of another kind has none
            if isinstance(getattr(function, "arguments", None), str):
                function.arguments = clean(function.arguments)
        if size > MOST_CHARACTERS:
            raise UpstreamError(
                f"the model wrote more than {MOST_CHARACTERS:,} characters", retryable=False
            )
    return chunks, calls


async def _next(library: Any, stream: Any, seconds: float | None) -> Any:
    """The next chunk; None after the last."""
    try:
        async with asyncio.timeout(seconds) as bound:
            return await anext(stream, None)
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise TimeoutError(f"nothing came for {seconds:g} seconds") from error
    except library.exceptions.MidStreamFallbackError as error:
        raise (error.original_exception or error) from None


def _put_together(
    library: Any, chunks: Sequence[Any], calls: Calls, hearing: Hearing, *, has_usage: bool
) -> Any:
    """The chunks as one answer; tool calls as we read them, which LiteLLM joins by index alone."""
    if not chunks:
        raise UpstreamError("the model answered without a choice")
    answer = library.stream_chunk_builder(list(chunks))
    if answer is None or not answer.choices:
        raise UpstreamError("the model answered without a choice")
    message = answer.choices[0].message
    message.tool_calls = calls.told() or None
    message.content = hearing.whole if hearing.has_content else None
    answer.model = told_model(chunks) or answer.model
    if not has_usage:
        answer.usage = None  # what is there LiteLLM has counted, without the tools
    _keep_headers(answer, getattr(chunks[0], "_hidden_params", {}).get("additional_headers"))
    return answer


def told_model(chunks: Sequence[Any]) -> str | None:
    """The model as the server names it, which LiteLLM's chunks replace by what was asked for."""
    told = (getattr(one, "_hidden_params", {}).get("provider_response_model") for one in chunks)
    return next((one for one in told if isinstance(one, str) and one), None)


def _keep_headers(answer: Any, headers: Mapping[str, Any] | None) -> None:
    """Put the server's headers where the plain call has them: one may tell the cost."""
    answer._hidden_params["additional_headers"] = headers or {}  # noqa: SLF001 # LiteLLM's place


def _unstreamed(library: Any, body: bytes, headers: Mapping[str, str], hearing: Hearing) -> Any:
    """The answer of a server that was asked to stream, and sent it whole."""
    told = json.loads(body)
    if not isinstance(told, dict) or not isinstance(told.get("choices"), list):
        raise UpstreamError("the model answered without a choice")
    answer = library.ModelResponse(**plain.reply(told))
    if not told["choices"]:
        answer.choices = []
        return answer
    hearing.hear(_content(answer))
    answer.choices[0].message.content = hearing.whole if hearing.has_content else None
    _keep_headers(answer, {TOLD: headers.get("x-litellm-response-cost")})
    return answer


def _content(answer: Any) -> str | None:
    choices = getattr(answer, "choices", None)
    content = getattr(choices[0].message, "content", None) if choices else None
    return content if isinstance(content, str) else None
