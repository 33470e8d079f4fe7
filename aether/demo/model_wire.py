"""OpenAI's JSON for a scripted reply: a chat completion, its chunks, embeddings, usage."""

import base64
import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from aether import clock
from aether.demo.model_script import (
    Absent,
    ChatRequest,
    Reply,
    ToolCallScript,
    Usage,
    digest,
    text_of,
)

Json = dict[str, Any]

_CHARACTERS_A_TOKEN: Final = 4
_FINGERPRINT: Final = "fp_scripted"


def count_words(text: str) -> int:
    return len(text.split())


def prompt_words(told: Mapping[str, Any]) -> int:
    """The words of a request: its messages with their tool calls, and its tools."""
    words = sum(count_words(text_of(one.get("content"))) for one in told["messages"])
    rest = [one.get("tool_calls") for one in told["messages"] if one.get("tool_calls")]
    return words + sum(count_words(json.dumps(part)) for part in [*rest, *told.get("tools", ())])


def prompt_size(told: Mapping[str, Any]) -> int:
    """About how many tokens a request has: words, or a token every four characters if more."""
    characters = sum(len(text_of(one.get("content"))) for one in told["messages"])
    return max(prompt_words(told), characters // _CHARACTERS_A_TOKEN)


def usage_of(request: ChatRequest, reply: Reply) -> Json:
    """As told by the reply, else the words of the prompt and of what is answered."""
    counted = reply.usage or Usage(prompt_words(request.json), _reply_words(reply))
    return {
        "prompt_tokens": counted.prompt,
        "completion_tokens": counted.completion,
        "total_tokens": counted.prompt + counted.completion,
        "prompt_tokens_details": {"cached_tokens": counted.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _reply_words(reply: Reply) -> int:
    calls = [f"{call.name} {_arguments(call) or ''}" for call in reply.tool_calls]
    return sum(count_words(text) for text in [reply.content or "", *calls])


def _arguments(call: ToolCallScript) -> str | None:
    if isinstance(call.arguments, (str, Absent)) or call.arguments is None:
        return call.arguments if isinstance(call.arguments, str) else None
    return json.dumps(call.arguments)


def _function(call: ToolCallScript) -> Json:
    told: Json = {"name": call.name}
    return told if isinstance(call.arguments, Absent) else told | {"arguments": _arguments(call)}


def _calls(request: ChatRequest, reply: Reply) -> list[Json]:
    return [
        {
            "id": request.call_id(index) if call.id is None else call.id,
            "type": "function",
            "function": _function(call),
        }
        for index, call in enumerate(reply.tool_calls)
    ]


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _frame(request: ChatRequest, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{digest(request.messages, request.attempt)[:29]}",
        "object": kind,
        "created": int(clock.now().timestamp()),
        "model": request.json["model"],
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }


def completion(request: ChatRequest, reply: Reply) -> Json:
    """The body of an answer that is not streamed."""
    message: Json = {
        "role": "assistant",
        "content": reply.content,
        "refusal": None,
        "annotations": [],
    }
    if reply.tool_calls:
        message["tool_calls"] = _calls(request, reply)
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish_reason(reply),
    }
    usage = usage_of(request, reply)
    return _frame(request, "chat.completion") | {"choices": [choice], "usage": usage}


def chunks(request: ChatRequest, reply: Reply) -> Iterator[Json]:
    """The chunks of a streamed answer; the last has the usage if it was asked for."""
    with_usage = bool((request.json.get("stream_options") or {}).get("include_usage"))
    with_usage = with_usage and reply.tells_usage
    frame = _frame(request, "chat.completion.chunk")
    deltas: list[tuple[Json, str | None]] = [(delta, None) for delta in _deltas(request, reply)]
    deltas.append(({}, _finish_reason(reply)))
    for delta, finish in deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = frame | {"choices": [choice]}
        yield chunk | {"usage": None} if with_usage else chunk
    if with_usage:
        yield frame | {"choices": [], "usage": usage_of(request, reply)}


def _deltas(request: ChatRequest, reply: Reply) -> Iterator[Json]:
    if reply.deltas is not None:
        yield from map(dict, reply.deltas)
        return
    first = None if reply.content is None else ""
    yield {"role": "assistant", "content": first, "refusal": None}
    for piece in _pieces(reply.content or ""):
        yield {"content": piece}
    for index, call in enumerate(_calls(request, reply)):
        arguments = call["function"].get("arguments")
        if isinstance(arguments, str):
            call["function"]["arguments"] = ""
        yield {"tool_calls": [{"index": index, **call}]}
        half = len(arguments or "") // 2 + 1
        for part in (arguments[:half], arguments[half:]) if arguments else ():
            if part:
                yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}


def _pieces(text: str) -> Iterator[str]:
    """The text word by word, each with the white space after it."""
    start = 0
    for end in range(1, len(text) + 1):
        is_last = end == len(text)
        if is_last or (text[end - 1].isspace() and not text[end].isspace()):
            yield text[start:end]
            start = end


def embedding(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 by the words of ``text``: alike for texts that share words."""
    vector = [0.0] * dimensions
    for word in text.lower().split() or [text]:
        seed = hashlib.sha256(word.encode(errors="replace")).digest()
        place = int.from_bytes(seed[:4], "big") % dimensions
        vector[place] += 1.0 if seed[4] % 2 else -1.0
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0.0:  # opposite words that cancelled out
        vector[0] = length = 1.0
    return [value / length for value in vector]


def embeddings(
    model: str, texts: Sequence[str], dimensions: int, *, as_base64: bool = False
) -> Json:
    """The body that answers ``/v1/embeddings``."""
    data: list[Json] = []
    for index, text in enumerate(texts):
        vector: Any = embedding(text, dimensions)
        if as_base64:
            packed = struct.pack(f"<{dimensions}f", *vector)
            vector = base64.b64encode(packed).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    words = sum(count_words(text) for text in texts)
    usage = {"prompt_tokens": words, "total_tokens": words}
    return {"object": "list", "data": data, "model": model, "usage": usage}
