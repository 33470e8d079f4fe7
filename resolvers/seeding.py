"""Seeds: create what is missing from the YAML files, skip what exists."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import seeding
from aether import audit
from aether.db import rows, transaction
from aether.errors import NotFoundError

SEED_LOCK: Final = 0x4145_5344  # "AESD": two seeds at once wait for each other, none fails


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """How many rows a seed made, and how many were there already."""

    created: int
    skipped: int


@dataclass(frozen=True, kw_only=True)
class _Target:
    """Where a seed's rows go. ``columns``: column to (type, key in the YAML, default).

    ``named_by``: the columns that tell people which row it is.
    """

    table: str
    named_by: tuple[str, ...]
    columns: Mapping[str, tuple[str, str, Any]]
    has_times: bool = True  # created_at and updated_at; else created_at alone


_TARGETS: Final[Mapping[str, _Target]] = {
    "agents": _Target(
        table="agent",
        named_by=("id",),
        columns={
            "id": ("text", "id", None),
            "name": ("text", "name", None),
            "role": ("text", "role_id", None),
            "description": ("text", "description", None),
            "prompt": ("text", "prompt", None),
            "context": ("text", "context", None),
            "identity": ("text", "identity", None),
            "responsibilities": ("jsonb", "responsibilities", []),
            "constraints": ("jsonb", "constraints", []),
            "communication_style": ("text", "communication_style", None),
            "model": ("text", "model", None),
            "tools": ("jsonb", "tools", None),
            "enabled": ("boolean", "enabled", True),
        },
    ),
    "capabilities": _Target(
        table="agent_capability",
        named_by=("agent_id", "capability"),
        columns={
            "agent_id": ("text", "agent_id", None),
            "capability": ("text", "capability", None),
        },
        has_times=False,
    ),
    "tasks": _Target(
        table="task_definition",
        named_by=("id",),
        columns={
            "id": ("text", "id", None),
            "name": ("text", "name", None),
            "description": ("text", "description", None),
            "actor_id": ("text", "actor_id", None),
            "fallback_prompt": ("text", "actor_fallback", None),
            "required_capabilities": ("jsonb", "required_capabilities", []),
            "tools": ("jsonb", "tools", None),
            "tool_reach": ("text", "tool_reach", "item"),
            "memory_scopes": ("jsonb", "memory_scopes", ["task", "project"]),
            "max_tool_rounds": ("integer", "max_tool_rounds", None),
            "timeout_seconds": ("integer", "timeout_seconds", None),
            "enabled": ("boolean", "enabled", True),
        },
    ),
    "trigger_task_mappings": _Target(
        table="trigger_task_mapping",
        named_by=("canonical_trigger", "task_id"),
        columns={
            "canonical_trigger": ("text", "canonical_trigger", None),
            "task_id": ("text", "task_id", None),
            "condition": ("text", "condition", None),
            "min_association": ("text", "min_association", None),
        },
        has_times=False,
    ),
    "source_event_mappings": _Target(
        table="source_event_mapping",
        named_by=("source", "event_name", "action"),
        columns={
            "source": ("text", "source", None),
            "event_name": ("text", "event_name", None),
            "action": ("text", "action", None),
            "canonical_trigger": ("text", "canonical_trigger", None),
        },
        has_times=False,
    ),
    "webhook_mappings": _Target(
        table="webhook_mapping",
        named_by=("source", "event_type", "canonical_trigger"),
        columns={
            "source": ("text", "source", None),
            "event_type": ("text", "event_type", None),
            "jq_filter": ("text", "jq_filter", None),
            "canonical_trigger": ("text", "canonical_trigger", None),
            "name": ("text", "name", None),
            "slug": ("text", "slug", None),
            "extract": ("jsonb", "extract", {}),
            "enabled": ("boolean", "enabled", True),
        },
    ),
    "tools": _Target(
        table="tool_definition",
        named_by=("name",),
        columns={
            "name": ("text", "name", None),
            "description": ("text", "description", ""),
            "category": ("text", "category", None),
            "effect": ("text", "effect", "reads"),
            "parameters": ("jsonb", "parameters", {}),
            "enabled": ("boolean", "enabled", True),
        },
    ),
}


async def seed(name: str) -> Seeded:
    """Create what is missing of one seed; may be repeated, and called twice at once.

    Raises:
        NotFoundError: there is no such seed.
    """
    target = _TARGETS.get(name)
    if target is None:
        raise NotFoundError("seed", name)
    wanted = _values(target, name)
    async with transaction():
        await rows("SELECT pg_advisory_xact_lock($1)", SEED_LOCK)
        created = await rows(_statement(target), json.dumps(wanted))
        seeded = Seeded(created=len(created), skipped=len(wanted) - len(created))
        await audit.record(
            "seeded",
            caller="api",
            detail={
                "seed": name,
                "created": seeded.created,
                "skipped": seeded.skipped,
                "rows": [one["made"] for one in created],
            },
        )
    return seeded


async def seed_all() -> dict[str, Seeded]:
    """Every seed, by its name."""
    return {name: await seed(name) for name in seeding.SEEDS}


def _values(target: _Target, name: str) -> list[dict[str, Any]]:
    """The YAML's rows by column. An unknown key is a mistake in the file.

    Raises:
        ValueError: names the file, the row and the key.
    """
    known = {key for _, key, _ in target.columns.values()}
    wanted = []
    for place, told in enumerate(seeding.load(name), start=1):
        unknown = sorted(set(told) - known)
        if unknown:
            raise ValueError(f"{name}.yaml, row {place}: unknown key {unknown[0]!r}")
        wanted.append(
            {
                column: default if told.get(key) is None else told[key]
                for column, (_, key, default) in target.columns.items()
            }
        )
    return wanted


def _statement(target: _Target) -> str:
    """One INSERT of all rows, in the file's order; a row whose key exists is left out."""
    names = ", ".join(target.columns)
    types = ", ".join(f"{column} {kind}" for column, (kind, _, _) in target.columns.items())
    picked = ", ".join(
        f"CASE WHEN told.{column} = 'null'::jsonb THEN NULL ELSE told.{column} END"
        if kind == "jsonb"
        else f"told.{column}"
        for column, (kind, _, _) in target.columns.items()
    )
    times = ("created_at", "updated_at") if target.has_times else ("created_at",)
    moments = ", ".join("now() + told.place * interval '1 microsecond'" for _ in times)
    return f"""
        INSERT INTO {target.table} ({names}, {", ".join(times)})
        SELECT {picked}, {moments}
        FROM ROWS FROM (jsonb_to_recordset($1::jsonb) AS ({types})) WITH ORDINALITY
          AS told({names}, place)
        ORDER BY told.place
        ON CONFLICT DO NOTHING
        RETURNING concat_ws(' ', {", ".join(target.named_by)}) AS made"""  # noqa: S608 # our own names of tables and columns
