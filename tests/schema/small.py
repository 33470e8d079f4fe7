"""A small schema with a field for each thing that the door has to cope with."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import strawberry
from strawberry.permission import BasePermission

from aether.errors import ConflictError
from aether.vocabulary import AgentRole
from schema import rows
from schema.context import Info
from schema.core import Schema, make_schema
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset
from schema.scalars import BigInt

strawberry.enum(AgentRole)

ONE = BigInt(1)
SECRET = "password is hunter2"


@dataclass
class Calls:
    """What was run, to show that a refusal ran nothing."""

    resolved: int = 0
    batches: list[list[int]] = field(default_factory=list)
    closed: int = 0


calls = Calls()


@dataclass
class Row:
    id: int
    name: str = "Sarah"
    role: AgentRole = AgentRole.PM
    tokens: int = 3_000_000_000
    settings: dict[str, Any] = field(default_factory=lambda: {"a": [1, None]})
    labels: list[str] = field(default_factory=lambda: ["x", "y"])
    created_at: datetime = datetime(2026, 2, 18, 10, 0, 0, 999_999, UTC)
    note: str | None = None
    guarded: str = "guarded"


class Never(BasePermission):
    message = "not for you"
    error_extensions = {"code": "FORBIDDEN"}

    def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        return False


async def doubles_of(ids: list[int]) -> list[int]:
    calls.batches.append(list(ids))
    return [2 * one for one in ids]


async def row_later(number: int) -> Row:
    return Row(id=number)


@strawberry.type
class Agent:
    id: strawberry.ID
    name: str
    role: AgentRole
    tokens: BigInt
    settings: dict[str, Any]
    labels: list[str]
    created_at: datetime
    note: str | None
    guarded: str | None = strawberry.field(permission_classes=[Never])

    @strawberry.field
    async def double(self, info: Info) -> int:
        return await info.context.loaders.load(doubles_of, int(self.id))

    @strawberry.field
    def shout(self) -> str:
        return self.name.upper()

    @strawberry.field
    def team(self, limit: Limit = DEFAULT_PAGE) -> list["Agent"]:
        return rows.many(Agent, [Row(id=one) for one in range(min(limit, 2))])

    @strawberry.field
    def friends(self) -> list["Agent"]:
        return []


@strawberry.type
class Broken:
    """Rows that the schema does not allow, one way each."""

    required: str
    listed: list[str]
    moment: datetime | None
    name: str


@dataclass
class BrokenRow:
    required: Any = "here"
    listed: Any = field(default_factory=list)
    moment: Any = None
    name: str = "broken"


@strawberry.type
class Query:
    @strawberry.field
    async def agents(self, limit: Limit = DEFAULT_PAGE, offset: Offset = 0) -> list[Agent]:
        calls.resolved += 1
        return rows.many(Agent, [Row(id=offset + one) for one in range(min(limit, 5))])

    @strawberry.field
    async def agent(self, id: strawberry.ID) -> Agent | None:
        calls.resolved += 1
        return rows.one(Agent, Row(id=int(id)))

    @strawberry.field
    def broken(self, how: str) -> Broken | None:
        row = BrokenRow()
        values = {"required": None, "listed": ["a", None], "moment": "yesterday"}
        setattr(row, how, values[how])
        return rows.one(Broken, row)

    @strawberry.field
    async def bug(self) -> str | None:
        raise RuntimeError(SECRET)

    @strawberry.field
    async def conflict(self) -> str | None:
        raise ConflictError("agent 'pm_sarah' already exists")

    @strawberry.field
    def later(self) -> list[Agent]:
        return [cast("Agent", row_later(number)) for number in range(2)]

    @strawberry.field
    def echo(self, value: dict[str, Any]) -> dict[str, Any]:
        calls.resolved += 1
        return value

    @strawberry.field
    def after(self, moment: datetime, number: BigInt = ONE) -> str:
        return f"{moment.isoformat()} {number}"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def agent_create(self, name: str) -> Agent | None:
        calls.resolved += 1
        return rows.one(Agent, Row(id=1, name=name))


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self, to: int) -> AsyncIterator[int]:
        try:
            for one in range(to):
                yield one
        finally:
            calls.closed += 1

    @strawberry.subscription
    async def breaks(self) -> AsyncIterator[int]:
        yield 1
        raise RuntimeError(SECRET)


def small_schema() -> Schema:
    return make_schema(Query, Mutation, Subscription)
