"""A direct line to the model, with an agent's prompt, memories and lookups if asked for."""

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field
from pydantic.types import Strict

from aether import aside, audit
from aether.engine.chat import Answer, Asked, opening
from aether.engine.chat_tools import CalledTool
from aether.engine.runtime import runtime
from aether.errors import InvalidInputError, RateLimitedError
from aether.llm import ask as asking
from aether.llm.chat import model_name
from aether.models import Agent
from aether.vocabulary import MemoryScope
from resolvers.fields import MAX_TEXT, Flag, Input, Name, Positive, Reference, Scope, Text

log = logging.getLogger(__name__)

MOST_MESSAGES: Final = 500
TRY_AGAIN_SECONDS: Final = 5.0
SCOPES: Final = (MemoryScope.AGENT, MemoryScope.PROJECT)


class ChatRole(StrEnum):
    """Who says a message."""

    SYSTEM = "system"  #: Instructions; they follow the agent's own.
    USER = "user"  #: The person who asks.
    ASSISTANT = "assistant"  #: The model, earlier.


class ChatMessage(Input):
    """One message, as OpenAI's chat has it."""

    role: Annotated[ChatRole, Strict(strict=False)]
    content: Text


def _speakable(messages: list[Any]) -> list[Any]:
    if not any(one.role is ChatRole.USER for one in messages):
        raise ValueError("at least one must have the role user")
    if sum(len(one.content) for one in messages) > MAX_TEXT:
        raise ValueError(f"must have at most {MAX_TEXT} characters together")
    return messages


MESSAGES: Final = (
    Field(min_length=1, max_length=MOST_MESSAGES),
    AfterValidator(_speakable),
)
"""What a list of messages must be, for both doors."""


class NewChat(Input):
    """What to say, to whom, and what they may know."""

    agent_id: Reference | None = None
    messages: Annotated[list[ChatMessage], *MESSAGES]
    model: Name | None = None
    use_memory: Flag = False
    use_tools: Flag = False
    project_id: Positive | None = None
    memory_scopes: Annotated[list[Scope], Field(max_length=len(MemoryScope))] = list(SCOPES)


@dataclass(frozen=True)
class ChatText:
    """A piece of a reply that is being written."""

    text: str


@dataclass(frozen=True)
class ChatTool:
    """The model has a tool run; what it said before was not its answer."""

    tool: str


@dataclass(frozen=True)
class ChatToolResult:
    """What became of one; in the order in which they were begun, four at once at most."""

    call: CalledTool


@dataclass(frozen=True)
class ChatAgain:
    """The reply is asked for once more: its text so far, since the last tool, is void."""


ChatEvent = ChatText | ChatTool | ChatToolResult | ChatAgain | Answer


class _Chats:
    """How many are under way in this process."""

    under_way = 0


async def chat(new: NewChat) -> Answer:
    """Ask the model and give its whole answer.

    Raises:
        InvalidInputError: there is no such agent.
        NotConfiguredError: there is no model; names the settings.
        RateLimitedError: as many chats are under way as LLM_MAX_CHATS allows.
        LimitReachedError: the agent or the project has spent what it may.
        UpstreamError: the model failed.
        UnavailableError: the process that asks it ended.
    """
    with _one_more():
        asked = await _asked(new)
        return Answer.from_json(await aside.call("llm.chat", asdict(asked)))


async def chat_events(new: NewChat) -> AsyncGenerator[ChatEvent, None]:
    """The same in pieces, while it is written; the answer is the last. Close it to leave.

    Whoever only reads it to the end gets the same answer, and is told of the same errors.
    """
    with _one_more():
        asked = await _asked(new)
        async with aclosing(aside.stream("llm.chat_pieces", asdict(asked))) as pieces:
            async for piece in pieces:
                yield _event(piece)


async def check_chat(new: NewChat) -> None:
    """Raise what can be told before anything is asked, as ``chat`` does."""
    with _one_more():
        await _speaker(new)


def _event(piece: dict[str, Any]) -> ChatEvent:
    [(kind, told)] = piece.items()
    match kind:
        case "text":
            return ChatText(told)
        case "tool":
            return ChatTool(told)
        case "called":
            return ChatToolResult(CalledTool.from_json(told))
        case "again":
            return ChatAgain()
        case _:
            return Answer.from_json(told)


@contextmanager
def _one_more() -> Iterator[None]:
    most = runtime().settings.llm_max_chats
    if _Chats.under_way >= most:
        error = RateLimitedError(f"{most} chats are under way, as many as LLM_MAX_CHATS allows")
        error.retry_after = TRY_AGAIN_SECONDS
        raise error
    _Chats.under_way += 1
    try:
        yield
    finally:
        _Chats.under_way -= 1


async def _asked(new: NewChat) -> Asked:
    agent, models = await _speaker(new)
    asked = Asked(
        agent_id=new.agent_id,
        models=models,
        messages=[{"role": one.role.value, "content": one.content} for one in new.messages],
        use_tools=new.use_tools,
        project_id=new.project_id,
        scopes=tuple(one.value for one in new.memory_scopes),
        origin=audit.origin(),
    )
    seen = asked.visibility if new.use_memory else None
    opened = await opening(runtime().settings, agent, seen, asked.messages)
    return replace(asked, messages=opened)


async def _speaker(new: NewChat) -> tuple[Agent | None, tuple[str | None, ...]]:
    """The agent and the models to ask; None is LLM_MODEL, which then is set.

    An agent that is not enabled speaks too: a prompt is tried out before tasks are given to it. A
    model that the caller names is asked alone: another one's answer would be about nothing.
    """
    agent = None
    if new.agent_id is not None:
        agent = await Agent.get_or_none(id=new.agent_id)
        if agent is None:
            raise InvalidInputError("agent_id", f"agent {new.agent_id!r} does not exist")
    settings = runtime().settings
    model = new.model or (agent.model if agent else None)
    model_name(settings, model)
    if new.model:
        return agent, (new.model,)
    return agent, tuple(asking.models(settings, model, agent.fallback_models if agent else ()))
