"""LiteLLM's one door: loads it, says where a model is and with which key, translates its errors.

Only a worker and an aside come here: the import takes seconds and 200 MB, so it happens at
first use.
"""

import functools
import logging
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

from aether.clock import now
from aether.config import Settings
from aether.errors import AetherError, NotConfiguredError, UpstreamError
from aether.http_answers import retry_after
from aether.llm import plain
from aether.redact import redact
from aether.rendering import clean

NO_KEY: Final = "none"
"""Sent where no key is set: with nothing, the client would send OPENAI_API_KEY to the server."""

OLLAMA: Final = "http://localhost:11434"
LONGEST_TEXT: Final = 1_000
LONGEST_WAIT_SECONDS: Final = 86_400.0

OTHER_LOGINS: Final = frozenset(
    {"azure", "azure_ai", "bedrock", "bedrock_converse", "sagemaker", "vertex_ai", "vertex_ai_beta"}
)
"""Providers that log in by a machine's identity too: no variable proves that a key is missing."""

_MAY_PASS: Final = frozenset({408, 409, 425, 429})
_USED_UP: Final = frozenset({"insufficient_quota", "budget_exceeded"})
"""OpenAI's and LiteLLM's words for money that is spent; the first comes as a 429.
https://platform.openai.com/docs/guides/error-codes"""
_NO_SUCH_KEY: Final = re.compile(r"Missing credentials|^No connected db\.")
"""A LiteLLM proxy without a database answers 400, ``No connected db.``, to a key but its own."""

_TOO_LONG: Final = re.compile(
    r"context.{0,10}(?:length|window|size)|prompt is too long|too many tokens|input is too long"
    r"|reduce the length|maximum.{0,20}tokens|token limit|maximum prompt length",
    re.IGNORECASE,
)
_OVER_THE_RATE_BY_ITSELF: Final = re.compile(
    r"request too large|tokens must be reduced", re.IGNORECASE
)
"""OpenAI's words, with a 429, for one prompt of more tokens than it takes in a whole minute: that
does not pass. https://platform.openai.com/docs/guides/rate-limits"""
_WORD_OF_LITELLM: Final = re.compile(
    r"^(?:litellm\.)?(?:\w+(?:Error|Exception|Timeout)(?: \w+Error)?\s*(?::|-)\s*)+"
)


class PromptTooLongError(UpstreamError):
    """The model's window does not hold the prompt; a shorter one may pass."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where one model is: LiteLLM's arguments for it, and the setting that holds its key."""

    name: str  # as the user knows it
    provider: str
    arguments: Mapping[str, Any] = field(repr=False)  # model, api_base, api_key
    key_setting: str
    costs_nothing: bool = False  # by LiteLLM's list, whichever model it is


@functools.cache
def litellm() -> Any:
    """LiteLLM, quiet: no call home, no stray ``.env``, no text of ours in its log.

    Blocks for seconds the first time: call it in a thread.
    """
    os.environ.update(
        LITELLM_OFFLINE_MODE="true",
        LITELLM_MODE="PRODUCTION",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    )
    import litellm as module

    library: Any = module
    library.suppress_debug_info = True
    library.DEFAULT_MAX_RETRIES = 0  # its embeddings take a max_retries of 0 for none given
    # its place for mending the whole reply of a server behind custom_openai, before it is read
    library.OpenAILikeChatConfig.transform_parsed_response_dict = staticmethod(plain.reply)
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router", "openai", "httpx"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they print addresses and bodies
    # said of LiteLLM's own types, the second on Python 3.13 only
    for words in ("Pydantic serializer warnings", "Item '.*' on TypedDict class"):
        warnings.filterwarnings("ignore", message=words, category=UserWarning)
    return library


def failures() -> tuple[type[Exception], ...]:
    """Every kind of exception that a call of LiteLLM ends in, its own slips included."""
    import httpx
    import openai

    known = (openai.OpenAIError, httpx.HTTPError, OSError, TimeoutError)
    return (*known, ValueError, TypeError, LookupError, AttributeError)


def chat_target(settings: Settings, name: str) -> Target:
    """Where the chat model ``name`` is.

    Raises:
        NotConfiguredError: LiteLLM does not know it, or its provider's key is missing.
    """
    # custom_openai always speaks /chat/completions; openai/ and litellm_proxy/ turn to /responses
    # for names such as gpt-5-codex, which hardly any other server has.
    return _target(settings, name, setting="LLM_MODEL", compatible="custom_openai")


def embedding_target(settings: Settings, name: str) -> Target:
    """Where the embedding model ``name`` is; raises as ``chat_target``."""
    return _target(settings, name, setting="EMBEDDING_MODEL", compatible="openai")


