"""REST: tool definitions and tool executions. The reference, "Tools"."""

from datetime import datetime
from typing import Any, Final

from aether.vocabulary import ToolEffect, ToolExecutionStatus
from resolvers import mcp_discovery, seeding, tools
from resolvers.fields import JsonObject
from resolvers.mcp_discovery import Confirmation
from resolvers.tools import NewTool, ToolChanges, ToolExecutionFilter, ToolFilter
from rest_compat.op import Call, Op, int_id
from rest_compat.shapes import DELETED, SEEDED, Shape

PENDING: Final = Shape(
    "PendingTool",
    description=str,
    parameters=JsonObject,
    effect=ToolEffect,
    fingerprint=str,
    is_held=bool,
)


def _pending(row: Any) -> dict[str, Any] | None:
    found = tools.pending_of(row)
    return None if found is None else PENDING.encode(found)


TOOL: Final = Shape(
    "Tool",
    id=int,
    name=str,
    description=str,
    category=str | None,
    parameters=JsonObject,
    effect=ToolEffect,
    requires_approval=bool,
    enabled=bool,
    mcp_server_id=int | None,
    mcp_tool_name=str | None,
    unavailable_reason=str | None,
    pending=(_pending, PENDING.typed_dict | None),
    created_at=datetime,
    updated_at=datetime,
)
TOOL_EXECUTION: Final = Shape(
    "ToolExecution",
    id=int,
    tool=str,
    agent_id=str | None,
    execution_id=int | None,
    arguments=Any,
    result=str | None,
    status=ToolExecutionStatus,
    error=str | None,
    duration_ms=int,
    prompt_tokens=int,
    completion_tokens=int,
    created_at=datetime,
)


async def list_tools(call: Call) -> Any:
    return await tools.list_tools(call.query)


async def get_tool(call: Call) -> Any:
    return await tools.get_tool(int_id(call, "id", "tool"))


async def create_tool(call: Call) -> Any:
    return await tools.create_tool(call.body)


async def update_tool(call: Call) -> Any:
    return await tools.update_tool(int_id(call, "id", "tool"), call.body)


async def delete_tool(call: Call) -> Any:
    row_id = int_id(call, "id", "tool")
    await tools.delete_tool(row_id)
    return {"deleted": row_id}


async def confirm_tool(call: Call) -> Any:
    return await mcp_discovery.confirm_tool(int_id(call, "id", "tool"), call.body)


async def seed_tools(_: Call) -> Any:
    return await seeding.seed("tools")


async def list_tool_executions(call: Call) -> Any:
    return await tools.list_tool_executions(call.query)


_TOOL: Final = {
    "name": "add_comment",
    "description": "Post a comment on the item at hand.",
    "category": "tracker",
    "parameters": {
        "type": "object",
        "properties": {"body": {"type": "string"}},
        "required": ["body"],
    },
    "effect": "writes",
}
_SHOWN: Final = {
    "id": 1,
    **_TOOL,
    "requires_approval": False,
    "enabled": True,
    "mcp_server_id": None,
    "mcp_tool_name": None,
    "unavailable_reason": None,
    "pending": None,
    "created_at": "2026-02-18T10:00:00Z",
    "updated_at": "2026-02-18T10:00:00Z",
}

_OF_SERVER: Final = ("mcp_server_id", "mcp_tool_name", "unavailable_reason", "pending")

OPS: Final = (
    Op(
        "GET",
        "/api/tools",
        list_tools,
        summary="List all tool definitions",
        tag="Tools",
        query=ToolFilter,
        out=[TOOL],
        answer=[_SHOWN],
    ),
    Op(
        "POST",
        "/api/tools",
        create_tool,
        summary="Create a tool definition",
        tag="Tools",
        body=NewTool,
        out=TOOL,
        status=201,
        errors=(409,),
        example=_TOOL,
        answer=_SHOWN,
    ),
    Op(
        "GET",
        "/api/tools/{id}",
        get_tool,
        summary="Get a tool definition",
        tag="Tools",
        out=TOOL,
        answer=_SHOWN,
    ),
    Op(
        "PUT",
        "/api/tools/{id}",
        update_tool,
        summary="Update a tool definition; what is absent stays",
        tag="Tools",
        body=ToolChanges,
        out=TOOL,
        errors=(409,),
        ignored=_OF_SERVER,
        example={"enabled": False},
        answer=_SHOWN | {"enabled": False},
    ),
    Op(
        "DELETE",
        "/api/tools/{id}",
        delete_tool,
        summary="Delete a tool definition",
        tag="Tools",
        out=DELETED,
        answer={"deleted": 1},
    ),
    Op(
        "POST",
        "/api/tools/{id}/confirm",
        confirm_tool,
        summary="Take over what a tool's MCP server has changed",
        tag="Tools",
        body=Confirmation,
        body_optional=True,
        out=TOOL,
        errors=(409,),
        example={"fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
        answer=_SHOWN,
    ),
    Op(
        "POST",
        "/api/tools/seed",
        seed_tools,
        summary="Create the default tool definitions that are missing",
        tag="Tools",
        out=SEEDED,
        answer={"created": 11, "skipped": 0},
    ),
    Op(
        "GET",
        "/api/tool-executions",
        list_tool_executions,
        summary="List tool executions, newest first",
        tag="Tools",
        query=ToolExecutionFilter,
        out=[TOOL_EXECUTION],
        answer=[
            {
                "id": 3,
                "tool": "add_comment",
                "agent_id": "ta_leo",
                "execution_id": 2,
                "arguments": {"body": "Thanks!"},
                "result": "Posted.",
                "status": "succeeded",
                "error": None,
                "duration_ms": 312,
                "prompt_tokens": 1200,
                "completion_tokens": 80,
                "created_at": "2026-02-18T10:00:00Z",
            }
        ],
    ),
)
