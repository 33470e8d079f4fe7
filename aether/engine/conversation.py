"""A run's conversation with the model, stored message by message before anything follows from it.

So a crash resumes after the last stored message instead of paying and acting again.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from aether import audit, spending
from aether.db import rows, transaction
from aether.leases import Lease, fence
from aether.llm import prompts
from aether.llm.ask import Room
from aether.llm.chat import Reply
from aether.rendering import clean, is_blank, storable, with_notice
from aether.spending import Usage
from aether.vocabulary import ToolExecutionStatus

Message = dict[str, Any]

RAW: Final = "raw_arguments"
"""Beside a stored reply: each call's arguments as the model wrote them, readable or not."""
ENDING: Final = "ending"
"""Beside a stored reply: why its text is not whole, or is missing."""
LEFT_OUT: Final = "left_out"
"""Beside a stored reply: how many of its calls were dropped, being too many."""
LAST: Final = "after_last_round"
"""Beside a stored reply: that it was asked for without tools, so that its calls are not run."""
OURS: Final = frozenset({RAW, ENDING, LEFT_OUT, LAST})


@dataclass(frozen=True, kw_only=True)
class ToolOutcome:
    """One tool call's end, as the model and the record hear it.

    Args:
        is_data: ``text`` was written by others; the model is shown it within marks.
        note: ours, before the text: what a person changed.
    """

    call_id: str
    tool: str
    arguments: Any
    status: ToolExecutionStatus
    text: str
    duration_ms: int
    error: str | None = None
    is_data: bool = False
    note: str = ""

    def to_model(self) -> str:
        """What the model hears; the marks are drawn anew each time, so store it once."""
        if not self.is_data:
            return self.note + self.text
        nonce = secrets.token_hex(8)
        return self.note + prompts.tool_data_text(self.tool, self.text, nonce=nonce)


