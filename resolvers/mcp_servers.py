"""MCP servers: list, read, create, change, delete. Their headers are stored encrypted."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints
from pydantic.types import Strict

from aether import audit
from aether.crypto import Vault, mask
from aether.db import row, rows, transaction
from aether.engine.runtime import runtime
from aether.errors import InvalidInputError, NotConfiguredError, NotFoundError
from aether.models import McpServer, ToolDefinition
from aether.tools.mcp_definitions import other_slug, slug_of
from aether.tools.mcp_servers import HEADERS_COLUMN, open_headers, seal_headers
from aether.vocabulary import McpTransport
from resolvers.addresses import check_reach
from resolvers.fields import ABSENT, Flag, HttpAddress, Input, Name
from resolvers.rows import (
    LARGEST_ID,
    All,
    KeyRef,
    as_given,
    criteria,
    differences,
    each,
    find,
    lock,
    page,
    pages,
    unique,
)
from resolvers.secrets import IS_A_MASK, Secret, SecretOrMask, is_mask

HEADER_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"  # RFC 9110, 5.6.2
OURS: Final = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-length", "content-type", "host",
        "keep-alive", "last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version",
        "mcp-session-id", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""What the protocol itself sends."""


def _header_name(value: str) -> str:
    if not re.fullmatch(HEADER_NAME[1:-1], value):
        raise ValueError("must be the name of a header, such as Authorization")
    if value.lower() in OURS or value.lower().startswith("mcp-param-"):
        raise ValueError("is sent by the protocol itself")
    return value


def _header_value(value: str) -> str:
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError("must be printable ASCII, without spaces around it")
    return value


def _named_once(value: dict[str, Any]) -> dict[str, Any]:
    if len({name.lower() for name in value}) < len(value):
        raise ValueError("names a header twice")
    return value


HeaderName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    AfterValidator(_header_name),
    Field(json_schema_extra={"pattern": HEADER_NAME}),
]
HeaderValue = Annotated[Secret, AfterValidator(_header_value)]
_Bounds: Final = Field(max_length=20)
Headers = Annotated[dict[HeaderName, HeaderValue], _Bounds, AfterValidator(_named_once)]
ChangedHeaders = Annotated[
    dict[HeaderName, SecretOrMask | None], _Bounds, AfterValidator(_named_once)
]
Transport = Annotated[McpTransport, Strict(strict=False)]


class NewMcpServer(Input):
    """An MCP server to register; its tools are there once it has been discovered."""

    name: Name
    url: HttpAddress
    agent_id: KeyRef | None = None
    transport: Transport = McpTransport.STREAMABLE_HTTP
    headers: Headers = {}
    enabled: Flag = True


class McpServerChanges(Input):
    """What to change of an MCP server; what is absent stays. Headers merge name by name.

    A header that is null is removed.
    """

    name: Name = ABSENT
    url: HttpAddress = ABSENT
    agent_id: KeyRef | None = ABSENT
    transport: Transport = ABSENT
    headers: ChangedHeaders = ABSENT
    enabled: Flag = ABSENT


class McpServerFilter(All):
    """Which MCP servers."""

    agent_id: KeyRef | None = None
    enabled: Flag | None = None


@dataclass(frozen=True, kw_only=True)
class ShownMcpServer:
    """An MCP server as anybody may see it: masks for the values of its headers.

    ``error`` says what is wrong with it: its headers cannot be decrypted, or how the last
    discovery failed.
    """

    id: int
    name: str
    url: str
    agent_id: str | None
    transport: McpTransport
    headers: dict[str, str]
    enabled: bool
    error: str | None
    discovered_at: datetime | None
    created_at: datetime
    updated_at: datetime


async def list_mcp_servers(wanted: McpServerFilter) -> list[ShownMcpServer]:
    """MCP servers, oldest first; one that cannot be decrypted says so and spoils no other."""
    found = await page(McpServer.filter(**criteria(wanted)).order_by("id"), wanted)
    return [_shown(one) for one in found]


async def get_mcp_server(id: int) -> ShownMcpServer:
    """One MCP server, or NotFoundError."""
    return _shown(await find(McpServer, "MCP server", id))


