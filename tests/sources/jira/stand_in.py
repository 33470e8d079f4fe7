"""A strict Jira on loopback, Cloud or Server: its REST API and its workflow over a site."""

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aether.demo.faults import Door, Faults
from tests.sources.jira import site_rules as rules
from tests.sources.jira.site import HELPER, SECRET, Site
from tests.sources.jira.site_rules import RefusedError
from tests.sources.jira.site_state import WORKFLOW, Comment, Issue, Person, Transition, wire

TOKEN: Final = "jira_token_of_the_tests_0001"


class JiraStandIn(Site):
    """``url`` is to be set to where ``door`` is served, with ``prefix`` behind it."""

    def __init__(self, *, is_cloud: bool, helper: Person = HELPER) -> None:
        super().__init__(is_cloud=is_cloud, helper=helper)
        self.prefix = "" if is_cloud else "/jira"
        self.version = 3 if is_cloud else 2
        self.workflow: tuple[Transition, ...] = WORKFLOW
        self.page = 50  # the most comments and issues that one answer holds
        self.pages_comments = True
        self.has_changelogs = self.searches_hold_changelogs = True
        self.told_zone = ""  # another zone than the account's own
        self.types = [{"id": "10100", "name": "Epic", "subtask": False, "hierarchyLevel": 1}]
        self.types += [{"id": "10002", "name": "Task", "subtask": False, "hierarchyLevel": 0}]
        self.faults = Faults()
        self.door = Door(Starlette(routes=self._routes()), self.faults)

    @property
    def asked(self) -> list[str]:
        """Every call so far: method and path below the API's root."""
        root = f"{self.prefix}/rest/api/{self.version}"
        return [f"{one.method} {one.path.removeprefix(root)}" for one in self.door.calls]

    @property
    def authorization(self) -> str:
        if self.is_cloud:
            pair = base64.b64encode(f"{self.helper.email}:{TOKEN}".encode()).decode()
            return f"Basic {pair}"
        return f"Bearer {TOKEN}"

    def environment(self) -> dict[str, str]:
        """What Aether has to be told to speak to this site."""
        told = {
            "JIRA_URL": self.url, "JIRA_API_TOKEN": TOKEN, "JIRA_WEBHOOK_SECRET": SECRET,
            "JIRA_IS_CLOUD": str(self.is_cloud).lower(),
        }  # fmt: skip
        return told | ({"JIRA_EMAIL": self.helper.email} if self.is_cloud else {})

    def _routes(self) -> list[Route]:
        root = f"{self.prefix}/rest/api/{self.version}"
        search = "/search/jql" if self.is_cloud else "/search"
        told: list[tuple[str, str, Callable[[Request], Awaitable[Any]]]] = [
            ("GET", search, self._search),
            ("POST", "/issue", self._create),
            ("GET", "/issue/{key}", self._get),
            ("PUT", "/issue/{key}", self._put),
            ("GET", "/issue/{key}/comment", self._comments),
            ("POST", "/issue/{key}/comment", self._comment),
            ("PUT", "/issue/{key}/comment/{id}", self._edit),
            ("GET", "/issue/{key}/transitions", self._transitions),
            ("POST", "/issue/{key}/transitions", self._transit),
            ("PUT", "/issue/{key}/assignee", self._assign),
            ("GET", "/user/assignable/search", self._assignable),
            ("GET", "/project/{key}", self._project),
            ("GET", "/myself", self._myself),
            ("GET", "/status/{id}", self._status),
            ("GET", "/issue/{key}/changelog", self._changelog),
        ]
        routes = [
            Route(f"{root}{path}", self._endpoint(handler), methods=[method])
            for method, path, handler in told
        ]
        return [
            *routes,
            Route(f"{self.prefix}/rest/api/2/myself", self._endpoint(self._myself)),
        ]

    def _endpoint(self, handler: Callable[[Request], Awaitable[Any]]) -> Any:
        async def endpoint(request: Request) -> Response:
            if request.headers.get("authorization") != self.authorization:
                denied = {"x-seraph-loginreason": "AUTHENTICATED_FAILED"}
                return Response(
                    "Client must be authenticated to access this resource.", 401, denied
                )
            try:
                told = await handler(request)
            except RefusedError as error:
                return Response(json.dumps(error.body), error.status, media_type="application/json")
            if told is None:
                return Response(status_code=204)
            status = 201 if request.method == "POST" else 200
            return Response(json.dumps(told), status, media_type="application/json")

        return endpoint

    def _found(self, request: Request) -> Issue:
        wanted = request.path_params["key"]
        for one in self.issues.values():
            if wanted in {one.key, str(one.id)}:
                return one
        raise RefusedError(404, "Issue does not exist or you do not have permission to see it.")

    async def _get(self, request: Request) -> Any:
        issue = self._found(request)
        return self._told(issue, request.query_params)

    def _told(self, issue: Issue, query: Mapping[str, str]) -> dict[str, Any]:
        whole = self.shapes.issue(issue, self.helper.zone)
        wanted = query.get("fields", "*all").split(",")
        fields = whole["fields"]
        if "comment" in wanted:
            newest = issue.comments[-self.page :]
            fields["comment"] = {
                "comments": [self._comment_told(issue, one) for one in newest],
                "total": len(issue.comments), "maxResults": self.page, "startAt": 0,
            }  # fmt: skip
        if "*all" not in wanted:
            whole["fields"] = {name: fields[name] for name in wanted if name in fields}
        if "changelog" in query.get("expand", "") and self.has_changelogs:
            kept = issue.history[::-1][: self.page] if self.is_cloud else issue.history
            whole["changelog"] = {
                "histories": [self._history(one) for one in kept], "startAt": 0,
                "total": len(issue.history), "maxResults": self.page,
            }  # fmt: skip
        return whole

    async def _put(self, request: Request) -> None:
        issue, told = self._found(request), await request.json()
        fields, update = told.get("fields", {}), told.get("update", {})
        unknown = set(fields) - {"summary", "description", "labels"}
        if unknown or set(update) - {"labels"}:
            name = min(unknown | set(update))
            problem = "It is not on the appropriate screen, or unknown."
            raise RefusedError(400, **{name: f"Field '{name}' cannot be set. {problem}"})
        if "summary" in fields:
            self._check_title(fields["summary"])
        changes = {"title": fields["summary"]} if "summary" in fields else {}
        if "description" in fields:
            rules.check_text(fields["description"], is_cloud=self.is_cloud, field="description")
            changes["description"] = fields["description"]
        if "labels" in update:
            named = [label for one in update["labels"] for label in one.values()]
            rules.check_labels(named)
            labels = list(issue.labels)
            for one in update["labels"]:
                labels = [each for each in labels if each not in one.values()]
                labels += [one["add"]] if "add" in one else []
            if labels != issue.labels:
                changes["labels"] = labels
        if changes:
            self.change(issue, self.helper, **changes)

    def _check_title(self, title: Any) -> None:
        if not isinstance(title, str) or not title.strip():
            raise RefusedError(400, summary="You must specify a summary of the issue.")
        if "\n" in title:
            problem = "The summary is invalid because it contains newline characters."
            raise RefusedError(400, summary=problem)
        if len(title) > 255:
            raise RefusedError(400, summary="Summary must be less than 255 characters.")

    async def _create(self, request: Request) -> Any:
        fields = (await request.json())["fields"]
        if fields.get("project", {}).get("key") != "OPS":
            raise RefusedError(400, project="valid project is required")
        known = [one for one in self.types if fields.get("issuetype", {}).items() <= one.items()]
        if not known:
            raise RefusedError(400, issuetype="Specify a valid issue type")
        self._check_title(fields.get("summary"))
        rules.check_labels(fields.get("labels", []))
        body = fields.get("description")
        rules.check_text(body, is_cloud=self.is_cloud, field="description")
        issue = self.open(
            fields["summary"], self.helper, body, labels=fields.get("labels", []),
            security=fields.get("security", {}).get("id"),
        )  # fmt: skip
        return {
            "id": str(issue.id),
            "key": issue.key,
            "self": self.shapes.rest(f"/issue/{issue.id}"),
        }

    def _comment_told(self, issue: Issue, one: Comment) -> dict[str, Any]:
        return self.shapes.comment(issue, one, self.helper.zone)

    async def _comments(self, request: Request) -> Any:
        issue, query = self._found(request), request.query_params
        ordered = list(issue.comments)
        if self.pages_comments and query.get("orderBy") == "-created":
            ordered.reverse()
        start = int(query.get("startAt", 0)) if self.pages_comments else 0
        size = min(int(query.get("maxResults", 50)), self.page)
        kept = ordered[start : start + size] if self.pages_comments else ordered
        told = [self._comment_told(issue, one) for one in kept]
        if "properties" in query.get("expand", ""):
            for one, shown in zip(kept, told, strict=True):
                shown["properties"] = one.properties
        return {"startAt": start, "maxResults": size, "total": len(ordered), "comments": told}

    async def _comment(self, request: Request) -> Any:
        issue, told = self._found(request), await request.json()
        rules.check_comment(told, is_cloud=self.is_cloud)
        made = self.say(
            issue, told["body"], self.helper, properties=told.get("properties", []),
            visibility=told.get("visibility"),
        )  # fmt: skip
        return self._comment_told(issue, made)

    async def _edit(self, request: Request) -> Any:
        issue, told = self._found(request), await request.json()
        found = [one for one in issue.comments if str(one.id) == request.path_params["id"]]
        if not found:
            raise RefusedError(404, "Can not find a comment for the id.")
        rules.check_comment(told, is_cloud=self.is_cloud)
        if found[0].author != self.helper:
            raise RefusedError(400, "You do not have the permission to edit this comment.")
        found[0].body, found[0].updated = told["body"], self.clock()
        found[0].visibility = told.get("visibility")  # what is not told is taken away
        kept = [one for one in found[0].properties if one not in told.get("properties", [])]
        found[0].properties = kept + told.get("properties", [])
        self._touch(issue)
        self.edited(issue, found[0])
        return self._comment_told(issue, found[0])

    async def _transitions(self, request: Request) -> Any:
        issue = self._found(request)
        is_wide = "transitions.fields" in request.query_params.get("expand", "")
        return {
            "transitions": [
                {"id": one.id, "name": one.name, "to": self.shapes.status(one.to)}
                | ({"fields": one.fields} if is_wide else {})
                for one in self._open_to(issue)
            ]
        }

    def _open_to(self, issue: Issue) -> list[Transition]:
        return [one for one in self.workflow if not one.sources or issue.status.id in one.sources]

    async def _transit(self, request: Request) -> None:
        issue, told = self._found(request), await request.json()
        wanted = told.get("transition", {}).get("id")
        chosen = next((one for one in self._open_to(issue) if one.id == wanted), None)
        if chosen is None:
            raise RefusedError(400, f"It seems that you have tried to perform a workflow operation "
                               f"({wanted}) that is not valid for the current state.")  # fmt: skip
        given = told.get("fields", {})
        for name, screen in chosen.fields.items():
            if screen.get("required") and not screen.get("hasDefaultValue") and name not in given:
                raise RefusedError(400, **{name: f"{screen['name']} is required."})
        for name in given:
            allowed = [one["name"] for one in chosen.fields.get(name, {}).get("allowedValues", [])]
            if given[name].get("name") not in allowed:
                raise RefusedError(400, **{name: f"Field '{name}' cannot be set."})
        issue.resolution = given.get("resolution", {}).get("name")
        self.move(issue, chosen.to, self.helper)

    async def _assign(self, request: Request) -> None:
        issue, told = self._found(request), await request.json()
        [(name, value)] = told.items()
        if name != ("accountId" if self.is_cloud else "name"):
            raise RefusedError(400, f"'{name}' is not understood")
        found = [one for one in self.people.values() if self.identity(one) == value]
        if not found:
            raise RefusedError(400, assignee=f"User '{value}' cannot be assigned issues.")
        if issue.assignee != found[0]:
            self.change(issue, self.helper, "issue_assigned", assignee=found[0])

    async def _assignable(self, request: Request) -> Any:
        query = request.query_params
        if not ({"issueKey", "project"} & set(query)):
            raise RefusedError(400, "Either a project or an issue key is required")
        wanted = query["query" if self.is_cloud else "username"].casefold()
        return [
            self.shapes.person(one)
            for one in self.people.values()
            if any(wanted in text.casefold() for text in (one.display, one.email, one.name))
        ]

    async def _project(self, request: Request) -> Any:
        if request.path_params["key"] != "OPS":
            raise RefusedError(404, "No project could be found with key.")
        return {"id": "10077", "key": "OPS", "name": "OPS", "issueTypes": self.types}

    async def _status(self, request: Request) -> Any:
        known = {one.to.id: one.to for one in WORKFLOW}
        return self.shapes.status(known[request.path_params["id"]])

    async def _changelog(self, request: Request) -> Any:
        issue, query = self._found(request), request.query_params
        if not self.is_cloud:
            raise RefusedError(404, "null for uri")
        start, size = int(query.get("startAt", 0)), min(int(query.get("maxResults", 100)), 100)
        kept = [self._history(one) for one in issue.history[start : start + size]]
        return {"startAt": start, "maxResults": size, "total": len(issue.history), "values": kept}

    def _history(self, one: dict[str, Any]) -> dict[str, Any]:
        return one | {"created": wire(one["created"], self.helper.zone)}

    async def _myself(self, _: Request) -> Any:
        told = self.shapes.person(self.helper) or {}
        return told | ({"timeZone": self.told_zone} if self.told_zone else {})

    async def _search(self, request: Request) -> Any:
        query, now = request.query_params, self.clock()
        indexed = [one for one in self.issues.values() if one.indexed_at <= now]
        chosen = rules.found(query["jql"], indexed, self.helper.zone)
        size = min(int(query.get("maxResults", 50)), self.page)
        start = int(query.get("nextPageToken" if self.is_cloud else "startAt", 0))
        page = [self._told(one, query) for one in chosen[start : start + size]]
        if not self.searches_hold_changelogs:
            page = [one | {"changelog": None} for one in page]
        reached = start + len(page)
        if not self.is_cloud:
            return {"startAt": start, "maxResults": size, "total": len(chosen), "issues": page}
        more = {"nextPageToken": str(reached)} if reached < len(chosen) else {"isLast": True}
        return {"issues": page} | more