@dataclass(kw_only=True)
class Conversation:
    """The messages of one run, in order, and what was spent on each reply."""

    lease: Lease
    agent_id: str | None
    messages: list[Message] = field(default_factory=list)
    room: Room = field(default_factory=Room)

    @property
    def rounds(self) -> int:
        """How many replies have asked for tools."""
        return sum(1 for one in self.messages if one.get("tool_calls"))

    @property
    def blanks(self) -> int:
        """How many replies held neither text nor calls."""
        return sum(1 for one in self.messages if _is_blank_reply(one))

    def to_send(self) -> list[Message]:
        """What the model is shown: providers refuse blank replies, so they are left out."""
        return [
            {name: value for name, value in one.items() if name not in OURS}
            for one in self.messages
            if not _is_blank_reply(one)
        ]

    def open_calls(self) -> list[tuple[Mapping[str, Any], Any]]:
        """The last reply's calls that have no result yet, in order, each with its raw arguments."""
        for place in range(len(self.messages) - 1, -1, -1):
            reply = self.messages[place]
            if reply.get("tool_calls"):
                done = {one.get("tool_call_id") for one in self.messages[place + 1 :]}
                return [
                    (call, reply[RAW].get(call["id"]))
                    for call in reply["tool_calls"]
                    if call["id"] not in done
                ]
        return []

    @property
    def is_after_last_round(self) -> bool:
        """Whether the last message is a reply that called tools though no more were offered."""
        last = self.messages[-1] if self.messages else {}
        return bool(last.get("tool_calls") and last.get(LAST))

    @property
    def left_out(self) -> int:
        """How many calls of the last reply were dropped, while the model has not been told."""
        if not self.messages or self.messages[-1].get("role") != "tool":
            return 0
        replies = (one for one in reversed(self.messages) if one.get("tool_calls"))
        return int(next(replies, {}).get(LEFT_OUT, 0))

    @property
    def why_blank(self) -> str:
        """Why the last reply holds no text, in brackets; empty where nobody knows."""
        ending = self.messages[-1].get(ENDING) if self.messages else None
        return f" ({ending})" if ending else ""

    def answer(self) -> str | None:
        """The closing text, once the last message is a reply that asks for nothing."""
        last = self.messages[-1] if self.messages else {}
        return None if last.get("tool_calls") else self.last_text()

    def last_text(self) -> str | None:
        """The text of the last message, if that is a reply with any; cut off, it says so."""
        last = self.messages[-1] if self.messages else {}
        if last.get("role") != "assistant":
            return None
        text, ending = last.get("content"), last.get(ENDING)
        if not isinstance(text, str) or is_blank(text):
            return None
        return with_notice(text, f"*[Cut off: {ending}.]*") if ending else text

    async def begin(self, opening: Sequence[Message]) -> None:
        """Store the system prompt and the first user messages."""
        async with transaction():
            await fence(self.lease)
            for message in opening:
                await self._append(message, None)
        self.messages.extend(opening)

    async def add_user(self, message: Message) -> None:
        """Store one more message of ours."""
        await self.begin([message])

    async def add_reply(self, reply: Reply, *, is_last: bool = False) -> None:
        """Store a reply and what it cost, in one transaction.

        ``is_last``: its rounds are over, and it was asked for without tools.
        """
        message = dict(reply.message)
        if reply.tool_calls:
            message[RAW] = {
                call.id: clean(call.arguments) if isinstance(call.arguments, str) else None
                for call in reply.tool_calls
            }
        if reply.ending:
            message[ENDING] = reply.ending
        if reply.left_out:
            message[LEFT_OUT] = reply.left_out
        if is_last:
            message[LAST] = True
        async with transaction():
            await fence(self.lease)
            await self._append(message, reply.usage)
            await spending.add_to_execution(self.lease.execution_id, reply.usage, speaks=True)
        self.messages.append(message)

    async def add_broken_off(self, usage: Usage) -> None:
        """Count a call whose reply is not kept, also while the run is being cancelled."""
        await spending.surely(
            spending.add_broken_off(self.lease.execution_id, self.lease.run, usage)
        )

    async def add_tool_outcome(self, outcome: ToolOutcome) -> None:
        """Store a tool's result, its record and its audit entry, in one transaction."""
        message = {"role": "tool", "tool_call_id": outcome.call_id, "content": outcome.to_model()}
        async with transaction():
            await fence(self.lease)
            await self._append(message, None)
            await self._record(outcome)
        self.messages.append(message)

    async def _append(self, message: Message, usage: Usage | None) -> None:
        await rows(
            """INSERT INTO execution_message (execution_id, run, position, message, model,
                 prompt_tokens, completion_tokens, cost_usd, unpriced)
               SELECT $1, $2, coalesce(max(position) + 1, 0), $3, $4, $5, $6, $7, $8
               FROM execution_message WHERE execution_id = $1 AND run = $2""",
            self.lease.execution_id, self.lease.run, json.dumps(storable(message)),
            usage.model if usage else None, usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0, (usage and usage.cost_usd) or Decimal(0),
            usage is not None and usage.cost_usd is None,
        )  # fmt: skip

    async def _record(self, outcome: ToolOutcome) -> None:
        lease = self.lease
        recorded = await rows(
            """INSERT INTO tool_execution (execution_id, run, round, call_id, tool, agent_id,
                 arguments, result, status, error, duration_ms, prompt_tokens, completion_tokens)
               SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
                 coalesce(asked.prompt_tokens, 0), coalesce(asked.completion_tokens, 0)
               FROM (SELECT 1) one LEFT JOIN LATERAL (
                 SELECT prompt_tokens, completion_tokens FROM execution_message
                 WHERE execution_id = $1 AND run = $2 AND message ? 'tool_calls'
                 ORDER BY position DESC LIMIT 1) asked ON true
               RETURNING id""",
            lease.execution_id, lease.run, self.rounds, outcome.call_id[:200], outcome.tool[:200],
            self.agent_id, json.dumps(outcome.arguments), outcome.note + outcome.text,
            outcome.status, outcome.error, outcome.duration_ms,
        )  # fmt: skip
        await rows(
            "UPDATE task_execution SET tool_calls = tool_calls + 1 WHERE id = $1",
            lease.execution_id,
        )
        refused = outcome.status is ToolExecutionStatus.REFUSED
        await audit.record(
            "tool.refused" if refused else "tool.called",
            agent_id=self.agent_id,
            execution_id=lease.execution_id,
            detail={
                "tool": outcome.tool,
                "status": outcome.status,
                "tool_execution_id": recorded[0]["id"],
                **({"error": outcome.error} if outcome.error else {}),
            },
        )


async def has_begun(lease: Lease) -> bool:
    """Whether this run has stored anything, and so is its agent's."""
    found = await rows(
        "SELECT 1 FROM execution_message WHERE execution_id = $1 AND run = $2 LIMIT 1",
        lease.execution_id, lease.run,
    )  # fmt: skip
    return bool(found)


async def load(lease: Lease, agent_id: str | None) -> Conversation:
    """What this run has stored so far; empty for a new one."""
    stored = await rows(
        """SELECT message FROM execution_message WHERE execution_id = $1 AND run = $2
           ORDER BY position""",
        lease.execution_id, lease.run,
    )  # fmt: skip
    messages = [json.loads(one["message"]) for one in stored]
    return Conversation(lease=lease, agent_id=agent_id, messages=messages)


def _is_blank_reply(message: Mapping[str, Any]) -> bool:
    if message.get("role") != "assistant" or message.get("tool_calls"):
        return False
    text = message.get("content")
    return not isinstance(text, str) or is_blank(text)
