"""GraphQL: one task execution at work, as it happens."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

import strawberry

from resolvers import streams
from schema import rows
from schema.enums import ExecutionStatus
from schema.executions import ExecutionId, ExecutionMessage, TaskExecution
from schema.inputs import row_id
from schema.live import CURSOR, After
from schema.scalars import JSON, BigInt
from schema.tools import ToolExecution

RUN: Final = "Which run it belongs to, from 1; a restart begins the next."
POSITION: Final = "The place that the reply has, or will have, among the run's messages."


@strawberry.interface(description="Something in one task execution's work.")
class ExecutionEvent:
    cursor: str = strawberry.field(description=CURSOR)
    execution_id: strawberry.ID = strawberry.field(description="The task execution's id.")
    run: int = strawberry.field(description=RUN)


@strawberry.type(
    description="All that is stored of the present run: the first event where there was no "
    "`after`. What follows goes on from here."
)
class ExecutionSoFar(ExecutionEvent):
    status: ExecutionStatus = strawberry.field(description="Where it stands.")
    messages: list[ExecutionMessage] = strawberry.field(
        description="What the model was sent and said, in order."
    )
    tool_executions: list[ToolExecution] = strawberry.field(
        description=f"The tool calls of this run, oldest first, {streams.MOST_TOOL_EXECUTIONS} at "
        "most."
    )
    text: str = strawberry.field(
        description="What has been told of a reply that is still being written; may be empty. The "
        "next piece goes on from here."
    )
    execution: TaskExecution = strawberry.field(description="The task execution.")

    @classmethod
    def is_type_of(cls, obj: Any, _: Any) -> bool:
        return isinstance(obj, streams.SoFar)


@strawberry.type(
    description="Its status, tries, agent or wish to be cancelled has changed. `RUNNING` again "
    "means that a new try has begun after a failure or a crash: it goes on after the last stored "
    "reply, and text of a reply that had not been stored is void."
)
class ExecutionStatusChange(ExecutionEvent):
    status: ExecutionStatus = strawberry.field(description="Where it stands.")
    tries: int = strawberry.field(description="How often this run has failed.")
    agent_id: strawberry.ID | None = strawberry.field(description="The id of its agent.")
    cancel_requested: bool = strawberry.field(description="Whether someone asked it to stop.")
    error: str | None = strawberry.field(description="Why it failed last.")
    error_code: str | None = strawberry.field(description="The code of that failure.")

    @classmethod
    def is_type_of(cls, obj: Any, _: Any) -> bool:
        return isinstance(obj, streams.StatusChange)


@strawberry.type(
    description="A piece of a reply that the model is still writing, some four a second; with "
    "LLM_STREAM off there are none. `offset` 0 begins the reply: text that was shown at the same "
    "`position` before is void. Pieces may be left out; the whole reply follows as ExecutionReply."
)
class ExecutionText(ExecutionEvent):
    position: int = strawberry.field(description=POSITION)
    round: int = strawberry.field(
        description="Which reply it is of those that ask for tools, or answer, from 1."
    )
    offset: int = strawberry.field(description="How many characters of the reply stand before it.")
    text: str = strawberry.field(description="The piece.")

    @classmethod
    def is_type_of(cls, obj: Any, _: Any) -> bool:
        return isinstance(obj, streams.Text)


@strawberry.type(description="A request of the model to run a tool.")
class ExecutionToolCall:
    id: strawberry.ID = strawberry.field(description="The call's id; its result names it.")
    tool: str = strawberry.field(description="The name that the model called.")
    arguments: JSON | None = strawberry.field(
        description="What the model gave; text where it is not JSON."
    )


@strawberry.type(
    description="A whole reply of the model, stored: it replaces the pieces of the same `position`."
)
class ExecutionReply(ExecutionEvent):
    position: int = strawberry.field(description=POSITION)
    message: strawberry.Private[Any]

    @strawberry.field(description="What the model said; empty where it only calls tools.")
    def text(self) -> str:
        content = self.message.message.get("content")
        return content if isinstance(content, str) else ""

    @strawberry.field(description="The tools that it asks for; empty: this is its answer.")
    def tool_calls(self) -> list[ExecutionToolCall]:
        return _calls(self.message.message)

    @strawberry.field(description="The model that wrote it.")
    def model(self) -> str | None:
        name: str | None = self.message.model
        return name

    @strawberry.field(description="What the model read to write it.")
    def prompt_tokens(self) -> BigInt:
        return BigInt(self.message.prompt_tokens)

    @strawberry.field(description="What the model wrote.")
    def completion_tokens(self) -> BigInt:
        return BigInt(self.message.completion_tokens)

    @strawberry.field(description="When it was stored.")
    def created_at(self) -> datetime:
        moment: datetime = self.message.created_at
        return moment

    @classmethod
    def is_type_of(cls, obj: Any, _: Any) -> bool:
        return isinstance(obj, streams.Reply)


@strawberry.type(description="A tool call was run, and the model is told its result.")
class ExecutionToolResult(ExecutionEvent):
    call_id: strawberry.ID = strawberry.field(description="The id of the call.")
    tool_execution: ToolExecution = strawberry.field(description="What was run, and its result.")

    @classmethod
    def is_type_of(cls, obj: Any, _: Any) -> bool:
        return isinstance(obj, streams.ToolResult)


@strawberry.type(
    description="The run has ended: succeeded, failed or cancelled. The last event; the "
    "subscription completes."
)
class ExecutionEnd(ExecutionEvent):
    status: ExecutionStatus = strawberry.field(description="How it ended.")
    answer: str | None = strawberry.field(description="The whole closing text.")
    answer_url: str | None = strawberry.field(description="Where the answer was posted.")
    error: str | None = strawberry.field(description="Why it failed.")
    error_code: str | None = strawberry.field(description="The code of that failure.")

    @classmethod
    def is_type_of(cls, obj: Any, _: Any) -> bool:
        return isinstance(obj, streams.End)


STREAM_TYPES: Final[tuple[type, ...]] = (
    ExecutionSoFar,
    ExecutionStatusChange,
    ExecutionText,
    ExecutionReply,
    ExecutionToolResult,
    ExecutionEnd,
)
"""What ``ExecutionEvent`` may be; a schema finds an interface's types only where it is told."""


def _calls(message: dict[str, Any]) -> list[ExecutionToolCall]:
    raw = message.get("raw_arguments") or {}
    return [
        ExecutionToolCall(
            id=strawberry.ID(call["id"]),
            tool=call["function"]["name"],
            arguments=_read(raw.get(call["id"], call["function"]["arguments"])),
        )
        for call in message.get("tool_calls") or ()
    ]


def _read(arguments: Any) -> Any:
    try:
        return json.loads(arguments)
    except (TypeError, ValueError, RecursionError):
        return arguments


@strawberry.type
class Subscription:
    @strawberry.subscription(
        description="One task execution at work: the model's text as it writes, its whole replies, "
        "each tool's result, the end. Without `after` it begins with all that is stored so far. It "
        "completes when the run has ended, at once if it has already. NOT_FOUND: no such one."
    )
    async def task_execution_stream(
        self, id: ExecutionId, after: After = None
    ) -> AsyncIterator[ExecutionEvent | None]:
        events = streams.follow_execution(row_id("task execution", id), after)
        async with aclosing(events):
            async for event in events:
                yield rows.one(ExecutionEvent, event)
