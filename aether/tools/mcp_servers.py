"""MCP servers as they are stored: asked for their tools, and called for a run."""

import json
import logging
from asyncio import sleep
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final

from aether.config import Settings
from aether.crypto import DecryptionError, Vault
from aether.db import row, rows, transaction
from aether.errors import UpstreamError
from aether.leases import fence
from aether.reach import Reach
from aether.redact import Mask, learn, redact
from aether.tools import mcp
from aether.tools.base import RefusedError, Tool, ToolContext
from aether.tools.lookups import Looker, Lookup
from aether.tools.mcp import McpEndpoint, ToolFailedError
from aether.tools.mcp_definitions import (
    definition,
    is_held,
    names_begin,
    offered_description,
    quoted,
    without_secrets,
)
from aether.vocabulary import McpTransport, ToolEffect

log = logging.getLogger(__name__)

TABLE: Final = "mcp_server"
HEADERS_COLUMN: Final = "headers_encrypted"
RECONNECT_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0
QUICK_SECONDS: Final = 5.0
GONE: Final = "its MCP server no longer offers it"
BEYOND: Final = "its MCP server has more than {most} tools, and it is beyond those that are taken"
UNFIT: Final = "its MCP server offers it as it cannot be taken"
MAY_HAVE_HAPPENED: Final = (
    "It may have been carried out: nobody knows. Do not simply call it again; look first whether "
    "it was."
)


@dataclass(frozen=True, kw_only=True)
class ServedTool:
    """A tool of an MCP server that serves an agent; ``why_not``: why it cannot be called now."""

    name: str
    family: str  # how the names of its server's tools begin
    description: str
    parameters: Mapping[str, Any]
    effect: ToolEffect
    requires_approval: bool
    is_of_agent: bool  # the server is that agent's own
    call: Tool
    look: Lookup  # a call where there is no run
    why_not: str | None = None


def endpoint_of(settings: Settings, stored: Mapping[str, Any]) -> McpEndpoint:
    """Where the server of a row of ``mcp_server`` is, with its headers in the clear.

    Raises:
        NotConfiguredError: the headers cannot be decrypted.
    """
    return McpEndpoint(
        name=stored["name"],
        url=stored.get("endpoint") or stored["url"],
        transport=McpTransport(stored["transport"]),
        headers=open_headers(Vault(settings.encryption_key), stored["id"], stored[HEADERS_COLUMN]),
    )


def seal_headers(vault: Vault, id: int, headers: Mapping[str, str]) -> str | None:
    """The ciphertext of a server's headers; None where there are none.

    Raises:
        NotConfiguredError: there is no ENCRYPTION_KEY.
    """
    if not headers:
        return None
    plain = json.dumps(dict(headers))
    return vault.encrypt(plain, table=TABLE, column=HEADERS_COLUMN, row_key=id)


def open_headers(vault: Vault, id: int, sealed: str | None) -> dict[str, str]:
    """What ``seal_headers`` sealed.

    Raises:
        NotConfiguredError: it cannot be decrypted.
    """
    if sealed is None:
        return {}
    told = json.loads(vault.decrypt(sealed, table=TABLE, column=HEADERS_COLUMN, row_key=id))
    if not isinstance(told, dict):
        raise DecryptionError(f"headers of MCP server {id}: unreadable")
    headers = {str(name): str(value) for name, value in told.items()}
    learn(part for value in headers.values() for part in (value, value.rpartition(" ")[2]))
    return headers


