"""What an OpenAI-compatible server refuses in a request, and in which words.

Reference: https://platform.openai.com/docs/api-reference/chat/create. Where servers behind the
same protocol are stricter than OpenAI's own (blank texts, twice the same tool), this one is, too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aether.demo.model_script import error_body, text_of

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PATTERN: Final = "^[A-Za-z0-9_-]{1,64}$"
_ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_MAX_TOOLS: Final = 128
_MAX_DESCRIPTION: Final = 1024
_PARAMETERS: Final = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)


class RefusedError(Exception):
    """The request is answered with this status and body."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body["error"]["message"])
        self.status = status
        self.body = body


def refused(message: str, param: str | None = None, code: str | None = None) -> RefusedError:
    """400 invalid_request_error."""
    return RefusedError(400, error_body(message, param=param, code=code))


def check_key(header: str, key: str) -> None:
    """The Authorization header carries the key."""
    scheme, _, told = header.partition(" ")
    if scheme.lower() != "bearer" or not told.strip():
        message = (
            "You didn't provide an API key. You need to provide your API key in an "
            "Authorization header using Bearer auth."
        )
        raise RefusedError(401, error_body(message))
    if told.strip() != key:
        message = f"Incorrect API key provided: {told[:3]}***{told[-4:]}."
        raise RefusedError(401, error_body(message, code="invalid_api_key"))


def check_model(model: Any, known: Sequence[str]) -> str:
    if model is None:
        raise refused("you must provide a model parameter")
    if model not in known:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise RefusedError(404, error_body(message, code="model_not_found"))
    return str(model)


def check_chat(told: Mapping[str, Any]) -> None:
    """Everything about a chat request but its key and model; raises RefusedError."""
    unknown = sorted(told.keys() - _PARAMETERS)
    if unknown:
        name = unknown[0]
        raise refused(f"Unrecognized request argument supplied: {name}", name, "unknown_parameter")
    _check_numbers(told)
    _check_stream(told)
    _check_tools(told)
    messages = told.get("messages")
    if messages is None:
        text = "Missing required parameter: 'messages'."
        raise refused(text, "messages", "missing_required_parameter")
    if not isinstance(messages, list):
        raise refused("Invalid type for 'messages': expected an array.", "messages", "invalid_type")
    if not messages:
        text = "Invalid 'messages': empty array. Expected an array with minimum length 1."
        raise refused(text, "messages", "empty_array")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.[{index}]")
    _check_order(messages)


def _check_numbers(told: Mapping[str, Any]) -> None:
    for name, least, most in (("temperature", 0, 2), ("top_p", 0, 1)):
        value = told.get(name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and least <= value <= most):
            text = f"Invalid '{name}': expected a value from {least} to {most}, got {value}."
            raise refused(text, name, "decimal_out_of_range")
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = told.get(name)
        if value is not None and (not isinstance(value, int) or value < 1):
            text = f"Invalid '{name}': expected an integer of at least 1, got {value}."
            raise refused(text, name, "integer_below_min_value")
    if told.get("max_tokens") is not None and told.get("max_completion_tokens") is not None:
        text = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise refused(text, "max_tokens", "invalid_parameter_combination")
    if told.get("n") not in (None, 1):
        raise refused("The scripted model gives one choice only.", "n", "unsupported_value")


def _check_stream(told: Mapping[str, Any]) -> None:
    if told.get("stream_options") is not None and not told.get("stream"):
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise refused(text, "stream_options")


