"""Whether an update that GitLab tells of is what a write of ours did, and nothing besides.

One delivery tells of all that one request changed: it is ours only if each thing in it is.
https://docs.gitlab.com/user/project/integrations/webhook_events/#work-item-events
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aether.sources.gitlab.told import BOOKKEEPING, titles, usernames
from aether.sources.reading import mapping, text

_OF_CLOSING: Final = frozenset({"state_id", "state", "closed_at", "closed_by_id"})
_TEXTS: Final[Mapping[str, str]] = {"title": "title", "description": "body"}
_MARKUP: Final = frozenset({"title_html", "description_html"})


def is_echo(changes: object, kind: str, content: Mapping[str, Any]) -> bool:
    """Whether ``changes`` of an update hold just what an effect of ``kind`` wrote.

    ``content`` is the effect's: ``names`` of labels or people, or the ``title`` and ``body``.
    """
    told = {
        name: mapping(one)
        for name, one in mapping(changes).items()
        if name not in BOOKKEEPING | _MARKUP
    }
    return bool(told) and all(_is_ours(name, one, kind, content) for name, one in told.items())


def _is_ours(name: str, change: Mapping[str, Any], kind: str, content: Mapping[str, Any]) -> bool:
    before, now = change.get("previous"), change.get("current")
    wrote: Sequence[str] = content.get("names", ())
    match kind:
        case "label" if name == "labels":
            return _differ_by(titles(now), titles(before), wrote)
        case "unlabel" if name == "labels":
            return _differ_by(titles(before), titles(now), wrote)
        case "assign" if name == "assignees":
            added = set(usernames(now)) - set(usernames(before))
            return bool(added) and _folded(added) <= _folded(wrote)
        case "assign":
            return name in {"assignee_id", "assignee_ids"}
        case "update" if name in _TEXTS:
            return isinstance(now, str) and now.strip() == text(content.get(_TEXTS[name])).strip()
        case "close":
            return name in _OF_CLOSING
    return False


def _folded(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}


def _differ_by(more: Sequence[str], less: Sequence[str], names: Sequence[str]) -> bool:
    """Whether ``more`` is ``less`` with some of ``names`` and no others, and nothing was lost."""
    gained, lost = set(more) - set(less), set(less) - set(more)
    # a scoped label takes the place of another of its scope
    scopes = {name.rpartition("::")[0] for name in gained if "::" in name}
    return (
        bool(gained)
        and gained <= set(names)
        and all(name.rpartition("::")[0] in scopes for name in lost if "::" in name)
        and all("::" in name for name in lost)
    )
