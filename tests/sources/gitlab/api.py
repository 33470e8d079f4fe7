"""What the GitLab stand-in holds, and what each route of the API does with it.

https://docs.gitlab.com/api/rest/ , https://docs.gitlab.com/user/project/quick_actions/
"""

import itertools
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from tests.sources.gitlab import state
from tests.sources.gitlab.state import Clock, Deployment, Item, Json, Note, Project, User

SCOPES: Final = ("api", "read_api", "read_user")
LONGEST_NOTE: Final = 1_000_000
PER_PAGE, MOST_PER_PAGE = 20, 100
_QUICK: Final = re.compile(r"^/(close|reopen|label|assign|merge|confidential)\b.*$", re.MULTILINE)


class RefusedError(Exception):
    """An answer from 400 on, in GitLab's words."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body, self.headers = status, body, dict(headers or {})


@dataclass(kw_only=True)
class Token:
    """Who a token speaks for, and what it may do."""

    user: User
    scopes: tuple[str, ...] = ("api",)
    remaining: int = 2000
    reset_at: float = 0.0


@dataclass(kw_only=True)
class Ask:
    """One request: who asks, the parts of the path, the query, the fields of the body."""

    user: User
    parts: Sequence[str]
    query: Mapping[str, str]
    fields: Json
    url: str
    told: list[tuple[str, Json]] = field(default_factory=list)


Answer = tuple[int, Any] | tuple[int, Any, Mapping[str, str]]
Handler = Callable[[Ask], Answer]


class Api:
    """A state in memory, and a handler for each route; refuses what GitLab would refuse."""

    def __init__(self, url: str, *, keeps_one_assignee: bool = False) -> None:
        self.url = url
        self.keeps_one_assignee = keeps_one_assignee
        self.knows_activity_filter = True  # older ones pass over it
        self.projects: dict[str, Project] = {}
        self.users: dict[str, User] = {}
        self.tokens: dict[str, Token] = {}
        self.lock = threading.RLock()
        self._clock = Clock()
        self._ids = itertools.count(3_000_000_001)  # beyond 32 bits, as gitlab.com will be
        self.routes = self._make_routes()

    def tick(self) -> datetime:
        """Now; later than everything before."""
        return self._clock.tick()

    def add_user(self, username: str, *, bot: bool = False) -> User:
        return self.users.setdefault(username, User(username, bot))

    def project(self, path: str) -> Project:
        """The project of that path, created if there is none."""
        if path not in self.projects:
            number = 80_000_000 + len(self.projects)
            self.projects[path] = Project(id=number, path=path, url=self.url)
        return self.projects[path]

    def add_issue(self, path: str, title: str, description: str = "", **told: Any) -> Item:
        """Put an issue there, without a webhook."""
        project = self.project(path)
        return self._add(project, project.issues, "Issue", title, description, **told)

    def add_merge_request(self, path: str, title: str, description: str = "", **told: Any) -> Item:
        """Put a merge request there, without a webhook."""
        project = self.project(path)
        return self._add(
            project, project.merge_requests, "MergeRequest", title, description, **told
        )

    def add_note(self, item: Item, body: str, author: str = "ann", **told: Any) -> Note:
        """Put a note there, without a webhook."""
        now = self._clock.tick()
        note = Note(
            id=next(self._ids), body=body, author=self.add_user(author), created_at=now,
            updated_at=now, **told,
        )  # fmt: skip
        with self.lock:
            item.notes.append(note)
            item.updated_at = now
        return note

    def add_deployment(self, path: str, status: str, environment: str = "production") -> Deployment:
        """Put a deployment there, without a webhook."""
        now = self._clock.tick()
        one = Deployment(
            id=next(self._ids), status=status, environment=environment,
            user=self.add_user("ann"), created_at=now, updated_at=now,
        )  # fmt: skip
        self.project(path).deployments[one.id] = one
        return one

    def _add(
        self,
        project: Project,
        folder: dict[int, Item],
        noteable: str,
        title: str,
        description: str,
        *,
        author: str = "ann",
        **told: Any,
    ) -> Item:
        now = self._clock.tick()
        iid = max(folder, default=0) + 1
        item = Item(
            id=next(self._ids), iid=iid, noteable=noteable, title=title,
            description=description or None, author=self.add_user(author),
            created_at=now, updated_at=now, **told,
        )  # fmt: skip
        with self.lock:
            folder[iid] = item
        return item

    def told(self, path: str, item: Item, action: str | None, by: str = "ann") -> tuple[str, Json]:
        """The event's name and body of something that a person did to an item."""
        return state.item_body(self.project(path), item, self.add_user(by), action)

    def told_note(
        self, path: str, item: Item, note: Note, action: str | None = "create"
    ) -> tuple[str, Json]:
        """The event's name and body of a note."""
        return state.note_body(self.project(path), item, note, note.author, action)

    def _make_routes(self) -> list[tuple[str, re.Pattern[str], Handler]]:
        item = r"projects/([^/]+)/(issues|merge_requests)/(\d+)"
        table: list[tuple[str, str, Handler]] = [
            ("GET", "user", lambda ask: (200, self._me(ask))),
            ("GET", "users", self._find_users),
            ("GET", "personal_access_tokens/self", self._own_token),
            ("GET", "projects/([^/]+)", lambda ask: (200, self._project(ask).shown())),
            ("GET", "projects/([^/]+)/(issues|merge_requests)", self._list_items),
            ("POST", "projects/([^/]+)/(issues)", self._create_issue),
            ("GET", item, lambda ask: (200, self._item(ask).shown(self._project(ask)))),
            ("PUT", item, self._update_item),
            ("GET", f"{item}/notes", self._list_notes),
            ("POST", f"{item}/notes", self._create_note),
            ("PUT", rf"{item}/notes/(\d+)", self._update_note),
            ("GET", f"{item}/approvals", self._approvals),
            ("POST", f"{item}/approve", self._approve),
            ("POST", f"{item}/unapprove", self._unapprove),
            ("POST", f"{item}/discussions", self._discuss),
            ("PUT", f"{item}/merge", self._merge),
            ("GET", "projects/([^/]+)/deployments", self._list_deployments),
            ("GET", r"projects/([^/]+)/deployments/(\d+)", self._get_deployment),
        ]
        return [(method, re.compile(path), do) for method, path, do in table]

    def _me(self, ask: Ask) -> Json:
        return ask.user.shown(self.url) | {"bot": ask.user.bot, "email": "", "is_admin": False}

    def _find_users(self, ask: Ask) -> Answer:
        wanted = ask.query.get("username", "").lower()
        found = [one for one in self.users.values() if one.username.lower() == wanted]
        return self._page(ask, [one.shown(self.url) for one in found])

    def _own_token(self, ask: Ask) -> Answer:
        token = next(one for one in self.tokens.values() if one.user == ask.user)
        return 200, {"id": 1, "active": True, "revoked": False, "scopes": list(token.scopes)}

    def _project(self, ask: Ask) -> Project:
        wanted = ask.parts[0]
        for project in self.projects.values():
            if wanted in {project.path, str(project.id)}:
                return project
        raise RefusedError(404, {"message": "404 Project Not Found"})

    def _item(self, ask: Ask) -> Item:
        project = self._project(ask)
        folder = project.issues if ask.parts[1] == "issues" else project.merge_requests
        found = folder.get(int(ask.parts[2]))
        if found is None:
            raise RefusedError(404, {"message": "404 Not found"})
        return found

    def _list_items(self, ask: Ask) -> Answer:
        _allow(ask.query, {"state", "scope", "order_by", "sort", "updated_after", "created_after",
                           "per_page", "page"})  # fmt: skip
        project = self._project(ask)
        folder = project.issues if ask.parts[1] == "issues" else project.merge_requests
        order = _choice(ask.query, "order_by", ("created_at", "updated_at"))
        wanted = ask.query.get("state", "all")
        found = [
            one
            for one in folder.values()
            if wanted in {"all", one.state}
            and state.api_time(one.updated_at) >= ask.query.get("updated_after", "")  # type: ignore[operator]
            and state.api_time(one.created_at) >= ask.query.get("created_after", "")  # type: ignore[operator]
        ]
        found.sort(
            key=lambda one: (getattr(one, order), one.id),
            reverse=_choice(ask.query, "sort", ("desc", "asc")) == "desc",
        )
        return self._page(ask, [one.shown(project) for one in found])

    def _create_issue(self, ask: Ask) -> Answer:
        project = self._project(ask)
        _allow(ask.fields, {"title", "description", "labels", "assignee_ids", "confidential"})
        if not str(ask.fields.get("title", "")).strip():
            raise RefusedError(400, {"error": "title is missing"})
        issue = self._add(
            project, project.issues, "Issue", ask.fields["title"].strip(),
            ask.fields.get("description", ""), author=ask.user.username,
            confidential=ask.fields.get("confidential", False), labels=_names(ask.fields, "labels"),
            assignees=self._people(project, ask.fields.get("assignee_ids", [])),
        )  # fmt: skip
        ask.told.append(state.item_body(project, issue, ask.user, "open"))
        return 201, issue.shown(project)

    def _update_item(self, ask: Ask) -> Answer:
        project, item = self._project(ask), self._item(ask)
        _allow(ask.fields, {"title", "description", "state_event", "add_labels", "remove_labels",
                            "labels", "assignee_ids"})  # fmt: skip
        if not ask.fields:
            raise RefusedError(400, {"error": "title, description … are missing, at least one"})
        changes = self._applied(project, item, ask.fields)
        if changes:
            item.updated_at = self._clock.tick()
            ask.told.append(state.item_body(project, item, ask.user, "update", changes))
        self._set_state(ask, project, item, ask.fields.get("state_event"))
        return 200, item.shown(project)

    def _applied(self, project: Project, item: Item, fields: Json) -> Json:
        changes: Json = {}
        for name in ("title", "description"):
            now, before = fields.get(name), getattr(item, name)
            if now is not None and now != before:
                setattr(item, name, now)
                changes[name] = {"previous": before, "current": now}
        labels = _names(fields, "labels") if "labels" in fields else list(item.labels)
        labels = [one for one in [*labels, *_names(fields, "add_labels")]
                  if one not in _names(fields, "remove_labels")]  # fmt: skip
        labels = list(dict.fromkeys(labels))
        if sorted(labels) != sorted(item.labels):
            told = [state.labels_told(one) for one in (item.labels, labels)]
            changes["labels"] = {"previous": told[0], "current": told[1]}
            item.labels = labels
        if "assignee_ids" in fields:
            people = self._people(project, fields["assignee_ids"])
            if people != item.assignees:
                told = [[one.told() for one in each] for each in (item.assignees, people)]
                changes["assignees"] = {"previous": told[0], "current": told[1]}
                item.assignees = people
        return changes

    def _people(self, project: Project, ids: Sequence[int]) -> list[User]:
        """Those of them who may be assigned: others are left out without a word."""
        if not all(isinstance(one, int) for one in ids):
            raise RefusedError(400, {"error": "assignee_ids is invalid"})
        known = {one.id: one for one in self.users.values()}
        found = [
            known[one] for one in ids if one in known and known[one].username in project.members
        ]
        return found[:1] if self.keeps_one_assignee else found

    def _set_state(self, ask: Ask, project: Project, item: Item, event: str | None) -> None:
        if event not in {None, "close", "reopen"}:
            raise RefusedError(400, {"error": "state_event does not have a valid value"})
        wanted = {"close": "closed", "reopen": "opened"}.get(event or "", item.state)
        if item.state in {wanted, "merged"}:
            return
        item.state = wanted
        item.updated_at = self._clock.tick()
        item.closed_at = item.updated_at if wanted == "closed" else None
        ask.told.append(state.item_body(project, item, ask.user, event))

    def _list_notes(self, ask: Ask) -> Answer:
        _allow(ask.query, {"order_by", "sort", "activity_filter", "per_page", "page"})
        project, item = self._project(ask), self._item(ask)
        order = _choice(ask.query, "order_by", ("created_at", "updated_at"))
        only = self.knows_activity_filter and ask.query.get("activity_filter") == "only_comments"
        found = [one for one in item.notes if not (only and one.system)]
        found.sort(
            key=lambda one: (getattr(one, order), one.id),
            reverse=_choice(ask.query, "sort", ("desc", "asc")) == "desc",
        )
        return self._page(ask, [one.shown(project, item) for one in found])

    def _create_note(self, ask: Ask) -> Answer:
        project, item = self._project(ask), self._item(ask)
        _allow(ask.fields, {"body", "internal", "created_at"})
        commands = _QUICK.findall(_text(ask.fields, "body"))
        for command in commands:
            self._set_state(ask, project, item, command if command in {"close", "reopen"} else None)
        body = _QUICK.sub("", ask.fields["body"]).strip()
        if not body:
            return 202, {"commands_changes": {}, "summary": [f"Done: {', '.join(commands)}."]}
        now = self._clock.tick()
        note = Note(
            id=next(self._ids), body=body, author=ask.user, created_at=now, updated_at=now,
            internal=ask.fields.get("internal", False),
        )  # fmt: skip
        item.notes.append(note)
        item.updated_at = now
        ask.told.append(state.note_body(project, item, note, ask.user, "create"))
        return 201, note.shown(project, item)

    def _update_note(self, ask: Ask) -> Answer:
        project, item = self._project(ask), self._item(ask)
        note = next((one for one in item.notes if one.id == int(ask.parts[3])), None)
        if note is None:
            raise RefusedError(404, {"message": "404 Note Not Found"})
        _allow(ask.fields, {"body"})
        if note.author != ask.user:
            raise RefusedError(403, {"message": "403 Forbidden"})
        note.body, note.updated_at = _text(ask.fields, "body"), self._clock.tick()
        ask.told.append(state.note_body(project, item, note, ask.user, "update"))
        return 200, note.shown(project, item)

    def _approve(self, ask: Ask) -> Answer:
        project, item = self._project(ask), self._item(ask)
        if item.is_issue or ask.user in (*item.approved_by, item.author):
            raise RefusedError(401, {"message": "401 Unauthorized"})
        item.approved_by.append(ask.user)
        ask.told.append(state.item_body(project, item, ask.user, "approved"))
        return 201, item.shown(project)

    def _approvals(self, ask: Ask) -> Answer:
        people = [{"user": one.shown(self.url)} for one in self._item(ask).approved_by]
        mine = ask.user in self._item(ask).approved_by
        return 200, {"approved": bool(people), "approved_by": people, "user_has_approved": mine}

    def _unapprove(self, ask: Ask) -> Answer:
        project, item = self._project(ask), self._item(ask)
        if ask.user not in item.approved_by:
            raise RefusedError(404, {"message": "404 Not Found"})
        item.approved_by.remove(ask.user)
        ask.told.append(state.item_body(project, item, ask.user, "unapproved"))
        return 201, {}

    def _discuss(self, ask: Ask) -> Answer:
        """A thread on a line of the change."""
        project, item = self._project(ask), self._item(ask)
        _allow(ask.fields, {"body", "position"})
        place = ask.fields.get("position") or {}
        _allow(place, {"position_type", "base_sha", "start_sha", "head_sha", "new_path", "old_path",
                       "new_line", "old_line"})  # fmt: skip
        lines = {"new_line", "old_line"} & set(place)
        shas = {name: place.get(name) for name in state.DIFF_REFS}
        if shas != state.DIFF_REFS or place.get("position_type") != "text" or not lines:
            problem = 'Note {:line_code=>["can\'t be blank", "must be a valid line code"]}'
            raise RefusedError(400, {"message": f"400 Bad request - {problem}"})
        now = self._clock.tick()
        note = Note(
            id=next(self._ids), body=_text(ask.fields, "body"), author=ask.user, created_at=now,
            updated_at=now, position=place,
        )  # fmt: skip
        item.notes.append(note)
        item.updated_at = now
        ask.told.append(state.note_body(project, item, note, ask.user, "create"))
        return 201, {"id": f"{note.id:040x}", "notes": [note.shown(project, item)]}

    def _merge(self, ask: Ask) -> Answer:
        project, item = self._project(ask), self._item(ask)
        if item.is_issue or item.state != "opened":
            raise RefusedError(405, {"message": "405 Method Not Allowed"})
        item.state, item.merged_at = "merged", self._clock.tick()
        item.updated_at = item.merged_at
        ask.told.append(state.item_body(project, item, ask.user, "merge"))
        return 200, item.shown(project)

    def _list_deployments(self, ask: Ask) -> Answer:
        _allow(ask.query, {"order_by", "sort", "updated_after", "per_page", "page"})
        project = self._project(ask)
        if "updated_after" in ask.query and ask.query.get("order_by") != "updated_at":
            problem = "`updated_at` filter and `updated_at` sorting must be paired"
            raise RefusedError(400, {"message": problem})
        found = [
            one
            for one in project.deployments.values()
            if state.api_time(one.updated_at) >= ask.query.get("updated_after", "")  # type: ignore[operator]
        ]
        found.sort(key=lambda one: (one.updated_at, one.id))
        return self._page(ask, [one.shown(project) for one in found])

    def _get_deployment(self, ask: Ask) -> Answer:
        project = self._project(ask)
        found = project.deployments.get(int(ask.parts[1]))
        if found is None:
            raise RefusedError(404, {"message": "404 Deployment Not Found"})
        return 200, found.shown(project)

    def _page(self, ask: Ask, found: Sequence[Json]) -> Answer:
        """One page, and the headers that tell of the others."""
        each = min(int(ask.query.get("per_page", PER_PAGE)), MOST_PER_PAGE)
        page = int(ask.query.get("page", 1))
        last = max(-(-len(found) // each), 1)
        following = str(page + 1) if page < last else ""
        headers = {
            "X-Page": str(page),
            "X-Per-Page": str(each),
            "X-Total": str(len(found)),
            "X-Total-Pages": str(last),
            "X-Next-Page": following,
            "X-Prev-Page": str(page - 1) if page > 1 else "",
        }
        told = {"first": 1, "last": last} | ({"next": page + 1} if following else {})
        headers["Link"] = ", ".join(
            f'<{ask.url}?{urlencode({**ask.query, "page": number})}>; rel="{name}"'
            for name, number in told.items()
        )
        return 200, list(found[(page - 1) * each : page * each]), headers


def _allow(told: Mapping[str, Any], names: set[str]) -> None:
    unknown = sorted(set(told) - names)
    if unknown:
        raise RefusedError(400, {"error": f"{unknown[0]}: the stand-in knows no such parameter"})


def _choice(query: Mapping[str, str], name: str, values: tuple[str, ...]) -> str:
    told = query.get(name, values[0])
    if told not in values:
        raise RefusedError(400, {"error": f"{name} does not have a valid value"})
    return told


def _names(fields: Json, name: str) -> list[str]:
    """Labels: names with commas between them, or a list of such."""
    told = fields.get(name, "")
    told = ",".join(told) if isinstance(told, list) else told
    return [one.strip() for one in told.split(",") if one.strip()]


def _text(fields: Json, name: str) -> str:
    told = fields.get(name)
    if not isinstance(told, str):
        raise RefusedError(400, {"error": f"{name} is missing"})
    if not told.strip():
        raise RefusedError(400, {"message": {"note": ["can't be blank"]}})
    if len(told) > LONGEST_NOTE:
        problem = f"is too long (maximum is {LONGEST_NOTE} characters)"
        raise RefusedError(400, {"message": {"note": [problem]}})
    return told
