"""What the GitLab stand-in remembers, and how GitLab writes it: in the API, in webhooks.

https://docs.gitlab.com/api/issues/ , https://docs.gitlab.com/api/merge_requests/ ,
https://docs.gitlab.com/user/project/integrations/webhook_events/
"""

import itertools
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

Json = dict[str, Any]
DIFF_REFS: Final = {"base_sha": "b" * 40, "start_sha": "5" * 40, "head_sha": "4" * 40}


class Clock:
    """Moments that only grow: one second for each thing that happens."""

    def __init__(self) -> None:
        self._seconds = itertools.count()

    def tick(self) -> datetime:
        return datetime.now(UTC).replace(microsecond=123_000) + timedelta(
            seconds=next(self._seconds)
        )


def api_time(moment: datetime | None) -> str | None:
    """As the API and bodies of issues have it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z" if moment else None


def hook_time(moment: datetime | None) -> str | None:
    """As bodies of merge requests and notes have it."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else None


@dataclass(frozen=True)
class User:
    """An account; names of access tokens' users look like ``project_5_bot_0a1b``."""

    username: str
    bot: bool = False

    @property
    def id(self) -> int:
        return 9_000_000 + zlib.crc32(self.username.encode()) % 900_000

    def shown(self, url: str) -> Json:
        return {
            "id": self.id,
            "username": self.username,
            "public_email": None,
            "name": self.username.title(),
            "state": "active",
            "locked": False,
            "avatar_url": None,
            "web_url": f"{url}/{self.username}",
        }

    def told(self) -> Json:
        return {
            "id": self.id,
            "name": self.username.title(),
            "username": self.username,
            "avatar_url": None,
            "email": "[REDACTED]",
        }


@dataclass(kw_only=True)
class Note:
    """A note; ``system`` ones are GitLab's own words about a change."""

    id: int
    body: str
    author: User
    created_at: datetime
    updated_at: datetime
    system: bool = False
    internal: bool = False
    position: Json | None = None  # the line of a diff that it is on

    def shown(self, project: "Project", item: "Item") -> Json:
        return {
            "id": self.id,
            "type": "DiffNote" if self.position else None,
            "body": self.body,
            "author": self.author.shown(project.url),
            "created_at": api_time(self.created_at),
            "updated_at": api_time(self.updated_at),
            "system": self.system,
            "noteable_id": item.id,
            "noteable_type": item.noteable,
            "project_id": project.id,
            "commit_id": None,
            "resolvable": False,
            "confidential": self.internal,
            "internal": self.internal,
            "imported": False,
            "noteable_iid": item.iid,
            "commands_changes": {},
        } | ({"position": self.position} if self.position else {})


@dataclass(kw_only=True)
class Item:
    """An issue or a merge request; ``noteable`` says which."""

    id: int
    iid: int
    noteable: str
    title: str
    description: str | None
    author: User
    created_at: datetime
    updated_at: datetime
    state: str = "opened"
    closed_at: datetime | None = None
    merged_at: datetime | None = None
    confidential: bool = False
    issue_type: str = "issue"
    labels: list[str] = field(default_factory=list)
    assignees: list[User] = field(default_factory=list)
    approved_by: list[User] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def is_issue(self) -> bool:
        return self.noteable == "Issue"

    def web_url(self, project: "Project") -> str:
        folder = "issues" if self.is_issue else "merge_requests"
        return f"{project.web_url}/-/{folder}/{self.iid}"

    def shown(self, project: "Project") -> Json:
        people = [one.shown(project.url) for one in self.assignees]
        told: Json = {
            "id": self.id,
            "iid": self.iid,
            "project_id": project.id,
            "title": self.title,
            "description": self.description,
            "state": self.state,
            "created_at": api_time(self.created_at),
            "updated_at": api_time(self.updated_at),
            "closed_at": api_time(self.closed_at),
            "closed_by": None,
            "labels": sorted(self.labels),
            "milestone": None,
            "assignees": people,
            "assignee": people[0] if people else None,
            "author": self.author.shown(project.url),
            "user_notes_count": sum(not note.system for note in self.notes),
            "web_url": self.web_url(project),
            "references": {
                "short": f"#{self.iid}" if self.is_issue else f"!{self.iid}",
                "full": f"{project.path}{'#' if self.is_issue else '!'}{self.iid}",
            },
        }
        if self.is_issue:
            kinds = {"confidential": self.confidential, "issue_type": self.issue_type}
            return told | kinds | {"type": self.issue_type.upper(), "moved_to_id": None}
        return told | {
            "merged_at": api_time(self.merged_at),
            "draft": self.title.startswith("Draft: "),
            "source_branch": "changes",
            "target_branch": "main",
            "diff_refs": DIFF_REFS,
            "source_project_id": project.id,
            "target_project_id": project.id,
            "detailed_merge_status": "mergeable",
            "sha": "a" * 40,
        }


