"""GraphQL: a direct line to the model."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import strawberry

from resolvers import agents, llm
from schema import rows
from schema.agents import Agent
from schema.arguments import described_like
from schema.context import Info
from schema.enums import ToolExecutionStatus
from schema.inputs import input_from_model
from schema.scalars import JSON, BigInt
from schema.simulations import WithheldTool


@strawberry.type(description="One tool call of a chat.")
class LlmChatToolCall:
    tool_execution_id: strawberry.ID | None = strawberry.field(
        description="The id of its tool execution; null: it could not be stored."
    )
    tool: str = strawberry.field(description="The name that the model called.")
    arguments: JSON | None = strawberry.field(
        description="What the model gave; text where the tool does not take it or is not offered."
    )
    status: ToolExecutionStatus = strawberry.field(description="What became of it.")
    error: str | None = strawberry.field(description="Why it failed or was refused.")
    duration_ms: int = strawberry.field(description="How long it took, in milliseconds.")


@strawberry.type(description="What the model said in the end, and what all its calls have cost.")
class LlmChat:
    agent_id: strawberry.ID | None = strawberry.field(
        description="The id of the agent whose prompt was used."
    )
    model: str = strawberry.field(description="The model, as its server names it.")
    content: str = strawberry.field(description="Its answer; may be empty.")
    prompt_tokens: BigInt = strawberry.field(description="What the model read.")
    completion_tokens: BigInt = strawberry.field(description="What the model wrote.")
    total_tokens: BigInt = strawberry.field(description="What the model read and wrote.")
    cost_usd: float = strawberry.field(description="What it cost, in US dollars.")
    unpriced_calls: int = strawberry.field(
        description="How many of the calls `costUsd` is without: their price was not known."
    )
    tool_calls: list[LlmChatToolCall] = strawberry.field(
        description="The tools that it called on the way, in order."
    )
    withheld: list[WithheldTool] = strawberry.field(
        description="With `useTools`: the tools that it was not offered; a call of one is refused."
    )

    ending: str | None = strawberry.field(
        description="Why the content is not whole or missing, such as the model's output limit; "
        "null: the model ended by itself."
    )

    @strawberry.field(description="The agent; null: none was named, or it was deleted since.")
    async def agent(self, info: Info) -> Agent | None:
        if self.agent_id is None:
            return None
        return rows.one(
            Agent, await info.context.loaders.load(agents.agents_of, str(self.agent_id))
        )


@strawberry.type(description="One event of a chat: exactly one of the fields is not null.")
class LlmChatEvent:
    text: str | None = strawberry.field(
        description="A piece of a reply that is being written.", default=None
    )
    tool: str | None = strawberry.field(
        description="A tool is run; the text before it was not the answer.", default=None
    )
    tool_result: LlmChatToolCall | None = strawberry.field(
        description="What became of a tool's call; in the order in which they were begun.",
        default=None,
    )
    again: bool | None = strawberry.field(
        description="True: the reply is asked for once more, of another model or shortened; its "
        "text so far, since the last tool, is void.",
        default=None,
    )
    answer: LlmChat | None = strawberry.field(
        description="The whole answer; the last event.", default=None
    )


@described_like(LlmChat, role="Who says it.", content="What is said; not blank.")
@input_from_model(description="One message of a chat.")
class LlmChatMessageInput(llm.ChatMessage):
    pass


@described_like(
    LlmChat,
    agent_id="The id of the agent whose prompt comes first, enabled or not; null: none does.",
    messages="What has been said, oldest first: at most 500, one of them the user's, with 500,000 "
    "characters together.",
    model="The model to ask; null: the agent's own, else LLM_MODEL.",
    use_memory="Whether memories near the user's last message are told to the model.",
    use_tools="Whether the agent's tools that only read may be used: `recall`, `get_issue` and "
    "`list_comments` where `projectId` names a project, those of MCP servers.",
    project_id="The id of the project whose memories may be recalled and whose items may be read; "
    "it need not exist.",
    memory_scopes="Which memories may be recalled.",
)
@input_from_model(description="What to say to the model, and what it may know.")
class LlmChatInput(llm.NewChat):
    messages: Annotated[list[LlmChatMessageInput], *llm.MESSAGES]  # type: ignore[assignment] # only read


Chat = Annotated[LlmChatInput, strawberry.argument(description="The chat.")]


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Ask the model, with an agent's prompt if one is named. NOT_CONFIGURED without "
        "a model, UPSTREAM_FAILED if it fails, RATE_LIMITED while too many chats are under way."
    )
    async def llm_chat(self, input: Chat) -> LlmChat | None:
        return rows.one(LlmChat, await llm.chat(input))


@strawberry.type
class Subscription:
    @strawberry.subscription(
        description="The same as `llmChat` in pieces, while they are written; ends with the answer."
    )
    async def llm_chat_stream(self, input: Chat) -> AsyncGenerator[LlmChatEvent, None]:
        async with aclosing(llm.chat_events(input)) as events:
            async for one in events:
                yield _event(one)


def _event(told: llm.ChatEvent) -> LlmChatEvent:
    if isinstance(told, llm.ChatText):
        return LlmChatEvent(text=told.text)
    if isinstance(told, llm.ChatTool):
        return LlmChatEvent(tool=told.tool)
    if isinstance(told, llm.ChatToolResult):
        return LlmChatEvent(tool_result=rows.one(LlmChatToolCall, told.call))
    if isinstance(told, llm.ChatAgain):
        return LlmChatEvent(again=True)
    return LlmChatEvent(answer=rows.one(LlmChat, told))