def _check_tools(told: Mapping[str, Any]) -> None:
    tools = told.get("tools")
    if tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if told.get(name) is not None:
                raise refused(f"'{name}' is only allowed when 'tools' are specified.", name)
        return
    if not isinstance(tools, list) or not tools:
        text = "Invalid 'tools': empty array. Expected an array with minimum length 1."
        raise refused(text, "tools", "empty_array")
    if len(tools) > _MAX_TOOLS:
        text = f"Invalid 'tools': array too long. Expected at most {_MAX_TOOLS}, got {len(tools)}."
        raise refused(text, "tools", "array_above_max_length")
    names = [_check_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise refused(f"tools: Tool names must be unique: {twice!r}.", "tools")
    choice = told.get("tool_choice")
    named = choice.get("function", {}).get("name") if isinstance(choice, Mapping) else None
    is_known = choice in (None, "none", "auto", "required") or named in names
    if not is_known:
        raise refused(f"Invalid value for 'tool_choice': {choice!r}.", "tool_choice")


def _check_tool(tool: Any, where: str) -> str:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or tool.get("type") != "function":
        text = f"Missing required parameter: '{where}.function'."
        raise refused(text, where, "missing_required_parameter")
    name = _check_name(function.get("name"), f"{where}.function.name")
    description = function.get("description")
    if description is not None and (
        not isinstance(description, str) or len(description) > _MAX_DESCRIPTION
    ):
        text = (
            f"Invalid '{where}.function.description': string too long. "
            f"Expected a string with maximum length {_MAX_DESCRIPTION}."
        )
        raise refused(text, f"{where}.function.description", "string_above_max_length")
    parameters = function.get("parameters")
    if parameters is not None:
        _check_schema(parameters, name, where)
    return name


def _check_schema(schema: Any, name: str, where: str) -> None:
    param, code = f"{where}.function.parameters", "invalid_function_parameters"
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if kind != "object":
        text = (
            f"Invalid schema for function '{name}': schema must be a JSON Schema of "
            f"'type: \"object\"', got 'type: \"{kind}\"'."
        )
        raise refused(text, param, code)
    properties = schema.get("properties", {})
    for field, one in properties.items():
        if isinstance(one, Mapping) and one.get("type") == "array" and "items" not in one:
            text = (
                f"Invalid schema for function '{name}': In context=('properties', '{field}'), "
                "array schema missing items."
            )
            raise refused(text, param, code)
    lost = [field for field in schema.get("required", ()) if field not in properties]
    if lost:
        text = f"Invalid schema for function '{name}': required field {lost[0]!r} is not defined."
        raise refused(text, param, code)


def _check_name(name: Any, where: str) -> str:
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        text = (
            f"Invalid '{where}': string does not match pattern. "
            f"Expected a string that matches the pattern '{_PATTERN}'."
        )
        raise refused(text, where, "invalid_value")
    return name


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, Mapping):
        raise refused(f"Invalid type for '{where}': expected an object.", where, "invalid_type")
    role = message.get("role")
    if role not in _ROLES:
        known = ", ".join(repr(name) for name in _ROLES)
        text = f"Invalid value: {role!r}. Supported values are: {known}."
        raise refused(text, f"{where}.role", "invalid_value")
    calls = message.get("tool_calls")
    if calls is not None:
        _check_calls(role, calls, where)
    content = message.get("content")
    if content is None and (role != "assistant" or not calls):
        text = "Invalid value for 'content': expected a string, got null."
        raise refused(text, f"{where}.content")
    if content is not None:
        _check_content(content, where)
    if role != "tool" and not calls and not text_of(content).strip():
        raise refused(f"{where}: text content must not be blank.", f"{where}.content")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        text = f"Missing parameter 'tool_call_id': {where} answers no tool call."
        raise refused(text, f"{where}.tool_call_id", "missing_required_parameter")


def _check_content(content: Any, where: str) -> None:
    if isinstance(content, str):
        return
    is_parts = isinstance(content, list) and all(
        isinstance(part, Mapping) and part.get("type") for part in content
    )
    if not is_parts:
        text = f"Invalid type for '{where}.content': expected a string or an array of objects."
        raise refused(text, f"{where}.content", "invalid_type")


def _check_calls(role: Any, calls: Any, where: str) -> None:
    if role != "assistant":
        text = f"'tool_calls' is only allowed for messages of the assistant: {where}."
        raise refused(text, f"{where}.tool_calls")
    if not isinstance(calls, list) or not calls:
        text = f"Invalid '{where}.tool_calls': empty array. Expected minimum length 1."
        raise refused(text, f"{where}.tool_calls", "empty_array")
    for index, call in enumerate(calls):
        at = f"{where}.tool_calls[{index}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or call.get("type") != "function":
            raise refused(f"Missing required parameter: '{at}.function'.", at)
        if not isinstance(call.get("id"), str) or not call["id"]:
            raise refused(f"Missing required parameter: '{at}.id'.", f"{at}.id")
        _check_name(function.get("name"), f"{at}.function.name")
        if not isinstance(function.get("arguments"), str):
            text = f"Invalid type for '{at}.function.arguments': expected a string."
            raise refused(text, f"{at}.function.arguments", "invalid_type")


def _check_order(messages: Sequence[Mapping[str, Any]]) -> None:
    """Each tool call is answered by one tool message, right after the assistant's."""
    open_ids: list[str] = []
    answered: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages.[{index}]"
        if message["role"] == "tool":
            call_id = message["tool_call_id"]
            if call_id in answered:
                raise refused(f"Duplicate value for 'tool_call_id' of '{call_id}'.", where)
            if call_id not in open_ids:
                text = (
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceding message with 'tool_calls'."
                )
                raise refused(text, f"{where}.role")
            open_ids.remove(call_id)
            answered.add(call_id)
            continue
        _check_answered(open_ids, where)
        answered = set()
        open_ids = [call["id"] for call in message.get("tool_calls") or ()]
        twice = next((one for one in open_ids if open_ids.count(one) > 1), None)
        if twice is not None:
            text = f"Duplicate value for 'tool_call_id' of '{twice}'."
            raise refused(text, f"{where}.tool_calls")
    _check_answered(open_ids, f"messages.[{len(messages)}]")


def _check_answered(open_ids: Sequence[str], where: str) -> None:
    if open_ids:
        text = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(open_ids)
        )
        raise refused(text, f"{where}.role")
