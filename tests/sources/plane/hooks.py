"""What people do at a Plane of the tests, and what it tells its webhooks of that, in its age."""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from tests.sources.plane.state import (
    ANN,
    BY_ID,
    DONE,
    HELPER,
    PROJECT,
    WORKSPACE,
    Comment,
    Item,
    Person,
    State,
    comment_row,
    item_row,
    new_id,
    plain_row,
    stripped,
    wire,
)

SECRET: Final = "plane_wh_of_the_tests_0123456789"
HOOK: Final = "b0000000-0000-4000-8000-000000000001"
_FIELDS: Final = {"state": "state_id", "labels": "label_ids", "assignees": "assignee_ids"}


class Age(StrEnum):
    """Of an installation: what it calls work items, and what its deliveries look like."""

    OLD = "v0.14"
    V1 = "v1"
    V2 = "v2"


class Board:
    """``webhooks`` are the deliveries so far: headers and body. ``clock`` may be set."""

    def __init__(self, age: Age) -> None:
        self.age = age
        self.items: dict[str, Item] = {}
        self.labels: dict[str, str] = {}
        self.people: list[Person] = [HELPER, ANN]
        self.webhooks: list[tuple[dict[str, str], bytes]] = []
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def open(self, name: str = "Boom", by: Person = ANN, **told: Any) -> Item:
        now = self.clock()
        number = max((one.number for one in self.items.values()), default=6) + 1
        item = Item(id=new_id(), number=number, name=name, by=by, created=now, updated=now, **told)
        self.items[item.id] = item
        self._tell("issue", "created", self._shown(item), by, event_data=item_row(item))
        return item

    def say(
        self, item: Item, html: str, by: Person = ANN,
        external: tuple[str | None, str | None] = (None, None),
    ) -> Comment:  # fmt: skip
        now = self.clock()
        comment = Comment(
            id=new_id(), html=html, by=by, created=now, updated=now, external=external
        )
        item.comments.append(comment)
        item.updated = now
        row = comment_row(item, comment)
        nested = {
            "id": comment.id, "access": comment.access, "actor_id": by.id, "issue_id": item.id,
            "edited_at": None, "comment_html": comment.html,
            "comment_stripped": stripped(comment.html),
        }  # fmt: skip
        if external[1]:
            nested |= {"external_source": external[0], "external_id": external[1]}
        about = {"id": item.id, "name": item.name, "comment": nested}
        self._tell("issue_comment", "created", row, by, event_data=about)
        return comment

    def edit(self, item: Item, comment: Comment, html: str, by: Person) -> None:
        before, comment.html = comment.html, html
        comment.updated = item.updated = self.clock()
        row = comment_row(item, comment) | {"edited_at": wire(comment.updated)}
        activity = {"field": "comment_html", "old_value": before, "new_value": html}
        nested = {"id": comment.id, "issue_id": item.id, "comment_html": html}
        about = {"id": item.id, "name": item.name, "comment": nested}
        self._tell("issue_comment", "updated", row, by, activity, about)

    def change(self, item: Item, by: Person = ANN, *, api: bool = False, **fields: Any) -> None:
        """Set fields by their names in ``Item``; one delivery for each, in v2 one for all."""
        before = item_row(item)
        for name, value in fields.items():
            setattr(item, name, value)
        item.updated, item.changed_by = self.clock(), by
        item.completed = item.updated if item.state.group == DONE.group else None
        after = item_row(item)
        names = {"html": "description_html"}
        changed = [one for one in (names.get(each, each) for each in fields)
                   if before[one] != after[one]]  # fmt: skip
        for name in changed:
            item.history.append({
                "id": new_id(), "created_at": wire(item.updated), "verb": "updated",
                "field": name, "actor": by.id,
                "old_value": self._worded(name, before[name]),
                "new_value": self._worded(name, after[name]),
                "old_identifier": before[name] if name == "state" else None,
                "new_identifier": after[name] if name == "state" else None,
            })  # fmt: skip
        if self.age is not Age.V2:
            for name in changed:
                activity = {
                    "field": name if api else _FIELDS.get(name, name),
                    "old_value": before[name], "new_value": after[name],
                }  # fmt: skip
                self._tell("issue", "updated", self._shown(item), by, activity)
        elif changed:
            told, was = plain_row(after), plain_row(before)
            previous = {name: one for name, one in was.items() if told[name] != one}
            if "description_html" in changed:
                told["description_html"] = item.html
                previous["description_html"] = before["description_html"]
            self._send("workitem.updated", told, previous, item)

    def move(self, item: Item, to: State, by: Person = ANN) -> None:
        self.change(item, by, state=to)

    def delete(self, item: Item, by: Person = ANN) -> None:
        del self.items[item.id]
        if self.age is Age.V2:
            self._send("workitem.deleted", {}, plain_row(item_row(item)), item)
        else:
            self._tell("issue", "deleted", {"id": item.id}, by, {"field": "issue"})

    def again(self) -> tuple[dict[str, str], bytes]:
        """The last delivery once more, as Plane retries it: under another id."""
        headers, body = self.webhooks[-1]
        if self.age is Age.V2:
            body = json.dumps(json.loads(body) | {"delivery_id": new_id()}).encode()
        return signed(body, headers["x-plane-event"])

    def of_other_hook(self) -> tuple[dict[str, str], bytes]:
        """The last delivery as another hook of the workspace gets it."""
        headers, body = self.webhooks[-1]
        told = json.loads(body) | {"webhook_id": new_id()}
        if self.age is Age.V2:
            told |= {"delivery_id": new_id(), "event_id": new_id()}
        return signed(json.dumps(told).encode(), headers["x-plane-event"])

    def label(self, name: str) -> str:
        found = next((one for one, told in self.labels.items() if told == name), None)
        identity = found or new_id()
        self.labels[identity] = name
        return identity

    def person(self, identity: str) -> dict[str, Any]:
        return next(one for one in self.people if one.id == identity).lite()

    def _shown(self, item: Item) -> dict[str, Any]:
        """An item as v1 tells it: its state, labels and assignees as objects."""
        return item_row(item) | {
            "state": item.state.lite(),
            "labels": [
                {"id": one, "name": self.labels[one], "color": "#D14343"} for one in item.labels
            ],
            "assignees": [self.person(one) for one in item.assignees],
            "description_stripped": stripped(item.html), "cycle": None, "module": None,
        }  # fmt: skip

    def _worded(self, name: str, value: Any) -> Any:
        return BY_ID[value].name if name == "state" else value

    def _tell(
        self, event: str, act: str, data: Mapping[str, Any], by: Person,
        activity: Mapping[str, Any] | None = None, event_data: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if self.age is Age.V2:
            name = {"issue": "workitem", "issue_comment": "workitem.comment"}[event]
            about = event_data or {}
            told = plain_row(about) if event == "issue" else dict(about)
            self._send(f"{name}.{act}", told, {}, None)
            return
        verb = act if self.age is Age.V1 else act.removesuffix("d").replace("deleted", "delete")
        told = {
            "event": event, "action": verb, "webhook_id": HOOK, "workspace_id": WORKSPACE,
            "data": dict(data),
        }  # fmt: skip
        if self.age is Age.V1:
            told["activity"] = {
                "field": None, "new_value": None, "old_value": None, "actor": by.lite(),
                "old_identifier": None, "new_identifier": None, **(activity or {}),
            }  # fmt: skip
        self.webhooks.append(signed(json.dumps(told).encode(), event))

    def _send(
        self, event: str, data: Mapping[str, Any], previous: Mapping[str, Any], item: Item | None
    ) -> None:
        told = {
            "version": "v2", "delivery_id": new_id(), "event_id": new_id(),
            "entity_id": item.id if item else data.get("id"), "entity_type": "issue",
            "event": event, "webhook_id": HOOK, "workspace_id": WORKSPACE, "data": dict(data),
            "previous_attributes": dict(previous),
        }  # fmt: skip
        self.webhooks.append(signed(json.dumps(told).encode(), event))


def signed(body: bytes, event: str, secret: str = SECRET) -> tuple[dict[str, str], bytes]:
    """A delivery of ``body`` under an id of its own."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "content-type": "application/json", "user-agent": "Autopilot",
        "x-plane-delivery": new_id(), "x-plane-event": event, "x-plane-signature": digest,
    }, body  # fmt: skip


__all__ = ["HOOK", "PROJECT", "SECRET", "Age", "Board", "signed"]
