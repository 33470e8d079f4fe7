"""A direct line to the model: an agent's prompt, the caller's messages, tools that only read.

What it opens with is put together where the database pool is large (the web process); the
conversation itself runs where LiteLLM may be loaded (the aside). Nothing here writes to a
platform.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Final, Self, TypeVar

from aether import audit, spending
from aether.config import Settings
from aether.db import transaction
from aether.engine import chat_tools, limits
from aether.engine.chat_tools import CalledTool
from aether.engine.conversation import ToolOutcome
from aether.engine.known_secrets import learn_stored
from aether.engine.offering import Toolbox, Withheld
from aether.engine.opening import without_secrets
from aether.engine.reply_calls import MOST_AT_ONCE, side_by_side
from aether.engine.runtime import runtime
from aether.errors import AetherError, UpstreamError
from aether.llm import chat, prompts
from aether.llm.ask import Room, ask
from aether.memory.search import Visibility, recall_for_run
from aether.models import Agent, Project
from aether.redact import Mask
from aether.spending import Usage
from aether.tools.lookups import Looker
from aether.vocabulary import LlmCallKind, MemoryScope

log = logging.getLogger(__name__)

RECALL_SECONDS: Final = 20.0
NOT_OFFERED: Final = "the model called tools when none were offered"

Message = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A chat that may begin: everything the aside is told of it.

    Args:
        models: which to ask, in order; None is LLM_MODEL.
        messages: OpenAI's form, the system prompt and the memories included.
        use_tools: whether the agent's tools that only read are offered.
        project_id: whose items and memories those may read; it need not exist.
        scopes: which memories they may see.
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
    """What the model said in the end, and what the whole chat cost: the sum of its calls.

    Args:
        tool_calls: what it called on the way, in order.
        withheld: tools that there are and that it may not call, where it was offered any.
        ending: why the content is not whole or missing; None where the model ended by itself.
    """

    agent_id: str | None
    model: str
    content: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal
    unpriced_calls: int = 0  # whose price is not known: not in the cost
    tool_calls: tuple[CalledTool, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    ending: str | None = None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def to_json(self) -> dict[str, Any]:
        """For the way out of the aside."""
        return {
            **vars(self),
            "cost_usd": str(self.cost_usd),
            "tool_calls": [one.to_json() for one in self.tool_calls],
            "withheld": [asdict(one) for one in self.withheld],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """What ``to_json`` made."""
        made = {
            "cost_usd": Decimal(told["cost_usd"]),
            "tool_calls": tuple(map(CalledTool.from_json, told["tool_calls"])),
            "withheld": tuple(Withheld(**one) for one in told["withheld"]),
        }
        return cls(**{**told, **made})


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
    await learn_stored(settings)
    mask = Mask(settings)
    try:
        async with asyncio.timeout(RECALL_SECONDS):
            found = await recall_for_run(settings, query=mask.whole(query), visibility=visibility)
    except (AetherError, TimeoutError, ImportError) as error:
        log.warning("a chat goes on without memories: %s", error)
        return None
    return prompts.memories_message(without_secrets(found, mask), nonce=secrets.token_hex(8))


@dataclass(frozen=True, kw_only=True)
class Ears:
    """Who hears of a chat while it goes on.

    Args:
        text: the text of each reply while it is written (``chat.complete``).
        tool: the name of each tool that is begun; the text before it was no answer.
        called: what became of it.
        again: a reply is asked for once more: what ``text`` has heard of it is void.
    """

    text: Callable[[str], None] | None = None
    tool: Callable[[str], None] | None = None
    called: Callable[[CalledTool], None] | None = None
    again: Callable[[], None] | None = None


async def converse(settings: Settings, asked: Asked, ears: Ears) -> Answer:
    """Ask the model, let it look things up, until it answers; each call is recorded.

    Raises:
        NotConfiguredError, UpstreamError: as ``ask.ask``.
        LimitReachedError: the agent or the project has spent what it may; says which bound.
    """
    limit = settings.run_timeout_seconds
    try:
        async with asyncio.timeout(limit) as bound:
            return await (await _Chat.begun(settings, asked, ears)).to_its_end()
    except TimeoutError as error:
        if not bound.expired():
            raise
        why = f"the chat took longer than {limit:g} seconds (RUN_TIMEOUT_SECONDS)"
        log.warning("a chat failed: %s", why)
        raise UpstreamError(why) from error
    except UpstreamError as error:
        log.warning("a chat failed: %s", error)
        raise


@dataclass(kw_only=True)
class _Chat:
    """One chat under way."""

    settings: Settings
    asked: Asked
    ears: Ears
    agent: Agent | None
    project: Project | None
    looker: Looker
    tools: Toolbox
    messages: list[Message]
    room: Room = field(default_factory=Room)
    spent: list[Usage] = field(default_factory=list)
    broken_off: list[Usage] = field(default_factory=list)
    called: list[CalledTool] = field(default_factory=list)

    @classmethod
    async def begun(cls, settings: Settings, asked: Asked, ears: Ears) -> Self:
        await learn_stored(settings)
        mask = Mask(settings)
        agent = await Agent.get_or_none(id=asked.agent_id) if asked.agent_id else None
        project = await Project.get_or_none(id=asked.project_id) if asked.project_id else None
        looker = Looker(
            settings=settings,
            credentials=runtime().credentials,
            agent_id=asked.agent_id,
            visibility=asked.visibility,
            project=project,
        )
        tools = Toolbox(of="chat")
        if asked.use_tools:
            tools = await chat_tools.lookups(looker, agent, asked.project_id)
        return cls(
            settings=settings,
            asked=asked,
            ears=ears,
            agent=agent,
            project=project,
            looker=looker,
            tools=tools,
            messages=[{**one, "content": mask.whole(one["content"])} for one in asked.messages],
        )

    async def to_its_end(self) -> Answer:
        """Rounds of tool calls, as many as may be; a call in the last reply is not run."""
        rounds = self.settings.llm_max_tool_rounds if self.asked.use_tools else 0
        for _ in range(rounds):
            reply = await self._ask(with_tools=True)
            if not reply.tool_calls:
                return self._answer(reply)
            self.messages.append(reply.message)
            for start in range(0, len(reply.tool_calls), MOST_AT_ONCE):
                await self._look(reply.tool_calls[start : start + MOST_AT_ONCE], reply.usage)
            if reply.left_out:
                self.messages.append(prompts.left_out_message(reply.left_out))
        return self._answer(await self._ask(with_tools=False))

    async def _ask(self, *, with_tools: bool) -> chat.Reply:
        """One more reply, within every limit; recorded as soon as it is there."""
        offered = [one.to_model() for one in self.tools.offered.values()]
        reply = await ask(
            self.settings,
            models=await self._check(),
            messages=self.messages,
            tools=(offered or None) if with_tools else None,
            timeout=self.settings.llm_timeout_seconds,
            room=self.room,
            on_text=self.ears.text,
            on_again=self.ears.again,
            on_broken_off=self._count_broken_off,
            before_next=self._check,
        )
        self.spent.append(reply.usage)
        await spending.surely(_record(self.asked, reply.usage, reply))
        return reply

    async def _check(self) -> list[str | None]:
        try:
            return await limits.check(
                self.settings,
                self.asked.models,
                task=None,
                agent=self.agent,
                project=self.project,
                lease=None,
            )
        except AetherError as error:
            await spending.surely(_record_refusal(self.asked, error), "a refusal")
            raise

    async def _count_broken_off(self, usage: Usage) -> None:
        self.broken_off.append(usage)
        await spending.surely(_record(self.asked, usage, None))

    async def _look(self, calls: Sequence[chat.ToolCall], usage: Usage) -> None:
        """Do these side by side; their results keep their order."""
        for call in calls:
            if self.ears.tool is not None:
                self.ears.tool(call.name)
        looking = [chat_tools.look(one, self.tools, self.looker) for one in calls]
        async with aclosing(side_by_side(looking)) as ended:
            async for outcome in ended:
                await self._take(outcome, usage)

    async def _take(self, outcome: ToolOutcome, usage: Usage) -> None:
        self.messages.append(
            {"role": "tool", "tool_call_id": outcome.call_id, "content": outcome.to_model()}
        )
        storing = _record_call(self.asked, outcome, round=len(self.spent), usage=usage)
        told = chat_tools.called(outcome, await spending.surely(storing, "a tool call"))
        self.called.append(told)
        if self.ears.called is not None:
            self.ears.called(told)

    def _answer(self, reply: chat.Reply) -> Answer:
        spent = [*self.spent, *self.broken_off]
        return Answer(
            agent_id=self.asked.agent_id,
            model=reply.usage.model,
            content=reply.text or "",
            prompt_tokens=sum(one.prompt_tokens for one in spent),
            completion_tokens=sum(one.completion_tokens for one in spent),
            cost_usd=sum((one.cost_usd or Decimal(0) for one in spent), Decimal(0)),
            unpriced_calls=sum(one.cost_usd is None for one in spent),
            tool_calls=tuple(self.called),
            withheld=tuple(self.tools.withheld.values()),
            ending=reply.ending or (NOT_OFFERED if reply.tool_calls else None),
        )


async def _record_call(asked: Asked, outcome: ToolOutcome, *, round: int, usage: Usage) -> int:
    with audit.coming_from(asked.origin):
        return await chat_tools.record(
            outcome,
            agent_id=asked.agent_id,
            project_id=asked.project_id,
            round=round,
            usage=usage,
        )


async def _record(asked: Asked, usage: Usage, reply: chat.Reply | None) -> None:
    """Keep one call; without ``reply`` it broke off."""
    with audit.coming_from(asked.origin):
        await _write(asked, usage, reply)


async def _record_refusal(asked: Asked, why: AetherError) -> None:
    with audit.coming_from(asked.origin):
        await audit.record(
            "llm.refused",
            agent_id=asked.agent_id,
            caller="api",
            detail={"project_id": asked.project_id, "error": str(why)},
        )


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
