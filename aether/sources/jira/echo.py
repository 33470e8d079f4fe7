"""Says which of our own writings a change of an issue may be the echo of."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aether.events import SourceEvent
from aether.sources.jira import extract, shapes
from aether.sources.reading import mapping, sequence, text

_TITLE_AND_BODY: Final = {"summary": "title", "description": "body"}


def echoes(event: SourceEvent) -> Mapping[str, Sequence[frozenset[str]]]:
    """Kind of effect to what it changed, by the changelog; see ``EchoedSource.echoes``.

    A transition takes other fields along (a resolution, an assignee), so a close is only that.
    """
    if event.event_name != extract.UPDATED:
        return {}
    if any(one.action == extract.CLOSED for one in event.candidates):
        return {"close": (frozenset(),)}
    found: dict[str, list[frozenset[str]]] = {}
    for item in map(mapping, sequence(mapping(event.payload.get("changelog")).get("items"))):
        told = _of_item(item, event.payload)
        if not told:
            return {}  # somebody changed something that no tool of ours does
        for kind, changed in told:
            found.setdefault(kind, []).append(changed)
    return found


def _of_item(
    item: Mapping[str, Any], payload: Mapping[str, Any]
) -> list[tuple[str, frozenset[str]]]:
    name = (text(item.get("fieldId")) or text(item.get("field"))).lower()
    if item.get("fieldtype") == "custom":
        return []
    if name in _TITLE_AND_BODY:
        return [("update", frozenset({_TITLE_AND_BODY[name]}))]
    if name == "labels":
        before, after = (set(text(item.get(side)).split()) for side in ("fromString", "toString"))
        added = [("label", frozenset({one.casefold()})) for one in sorted(after - before)]
        return added + [("unlabel", frozenset({one.casefold()})) for one in sorted(before - after)]
    if name == "assignee":
        names = {text(item.get(one)).casefold() for one in ("to", "toString", "tmpToAccountId")}
        issue = mapping(payload.get("issue"))
        known = shapes.spellings(mapping(issue.get("fields")).get("assignee"))
        return [("assign", frozenset(names - {""}) | known)] if names - {""} else []
    return []