def _target(settings: Settings, name: str, *, setting: str, compatible: str) -> Target:
    if settings.llm_base_url:
        key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else NO_KEY
        base = server_base(settings.llm_base_url)
        return _compatible(name, compatible, name, base, key, "LLM_API_KEY")
    library = litellm()
    try:
        model, provider, _, _ = library.get_llm_provider(name)
    except library.exceptions.BadRequestError:
        raise NotConfiguredError(
            f"{setting}: LiteLLM knows no model {name!r}; write provider/model, such as "
            "anthropic/claude-sonnet-4-5, or set LLM_BASE_URL"
        ) from None
    if provider in {"ollama", "ollama_chat"}:
        # LiteLLM's own Ollama code asks the server about the model on the event loop, and turns
        # tools into a prompt; Ollama's OpenAI form does neither.
        base = server_base(os.environ.get("OLLAMA_API_BASE") or OLLAMA)
        key = os.environ.get("OLLAMA_API_KEY") or NO_KEY
        target = _compatible(name, compatible, model, base, key, "OLLAMA_API_KEY")
        return replace(target, costs_nothing=True)
    missing = [
        one for one in library.validate_environment(name)["missing_keys"] if not os.environ.get(one)
    ]
    if missing and provider not in OTHER_LOGINS:
        raise NotConfiguredError(
            f"{' or '.join(missing)}: not set, and {setting} {name!r} needs it"
        )
    key_setting = " or ".join(missing) or f"{provider.upper()}_API_KEY"
    return Target(name=name, provider=provider, arguments={"model": name}, key_setting=key_setting)


def _compatible(
    name: str, compatible: str, model: str, base: str, key: str, key_setting: str
) -> Target:
    arguments = {"model": f"{compatible}/{model}", "api_base": base, "api_key": key}
    return Target(name=name, provider=compatible, arguments=arguments, key_setting=key_setting)


def server_base(url: str) -> str:
    """The address that ``/chat/completions`` follows: ``/v1`` is added to one without a path.

    A LiteLLM proxy serves both forms, vLLM, Ollama and most others only the one with ``/v1``.
    """
    base = url.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return base if urlsplit(base).path else f"{base}/v1"


def failure(error: Exception, target: Target, settings: Settings) -> AetherError:
    """The error of ours that says what ``error`` means; no secret is in its text."""
    status = getattr(error, "status_code", None)
    text = _told(error, settings)
    who = f"the model {target.name!r}"
    if status in {401, 403} or _NO_SUCH_KEY.search(text):
        return NotConfiguredError(f"{target.key_setting}: {who} refused the key ({status}): {text}")
    if _is_too_long(error, status, text):
        return PromptTooLongError(
            f"the prompt was too long for {who}: {text}", status=status, retryable=False
        )
    if isinstance(error, TimeoutError) or status == 408:
        return UpstreamError(f"{who} did not answer in time: {text}", status=408)
    if _is_final(error, status):
        hint = _hint(status, text)
        return UpstreamError(
            f"{who} refused the request ({status}): {text}{hint}", status=status, retryable=False
        )
    return UpstreamError(f"{who} failed ({status or 'no answer'}): {text}", status=status,
                         retry_after=_wait(error))  # fmt: skip


def _is_too_long(error: Exception, status: Any, text: str) -> bool:
    if isinstance(error, litellm().exceptions.ContextWindowExceededError) or status == 413:
        return True
    if status == 429:
        return _OVER_THE_RATE_BY_ITSELF.search(text) is not None
    return status in {400, 422} and _TOO_LONG.search(text) is not None


def _is_final(error: Exception, status: Any) -> bool:
    if isinstance(error, litellm().exceptions.BadRequestError):
        return True  # LiteLLM's own refusals are such, whatever status they carry
    body = getattr(error, "body", None)
    if isinstance(body, dict) and _USED_UP & {str(body.get("code")), str(body.get("type"))}:
        return True
    return isinstance(status, int) and 400 <= status < 500 and status not in _MAY_PASS


def _hint(status: Any, text: str) -> str:
    if status == 404:
        return "; check LLM_MODEL, the agent's model and LLM_BASE_URL"
    if re.search(
        r"support\w* (?:tool|function)|tools? (?:is|are) not supported", text, re.IGNORECASE
    ):
        return "; give the agent tools: [] or a model that can call tools"
    return ""


def _told(error: Exception, settings: Settings) -> str:
    """What the provider said: without LiteLLM's class names, tracebacks, secrets; one line."""
    text = str(error).partition("Traceback (most recent call last)")[0]
    text = redact(clean(text), settings)
    text = " ".join(_WORD_OF_LITELLM.sub("", text).split())
    return text[:LONGEST_TEXT] or type(error).__name__


def _wait(error: Exception) -> float | None:
    headers = getattr(error, "litellm_response_headers", None)
    headers = headers or getattr(getattr(error, "response", None), "headers", None) or {}
    seconds = retry_after({str(key).lower(): str(headers[key]) for key in headers}, now())
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)