async def discover(settings: Settings, told: Mapping[str, Any]) -> dict[str, Any]:
    """Ask one server for its tools; JSON in and out, so that another process can do it.

    ``told``: ``id``, ``name``, ``url``, ``transport`` and ``headers_encrypted`` of its row, and
    ``known``, what it calls the tools that are registered. Gives the ``url`` that answered,
    ``tools`` as ``definition`` makes them, ``errors``, one text for each tool that cannot be
    offered, and ``missing``: of each known tool that is not among ``tools``, why.

    Raises:
        UpstreamError: the server failed; the text names it.
        NotConfiguredError: its headers cannot be decrypted.
    """
    endpoint, known = endpoint_of(settings, told), frozenset(told["known"])
    try:
        found = await mcp.list_tools(endpoint, Reach.of(settings), known)
    except UpstreamError as error:
        raise UpstreamError(
            redact(str(error), settings), status=error.status, retryable=error.retryable
        ) from None
    tools: dict[str, dict[str, Any]] = {}
    errors: list[str] = []
    unfit: dict[Any, str] = {}
    if found.left_out or found.is_cut:
        most = f"has more than {mcp.MOST_TOOLS} tools; the others are left out"
        errors.append(f"MCP server {quoted(endpoint.name)}: {most}")
    mask = Mask(settings)
    for one in found.tools:
        await sleep(0)  # the check of a schema takes up to 3 s, and a loop has others
        try:
            # a server may say our own header back to us, in a text that every model is shown
            shown = without_secrets(one, lambda text: endpoint.mask(mask.whole(text)))
            made = definition(shown)
            if tools.setdefault(made["name"], made) != made:
                errors.append(
                    f"MCP server {quoted(endpoint.name)}: two tools {quoted(made['name'])}"
                )
        except (ValueError, TypeError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else "it cannot be read"
            text = f"MCP server {quoted(endpoint.name)}: tool {quoted(str(one.get('name')))}: "
            errors.append(redact(endpoint.redact(text + reason), settings))
            unfit[one.get("name")] = redact(endpoint.redact(reason), settings)

    def why(name: str) -> str:
        if name in unfit:
            return f"{UNFIT}: {unfit[name]}"
        is_beyond = name in found.left_out or found.is_cut
        return BEYOND.format(most=mcp.MOST_TOOLS) if is_beyond else GONE

    missing = {name: why(name) for name in known - tools.keys()}
    return {"url": found.url, "tools": list(tools.values()), "errors": errors, "missing": missing}


async def serving(agent_id: str | None) -> list[ServedTool]:
    """The tools of the servers that serve this agent, oldest first."""
    found = await rows(
        """SELECT tool.id, tool.name, tool.description, tool.parameters, tool.effect,
             tool.requires_approval, tool.mcp_tool_name, tool.confirmed, tool.pending,
             tool.unavailable_reason, tool.enabled AS tool_enabled, server.enabled,
             server.name AS server, server.slug, server.agent_id
           FROM tool_definition AS tool JOIN mcp_server AS server ON server.id = tool.mcp_server_id
           WHERE server.agent_id IS NULL OR server.agent_id = $1
           ORDER BY tool.id""",
        agent_id,
    )
    return [
        ServedTool(
            name=one["name"],
            family=names_begin(one["slug"]),
            description=offered_description(
                one["server"], one["mcp_tool_name"], one["description"]
            ),
            parameters=_json(one["parameters"]),
            effect=ToolEffect(one["effect"]),
            requires_approval=one["requires_approval"],
            is_of_agent=one["agent_id"] is not None,
            call=partial(_call, int(one["id"])),
            look=partial(_look, int(one["id"])),
            why_not=_why_not(one),
        )
        for one in found
    ]


def _why_not(stored: Mapping[str, Any]) -> str | None:
    """Why a tool may not be called now, as its row and its server's say."""
    if not stored["enabled"] or not stored["tool_enabled"]:
        return "it is switched off"
    if stored["unavailable_reason"]:
        return f"it is not available: {stored['unavailable_reason']}"
    if is_held(_json(stored["confirmed"]), _json(stored["pending"])):
        return "its server has changed it, and a person has to confirm it first"
    return None


async def _call(tool_id: int, context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Call the tool as its row says now; a call that writes is stored first, and sent once."""
    stored = await _callable(tool_id, context.agent_id)
    endpoint = endpoint_of(context.settings, stored)
    confirmed = _json(stored["confirmed"]) or {}
    is_repeatable = stored["effect"] == ToolEffect.READS or bool(confirmed.get("idempotent"))
    if not is_repeatable and not await _begun(context, stored["tool"]):
        raise ToolFailedError(
            f"This call was begun before, and its result was lost. {MAY_HAVE_HAPPENED}"
        )
    name = stored["mcp_tool_name"]
    return await _sent(context.settings, endpoint, name, arguments, is_repeatable=is_repeatable)


async def _look(tool_id: int, looker: Looker, arguments: Mapping[str, Any]) -> str:
    """Call the tool if its row says now that it only reads, and that no person need be asked."""
    stored = await _callable(tool_id, looker.agent_id)
    if stored["effect"] != ToolEffect.READS or stored["requires_approval"]:
        raise RefusedError("this tool may not be called: it writes now, or a person must be asked")
    endpoint = endpoint_of(looker.settings, stored)
    name = stored["mcp_tool_name"]
    return await _sent(looker.settings, endpoint, name, arguments, is_repeatable=True)


async def _sent(
    settings: Settings,
    endpoint: McpEndpoint,
    name: str,
    arguments: Mapping[str, Any],
    *,
    is_repeatable: bool,
) -> str:
    """The tool's text; sent once, and once more where it surely was not received."""
    reach, started = Reach.of(settings), monotonic()
    try:
        try:
            return await mcp.call_tool(endpoint, reach, name, arguments)
        except UpstreamError as error:
            is_slow = monotonic() - started > QUICK_SECONDS
            pause = RECONNECT_SECONDS if error.retry_after is None else error.retry_after
            may_be_twice = is_repeatable or not error.may_have_happened
            if is_slow or not error.retryable or not may_be_twice or pause > LONGEST_PAUSE_SECONDS:
                raise
        await sleep(pause)  # the server may be starting, or wants to be asked later
        return await mcp.call_tool(endpoint, reach, name, arguments)
    except UpstreamError as error:
        text = redact(str(error), settings)
        if error.may_have_happened and not is_repeatable:
            text = f"{text}. {MAY_HAVE_HAPPENED}"
        raise ToolFailedError(text) from None


async def _callable(tool_id: int, agent_id: str | None) -> dict[str, Any]:
    """The tool and its server, read anew: what was true when the run began may be so no more.

    Raises:
        RefusedError: it may not be called.
    """
    stored = await row(
        """SELECT server.*, tool.name AS tool, tool.mcp_tool_name, tool.effect, tool.confirmed,
             tool.pending, tool.unavailable_reason, tool.requires_approval,
             tool.enabled AS tool_enabled
           FROM tool_definition AS tool JOIN mcp_server AS server ON server.id = tool.mcp_server_id
           WHERE tool.id = $1 AND (server.agent_id IS NULL OR server.agent_id = $2)""",
        tool_id,
        agent_id,
    )
    if stored is None:
        raise RefusedError("this tool was taken away")
    if (why_not := _why_not(stored)) is not None:
        raise RefusedError(f"this tool may not be called: {why_not}")
    return dict(stored)


async def _begun(context: ToolContext, tool: str) -> bool:
    """Note that this very call is about to be sent; False if that was noted before."""
    async with transaction():
        await fence(context.lease)
        noted = await rows(
            """INSERT INTO mcp_call (execution_id, key, tool) VALUES ($1, $2, $3)
               ON CONFLICT (execution_id, key) DO NOTHING RETURNING id""",
            context.execution_id, context.call_key, tool,
        )  # fmt: skip
    return bool(noted)


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
