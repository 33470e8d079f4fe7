"""Tool definitions: list, create, change, delete; and the history of tool executions."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints
from pydantic.types import Strict

from aether import audit
from aether.db import transaction
from aether.models import ToolDefinition, ToolExecution
from aether.tools.lookups import effect_of
from aether.tools.mcp_definitions import is_held
from aether.tools.schemas import check_parameters
from aether.vocabulary import ToolEffect, ToolExecutionStatus
from resolvers.fields import ABSENT, Flag, Input, JsonObject, LooseText, Page, Reference, RowId
from resolvers.rows import (
    All,
    Label,
    as_given,
    change,
    criteria,
    find,
    lock,
    page,
    pages,
    unique,
)
from resolvers.windows import NewestFirst, Slice, Window, cut

NAME: Final = r"^[A-Za-z0-9_-]{1,64}$"
"""What model providers take as a function's name:
https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools"""


def _callable_name(value: str) -> str:
    if not value.isascii() or not value.replace("_", "a").replace("-", "a").isalnum():
        raise ValueError("must be letters, digits, '_' and '-', such as add_comment")
    return value


ToolName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64),
    AfterValidator(_callable_name),
    Field(json_schema_extra={"pattern": NAME}),
]
Parameters = Annotated[JsonObject, AfterValidator(check_parameters)]
Effect = Annotated[ToolEffect, Strict(strict=False)]
Status = Annotated[ToolExecutionStatus, Strict(strict=False)]


class NewTool(Input):
    """A tool definition to create; it can be called where its name is that of a built-in tool."""

    name: ToolName
    description: LooseText = ""
    category: Label | None = None
    parameters: Parameters = {}
    effect: Effect = ToolEffect.READS
    requires_approval: Flag = False
    enabled: Flag = True


class ToolChanges(Input):
    """What to change of a tool definition; what is absent stays."""

    name: ToolName = ABSENT
    description: LooseText = ABSENT
    category: Label | None = ABSENT
    parameters: Parameters = ABSENT
    effect: Effect = ABSENT
    requires_approval: Flag = ABSENT
    enabled: Flag = ABSENT


class ToolFilter(All):
    """Which tool definitions."""

    category: Reference | None = None
    enabled: Flag | None = None


class ToolExecutionFilter(Page):
    """Which tool executions."""

    agent_id: Reference | None = None
    execution_id: RowId | None = None
    tool: Reference | None = None
    status: Status | None = None


async def list_tools(wanted: ToolFilter) -> list[ToolDefinition]:
    """Tool definitions, oldest first."""
    found = await page(ToolDefinition.filter(**criteria(wanted)).order_by("id"), wanted)
    return [_as_it_counts(one) for one in found]


async def get_tool(id: int) -> ToolDefinition:
    """One tool definition, or NotFoundError."""
    return _as_it_counts(await find(ToolDefinition, "tool", id))


async def create_tool(new: NewTool) -> ToolDefinition:
    """Create a tool definition; of a built-in tool that writes the effect is ``writes``.

    Raises:
        ConflictError: its name is taken.
    """
    with unique(f"tool {new.name!r} already exists"):
        async with transaction():
            told = new.model_dump() | {"effect": effect_of(new.name, new.effect)}
            tool = await ToolDefinition.create(**told)
            await _record("tool.created", tool.id, after=as_given(tool, NewTool))
    return tool


async def update_tool(id: int, changes: ToolChanges) -> ToolDefinition:
    """Change a tool definition; of a built-in tool that writes the effect is ``writes``.

    Raises:
        NotFoundError: there is no such tool.
        ConflictError: another tool has the name.
    """
    with unique(f"tool {changes.name!r} already exists"):
        async with transaction():
            tool = await lock(ToolDefinition, "tool", id)
            changed = await change(tool, _as_they_count(tool, changes))
            if changed:
                await _record("tool.updated", id, name=tool.name, **changed)
    return tool


async def delete_tool(id: int) -> None:
    """Delete a tool definition, or NotFoundError; agents are offered it no more."""
    async with transaction():
        tool = await lock(ToolDefinition, "tool", id)
        await tool.delete()
        await _record("tool.deleted", id, before=as_given(tool, NewTool))


def _as_it_counts(tool: ToolDefinition) -> ToolDefinition:
    """The row with the effect that counts, which one from before may not hold."""
    if tool.mcp_server_id is None:
        tool.effect = effect_of(tool.name, tool.effect)
    return tool


def _as_they_count(tool: ToolDefinition, changes: ToolChanges) -> ToolChanges:
    """The changes of a locked row, its effect among them where another one counts then."""
    sent = changes.model_dump(exclude_unset=True)
    effect = sent.get("effect", tool.effect)
    if tool.mcp_server_id is None:
        effect = effect_of(sent.get("name", tool.name), effect)
    if effect == sent.get("effect", tool.effect):
        return changes
    return changes.model_copy(update={"effect": effect})


@dataclass(frozen=True, kw_only=True)
class PendingTool:
    """What an MCP server tells of a tool since it was confirmed.

    ``is_held``: it may not be called until it is confirmed.
    """

    description: str
    parameters: dict[str, Any]
    effect: ToolEffect
    fingerprint: str
    is_held: bool


def pending_of(tool: Any) -> PendingTool | None:
    """What waits to be confirmed of a tool definition's row, if anything does."""
    pending = tool.pending
    if pending is None:
        return None
    return PendingTool(
        description=pending["description"],
        parameters=pending["parameters"],
        effect=ToolEffect(pending["effect"]),
        fingerprint=pending["fingerprint"],
        is_held=is_held(tool.confirmed, pending),
    )


async def list_tool_executions(wanted: ToolExecutionFilter) -> list[ToolExecution]:
    """Tool executions, newest first."""
    return await page(ToolExecution.filter(**criteria(wanted)).order_by("-id"), wanted)


async def slice_tool_executions(wanted: ToolExecutionFilter, part: Window) -> Slice[ToolExecution]:
    """A window on ``list_tool_executions``; the filter's ``limit`` and ``offset`` do not count."""
    return await cut(NewestFirst(ToolExecution.filter(**criteria(wanted))), part)


async def tool_executions_of(keys: list[tuple[int, int, int]]) -> list[list[ToolExecution]]:
    """Of each (execution's id, limit, offset) that page of its tool executions, oldest first."""
    return await pages(ToolExecution, "execution_id", keys, newest_first=False)


async def _record(action: str, tool_id: int, **detail: Any) -> None:
    await audit.record(action, caller="api", detail={"tool_id": tool_id, **detail})
