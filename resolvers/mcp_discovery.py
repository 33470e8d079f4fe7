"""Discovery: asks MCP servers for their tools, registers them, holds back what has changed."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aether import aside, audit
from aether.clock import now
from aether.db import row, transaction
from aether.engine.known_secrets import learn_stored
from aether.engine.runtime import runtime
from aether.errors import AetherError, ConflictError, InvalidInputError
from aether.models import McpServer, ToolDefinition
from aether.redact import Mask
from aether.tools import mcp_servers as job
from aether.tools.mcp_definitions import quoted, tool_name
from resolvers.fields import Input, Positive
from resolvers.rows import lock

CATEGORY: Final = "mcp"
AT_ONCE: Final = 8
MOST_ERROR_CHARACTERS: Final = 1_000


class DiscoveryOf(Input):
    """Which MCP server to ask; absent: all that are enabled."""

    server_id: Positive | None = None


class Confirmation(Input):
    """Which definition is confirmed: ``pending.fingerprint`` as it was read, if given."""

    fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Discovered:
    """What MCP servers offer now, under the names that models call them by.

    ``errors``: one text for each server that failed, each tool that cannot be offered, and each
    that has changed and waits to be confirmed.
    """

    tools: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def discovered(self) -> int:
        """How many tools there are."""
        return len(self.tools)


async def discover_mcp_tools(wanted: DiscoveryOf) -> Discovered:
    """Ask one server, or all that are enabled, and register what they offer.

    A tool is new, and confirmed by that; or as it was confirmed; or changed, and kept as
    ``pending`` until somebody confirms it; or missing, and unavailable until it is back: gone,
    told so that it cannot be offered, or beyond the most tools of a server.

    Raises:
        InvalidInputError: the server does not exist.
        ConflictError: the server is disabled.
        UpstreamError, NotConfiguredError: the only server that was asked for failed.
    """
    if wanted.server_id is None:
        servers = await McpServer.filter(enabled=True).order_by("id")
        turn = asyncio.Semaphore(AT_ONCE)

        async def in_turn(server: McpServer) -> Discovered:
            async with turn:
                try:
                    return await _discover(server)
                except AetherError as error:
                    return Discovered(errors=[_named(server, error)])

        found = await asyncio.gather(*map(in_turn, servers))
        return Discovered(
            tools=[tool for one in found for tool in one.tools],
            errors=[text for one in found for text in one.errors],
        )
    server = await McpServer.get_or_none(id=wanted.server_id)
    if server is None:
        raise InvalidInputError("server_id", f"MCP server {wanted.server_id} does not exist")
    if not server.enabled:
        raise ConflictError(f"MCP server {server.name!r} is disabled")
    return await _discover(server)


async def confirm_tool(id: int, wanted: Confirmation) -> ToolDefinition:
    """Take over what a tool's MCP server has changed; the tool is offered so from now on.

    Raises:
        NotFoundError: there is no such tool.
        ConflictError: nothing waits to be confirmed, or it is not what was looked at.
    """
    async with transaction():
        tool = await lock(ToolDefinition, "tool", id)
        pending: Any = tool.pending
        if pending is None:
            raise ConflictError(f"tool {tool.name!r} has nothing to confirm")
        if wanted.fingerprint not in {None, pending["fingerprint"]}:
            raise ConflictError(f"tool {tool.name!r} has changed again; look at it first")
        before: Mapping[str, Any] = tool.confirmed or {}
        changed = [
            name
            for name in ("description", "parameters", "effect")
            if pending[name] != before.get(name)
        ]
        await _save(
            tool,
            {
                **{
                    name: pending[name] for name in changed
                },  # the rest may be a person's own by now
                "confirmed": pending,
                "pending": None,
                "fingerprint": pending["fingerprint"],
            },
        )
        await audit.record(
            "tool.confirmed",
            caller="api",
            detail={
                "tool_id": id,
                "name": tool.name,
                "changed": changed,
                "fingerprint": tool.fingerprint,
            },
        )
    return tool


async def _discover(server: McpServer) -> Discovered:
    asked = {
        name: getattr(server, name)
        for name in ("id", "name", "url", "transport", job.HEADERS_COLUMN)
    }
    registered = ToolDefinition.filter(mcp_server_id=server.id)
    asked["known"] = await registered.values_list("mcp_tool_name", flat=True)
    try:
        told = await _ask(asked)
    except AetherError as error:
        await McpServer.filter(id=server.id, url=server.url).update(
            error=str(error)[:MOST_ERROR_CHARACTERS]
        )
        raise
    await learn_stored(runtime().settings)  # a server may say another secret than its own
    return await _register(server, Mask(runtime().settings).within(dict(told)))


async def _ask(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the server says; the protocol's SDK is loaded in the aside, where there is one."""
    if not aside.is_installed():
        return await job.discover(runtime().settings, asked)
    told: Mapping[str, Any] = await aside.call("mcp.discover", asked)
    return told