async def mcp_servers_of(ids: list[int]) -> list[ShownMcpServer | None]:
    """MCP servers in the order of ``ids``; None: no such one."""
    return [None if one is None else _shown(one) for one in await each(McpServer, ids)]


async def tools_of_mcp_servers(keys: list[tuple[int, int, int]]) -> list[list[ToolDefinition]]:
    """Of each (MCP server's id, limit, offset) that page of its tools, oldest first."""
    return await pages(ToolDefinition, "mcp_server_id", keys, newest_first=False)


async def create_mcp_server(new: NewMcpServer) -> ShownMcpServer:
    """Register an MCP server. It is not asked anything yet.

    Raises:
        NotConfiguredError: there are headers, and no ENCRYPTION_KEY; nothing is stored.
        InvalidInputError: the agent does not exist, or ``url`` is an inner address.
        ConflictError: the name is taken.
    """
    settings = runtime().settings
    vault = Vault(settings.encryption_key)
    if new.headers:
        vault.check()
    check_reach(settings, new.url, field="url")
    with unique(f"MCP server {new.name!r} already exists"):
        async with transaction():
            await _check_agent(new.agent_id)
            number = await _next_id()
            one = await McpServer.create(
                id=number,
                slug=await _free_slug(new.name, number),
                **new.model_dump(exclude={"headers"}),
                headers_encrypted=seal_headers(vault, number, new.headers),
            )
            await _record("created", one, after=as_given(one, NewMcpServer, without=SECRET))
    return _shown(one)


async def update_mcp_server(id: int, changes: McpServerChanges) -> ShownMcpServer:
    """Change an MCP server; a mask leaves the header that it stands for.

    Raises:
        NotFoundError: there is no such MCP server.
        InvalidInputError: as for creation; also if ``url`` leads to another host and not every
            header is given again, which would travel there.
        NotConfiguredError: a header is given, and there is no ENCRYPTION_KEY.
        ConflictError: another MCP server has the name.
    """
    settings = runtime().settings
    with unique("another MCP server already has this name"):
        async with transaction():
            # In this order: whoever deletes an agent holds its row before its servers'.
            await _check_agent(changes.agent_id)
            one = await lock(McpServer, "MCP server", id)
            if changes.url not in {None, one.url}:
                check_reach(settings, changes.url, field="url")
            plain = changes.model_dump(exclude={"headers"}, exclude_unset=True)
            moved = plain.get("url", one.url) != one.url
            columns = {**plain, **_headers(Vault(settings.encryption_key), one, changes)}
            if moved or plain.get("transport", one.transport) != one.transport:
                columns |= {"endpoint": None, "error": None}  # what was found out is of the old one
            await _write(one, columns)
    return _shown(one)


async def delete_mcp_server(id: int) -> None:
    """Delete an MCP server with its headers and tools, or NotFoundError; history stays."""
    if not 0 < id <= LARGEST_ID:
        raise NotFoundError("MCP server", id)
    async with transaction():
        one = await lock(McpServer, "MCP server", id)
        gone = await rows("DELETE FROM tool_definition WHERE mcp_server_id = $1 RETURNING name", id)
        await one.delete()
        before = as_given(one, NewMcpServer, without=SECRET)
        along = {"tools": sorted(tool["name"] for tool in gone)}
        await _record("deleted", one, before=before, along=along)


async def _check_agent(agent_id: str | None) -> None:
    """Hold the agent until the transaction ends."""
    if agent_id is not None and not await row(
        "SELECT 1 FROM agent WHERE id = $1 FOR KEY SHARE", agent_id
    ):
        raise InvalidInputError("agent_id", f"agent {agent_id!r} does not exist")


async def _next_id() -> int:
    """The id of the row to come: its ciphertext is bound to it."""
    told = await row("SELECT nextval(pg_get_serial_sequence('mcp_server', 'id')) AS id")
    assert told is not None  # noqa: S101 - a sequence always has a next value
    return int(told["id"])


SLUG_LOCK: Final = 0x4145_4D43  # "AEMC": two servers at once do not choose one slug