@dataclass(kw_only=True)
class Deployment:
    """A deployment of a project."""

    id: int
    status: str
    environment: str
    user: User
    created_at: datetime
    updated_at: datetime

    def shown(self, project: "Project") -> Json:
        return {
            "id": self.id,
            "iid": self.id,
            "ref": "main",
            "sha": "b" * 40,
            "created_at": api_time(self.created_at),
            "updated_at": api_time(self.updated_at),
            "status": self.status,
            "user": self.user.shown(project.url),
            "environment": {"id": 1, "name": self.environment},
            "deployable": {
                "id": self.id + 7,
                "web_url": f"{project.web_url}/-/jobs/{self.id + 7}",
                "commit": {"title": "Update the parser"},
            },
        }


@dataclass(kw_only=True)
class Project:
    """A project with all its groups in ``path``; ``url`` is the instance's own address."""

    id: int
    path: str
    url: str
    members: set[str] = field(default_factory=set)
    issues: dict[int, Item] = field(default_factory=dict)
    merge_requests: dict[int, Item] = field(default_factory=dict)
    deployments: dict[int, Deployment] = field(default_factory=dict)

    @property
    def web_url(self) -> str:
        return f"{self.url}/{self.path}"

    def shown(self) -> Json:
        return {
            "id": self.id,
            "name": self.path.rpartition("/")[2],
            "path_with_namespace": self.path,
            "web_url": self.web_url,
            "default_branch": "main",
        }

    def told(self) -> Json:
        return {
            "id": self.id,
            "name": self.path.rpartition("/")[2],
            "description": None,
            "web_url": self.web_url,
            "namespace": self.path.rpartition("/")[0],
            "visibility_level": 20,
            "path_with_namespace": self.path,
            "default_branch": "main",
            "homepage": self.web_url,
        }


def labels_told(names: Iterable[str]) -> list[Json]:
    """Labels as bodies have them."""
    return [
        {"id": 100 + place, "title": name, "color": "#808080", "type": "ProjectLabel"}
        for place, name in enumerate(sorted(names))
    ]


def item_body(
    project: Project, item: Item, user: User, action: str | None, changes: Json | None = None
) -> tuple[str, Json]:
    """The event's name and body of something that happened to an item."""
    when = api_time if item.is_issue else hook_time
    attributes: Json = {
        "id": item.id,
        "iid": item.iid,
        "title": item.title,
        "description": item.description,
        "author_id": item.author.id,
        "created_at": when(item.created_at),
        "updated_at": when(item.updated_at),
        "state": item.state,
        "labels": labels_told(item.labels),
        "assignee_ids": [one.id for one in item.assignees],
        "url": item.web_url(project),
    }
    if action is not None:
        attributes["action"] = action
    kind = "issue" if item.is_issue else "merge_request"
    if item.is_issue:
        attributes |= {
            "project_id": project.id,
            "closed_at": api_time(item.closed_at),
            "confidential": item.confidential,
            "moved_to_id": None,
            "type": item.issue_type.title(),
        }
    else:
        attributes |= {"target_project_id": project.id, "source_project_id": project.id}
    is_work_item = item.is_issue and item.issue_type != "issue"
    object_kind = "work_item" if is_work_item else kind
    event_type = f"confidential_{object_kind}" if item.confidential else object_kind
    name = {"issue": "Issue Hook", "merge_request": "Merge Request Hook"}[kind]
    return ("Confidential " if item.confidential else "") + name, {
        "object_kind": object_kind,
        "event_type": event_type,
        "user": user.told(),
        "project": project.told(),
        "object_attributes": attributes,
        "labels": labels_told(item.labels),
        "changes": changes or {},
        "assignees": [one.told() for one in item.assignees],
        "repository": {"name": project.path.rpartition("/")[2], "homepage": project.web_url},
    }


def note_body(
    project: Project, item: Item, note: Note, user: User, action: str | None
) -> tuple[str, Json]:
    """The event's name and body of a note that was written or edited."""
    is_confidential = note.internal or item.confidential
    attributes: Json = {
        "id": note.id,
        "note": note.body,
        "description": note.body,
        "noteable_type": item.noteable,
        "noteable_id": item.id,
        "author_id": note.author.id,
        "created_at": hook_time(note.created_at),
        "updated_at": hook_time(note.updated_at),
        "project_id": project.id,
        "system": False,
        "internal": note.internal,
        "type": None,
        "url": f"{item.web_url(project)}#note_{note.id}",
    }
    if action is not None:
        attributes["action"] = action
    _, told = item_body(project, item, user, None)
    return "Confidential Note Hook" if is_confidential else "Note Hook", {
        "object_kind": "note",
        "event_type": "confidential_note" if is_confidential else "note",
        "user": user.told(),
        "project_id": project.id,
        "project": project.told(),
        "object_attributes": attributes,
        "repository": told["repository"],
        ("issue" if item.is_issue else "merge_request"): told["object_attributes"],
    }


def deployment_body(project: Project, one: Deployment) -> tuple[str, Json]:
    """The event's name and body of a deployment's state."""
    return "Deployment Hook", {
        "object_kind": "deployment",
        "status": one.status,
        "status_changed_at": one.updated_at.strftime("%Y-%m-%d %H:%M:%S +0000"),
        "deployment_id": one.id,
        "deployable_id": one.id + 7,
        "deployable_url": f"{project.web_url}/-/jobs/{one.id + 7}",
        "environment": one.environment,
        "project": project.told(),
        "user": one.user.told(),
        "commit_title": "Update the parser",
        "ref": "main",
    }
