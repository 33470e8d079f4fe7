"""REST: POST /api/llm/chat. The reference, "LLM"."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Final

from aether.db import UNAVAILABLE
from aether.errors import OUT_OF_REACH, AetherError
from aether.vocabulary import ToolExecutionStatus
from resolvers import llm
from resolvers.fields import Flag
from resolvers.llm import ChatAgain, ChatText, ChatTool, ChatToolResult, NewChat
from rest_compat.events import Event, EventStream, while_there
from rest_compat.op import Call, Op
from rest_compat.shapes import Shape, shaped
from rest_compat.simulations import WithheldTool

log = logging.getLogger(__name__)


class ChatBody(NewChat):
    """What to say, and whether to answer while the model still writes."""

    stream: Flag = False


MESSAGE: Final = Shape("ChatAnswerMessage", role=(lambda _: "assistant", str), content=str)
TOKENS: Final = Shape("ChatUsage", prompt_tokens=int, completion_tokens=int, total_tokens=int)
CALLED: Final = Shape(
    "ChatToolCall",
    tool_execution_id=int | None,
    tool=str,
    arguments=Any,
    status=ToolExecutionStatus,
    error=str | None,
    duration_ms=int,
)
Called: Any = CALLED.typed_dict  # so that mypy takes it for a type
CHAT: Final = Shape(
    "ChatAnswer",
    agent_id=str | None,
    model=str,
    message=(MESSAGE.encode, dict[str, str]),
    usage=(TOKENS.encode, dict[str, int]),
    cost_usd=float,
    tool_calls=(lambda one: shaped([CALLED], one.tool_calls), list[Called]),
    withheld=(lambda one: list(map(asdict, one.withheld)), list[WithheldTool]),
    unpriced_calls=int,
    ending=str | None,
)


async def chat(call: Call) -> Any:
    if not call.body.stream:
        return await while_there(call.request, llm.chat(call.body))
    await llm.check_chat(call.body)
    return EventStream(_events(call.body))


async def _events(new: NewChat) -> AsyncGenerator[Event, None]:
    """What comes on the way, then ``done`` with the whole answer, or ``error``."""
    try:
        async with aclosing(llm.chat_events(new)) as events:
            async for one in events:
                yield _event(one)
    except AetherError as error:
        yield Event("error", _refusal(str(error), error.retry_after))
    except UNAVAILABLE as error:
        log.warning("out of reach in a chat: %r", error)
        yield Event("error", _refusal(OUT_OF_REACH, 5))
    except Exception:  # a door; the status has been sent
        log.exception("a chat failed")
        yield Event("error", _refusal("internal error", None))


def _event(told: Any) -> Event:
    if isinstance(told, ChatText):
        return Event("text", {"text": told.text})
    if isinstance(told, ChatTool):
        return Event("tool", {"tool": told.tool})
    if isinstance(told, ChatToolResult):
        return Event("tool_result", CALLED.encode(told.call))
    if isinstance(told, ChatAgain):
        return Event("again", {})
    return Event("done", CHAT.encode(told))


def _refusal(text: str, retry_after: float | None) -> dict[str, Any]:
    return {"error": text} if retry_after is None else {"error": text, "retry_after": retry_after}


_ANSWER: Final = {
    "agent_id": "ta_leo",
    "model": "gpt-4o",
    "message": {"role": "assistant", "content": "Any script that runs on the page can read it."},
    "usage": {"prompt_tokens": 120, "completion_tokens": 11, "total_tokens": 131},
    "cost_usd": 0.00041,
    "tool_calls": [],
    "withheld": [],
    "unpriced_calls": 0,
    "ending": None,
}
_STREAM: Final = {
    "schema": {
        "type": "string",
        "description": 'With `stream`: events `text` (`{"text"}`, a piece of a reply), `tool` '
        '(`{"tool"}`, a tool is run; the text before it was not the answer), `tool_result` (what '
        "became of one, as in `tool_calls`, in their order), `again` (`{}`, "
        "the reply is asked for once more; its text so far is void), and last either "
        '`done` (the answer as it comes without `stream`) or `error` (`{"error"}`, perhaps with '
        "`retry_after` in seconds). A comment comes where nothing else does for 15 seconds.",
    },
    "example": "".join(
        Event(name, data).encode().decode()
        for name, data in (
            ("text", {"text": "Any script that runs "}),
            ("text", {"text": "on the page can read it."}),
            ("done", _ANSWER),
        )
    ),
}

OPS: Final = (
    Op(
        "POST",
        "/api/llm/chat",
        chat,
        summary="Ask the model directly, with an agent's prompt; stream for server-sent events",
        tag="LLM",
        body=ChatBody,
        out=CHAT,
        errors=(429, 502),
        example={
            "agent_id": "ta_leo",
            "messages": [
                {
                    "role": "user",
                    "content": "What are the security risks of storing JWTs in localStorage?",
                }
            ],
        },
        answer=_ANSWER,
        also={"text/event-stream": _STREAM},
    ),
)
