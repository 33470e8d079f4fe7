"""Approvals: what waits for a person; approve it, change it, or refuse it."""

from typing import Annotated, Final

from pydantic import StringConstraints
from pydantic.types import Strict

from aether.db import row
from aether.engine import approvals as stage
from aether.engine.arguments import BadArgumentsError, read_arguments
from aether.engine.runtime import runtime
from aether.errors import InvalidInputError, NotFoundError
from aether.models import Approval, ToolDefinition
from aether.rendering import is_blank
from aether.sources import get as get_source
from aether.vocabulary import ApprovalKind, ApprovalStatus
from resolvers.fields import Input, JsonObject, Name, Page, Positive, Reference, RowId, Text
from resolvers.rows import LARGEST_LOG_ID, PageOf, criteria, find, page, pages

Status = Annotated[ApprovalStatus, Strict(strict=False)]
BESIDE_A_TEXT: Final = 100
"""Characters of a comment that are no text's: our marker, and the lines before it."""
Reason = Annotated[str, StringConstraints(max_length=2_000)]


class ApprovalFilter(Page):
    """Which approvals."""

    status: Status | None = None
    execution_id: RowId | None = None
    agent_id: Reference | None = None
    task_id: Reference | None = None
    project_id: Positive | None = None


class Approving(Input):
    """What to do instead of what the agent wants; nothing: just that. ``by``: who says so."""

    arguments: JsonObject | None = None
    text: Text | None = None
    by: Name | None = None


class Refusing(Input):
    """Why not; the agent reads it. ``by``: who says so, which it does not read."""

    reason: Reason | None = None
    by: Name | None = None


async def list_approvals(wanted: ApprovalFilter) -> list[Approval]:
    """Approvals, newest first."""
    return await page(Approval.filter(**criteria(wanted)).order_by("-id"), wanted)


async def get_approval(id: int) -> Approval:
    """One approval, or NotFoundError."""
    return await find(Approval, "approval", id, largest=LARGEST_LOG_ID)


async def approvals_of(keys: list[PageOf]) -> list[list[Approval]]:
    """Of each (execution's id, limit, offset) that page of its approvals, newest first."""
    return await pages(Approval, "execution_id", keys, newest_first=True)


async def approve(id: int, told: Approving) -> Approval:
    """Let a tool call or an answer happen, as the agent wants it or as ``told`` says.

    Raises:
        NotFoundError: no approval has this id.
        InvalidInputError: the arguments are not what the tool takes, or it is no tool call; the
            text is blank or longer than the platform takes, or it is no answer.
        ConflictError: it is not pending any more.
    """
    approval = await get_approval(id)
    if told.arguments is not None:
        await _check(approval, told.arguments)
    if told.text is not None and approval.kind is not ApprovalKind.ANSWER:
        raise InvalidInputError("text", "is for answers; a tool call has arguments")
    if told.text is not None:
        await _check_text(approval, told.text)
    is_changed = told.arguments is not None or told.text is not None
    status = ApprovalStatus.CHANGED if is_changed else ApprovalStatus.APPROVED
    await stage.decide(runtime(), id, status, arguments=told.arguments, text=told.text, by=told.by)
    return await get_approval(id)


async def refuse(id: int, told: Refusing) -> Approval:
    """Keep a tool call or an answer from happening; the agent is told, and goes on.

    Raises:
        NotFoundError: no approval has this id.
        ConflictError: it is not pending any more.
    """
    if not 0 < id <= LARGEST_LOG_ID:
        raise NotFoundError("approval", id)
    await stage.decide(
        runtime(), id, ApprovalStatus.REFUSED, reason=told.reason or None, by=told.by
    )
    return await get_approval(id)


async def _check_text(approval: Approval, text: str) -> None:
    if is_blank(text):
        raise InvalidInputError("text", "must hold something to read")
    found = await row("SELECT source FROM task_execution WHERE id = $1", approval.execution_id)
    platform = get_source(found["source"]) if found is not None else None
    if platform is not None:
        longest = platform.max_comment_characters - BESIDE_A_TEXT
        if len(text) > longest:  # it would be cut, and whoever wrote it would not be told
            raise InvalidInputError("text", f"must have at most {longest} characters there")


async def _check(approval: Approval, arguments: JsonObject) -> None:
    if approval.kind is not ApprovalKind.TOOL:
        raise InvalidInputError("arguments", "is for tool calls; an answer has a text")
    tool = await ToolDefinition.get_or_none(name=approval.tool)
    try:
        read_arguments(
            arguments,
            tool.parameters if tool else {},
            is_foreign=tool is not None and tool.mcp_server_id is not None,
        )
    except BadArgumentsError as error:
        problem = str(error).removesuffix(" The tool was not run.")
        raise InvalidInputError("arguments", problem) from None
