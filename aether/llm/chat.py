"""Asks the language model once, and reads its reply into a form that any provider takes back."""

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from aether.config import Settings
from aether.errors import NotConfiguredError, UpstreamError
from aether.llm import provider, streaming, usage
from aether.redact import Mask
from aether.rendering import clean, is_blank
from aether.spending import Usage

LONGEST_ID: Final = 100
LONGEST_REFUSAL: Final = 300
LONGEST_NAME: Final = 64
MOST_CALLS: Final = 128
"""Calls of one reply that are kept: OpenAI takes no message with more of them back."""
CUT_OFF: Final = " [… cut off at the model's output limit]"
"""Stands behind arguments that the model did not get to the end of."""
REASONED_BY: Final = "reasoned_by"
"""Beside thoughts in a message: the provider that wrote them, the only one that takes them back."""
THOUGHTS: Final = ("reasoning_content", "thinking_blocks")
SIGNATURE: Final = "__thought__"
"""LiteLLM hangs Gemini's thought signature, kilobytes of it, on a call's id behind this word."""

_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")
_ID: Final = re.compile(r"[A-Za-z0-9_.:|-]+")


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """The model's request to run a tool; ``arguments`` as it wrote them, readable or not.

    ``id`` is unique within the conversation and has at most 100 characters. Arguments that end in
    ``CUT_OFF`` are not whole.
    """

    id: str
    name: str
    arguments: str | None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model said. ``message`` belongs into the history; any provider takes it back.

    ``ending`` says why the text is not whole or missing, None where the model ended by itself;
    ``left_out`` is how many calls beyond ``MOST_CALLS`` were dropped.
    """

    text: str | None
    tool_calls: tuple[ToolCall, ...]
    usage: Usage
    message: dict[str, Any]
    ending: str | None = None
    left_out: int = 0

    @property
    def is_blank(self) -> bool:
        """Whether there is neither a tool call nor a text that a reader would see."""
        return not self.tool_calls and is_blank(self.text)


def model_name(settings: Settings, model: str | None) -> str:
    """The model to ask: ``model`` (the agent's own), else LLM_MODEL.

    Raises:
        NotConfiguredError: neither is set; names LLM_MODEL and LLM_BASE_URL.
    """
    name = clean(model or settings.llm_model or "").strip()
    if name:
        return name
    if settings.llm_base_url:
        raise NotConfiguredError("LLM_MODEL: not set; name a model that LLM_BASE_URL serves")
    raise NotConfiguredError(
        "no model is configured: set LLM_MODEL, with LLM_BASE_URL for an OpenAI-compatible server"
    )


async def complete(
    settings: Settings,
    *,
    model: str | None,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    timeout: float,
    on_text: Callable[[str], None] | None = None,
    on_broken_off: Callable[[Usage], Awaitable[None]] | None = None,
) -> Reply:
    """One call of the model, sent once; whoever asked decides whether to ask again.

    Secrets of ours that it repeats are taken out of all that it says, pieces included.

    Args:
        model: the agent's own; None means LLM_MODEL.
        messages: OpenAI's chat form, the ``message`` of earlier replies among them.
        tools: OpenAI's form; None or empty offers none.
        timeout: seconds until the whole reply must be there, loading LiteLLM not counted.
        on_text: hears the text of the reply as it is written, cleaned, in the event loop; what
            it raises is logged and changes nothing. Of a call that then fails it may have heard
            the beginning. The reply is the same as without.
        on_broken_off: hears what a call has used of which ``on_text`` may have heard the
            beginning and that then fails, or is cancelled. It must see to it that it ends soon.

    Raises:
        NotConfiguredError: no model, no key, or the key was refused (401, 403); names the setting.
        UpstreamError: ``retryable`` says whether the same call may succeed later; a prompt that
            is too long, 400, 404 and 422 will not.
    """
    name = model_name(settings, model)
    library = await asyncio.to_thread(provider.litellm)
    target = await asyncio.to_thread(provider.chat_target, settings, name)
    offered = list(tools or ()) or _declared(target, messages)
    arguments = {
        **target.arguments,
        "messages": [_taken_back(one, target) for one in messages],
        "timeout": timeout,
        "max_retries": 0,
        "num_retries": 0,
        **({"tools": deepcopy(offered)} if offered else {}),
    }
    mask = Mask(settings)
    came = streaming.Came()
    failed: BaseException
    try:
        async with asyncio.timeout(timeout):
            if on_text is None:
                answer = await library.acompletion(**arguments)
            else:
                answer = await streaming.completion(library, target, arguments, on_text, mask, came)
    except provider.failures() as error:
        failed = provider.failure(error, target, settings)
    except (UpstreamError, asyncio.CancelledError) as error:
        failed = error
    else:
        used = {call["id"] for one in messages for call in one.get("tool_calls") or ()}
        return await _read(settings, answer, target, arguments, mask, used)
    if came.chunks and on_broken_off is not None:
        await on_broken_off(await usage.of_broken_off(settings, target, arguments, came))
    raise failed  # outside of the except: the cause, secrets and all, is not chained to it


async def close() -> None:
    """Close LiteLLM's connections, if it was loaded; for the end of a worker."""
    if provider.litellm.cache_info().currsize:
        await provider.litellm().close_litellm_async_clients()


def _declared(
    target: provider.Target, messages: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The tools of the history by name, for Bedrock, which refuses it without any."""
    if not target.provider.startswith("bedrock"):
        return []
    names = {call["function"]["name"] for one in messages for call in one.get("tool_calls") or ()}
    schema = {"type": "object", "properties": {}}
    return [
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name in sorted(names)
    ]


def _taken_back(message: Mapping[str, Any], target: provider.Target) -> dict[str, Any]:
    """A copy of ``message``, which LiteLLM writes into, without the thoughts of another provider:
    some refuse them, or find their signature wrong."""
    told = deepcopy(dict(message))
    if told.pop(REASONED_BY, None) not in {None, target.provider}:
        for name in THOUGHTS:
            told.pop(name, None)
    return told


async def _read(
    settings: Settings,
    answer: Any,
    target: provider.Target,
    arguments: Mapping[str, Any],
    mask: Mask,
    used: Set[str],
) -> Reply:
    choices = getattr(answer, "choices", None)
    if not choices:
        raise UpstreamError(f"the model {target.name!r} answered without a choice")
    said = choices[0].message
    content = getattr(said, "content", None)
    text = mask.whole(clean(content)) if isinstance(content, str) else None
    finish = getattr(choices[0], "finish_reason", None)
    told = getattr(said, "tool_calls", None) or ()
    calls, history = _calls(told, mask, used, is_cut=finish == "length")
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if history:
        message["tool_calls"] = history
        if is_blank(text):
            message["content"] = None  # Anthropic refuses text that is nothing but white space
    elif text is None:
        message["content"] = ""
    message |= _reasoning(said, target, mask)
    return Reply(
        text=text,
        tool_calls=calls,
        usage=await usage.of_reply(settings, target, arguments, answer),
        message=message,
        ending=_ending(finish, getattr(said, "refusal", None), mask),
        left_out=max(len(told) - MOST_CALLS, 0),
    )


def _ending(finish: Any, refusal: Any, mask: Mask) -> str | None:
    if finish == "length":
        return "the model's output limit was reached"
    if finish == "content_filter":
        return "the provider's content filter ended it"
    if isinstance(refusal, str) and not is_blank(refusal):
        words = " ".join(mask.whole(clean(refusal)).split())
        return f"the model refused: {words[:LONGEST_REFUSAL]}"
    return None


def _reasoning(said: Any, target: provider.Target, mask: Mask) -> dict[str, Any]:
    """What some providers want back beside their tool calls; a foreign server gets plain OpenAI."""
    if "api_base" in target.arguments:
        return {}
    found: dict[str, Any] = {}
    for name in THOUGHTS:
        value = getattr(said, name, None)
        if value:
            told = clean(json.dumps(value, ensure_ascii=False, default=str))
            found[name] = json.loads(mask.whole(told))
    return found | {REASONED_BY: target.provider} if found else {}


def _calls(
    told: Sequence[Any], mask: Mask, used: Set[str], *, is_cut: bool
) -> tuple[tuple[ToolCall, ...], list[dict[str, Any]]]:
    """The calls, and how the history shows them.

    A call that comes twice under one id is one call; another call under a used id gets its own,
    since an id may stand in a conversation once. Of a reply that was cut off the last call may be
    half of what was meant, its arguments empty.
    """
    calls: list[ToolCall] = []
    history = []
    taken = set(used)
    seen: set[tuple[str, str, str | None]] = set()
    for place, one in enumerate(told[:MOST_CALLS], start=1):
        name, arguments = _wanted(one)
        name = mask.whole(clean(name))
        if arguments is not None:
            arguments = _without_secrets(clean(arguments), mask)
        call_id, signature = _call_id(one)
        if (call_id, name, arguments) in seen:
            continue
        seen.add((call_id, name, arguments))
        if is_cut and place == len(told) and not _is_object(arguments):
            arguments = (arguments or "") + CUT_OFF
        if call_id in taken:
            call_id = _new_id()
        taken.add(call_id)
        calls.append(ToolCall(id=call_id, name=name, arguments=arguments))
        shown: dict[str, Any] = {
            "id": call_id,
            "type": "function",
            "function": {
                "name": _NAME.sub("_", name)[:LONGEST_NAME] or "unnamed",
                "arguments": arguments if _is_object(arguments) else "{}",
            },
        }
        if signature:
            shown["provider_specific_fields"] = {"thought_signature": signature}
        history.append(shown)
    return tuple(calls), history


def _wanted(call: Any) -> tuple[str, str | None]:
    """The tool's name and its arguments as the model wrote them; empty where there are none.

    A call of a kind that nobody offered, such as OpenAI's ``custom``, is one that is answered, too.
    """
    function = getattr(call, "function", None) or getattr(call, "custom", None)
    arguments = getattr(function, "arguments", None)
    if arguments is None:
        arguments = getattr(function, "input", None)
    name = str(getattr(function, "name", None) or "")
    return name, arguments if isinstance(arguments, str) else None


def _without_secrets(arguments: str, mask: Mask) -> str:
    """Masked as they are written, and as they will be read: JSON can write any sign otherwise."""
    told = mask.whole(arguments)
    try:
        read = json.loads(told)
        masked = mask.within(read)
    except (ValueError, RecursionError):
        return told
    return told if masked == read else json.dumps(masked, ensure_ascii=False)


def _call_id(call: Any) -> tuple[str, str | None]:
    """The call's id, made up where it has none that can be kept, and Gemini's signature."""
    call_id, _, signature = clean(str(call.id or "")).partition(SIGNATURE)
    fields = getattr(call, "provider_specific_fields", None)
    told = fields.get("thought_signature") if isinstance(fields, dict) else None
    signature = told if isinstance(told, str) else signature
    if len(call_id) > LONGEST_ID or not _ID.fullmatch(call_id):
        call_id = _new_id()
    return call_id, signature or None


def _new_id() -> str:
    """Nine letters and digits: Mistral takes nothing else, and all others take it."""
    return secrets.token_hex(5)[:9]


def _is_object(arguments: str | None) -> bool:
    """Whether a provider takes these arguments: text of one JSON object."""
    try:
        value = json.loads(arguments or "", parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


def _refuse(constant: str) -> None:
    raise ValueError(constant)
