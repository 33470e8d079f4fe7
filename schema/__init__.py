"""The GraphQL door: queries, mutations and subscriptions of all resources as one schema."""

from pathlib import Path
from typing import Final

import strawberry

from schema import (
    agents,
    approvals,
    audit,
    deliveries,
    enums,
    executions,
    integrations,
    live,
    llm,
    mappings,
    mcp_servers,
    memory,
    monitoring,
    polling,
    projects,
    seeding,
    simulations,
    streams,
    tasks,
    tools,
    usage,
    watchdog,
)
from schema.core import Schema, make_schema
from schema.limits import LIMITS_TEXT

QUERIES: Final[tuple[type, ...]] = (
    monitoring.Query,
    agents.Query,
    audit.Query,
    projects.Query,
    tasks.Query,
    mappings.Query,
    deliveries.Query,
    simulations.Query,
    executions.Query,
    approvals.Query,
    tools.Query,
    mcp_servers.Query,
    usage.Query,
    memory.Query,
    integrations.Query,
    polling.Query,
    watchdog.Query,
    live.Query,
)
MUTATIONS: Final[tuple[type, ...]] = (
    agents.Mutation,
    projects.Mutation,
    tasks.Mutation,
    mappings.Mutation,
    deliveries.Mutation,
    simulations.Mutation,
    executions.Mutation,
    approvals.Mutation,
    tools.Mutation,
    mcp_servers.Mutation,
    memory.Mutation,
    llm.Mutation,
    integrations.Mutation,
    polling.Mutation,
    seeding.Mutation,
)
SUBSCRIPTIONS: Final[tuple[type, ...]] = (
    live.Subscription,
    streams.Subscription,
    llm.Subscription,
)

SDL_PATH: Final = Path(__file__).with_name("schema.graphql")
"""The printed schema, kept in the repository so that a change of the contract is seen."""


def _root(name: str, parts: tuple[type, ...], description: str) -> type | None:
    """One root type of the parts' fields, in their order."""
    if not parts:
        return None
    merged = type(name, parts, {})
    return strawberry.type(merged, description=description)


def build_schema() -> Schema:
    """The whole schema; a process needs one."""
    query = _root("Query", QUERIES, f"What can be read. {LIMITS_TEXT}")
    assert query is not None  # noqa: S101 - health is always there
    made = make_schema(
        query,
        _root("Mutation", MUTATIONS, "What can be changed."),
        _root("Subscription", SUBSCRIPTIONS, "What can be followed, as it happens."),
        types=streams.STREAM_TYPES,
    )
    enums.describe(made._schema)  # noqa: SLF001 # Strawberry has no other way to it
    return made


def print_sdl() -> str:
    """The schema in GraphQL's own language, as ``SDL_PATH`` holds it."""
    return build_schema().as_str() + "\n"
