"""What a Plane of the tests knows: people, states, labels, work items, comments, their history."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

SLUG: Final = "acme"
WORKSPACE: Final = "c0000000-0000-4000-8000-00000000000a"
PROJECT: Final = "d0000000-0000-4000-8000-00000000000b"
OTHER_PROJECT: Final = "d0000000-0000-4000-8000-00000000000c"


@dataclass(frozen=True, kw_only=True)
class Person:
    id: str
    name: str
    display: str
    email: str

    def lite(self) -> dict[str, Any]:
        first, _, last = self.name.partition(" ")
        return {
            "id": self.id, "first_name": first, "last_name": last, "email": self.email,
            "avatar": "", "avatar_url": None, "display_name": self.display,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class State:
    id: str
    name: str
    group: str
    sequence: float
    default: bool = False

    def lite(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "color": "#60646C", "group": self.group}


def _person(number: int, name: str, display: str) -> Person:
    return Person(
        id=f"e0000000-0000-4000-8000-{number:012d}", name=name, display=display,
        email=f"{display}@example.com",
    )  # fmt: skip


def _state(number: int, name: str, group: str, *, default: bool = False) -> State:
    return State(
        id=f"f0000000-0000-4000-8000-{number:012d}", name=name, group=group,
        sequence=float(number) * 10_000, default=default,
    )  # fmt: skip


HELPER: Final = _person(1, "Aether Agents", "aether")
ANN: Final = _person(2, "Ann Tester", "ann.t")
BO: Final = _person(3, "Bo Tester", "bo.t")
GUEST: Final = _person(4, "Gus Guest", "gus")
TO_DO: Final = _state(2, "open", "unstarted", default=True)
STARTED: Final = _state(3, "In Progress", "started")
DONE: Final = _state(4, "closed", "completed")
CANCELLED: Final = _state(5, "Won't do", "cancelled")
STATES: Final = (DONE, TO_DO, CANCELLED, STARTED, _state(1, "Backlog", "backlog"))
BY_ID: Final = {one.id: one for one in STATES}


@dataclass(kw_only=True)
class Comment:
    id: str
    html: str
    by: Person
    created: datetime
    updated: datetime
    access: str = "INTERNAL"
    external: tuple[str | None, str | None] = (None, None)


@dataclass(kw_only=True)
class Item:
    id: str
    number: int
    name: str
    by: Person
    created: datetime
    updated: datetime
    html: str = "<p></p>"
    state: State = TO_DO
    project: str = PROJECT
    priority: str = "none"
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    completed: datetime | None = None
    changed_by: Person | None = None
    external: tuple[str | None, str | None] = (None, None)
    comments: list[Comment] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


def new_id() -> str:
    return str(uuid.uuid4())


def wire(at: datetime | None, zone: str = "Z") -> str | None:
    """As the API writes times; deliveries of v2 say +00:00."""
    return at.astimezone(UTC).isoformat().replace("+00:00", zone) if at else None


def cleaned(html: str) -> str:
    """What Plane keeps of what it is sent: no comments, few attributes, a rel on each link."""
    html = re.sub(r"<!--.*?-->", "", html, flags=re.DOTALL)
    html = re.sub(r'\s(?:target|rel|class|data-[a-z-]+)="[^"]*"', "", html)
    return re.sub(r'<a href="([^"]*)">', r'<a href="\1" rel="noopener noreferrer">', html)


def stripped(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html)


def shown(html: str) -> str:
    """What a reader sees."""
    return stripped(html).replace("\u200b", "").strip()


def item_row(one: Item) -> dict[str, Any]:
    """A work item as REST lists it."""
    return {
        "id": one.id, "created_at": wire(one.created), "updated_at": wire(one.updated),
        "deleted_at": None, "point": None, "name": one.name, "description_html": one.html,
        "priority": one.priority, "sequence_id": one.number, "sort_order": 65535.0,
        "completed_at": wire(one.completed), "archived_at": None, "is_draft": False,
        "external_source": one.external[0], "external_id": one.external[1],
        "created_by": one.by.id, "updated_by": one.changed_by.id if one.changed_by else None,
        "project": one.project, "workspace": WORKSPACE, "parent": None, "state": one.state.id,
        "type": None, "labels": list(one.labels), "assignees": list(one.assignees),
    }  # fmt: skip


def comment_row(item: Item, one: Comment) -> dict[str, Any]:
    """A comment as REST lists it."""
    return {
        "id": one.id, "created_at": wire(one.created), "updated_at": wire(one.updated),
        "comment_html": one.html, "comment_stripped": stripped(one.html), "attachments": [],
        "access": one.access, "external_source": one.external[0], "external_id": one.external[1],
        "created_by": one.by.id, "project": item.project, "workspace": WORKSPACE,
        "issue": item.id, "actor": one.by.id, "parent": None,
    }  # fmt: skip


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """As v2 writes a record: ``_id`` names, and the text "None" for nothing."""
    renamed = {"state", "project", "workspace", "created_by", "updated_by", "parent", "type"}
    listed = {"labels": "label_ids", "assignees": "assignee_ids"}
    told = {
        f"{name}_id" if name in renamed else listed.get(name, name): value
        for name, value in row.items()
        if name != "description_html"
    }
    times = {name: value[:-1] + "+00:00" for name, value in told.items()
             if name.endswith("_at") and value}  # fmt: skip
    return {name: "None" if value is None else value for name, value in (told | times).items()}
