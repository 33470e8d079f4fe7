"""A small table of endpoints that only the tests have, over a dictionary."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import Field, SecretStr
from starlette.applications import Starlette

from aether.config import Settings
from aether.errors import ConflictError, NotFoundError, UpstreamError
from aether.vocabulary import AgentRole
from resolvers.fields import (
    ABSENT,
    HttpAddress,
    Input,
    JsonObject,
    Moment,
    Name,
    OptionalText,
    Page,
    Role,
    SnakeId,
    Source,
    Text,
    Whole,
)
from rest_compat import exception_handlers, middleware
from rest_compat.op import Call, Op, Reply, int_id, routes
from rest_compat.shapes import DELETED_BY_NAME, SEEDED, Shape

CREATED: Final = datetime(2026, 2, 18, 10, 0, 0, 999_999, tzinfo=UTC)


class NewThing(Input):
    id: SnakeId
    name: Name
    role: Role = Field(alias="role_id")
    prompt: OptionalText = None
    weight: Whole = 0
    address: HttpAddress | None = None
    credentials: dict[str, Text] = Field(default_factory=dict)
    parameters: JsonObject = Field(default_factory=dict)


class ThingChanges(Input):
    name: Name = ABSENT
    role: Role = Field(default_factory=lambda: AgentRole.PM, alias="role_id")
    parameters: JsonObject = ABSENT
    prompt: OptionalText = ABSENT
    weight: Whole = ABSENT


class ThingFilter(Page):
    source: Source | None = None
    since: Moment | None = None


@dataclass
class Row:
    id: str
    name: str
    role: str
    prompt: str | None
    weight: int
    parameters: dict[str, Any]
    created_at: datetime = CREATED
    credentials: dict[str, str] = field(default_factory=dict)


def masked(row: Row) -> dict[str, str]:
    return dict.fromkeys(row.credentials, "••••")


THING: Final = Shape(
    "Thing",
    id=str,
    name=str,
    role_id=("role", str),
    prompt=str | None,
    weight=int,
    parameters=dict[str, Any],
    credentials=(masked, dict[str, str]),
    created_at=datetime,
)


class DriverError(Exception):
    """As a database driver would raise."""


ROWS: Final[dict[str, Row]] = {}
SEEN: Final[list[Any]] = []


def row(key: str) -> Row:
    if key not in ROWS:
        raise NotFoundError("thing", key)
    return ROWS[key]


async def list_things(call: Call) -> Any:
    SEEN.append(call.query)
    return list(ROWS.values())[call.query.offset :][: call.query.limit]


async def get_thing(call: Call) -> Any:
    return row(call.path["id"])


async def create_thing(call: Call) -> Any:
    values = call.body.model_dump(exclude={"address"})
    if values["id"] in ROWS:
        raise ConflictError(f"thing {values['id']!r} already exists")
    ROWS[values["id"]] = Row(**values)
    return ROWS[values["id"]]


async def update_thing(call: Call) -> Any:
    found = row(call.path["id"])
    for name, value in call.body.model_dump(exclude_unset=True).items():
        setattr(found, name, value)
    return found


async def delete_thing(call: Call) -> Any:
    row(call.path["id"])
    del ROWS[call.path["id"]]
    return {"deleted": call.path["id"]}


async def seed_things(_: Call) -> Any:
    return {"created": 1, "skipped": 0}


async def get_number(call: Call) -> Any:
    return {"id": int_id(call, "id", "number")}


async def get_note(call: Call) -> Any:
    return {"key": call.path["key"]}


async def delete_note(_: Call) -> Any:
    return None


class Which(Input):
    which: Name = "all"


async def discover(call: Call) -> Any:
    return Reply(202, {"which": call.body.which})


async def fail(call: Call) -> Any:
    match call.path["how"]:
        case "bug":
            raise RuntimeError("password is hunter2")
        case "driver":
            raise DriverError("connection refused")
        case "upstream":
            raise UpstreamError("the tracker answered 429", status=429, retry_after=2.5)
        case "secret":
            return {"token": SecretStr("hunter2")}
        case "huge":
            return {"n": 2**70, "at": CREATED}
    return None


def _op(method: Any, path: str, handler: Any, **told: Any) -> Op:
    summary = handler.__name__.replace("_", " ")
    return Op(method=method, path=path, handler=handler, summary=summary, tag="Things", **told)


OPS: Final = (
    _op("GET", "/api/things/{id}", get_thing, out=THING),
    _op("PUT", "/api/things/{id}", update_thing, body=ThingChanges, out=THING,
        ignored=("credentials",)),
    _op("DELETE", "/api/things/{id}", delete_thing, out=DELETED_BY_NAME),
    _op("POST", "/api/things/seed", seed_things, out=SEEDED),
    _op("GET", "/api/things", list_things, query=ThingFilter, out=[THING]),
    _op(
        "POST", "/api/things", create_thing, body=NewThing, out=THING, status=201, errors=(409,),
        example={"id": "a", "name": "A", "role_id": "pm"},
    ),
    _op("GET", "/api/numbers/{id}", get_number),
    _op("GET", "/api/notes/{key:path}", get_note),
    _op("DELETE", "/api/notes/{key:path}", delete_note, status=204),
    _op("POST", "/api/discover", discover, body=Which, body_optional=True),
    _op("GET", "/api/fail/{how}", fail),
)  # fmt: skip


def application(settings: Settings | None = None, ops: Sequence[Op] = OPS) -> Starlette:
    """The web process as the composition root builds it, around other endpoints."""
    app = Starlette(
        routes=routes(ops),
        middleware=middleware(settings or Settings.from_environment({})),
        exception_handlers=exception_handlers((DriverError,)),
    )
    app.router.redirect_slashes = False
    return app