async def _free_slug(name: str, id: int) -> str:
    """The server's part of its tools' names; the id is in it where another has the plain one."""
    await rows("SELECT pg_advisory_xact_lock($1)", SLUG_LOCK)
    slug, number = slug_of(name), id
    while await row("SELECT 1 FROM mcp_server WHERE slug = $1", slug) is not None:
        slug, number = other_slug(name, number), number + 1  # another may be called "docs 7"
    return slug


def _headers(vault: Vault, one: McpServer, changes: McpServerChanges) -> dict[str, Any]:
    """The column of the headers, if it changes."""
    sent = changes.headers if "headers" in changes.model_fields_set else {}
    is_moving = _origin(changes.url or one.url) != _origin(one.url)
    if not sent and not is_moving:
        return {}
    stored: dict[str, str] | None = None
    try:
        stored = open_headers(vault, one.id, one.headers_encrypted)
    except NotConfiguredError:  # whoever gives new ones may: they replace what nobody can read
        if is_moving and not any(value and not is_mask(value) for value in sent.values()):
            raise InvalidInputError("headers", _AGAIN) from None
    merged = _merged(stored or {}, sent, is_moving=is_moving)
    if merged == stored or (stored is None and merged == {} and None not in sent.values()):
        return {}
    return {HEADERS_COLUMN: seal_headers(vault, one.id, merged)}


def _origin(url: str) -> tuple[str, str, int | None]:
    """What its headers are for."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or usual.get(parts.scheme)


_AGAIN: Final = "must be given again, since url leads to another host"


def _merged(
    known: Mapping[str, str], sent: Mapping[str, str | None], *, is_moving: bool
) -> dict[str, str]:
    """The headers after a change; their names know no case."""
    spelled = {name.lower(): name for name in known}
    given: dict[str, str | None] = {}
    for name, value in sent.items():
        before = spelled.get(name.lower())
        if value is not None and is_mask(value):
            if before is None:
                raise InvalidInputError(f"headers.{name}", IS_A_MASK)
            continue
        if value is not None:
            try:
                _header_value(value)
            except ValueError as error:
                raise InvalidInputError(f"headers.{name}", str(error)) from None
        given[name.lower()] = value
        spelled[name.lower()] = name
    if is_moving:
        for name in known:
            if name.lower() not in given:
                raise InvalidInputError(f"headers.{name}", _AGAIN)
    values = {name.lower(): value for name, value in known.items()} | given
    return {spelled[name]: value for name, value in values.items() if value is not None}


_WIRE_NAMES: Final = {HEADERS_COLUMN: "headers"}
SECRET: Final = frozenset({"headers"})
FOUND_OUT: Final = frozenset({"endpoint", "error"})
"""Columns that nobody sets; they go with the address."""


async def _write(one: McpServer, columns: Mapping[str, Any]) -> None:
    """Write what differs, and the audit entry of it."""
    changed = [name for name, value in columns.items() if getattr(one, name) != value]
    if not changed:
        return
    shown = {name: columns[name] for name in changed if name not in FOUND_OUT}
    told = differences(one, shown, _WIRE_NAMES, secret=frozenset({HEADERS_COLUMN}))
    for name in changed:
        setattr(one, name, columns[name])
    await one.save(update_fields=[*changed, "updated_at"])
    await _record("updated", one, **told)


def _shown(one: McpServer) -> ShownMcpServer:
    headers: dict[str, str] = {}
    error = one.error
    try:
        vault = Vault(runtime().settings.encryption_key)
        opened = open_headers(vault, one.id, one.headers_encrypted)
        headers = {name: mask(value) for name, value in opened.items()}
    except NotConfiguredError as failed:
        error = f"its headers cannot be decrypted: {failed}"
    return ShownMcpServer(
        id=one.id,
        name=one.name,
        url=one.url,
        agent_id=one.agent_id,
        transport=one.transport,
        headers=headers,
        enabled=one.enabled,
        error=error,
        discovered_at=one.discovered_at,
        created_at=one.created_at,
        updated_at=one.updated_at,
    )


async def _record(what: str, one: McpServer, **detail: Any) -> None:
    await audit.record(
        f"mcp_server.{what}",
        agent_id=one.agent_id,
        caller="api",
        detail={"mcp_server_id": one.id, "name": one.name, **detail},
    )
