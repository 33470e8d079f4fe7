"""What a Jira site of the tests knows: people, a workflow, issues, comments, a late index."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

CATEGORIES: Final = {"new": 2, "indeterminate": 4, "done": 3}


@dataclass(frozen=True, kw_only=True)
class Person:
    """An account. Cloud tells ``account_id``, Server ``name`` and ``key``."""

    name: str
    display: str
    account_id: str
    email: str = ""
    is_app: bool = False
    zone: str = "Etc/UTC"


@dataclass(frozen=True, kw_only=True)
class Status:
    id: str
    name: str
    category: str


@dataclass(frozen=True, kw_only=True)
class Transition:
    """``fields`` is the screen of it, as REST tells it; ``sources`` are status ids, none: any."""

    id: str
    name: str
    to: Status
    sources: frozenset[str] = frozenset()
    fields: dict[str, Any] = field(default_factory=dict)


TO_DO: Final = Status(id="10000", name="To Do", category="new")
IN_PROGRESS: Final = Status(id="3", name="In Progress", category="indeterminate")
DONE: Final = Status(id="10001", name="Done", category="done")
REJECTED: Final = Status(id="10002", name="Rejected", category="done")
RESOLUTION: Final = {
    "resolution": {
        "required": True,
        "name": "Resolution",
        "allowedValues": [{"name": "Done"}, {"name": "Won\u2019t Do"}, {"name": "Duplicate"}],
    }
}
WORKFLOW: Final = (
    Transition(id="11", name="Start", to=IN_PROGRESS, sources=frozenset({"10000"})),
    Transition(id="21", name="Stop", to=TO_DO, sources=frozenset({"3", "10001", "10002"})),
    Transition(id="31", name="Reject", to=REJECTED, sources=frozenset({"10000", "3"})),
    Transition(
        id="41", name="Finish", to=DONE, sources=frozenset({"10000", "3"}), fields=RESOLUTION
    ),
)


@dataclass(kw_only=True)
class Comment:
    id: int
    author: Person
    body: Any
    created: datetime
    updated: datetime
    properties: list[dict[str, Any]] = field(default_factory=list)
    visibility: dict[str, str] | None = None

    @property
    def is_public(self) -> bool:
        """Whether customers of a service desk are shown it."""
        told = [one["value"] for one in self.properties if one["key"] == "sd.public.comment"]
        return not any(one.get("internal") for one in told)


@dataclass(kw_only=True)
class Issue:
    id: int
    key: str
    title: str
    creator: Person
    created: datetime
    updated: datetime
    indexed_at: datetime
    description: Any = None
    status: Status = TO_DO
    resolution: str | None = None
    security: str | None = None  # the id of its level
    assignee: Person | None = None
    labels: list[str] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def project(self) -> str:
        return self.key.rpartition("-")[0]

    @property
    def number(self) -> int:
        return int(self.key.rpartition("-")[2])


class Shapes:
    """How a site writes what it knows; REST tells moments in the asking account's zone."""

    def __init__(self, address: Callable[[], str], *, is_cloud: bool, version: int) -> None:
        self._address = address
        self.is_cloud = is_cloud
        self.version = version

    def rest(self, path: str) -> str:
        return f"{self._address()}/rest/api/{self.version}{path}"

    def person(self, one: Person | None) -> dict[str, Any] | None:
        if one is None:
            return None
        if not self.is_cloud:
            return {
                "self": self.rest(f"/user?username={one.name}"), "name": one.name,
                "key": f"key-{one.name}", "emailAddress": one.email, "displayName": one.display,
                "active": True, "timeZone": one.zone,
            }  # fmt: skip
        return {
            "self": self.rest(f"/user?accountId={one.account_id}"), "accountId": one.account_id,
            "displayName": one.display, "active": True, "timeZone": one.zone,
            "accountType": "app" if one.is_app else "atlassian",
        }  # fmt: skip

    def status(self, one: Status) -> dict[str, Any]:
        category = {"id": CATEGORIES[one.category], "key": one.category, "name": one.category}
        return {"id": one.id, "name": one.name, "statusCategory": category}

    def issue(self, one: Issue, zone: str = "Etc/UTC") -> dict[str, Any]:
        fields = {
            "summary": one.title, "description": one.description, "labels": list(one.labels),
            "status": self.status(one.status), "assignee": self.person(one.assignee),
            "creator": self.person(one.creator), "reporter": self.person(one.creator),
            "project": {"id": "10077", "key": one.project, "name": one.project},
            "issuetype": {"id": "10002", "name": "Task"}, "priority": {"name": "Medium"},
            "resolution": {"name": one.resolution} if one.resolution else None,
            "security": {"id": one.security} if one.security else None,
            "created": wire(one.created, zone), "updated": wire(one.updated, zone),
        }  # fmt: skip
        return {
            "id": str(one.id), "key": one.key, "self": self.rest(f"/issue/{one.id}"),
            "fields": fields,
        }  # fmt: skip

    def comment(self, issue: Issue, one: Comment, zone: str = "Etc/UTC") -> dict[str, Any]:
        return {
            "self": self.rest(f"/issue/{issue.id}/comment/{one.id}"), "id": str(one.id),
            "author": self.person(one.author), "updateAuthor": self.person(one.author),
            "body": one.body, "created": wire(one.created, zone),
            "updated": wire(one.updated, zone), "jsdPublic": one.is_public,
        } | ({"visibility": one.visibility} if one.visibility else {})  # fmt: skip


def wire(moment: datetime, zone: str = "Etc/UTC") -> str:
    """``2026-03-04T08:19:05.678+0000``, in a zone."""
    local = moment.astimezone(ZoneInfo(zone))
    return f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond // 1000:03d}{local:%z}"


def utc_now() -> datetime:
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
