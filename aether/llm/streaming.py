"""Asks for a reply in pieces: the text is heard as it comes, and the whole is put together.

What comes out is what the plain call would have given, so that ``chat`` reads both alike.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal

from aether.errors import UpstreamError
from aether.llm.pieces import Calls, Hearing
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


async def completion(
    library: Any,
    target: Target,
    arguments: Mapping[str, Any],
    on_text: Callable[[str], None],
    mask: Mask | None = None,
) -> Any:
    """LiteLLM's answer to ``arguments``, its text told to ``on_text`` in pieces as it comes.

    ``mask`` takes secrets out of what is heard.

    A server that refuses to stream is asked once more without it, and from then on so at once; it
    has done no work by then. ``on_text`` is called in the event loop; what it raises is logged.

    Raises:
        Exception: as LiteLLM's plain call (``provider.failures``); the beginning of the text may
            have been heard by then.
        UpstreamError: there is no choice in what came, or no end to it.
    """
    server = (str(target.arguments.get("api_base", "")), target.name)
    hearing = Hearing(on_text, mask)
    way = _ways.get(server, "whole")
    while True:
        try:
            if way == "not at all":
                answer = await library.acompletion(**arguments)
                hearing.hear(_content(answer))
            else:
                answer = await _streamed(library, arguments, hearing, way)
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


async def _streamed(library: Any, arguments: Mapping[str, Any], hearing: Hearing, way: Way) -> Any:
    options = {"stream_options": {"include_usage": True}} if way == "whole" else {}
    stream = await library.acompletion(**arguments, stream=True, **options)
    try:
        response = getattr(getattr(stream, "completion_stream", None), "response", None)
        kind = str(getattr(response, "headers", {}).get("content-type", ""))
        if response is not None and kind.partition(";")[0].strip().lower() == "application/json":
            return _unstreamed(library, await response.aread(), response.headers, hearing)
        chunks, calls = await _read(library, stream, hearing)
        if _is_cut(stream, response):
            raise UpstreamError("the model's stream ended before its end")
    finally:
        with suppress(*failures()):
            await stream.aclose()
    return _put_together(library, arguments, chunks, calls, hearing)


def _is_cut(stream: Any, response: Any) -> bool:
    """Whether the server never said that it had finished; LiteLLM makes that up for some."""
    told = ("received_finish_reason", "received_any_finish_reason", "intermittent_finish_reason")
    has_end = response is not None or stream.custom_llm_provider in PROVIDERS_WITH_AN_END
    return has_end and not any(getattr(stream, one, None) for one in told)


async def _read(library: Any, stream: Any, hearing: Hearing) -> tuple[list[Any], Calls]:
    chunks: list[Any] = []
    calls = Calls()
    size = 0
    while (chunk := await _next(library, stream, IDLE_SECONDS if chunks else None)) is not None:
        chunks.append(chunk)
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
            if isinstance(getattr(one.function, "arguments", None), str):
                one.function.arguments = clean(one.function.arguments)
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
    library: Any,
    arguments: Mapping[str, Any],
    chunks: Sequence[Any],
    calls: Calls,
    hearing: Hearing,
) -> Any:
    """The chunks as one answer; tool calls as we read them, which LiteLLM joins by index alone."""
    if not chunks:
        raise UpstreamError("the model answered without a choice")
    answer = library.stream_chunk_builder(list(chunks), messages=arguments["messages"])
    if answer is None or not answer.choices:
        raise UpstreamError("the model answered without a choice")
    message = answer.choices[0].message
    message.tool_calls = calls.told() or None
    message.content = hearing.whole if hearing.has_content else None
    hidden = getattr(chunks[0], "_hidden_params", {})
    told = next((one for one in map(_model, chunks) if one), None)
    if told:
        answer.model = told
    _price(library, answer, arguments, hidden.get("additional_headers") or {})
    return answer


def _model(chunk: Any) -> str | None:
    """The model as the server names it, which LiteLLM's chunks replace by what was asked for."""
    told = getattr(chunk, "_hidden_params", {}).get("provider_response_model")
    return told if isinstance(told, str) else None


def _price(
    library: Any, answer: Any, arguments: Mapping[str, Any], headers: Mapping[str, Any]
) -> None:
    """Put the cost where the plain call has it: what the server says, else LiteLLM's own sum."""
    told = getattr(getattr(answer, "usage", None), "cost", None)
    told = headers.get("llm_provider-x-litellm-response-cost", told)
    try:
        cost = float(told) if told is not None else None
        if cost is None and "api_base" not in arguments:
            cost = library.completion_cost(completion_response=answer, model=arguments["model"])
    except Exception:  # noqa: BLE001 # a model without a known price: Exception itself is raised
        cost = None
    answer._hidden_params["response_cost"] = cost  # noqa: SLF001 # where LiteLLM keeps it


def _unstreamed(library: Any, body: bytes, headers: Mapping[str, str], hearing: Hearing) -> Any:
    """The answer of a server that was asked to stream, and sent it whole."""
    told = json.loads(body)
    if not isinstance(told, dict) or not isinstance(told.get("choices"), list):
        raise UpstreamError("the model answered without a choice")
    answer = library.ModelResponse(**told)
    if not told["choices"]:
        answer.choices = []
        return answer
    hearing.hear(_content(answer))
    answer.choices[0].message.content = hearing.whole if hearing.has_content else None
    _price(
        library, answer, {"api_base": ""},
        {"llm_provider-x-litellm-response-cost": headers.get("x-litellm-response-cost")},
    )  # fmt: skip
    return answer


def _content(answer: Any) -> str | None:
    choices = getattr(answer, "choices", None)
    content = getattr(choices[0].message, "content", None) if choices else None
    return content if isinstance(content, str) else None
