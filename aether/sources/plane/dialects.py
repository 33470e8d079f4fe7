"""Brings Plane's three wire formats to one: what thing, what act, which fields changed.

v0.13 to v0.20: ``issue`` and ``create``; from v0.21 on ``issue`` and ``created``, with an
``activity`` that names one changed field; v2: ``workitem.created``, with ``previous_attributes``.
https://developers.plane.so/dev-tools/intro-webhooks
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aether.sources.plane.change_key import aspect
from aether.sources.plane.shapes import CLOSED_GROUPS, group, is_set, reference, state_name, uuid
from aether.sources.reading import mapping, text

ITEM: Final = "issue"
COMMENT: Final = "issue.comment"

_ACTS: Final = {
    "create": "created",
    "post": "created",
    "update": "updated",
    "patch": "updated",
    "put": "updated",
    "delete": "deleted",
}
_THINGS: Final = {"issue_comment": COMMENT, "inbox_issue": "intake_issue"}
_OLD_NAME: Final = re.compile(r"[a-z]+(?:_[a-z]+)*")
_DOTTED: Final = re.compile(r"(?:[a-z]+(?:[_-][a-z]+)*\.)+[a-z]+(?:_[a-z]+)*")
_ITEM_WORDS: Final = frozenset({"workitem", "work_item", "work-item", "issue"})
_ENUM: Final = re.compile(r"(?:\w+\.)*(?P<name>[A-Z]+(?:_[A-Z]+)+)")
_OF_NEW_ITEMS: Final = frozenset({"", "issue"})
_BOOKKEEPING: Final = frozenset(
    {"updated_at", "updated_by", "updated_by_id", "last_activity_at", "sort_order"}
)


@dataclass(frozen=True, kw_only=True)
class Act:
    """What a delivery tells, in one language.

    ``thing`` is ``issue``, ``issue.comment``, ``issue.link``, ``cycle``, ``page.comment`` …;
    ``act`` is created, updated, deleted, archived … or whatever was sent. ``changed`` are the
    aspects that an update changed, with their new values. ``is_own``: about the item or comment
    itself, and not what hangs on it, which v0.21 to v0.26 told by the item's name.
    """

    thing: str
    act: str
    is_v2: bool
    data: Mapping[str, Any]
    before: Mapping[str, Any]
    changed: Mapping[str, Any]
    is_own: bool = True

    @property
    def name(self) -> str:
        """The name that mappings know: ``issue.created``."""
        return f"{self.thing}.{self.act}" if self.act else self.thing


def understand(payload: Mapping[str, Any], told_name: str, header: str) -> Act:
    """The act of a payload; ``told_name`` is its ``event``, ``header`` that of X-Plane-Event."""
    name = next((one for one in (told_name, header) if _is_known(one)), told_name or header)
    if not _is_known(name) and (leaked := _ENUM.fullmatch(name)):
        # A documented sample shows the name of an enumeration's member in place of its value.
        name = leaked["name"].lower().replace("work_item", "workitem").replace("_", ".")
    data, before = mapping(payload.get("data")), mapping(payload.get("previous_attributes"))
    if "." in name:
        thing, act = _split(name)
        return Act(thing=thing, act=act, is_v2=True, data=data or before, before=before,
                   changed=_changed(data, before))  # fmt: skip
    sent = text(payload.get("action")).strip().lower()
    activity = mapping(payload.get("activity"))
    field = text(activity.get("field")).strip()
    thing, act = _THINGS.get(name, name), _ACTS.get(sent, sent)
    is_own = thing != ITEM or act == "updated" or field in _OF_NEW_ITEMS
    if thing == ITEM and act == "created" and not is_own:
        act = "updated"  # of an item that was there already: a link, an attachment, a cycle
    is_update = act == "updated" and bool(field)
    changed = {aspect(field): _new_value(activity)} if is_update else {}
    return Act(thing=thing, act=act, is_v2=False, data=data, before={}, changed=changed,
               is_own=is_own)  # fmt: skip


def closes(told: Act, payload: Mapping[str, Any]) -> bool:
    """Whether this very delivery tells of the move into a completed or cancelled state.

    Every later delivery of a finished item shows that state, and so do those of the same edit.
    """
    if told.thing != ITEM or told.act != "updated" or "state" not in told.changed:
        return False
    if told.is_v2:
        was_completed = "completed_at" in told.before and not is_set(told.before["completed_at"])
        if was_completed and is_set(told.data.get("completed_at")):
            return True
        return "state_id" in told.before and group(told.data) in CLOSED_GROUPS
    return group(told.data) in CLOSED_GROUPS and _is_into_present(told.data, payload)


def _is_into_present(data: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
    """Whether the activity's new state is the one that the item shows; it is read later."""
    activity = mapping(payload.get("activity"))
    shown, told = reference(data.get("state")), text(activity.get("new_value")).strip()
    new = uuid(activity.get("new_identifier")) or uuid(told)
    if new and uuid(shown):
        return new == shown
    named = state_name(data)
    return not (told and named) or uuid(told) is not None or told == named


def _new_value(activity: Mapping[str, Any]) -> Any:
    identifier = activity.get("new_identifier")
    return identifier if is_set(identifier) else activity.get("new_value")


def _changed(data: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    names = [name for name in before if name not in _BOOKKEEPING] if data else []
    found: dict[str, Any] = {}
    for name in sorted(names):
        found.setdefault(aspect(name), data.get("state_id" if name == "completed_at" else name))
    return found


def _is_known(name: str) -> bool:
    return bool(_OLD_NAME.fullmatch(name) or _DOTTED.fullmatch(name))


def _split(name: str) -> tuple[str, str]:
    first, *rest = name.split(".")
    thing = ITEM if first in _ITEM_WORDS else first
    act = rest.pop()
    if thing == ITEM and not rest and act == "commented":
        return COMMENT, "created"
    return ".".join((thing, *rest)), _ACTS.get(act, act)
