"""One table row an endpoint: it makes the route, the validation and the OpenAPI document."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from aether.errors import InvalidInputError
from resolvers.fields import Input, read, read_id, read_strings
from rest_compat.shapes import Out, Shape, shaped, to_json
from rest_compat.wire import body_of, json_object, query_strings

Method = Literal["GET", "POST", "PUT", "DELETE"]


READ_ONLY: Final = frozenset({"id", "created_at", "updated_at"})


class Anything(BaseModel):
    """A query that nobody reads: whatever is in it is let through."""

    model_config = ConfigDict(extra="ignore")


class _Nothing(Input):
    """The query of an endpoint that has none."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, validated. ``body`` and ``query`` are of the types that the row names."""

    path: Mapping[str, str]
    body: Any = None
    query: Any = None
    request: Request

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case, values decoded as latin-1."""
        return self.request.headers


@dataclass(frozen=True)
class Reply:
    """An answer with a status other than the row's."""

    status: int
    value: Any


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class _Row:
    summary: str
    body: type[BaseModel] | None = None
    body_optional: bool = False  # no body at all counts as {}
    query: type[BaseModel] | None = None
    out: Out = None
    status: int = 200
    errors: Sequence[int] = ()  # beyond those that follow from the row itself
    tag: str
    ignored: Sequence[str] = ()  # fields that are accepted and not read
    example: Any = None  # a request body
    answer: Any = None  # an answer
    also: Mapping[str, Any] = field(default_factory=dict)  # the answer in other media types
    extra: Mapping[str, Any] = field(default_factory=dict)  # merged into the document's operation


@dataclass(frozen=True)
class Op(_Row):
    """An endpoint. ``path`` is in Starlette's form: ``/api/agents/{id}``.

    The handler's result is encoded as ``out`` says; a ``Reply`` brings its own status, a
    Starlette response (a stream) goes out as it is. Of what ``out`` shows, ``READ_ONLY`` fields
    that ``body`` does not take, and those in ``ignored``, are dropped when they are sent back.
    """

    method: Method
    path: str
    handler: Handler

    @cached_property
    def dropped(self) -> frozenset[str]:
        """Fields of a body that are taken off before it is validated."""
        if self.body is None:
            return frozenset()
        shown = READ_ONLY & set(self.out.types if isinstance(self.out, Shape) else ())
        taken = {info.alias or name for name, info in self.body.model_fields.items()}
        return frozenset({*shown, *self.ignored} - taken)

    async def respond(self, request: Request) -> Response:
        """Validate, call the handler, encode."""
        path = request.path_params
        if any("\0" in value for value in path.values()):
            raise HTTPException(404)  # no id holds what cannot be stored
        query = None
        if self.query is not Anything:
            query = read_strings(self.query or _Nothing, query_strings(request))
        body = await self._body(request)
        result = await self.handler(Call(path=path, body=body, query=query, request=request))
        if isinstance(result, Response):
            return result
        status = self.status
        if isinstance(result, Reply):
            status, result = result.status, result.value
        if status == 204:
            return Response(status_code=204)
        content = to_json(shaped(self.out, result))
        return Response(content, status_code=status, media_type="application/json")

    async def _body(self, request: Request) -> BaseModel | None:
        if self.body is None:
            return None
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise InvalidInputError("content-encoding", "send the body as it is")
        async with body_of(request) as raw:
            if not raw.strip() and self.body_optional:
                return read(self.body, {})
            told = json_object(raw, request.headers.get("content-type"))
        return read(self.body, {key: one for key, one in told.items() if key not in self.dropped})


def int_id(call: Call, name: str, noun: str) -> int:
    """The integer id in the path.

    Raises:
        NotFoundError: it is not a number, or beyond 64 bits: nothing can have it.
    """
    return read_id(noun, call.path[name])


def routes(ops: Iterable[Op]) -> list[Route]:
    """One route a path, in an order in which literal segments win over parameters.

    Raises:
        ValueError: two rows for one method and path.
    """
    by_path: dict[str, dict[str, Op]] = {}
    spelled: dict[str, str] = {}
    for op in ops:
        pattern = re.sub(r"{\w+", "{", op.path)
        if spelled.setdefault(pattern, op.path) != op.path:
            raise ValueError(f"{op.path} and {spelled[pattern]} are one path")
        methods = by_path.setdefault(op.path, {})
        if op.method in methods:
            raise ValueError(f"{op.method} {op.path} stands twice in the tables")
        methods[op.method] = op
    words = frozenset(path for path in by_path if "{" not in path)
    return [_route(path, by_path[path], words) for path in sorted(by_path, key=_precedence)]


def _precedence(path: str) -> tuple[bool, int, list[tuple[bool, str]]]:
    segments = path.strip("/").split("/")
    return ":path}" in path, len(segments), [(one.startswith("{"), one) for one in segments]


def _route(path: str, by_method: Mapping[str, Op], words: frozenset[str]) -> Route:
    # An agent's or a task's id may not be such a word, a memory's key may: DELETE
    # /api/tasks/triggers is no task's, GET /api/memory/search is a memory's.
    reserved = words if "{" in path and ":path}" not in path else frozenset()

    async def endpoint(request: Request) -> Response:
        asked = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if asked in reserved:
            raise HTTPException(405)
        method = "GET" if request.method == "HEAD" else request.method
        return await by_method[method].respond(request)

    return ExactRoute(path, endpoint, methods=list(by_method), name=path)


class ExactRoute(Route):
    """Starlette's route; its regular expression alone lets a line end after the path pass."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["path"].endswith("\n") and not self.path.endswith("}"):
            return Match.NONE, {}
        return super().matches(scope)
