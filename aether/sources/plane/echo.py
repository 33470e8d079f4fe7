"""Says which of our own writings a change of a work item may be the echo of."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aether.events import SourceEvent
from aether.sources.base import ANY_CHANGE
from aether.sources.plane import dialects, shapes
from aether.sources.plane.dialects import ITEM, Act
from aether.sources.plane.extract import CLOSED
from aether.sources.reading import mapping, sequence, text

_TEXTS: Final = {"name": "title", "description": "body"}
_UNTOLD: Final[frozenset[str]] = frozenset()
"""Which one it was is not told: only its id is."""


def echoes(event: SourceEvent) -> Mapping[str, Sequence[frozenset[str]]]:
    """Kind of effect to what it changed; see ``EchoedSource.echoes``."""
    told = dialects.understand(event.payload, event.event_name, "")
    if told.thing != ITEM or told.act != "updated" or not told.is_own:
        return {}
    if not told.changed:  # before v0.21
        return {ANY_CHANGE: ()}
    found: dict[str, list[frozenset[str]]] = {}
    for name in told.changed:
        kinds = _of_aspect(name, told, event)
        if not kinds:
            return {}  # somebody changed something that no tool of ours does
        for kind, changed in kinds:
            found.setdefault(kind, []).append(changed)
    return found


def _of_aspect(name: str, told: Act, event: SourceEvent) -> list[tuple[str, frozenset[str]]]:
    if name in _TEXTS:
        return [("update", frozenset({_TEXTS[name]}))]
    if name == "state":
        # v2 does not tell the state's group, so that a move to cancelled looks like any other.
        is_close = any(one.event_name == CLOSED for one in event.candidates)
        is_untold = told.is_v2 and not shapes.group(told.data) and not _is_reopened(told)
        return [("close", _UNTOLD)] if is_close or is_untold else []
    if name not in {"labels", "assignees"}:
        return []
    before, after = _sides(name, told, event.payload)
    added, removed = after - before, before - after
    shown = {
        identity: one
        for one in map(mapping, sequence(told.data.get(name)))
        if (identity := shapes.reference(one))
    }
    if name == "assignees":
        if removed:
            return []  # no tool of ours takes anybody off
        return [("assign", _person(shown.get(one), one)) for one in sorted(added)]
    labels = [("label", _label(shown.get(one), one)) for one in sorted(added)]
    return labels + [("unlabel", _label(shown.get(one), one)) for one in sorted(removed)]


def _is_reopened(told: Act) -> bool:
    return shapes.is_set(told.before.get("completed_at"))


def _sides(name: str, told: Act, payload: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """What there was and what there is now, as ids, or as names where v0.21 to v0.26 tell those."""
    if told.is_v2:
        one = {"labels": "label_ids", "assignees": "assignee_ids"}[name]
        return set(shapes.ids(told.before.get(one))), set(shapes.ids(told.data.get(one)))
    activity = mapping(payload.get("activity"))
    old, new = activity.get("old_value"), activity.get("new_value")
    if isinstance(old, list) or isinstance(new, list):
        return set(shapes.ids(old)), set(shapes.ids(new))
    return {one for one in (text(old),) if one}, {one for one in (text(new),) if one}


def _label(shown: Mapping[str, Any] | None, told: str) -> frozenset[str]:
    if shown is None:
        return _UNTOLD if shapes.uuid(told) else frozenset({told.casefold()})
    return frozenset({text(shown.get("name")).casefold(), told})


def _person(shown: Mapping[str, Any] | None, told: str) -> frozenset[str]:
    if shown is None:
        return _UNTOLD if shapes.uuid(told) else frozenset({told.casefold()})
    return shapes.spellings(shown)
