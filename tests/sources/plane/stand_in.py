"""A strict Plane on loopback, of one of three ages: its REST API v1 over a board."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from aether.demo.faults import Door, Faults
from tests.sources.plane.hooks import SECRET, Age, Board
from tests.sources.plane.state import (
    BY_ID,
    GUEST,
    HELPER,
    OTHER_PROJECT,
    PROJECT,
    SLUG,
    STATES,
    Comment,
    Item,
    cleaned,
    comment_row,
    item_row,
    new_id,
)

TOKEN: Final = "plane_api_of_the_tests_0001"
MOST: Final = 100
_ITEM_FIELDS: Final = frozenset({
    "name", "description_html", "state", "labels", "assignees", "external_source", "external_id",
})  # fmt: skip
_NAMES: Final = {"name": "name", "description_html": "html"}


class RefusedError(Exception):
    def __init__(self, status: int, **body: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class PlaneStandIn(Board):
    """``url`` is to be set to where ``door`` is served."""

    def __init__(self, age: Age = Age.V1) -> None:
        super().__init__(age)
        self.url = ""
        self.page = MOST
        self.may_make_labels = self.has_activities = True
        self.words: tuple[str, ...] = ("work-items", "issues")[age is Age.OLD :]
        self.ignored: set[str] = set()  # query parameters that it was sent and does not know
        self.faults = Faults()
        self._app = Starlette(routes=self._routes())
        self.door = Door(self._serve, self.faults)

    @property
    def asked(self) -> list[str]:
        root = f"/api/v1/workspaces/{SLUG}"
        return [f"{one.method} {one.path.removeprefix(root)}" for one in self.door.calls]

    def environment(self) -> dict[str, str]:
        """What Aether has to be told to speak to it."""
        return {
            "PLANE_URL": self.url, "PLANE_API_KEY": TOKEN, "PLANE_WORKSPACE": SLUG,
            "PLANE_WEBHOOK_SECRET": SECRET,
        }  # fmt: skip

    def know(self, *words: str) -> None:
        """Answer under these words for work items from now on."""
        self.words = words
        self._app = Starlette(routes=self._routes())

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _routes(self) -> list[Route]:
        root = "/api/v1/workspaces/{slug}"
        project = f"{root}/projects/{{project:uuid}}"
        told: list[tuple[str, str, Callable[[Request], Awaitable[Any]]]] = [
            ("GET", "/api/v1/users/me/", self._me),
            ("GET", f"{root}/projects/", self._projects),
            ("GET", f"{root}/members/", self._members),
            ("GET", f"{project}/states/", self._states),
            ("GET", f"{project}/labels/", self._labels),
            ("POST", f"{project}/labels/", self._make_label),
        ]
        if self.age is not Age.OLD:
            told.append(("GET", f"{project}/members/", self._members))
        for word in self.words:
            items = f"{project}/{word}"
            told += [
                ("GET", f"{root}/{word}/search/", self._search),
                ("GET", f"{root}/{word}/{{key}}/", self._by_key),
                ("GET", f"{items}/", self._list),
                ("POST", f"{items}/", self._create),
                ("GET", f"{items}/{{id:uuid}}/", self._get),
                ("PATCH", f"{items}/{{id:uuid}}/", self._patch),
                ("GET", f"{items}/{{id:uuid}}/comments/", self._comments),
                ("POST", f"{items}/{{id:uuid}}/comments/", self._comment),
                ("PATCH", f"{items}/{{id:uuid}}/comments/{{comment:uuid}}/", self._edit),
                ("GET", f"{items}/{{id:uuid}}/activities/", self._activities),
            ]
        return [Route(path, self._endpoint(one), methods=[method]) for method, path, one in told]

    def _endpoint(self, handler: Callable[[Request], Awaitable[Any]]) -> Any:
        async def endpoint(request: Request) -> Response:
            if request.headers.get("x-api-key") != TOKEN:
                # DRF's, where an authentication names no scheme
                return _json({"detail": "Given API token is not valid"}, 403)
            slug = request.path_params.get("slug", SLUG)
            if slug != SLUG:
                return _json({"detail": "You do not have permission to perform this action."}, 403)
            try:
                told = await handler(request)
            except RefusedError as error:
                return _json(error.body, error.status)
            return _json(told, 201 if request.method == "POST" else 200)

        return endpoint

    async def _me(self, _: Request) -> Any:
        return HELPER.lite()

    async def _members(self, _: Request) -> Any:
        return [one.lite() | {"role": 5 if one is GUEST else 20} for one in self.people]

    async def _projects(self, request: Request) -> Any:
        found = [(OTHER_PROJECT, "OTHER"), (PROJECT, "PROJ")]
        return self._paged(request, [
            {"id": one, "identifier": name, "name": name.title()} for one, name in found
        ])  # fmt: skip

    async def _states(self, request: Request) -> Any:
        rows = [one.lite() | {"sequence": one.sequence, "default": one.default} for one in STATES]
        return self._paged(request, rows)

    async def _labels(self, request: Request) -> Any:
        rows = [{"id": one, "name": name} for one, name in self.labels.items()]
        return self._paged(request, rows)

    async def _make_label(self, request: Request) -> Any:
        told = await request.json()
        if not self.may_make_labels:
            raise RefusedError(403, error="You do not have permission to perform this action")
        if set(told) != {"name"} or told["name"] in self.labels.values():
            raise RefusedError(409, error="Label with the same name already exists in the project")
        identity = self.label(told["name"])
        return {"id": identity, "name": told["name"]}

    def _paged(self, request: Request, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """An offset pretending to be a cursor, as Plane's is."""
        size = min(int(request.query_params.get("per_page", MOST)), self.page)
        value, page, _ = request.query_params.get("cursor", f"{size}:0:0").split(":")
        start = int(value) * int(page)
        kept = rows[start : start + size]
        has_more = start + size < len(rows)
        return {
            "grouped_by": None, "sub_grouped_by": None, "total_count": len(rows),
            "next_cursor": f"{size}:{int(page) + 1}:0", "prev_cursor": f"{size}:{int(page) - 1}:1",
            "next_page_results": has_more, "prev_page_results": int(page) > 0,
            "count": len(kept), "total_pages": -(-len(rows) // size), "total_results": len(rows),
            "extra_stats": None, "results": kept,
        }  # fmt: skip

    def _found(self, request: Request) -> Item:
        item = self.items.get(str(request.path_params["id"]))
        if item is None or item.project != str(request.path_params["project"]):
            raise RefusedError(404, error="The requested resource does not exist.")
        return item

    def _told(self, item: Item, request: Request) -> dict[str, Any]:
        row = item_row(item)
        wanted = (
            request.query_params.get("expand", "").split(",") if self.age is not Age.OLD else []
        )
        wide = {
            "state": item.state.lite(),
            "labels": [{"id": one, "name": self.labels[one]} for one in item.labels],
            "assignees": [self.person(one) for one in item.assignees],
            "created_by": item.by.lite(),
            "project": {"id": item.project, "identifier": "PROJ", "name": "Proj"},
        }  # fmt: skip
        return row | {name: one for name, one in wide.items() if name in wanted}

    async def _list(self, request: Request) -> Any:
        query = request.query_params
        known = {"order_by", "per_page", "cursor", "expand", "external_id", "external_source"}
        self.ignored |= set(query) - known
        mine = [
            one for one in self.items.values() if one.project == str(request.path_params["project"])
        ]
        if self.age is not Age.OLD and {"external_id", "external_source"} <= set(query):
            named = (query["external_source"], query["external_id"])
            found = [one for one in mine if one.external == named]
            if not found:
                raise RefusedError(404, error="The requested resource does not exist.")
            return self._told(found[0], request)
        order = query.get("order_by", "-created_at")
        names = {"created_at": "created", "updated_at": "updated"}
        mine.sort(key=lambda one: getattr(one, names[order.lstrip("-")]),
                  reverse=order.startswith("-"))  # fmt: skip
        return self._paged(request, [self._told(one, request) for one in mine])

    async def _create(self, request: Request) -> Any:
        told = await request.json()
        self._check(told)
        external = (told.get("external_source"), told.get("external_id"))
        taken = [one for one in self.items.values() if all(external) and one.external == external]
        if taken:
            raise RefusedError(
                409, id=taken[0].id,
                error="Issue with the same external id and external source already exists",
            )  # fmt: skip
        item = self.open(
            told["name"], HELPER, html=cleaned(told.get("description_html", "<p></p>")),
            labels=list(told.get("labels", [])), assignees=list(told.get("assignees", [])),
            external=external, project=str(request.path_params["project"]),
        )  # fmt: skip
        return self._told(item, request)

    async def _get(self, request: Request) -> Any:
        return self._told(self._found(request), request)

    async def _by_key(self, request: Request) -> Any:
        for one in self.items.values():
            if request.path_params["key"] == f"PROJ-{one.number}":
                return self._told(one, request)
        raise RefusedError(404, error="The requested resource does not exist.")

    async def _search(self, request: Request) -> Any:
        wanted = request.query_params["search"].casefold()
        return {"issues": [
            {"name": one.name, "id": one.id, "sequence_id": one.number,
             "project__identifier": "PROJ", "project_id": one.project, "workspace__slug": SLUG}
            for one in self.items.values() if wanted in one.name.casefold()
        ]}  # fmt: skip

    async def _patch(self, request: Request) -> Any:
        item, told = self._found(request), await request.json()
        self._check(told)
        fields: dict[str, Any] = {_NAMES.get(name, name): value for name, value in told.items()}
        if "html" in fields:
            fields["html"] = cleaned(fields["html"])
        if "state" in fields:
            fields["state"] = BY_ID[fields["state"]]
        if "assignees" in fields:
            fields["assignees"] = [one for one in fields["assignees"] if one != GUEST.id]
        self.change(item, HELPER, api=True, **fields)
        return self._told(item, request)

    def _check(self, told: Mapping[str, Any]) -> None:
        if unknown := set(told) - _ITEM_FIELDS:
            raise RefusedError(400, error=f"unknown: {min(unknown)}")
        name = told.get("name", "x")
        if not isinstance(name, str) or not 1 <= len(name) <= 255:
            raise RefusedError(400, name=["Ensure this field has no more than 255 characters."])
        if told.get("state", STATES[0].id) not in BY_ID:
            raise RefusedError(400, error="State is not valid please pass a valid state_id")
        people = {one.id for one in self.people}
        if (
            set(told.get("labels", ())) - set(self.labels)
            or set(told.get("assignees", ())) - people
        ):
            raise RefusedError(400, labels=["Invalid pk - object does not exist."])

    async def _comments(self, request: Request) -> Any:
        item = self._found(request)
        rows = [self._comment_told(item, one, request) for one in reversed(item.comments)]
        return rows if self.age is Age.OLD else self._paged(request, rows)

    def _comment_told(self, item: Item, one: Comment, request: Request) -> dict[str, Any]:
        row = comment_row(item, one)
        if "actor" in request.query_params.get("expand", "") and self.age is not Age.OLD:
            row["actor"] = one.by.lite()
        return row

    async def _comment(self, request: Request) -> Any:
        item, told = self._found(request), await request.json()
        self._check_comment(told)
        external = (told.get("external_source"), told.get("external_id"))
        if self.age is Age.OLD:
            external = (None, None)  # it knows no such fields of comments
        every = [one for each in self.items.values() for one in each.comments]
        taken = [one for one in every if all(external) and one.external == external]
        if taken:
            raise RefusedError(
                409, id=taken[0].id,
                error="Issue Comment with the same external id and external source already exists",
            )  # fmt: skip
        made = self.say(item, cleaned(told["comment_html"]), HELPER, external)
        return self._comment_told(item, made, request)

    async def _edit(self, request: Request) -> Any:
        item, told = self._found(request), await request.json()
        self._check_comment(told)
        wanted = str(request.path_params["comment"])
        found = [one for one in item.comments if one.id == wanted]
        if not found:
            raise RefusedError(404, error="The requested resource does not exist.")
        self.edit(item, found[0], cleaned(told["comment_html"]), HELPER)
        return self._comment_told(item, found[0], request)

    def _check_comment(self, told: Mapping[str, Any]) -> None:
        known = {"comment_html", "external_source", "external_id", "access"}
        html = told.get("comment_html")
        if set(told) - known or not isinstance(html, str) or not html.startswith("<"):
            raise RefusedError(400, error="html content is not valid")

    async def _activities(self, request: Request) -> Any:
        if not self.has_activities:
            raise RefusedError(404, error="Page not found.")
        return self._paged(request, self._found(request).history)


def _json(body: Any, status: int) -> Response:
    headers = {"x-ratelimit-remaining": "59", "x-ratelimit-reset": "4102444800"}
    return Response(json.dumps(body), status, headers, media_type="application/json")


__all__ = ["TOKEN", "PlaneStandIn", "RefusedError", "new_id"]
