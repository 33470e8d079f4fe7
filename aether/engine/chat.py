"""A direct line to the model: an agent's prompt, the caller's messages, tools that only look.

What it opens with is put together where the database pool is large (the web process); the
conversation itself runs where LiteLLM may be loaded (the aside). Nothing here writes to a
platform.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self

from aether import audit, spending
from aether.config import Settings
from aether.db import transaction
from aether.engine import limits
from aether.engine.chat_tools import Lookups
from aether.engine.known_secrets import learn_stored
from aether.errors import AetherError, UpstreamError
from aether.llm import chat, prompts
from aether.llm.ask import ask
from aether.memory.search import Visibility, recall_for_run
from aether.models import Agent, Project
from aether.spending import Usage
from aether.vocabulary import LlmCallKind, MemoryScope

log = logging.getLogger(__name__)

RECALL_SECONDS: Final = 20.0

Message = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A chat that may begin: everything the aside is told of it.

    Args:
        models: which to ask, in order; None is LLM_MODEL.
        messages: OpenAI's form, the system prompt and the memories included.
        use_tools: whether the agent's tools that only look are offered.
        scopes: which memories those tools may see.
    """

    agent_id: str | None
    models: tuple[str | None, ...]
    messages: list[Message]
    use_tools: bool = False
    project_id: int | None = None
    scopes: tuple[str, ...] = ()
    origin: str | None = None  # where the caller comes from, for the audit log

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """What ``dataclasses.asdict`` made, as it comes through JSON."""
        return cls(**{**told, "scopes": tuple(told["scopes"]), "models": tuple(told["models"])})

    @property
    def visibility(self) -> Visibility:
        """What this chat may recall; it belongs to no execution."""
        return Visibility(
            execution_id=None,
            agent_id=self.agent_id,
            project_id=self.project_id,
            scopes=tuple(MemoryScope(one) for one in self.scopes),
        )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said in the end, and what the whole chat cost: the sum of its calls."""

    agent_id: str | None
    model: str
    content: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal
    unpriced_calls: int = 0  # whose price is not known: not in the cost

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def to_json(self) -> dict[str, Any]:
        """For the way out of the aside."""
        return {**vars(self), "cost_usd": str(self.cost_usd)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """What ``to_json`` made."""
        return cls(**{**told, "cost_usd": Decimal(told["cost_usd"])})


async def opening(settings: Settings, agent: Agent | None, visibility: Visibility | None,
                  messages: Sequence[Message]) -> list[Message]:  # fmt: skip
    """The agent's system prompt, what is remembered, then ``messages`` as they are.

    Args:
        visibility: what may be recalled; None recalls nothing.
    """
    begun: list[Message] = []
    if agent is not None and (prompt := prompts.agent_prompt(agent)):
        begun.append({"role": "system", "content": prompt})
    if visibility is not None:
        remembered = await _remembered(settings, visibility, messages)
        begun += [remembered] if remembered else []
    return [*begun, *messages]


async def _remembered(
    settings: Settings, visibility: Visibility, messages: Sequence[Message]
) -> Message | None:
    """Memories near the last thing the user said; the chat goes on without when that fails."""
    query = next(one["content"] for one in reversed(messages) if one["role"] == "user")
    try:
        async with asyncio.timeout(RECALL_SECONDS):
            found = await recall_for_run(settings, query=query, visibility=visibility)
    except (AetherError, TimeoutError, ImportError) as error:
        log.warning("a chat goes on without memories: %s", error)
        return None
    return prompts.memories_message(found, nonce=secrets.token_hex(8))


async def converse(
    settings: Settings,
    asked: Asked,
    *,
    on_text: Callable[[str], None] | None = None,
    on_tool: Callable[[str], None] | None = None,
    on_again: Callable[[], None] | None = None,
) -> Answer:
    """Ask the model, let it look things up, until it answers; each call is recorded.

    Args:
        on_text: hears the text of each reply while it is written (``chat.complete``).
        on_tool: hears the name of each tool that is run; the text before it was no answer.
        on_again: called before a reply is asked for once more: what ``on_text`` has heard of it
            is void.

    Raises:
        NotConfiguredError, UpstreamError: as ``ask.ask``.
        LimitReachedError: the agent or the project has spent what it may; says which bound.
    """
    limit = settings.run_timeout_seconds
    try:
        async with asyncio.timeout(limit) as bound:
            return await _converse(settings, asked, on_text, on_tool, on_again)
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise UpstreamError(
            f"the chat took longer than {limit:g} seconds (RUN_TIMEOUT_SECONDS)"
        ) from error


async def _converse(
    settings: Settings,
    asked: Asked,
    on_text: Callable[[str], None] | None,
    on_tool: Callable[[str], None] | None,
    on_again: Callable[[], None] | None,
) -> Answer:
    await learn_stored(settings)
    agent = await Agent.get_or_none(id=asked.agent_id) if asked.agent_id else None
    project = await Project.get_or_none(id=asked.project_id) if asked.project_id else None
    lookups = (
        await Lookups.of(settings, asked.agent_id, asked.visibility) if asked.use_tools else None
    )
    messages = list(asked.messages)
    spent: list[Usage] = []
    broken_off: list[Usage] = []

    async def check() -> list[str | None]:
        return await limits.check(
            settings, asked.models, task=None, agent=agent, project=project, lease=None
        )

    async def count_broken_off(usage: Usage) -> None:
        broken_off.append(usage)
        await spending.surely(_record(asked, usage, None))

    while True:
        tools = (
            lookups.to_model() if lookups and len(spent) < settings.llm_max_tool_rounds else None
        )
        reply = await ask(
            settings,
            models=await check(),
            messages=messages,
            tools=tools,
            timeout=settings.llm_timeout_seconds,
            on_text=on_text,
            on_again=on_again,
            on_broken_off=count_broken_off,
            before_next=check,
        )
        spent.append(reply.usage)
        await spending.surely(_record(asked, reply.usage, reply))
        if lookups is None or not tools or not reply.tool_calls:
            return _answer(asked, reply, [*spent, *broken_off])
        messages.append(reply.message)
        for call in reply.tool_calls:
            if on_tool is not None:
                on_tool(call.name)
            text = await lookups.run(call.name, call.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": text})


def _answer(asked: Asked, reply: chat.Reply, spent: Sequence[Usage]) -> Answer:
    return Answer(
        agent_id=asked.agent_id,
        model=reply.usage.model,
        content=reply.text or "",
        prompt_tokens=sum(one.prompt_tokens for one in spent),
        completion_tokens=sum(one.completion_tokens for one in spent),
        cost_usd=sum((one.cost_usd or Decimal(0) for one in spent), Decimal(0)),
        unpriced_calls=sum(one.cost_usd is None for one in spent),
    )


async def _record(asked: Asked, usage: Usage, reply: chat.Reply | None) -> None:
    """Keep one call; without ``reply`` it broke off."""
    with audit.coming_from(asked.origin):
        await _write(asked, usage, reply)


async def _write(asked: Asked, usage: Usage, reply: chat.Reply | None) -> None:
    calls = reply.tool_calls if reply else ()
    async with transaction():
        await spending.add_call(
            usage,
            LlmCallKind.CHAT if reply else LlmCallKind.BROKEN_OFF,
            agent_id=asked.agent_id,
            tool_calls=len(calls),
        )
        await spending.add(
            usage, agent_id=asked.agent_id, task_id=None, project_id=asked.project_id
        )
        await audit.record(
            "llm.chat",
            agent_id=asked.agent_id,
            caller="api",
            detail={
                "model": usage.model,
                "messages": len(asked.messages),
                "tools": [one.name for one in calls],
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                **({} if reply else {"broken_off": True}),
            },
        )
