"""The REST door: every endpoint of the reference, as one table."""

from functools import cache
from typing import Final

from starlette.middleware import Middleware
from starlette.routing import Route

from aether.config import Settings
from rest_compat import (
    agents,
    approvals,
    audit,
    deliveries,
    executions,
    integrations,
    llm,
    mappings,
    mcp_servers,
    memory,
    monitoring,
    openapi,
    pages,
    polling,
    projects,
    simulations,
    tasks,
    tools,
    usage,
    watchdog,
)
from rest_compat.errors import LastResort, exception_handlers
from rest_compat.guard import Guard
from rest_compat.op import Op, routes

OPS: Final[tuple[Op, ...]] = (
    *monitoring.OPS,
    *agents.OPS,
    *audit.OPS,
    *projects.OPS,
    *tasks.OPS,
    *mappings.OPS,
    *deliveries.OPS,
    *simulations.OPS,
    *executions.OPS,
    *approvals.OPS,
    *tools.OPS,
    *mcp_servers.OPS,
    *usage.OPS,
    *memory.OPS,
    *llm.OPS,
    *integrations.OPS,
    *polling.OPS,
    *watchdog.OPS,
)

__all__ = ["OPS", "exception_handlers", "middleware", "rest_routes"]


def rest_routes() -> list[Route]:
    """All routes and pages. Give them to an application with ``redirect_slashes = False``."""
    return [*routes((*OPS, _document())), *pages.ROUTES]


@cache
def _document() -> Op:
    """Made once a process: it takes a tenth of a second, and the tests make many applications."""
    return openapi.operation(OPS)


def middleware(settings: Settings) -> list[Middleware]:
    """What stands before every route of the web process, GraphQL's too; outermost first."""
    return [Middleware(LastResort), Middleware(Guard, settings=settings)]