def _named(server: McpServer, error: AetherError) -> str:
    text = str(error)
    name = quoted(server.name)
    return text if name in text else f"MCP server {name}: {text}"


@dataclass(kw_only=True)
class _Changes:
    """What one discovery found, by the tools' names."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)  # why, though the server has it


async def _register(asked: McpServer, told: Mapping[str, Any]) -> Discovered:
    found = Discovered(errors=list(told["errors"]))
    async with transaction():
        server = await lock(McpServer, "MCP server", asked.id)  # one discovery at a time writes
        if (server.url, server.transport) != (asked.url, asked.transport):
            raise ConflictError(f"MCP server {server.name!r} was changed meanwhile; ask again")
        known = {
            one.mcp_tool_name: one
            for one in await ToolDefinition.filter(mcp_server_id=server.id).select_for_update()
        }
        changes = _Changes()
        for definition in told["tools"]:
            tool = known.pop(definition["name"], None)
            if tool is None:
                tool_id, name = await _add(server, definition)
                changes.added.append(name)
            else:
                tool_id, name = tool.id, tool.name
                await _compare(tool, definition, changes)
                if tool.pending is not None:
                    found.errors.append(_waits(server, tool_id, name))
            found.tools.append(name)
        for told_name, tool in known.items():
            await _miss(tool, told["missing"].get(told_name), changes)
        server.update_from_dict({"endpoint": told["url"], "error": None, "discovered_at": now()})
        await server.save(update_fields=["endpoint", "error", "discovered_at"])
        await audit.record(
            "mcp_server.discovered",
            agent_id=server.agent_id,
            caller="api",
            detail={
                "mcp_server_id": server.id,
                "name": server.name,
                "tools": len(found.tools),
                **{name: value for name, value in vars(changes).items() if value},
            },
        )
    return found


def _waits(server: McpServer, tool_id: int, name: str) -> str:
    return (
        f"MCP server {quoted(server.name)}: {name} has changed and waits to be confirmed: "
        f"POST /api/tools/{tool_id}/confirm"
    )


async def _add(server: McpServer, definition: Mapping[str, Any]) -> tuple[int, str]:
    """A row for a new tool, under the first name that is free; its id and name."""
    told = definition["name"]
    names: Sequence[str] = (
        tool_name(server.slug, told),
        tool_name(server.slug, told, salt=str(server.id)),
    )
    for name in names:
        added = await row(
            """INSERT INTO tool_definition (name, description, category, effect, parameters,
                 mcp_server_id, mcp_tool_name, fingerprint, confirmed, enabled, created_at,
                 updated_at)
               SELECT $1, $2, $3, $4, $5::text::jsonb -> 'parameters', $6, $7, $8, $5::text::jsonb,
                 true, now(), now()
               ON CONFLICT (name) DO NOTHING RETURNING id""",
            name, definition["description"], CATEGORY, definition["effect"],
            _json(definition), server.id, told, definition["fingerprint"],
        )  # fmt: skip
        if added is not None:
            return int(added["id"]), name
    raise ConflictError(f"tool {names[-1]!r} already exists, and is another one")


async def _compare(tool: ToolDefinition, definition: Mapping[str, Any], changes: _Changes) -> None:
    """Hold back what differs from what was confirmed; forget what differed and does no more."""
    fingerprint = definition["fingerprint"]
    pending: Any = tool.pending
    columns: dict[str, Any] = {}
    if tool.unavailable_reason:
        columns["unavailable_reason"] = None
        changes.returned.append(tool.name)
    if fingerprint == tool.fingerprint:
        if pending is not None:
            columns["pending"] = None
    elif pending is None or pending["fingerprint"] != fingerprint:
        columns["pending"] = dict(definition)
        changes.changed.append(tool.name)
    await _save(tool, columns)


async def _miss(tool: ToolDefinition, why: str | None, changes: _Changes) -> None:
    """``why`` it cannot be offered now; None: it was registered while the server was asked."""
    if why is None or why == tool.unavailable_reason:
        return
    if why != job.GONE:
        changes.missing[tool.name] = why
    elif not tool.unavailable_reason:
        changes.gone.append(tool.name)
    await _save(tool, {"unavailable_reason": why})


async def _save(tool: ToolDefinition, columns: Mapping[str, Any]) -> None:
    if columns:
        tool.update_from_dict({**columns, "updated_at": now()})
        await tool.save(update_fields=[*columns, "updated_at"])


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), ensure_ascii=False)
