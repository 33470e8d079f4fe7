"""Whether an event is our own doing: then it starts nothing, or we would answer ourselves.

Known by the marker in the text, the id of a comment we recorded, or an effect we intended on
that item. The account alone decides only for bot and App accounts: a person whose token we use
is still a person.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aether.db import rows
from aether.events import SourceEvent, Subject
from aether.markers import markers_in
from aether.rendering import clean
from aether.sources import get as get_source
from aether.sources.base import ANY_CHANGE, EchoedSource
from aether.sources.gitlab.echo import is_echo as is_gitlab_echo
from aether.vocabulary import SourceName

OURS: Final = "our own doing"  # how each reason begins
WINDOW: Final = "15 minutes"  # between our write and the webhook that tells of it
STATE_WINDOW: Final = "2 minutes"  # between our write and the item's own time of change

CHANGES: Final = frozenset({"label", "unlabel", "assign", "update", "close"})
KINDS: Final[Mapping[str, frozenset[str]]] = {
    "labeled": frozenset({"label"}),
    "unlabeled": frozenset({"unlabel"}),
    "assigned": frozenset({"assign"}),
    "closed": frozenset({"close"}),
    "edited": frozenset({"update"}),
    "update": frozenset({"label", "unlabel", "assign", "update"}),  # GitLab tells all in one
    "close": frozenset({"close"}),
    **dict.fromkeys(
        ("approved", "approval", "unapproved", "unapproval"), frozenset({"review"})
    ),  # GitLab's; a review of GitHub carries our marker
}
"""Which of our effects an action may be the echo of."""

CREATIONS: Final = frozenset({None, "opened", "open", "created", "create", "issue_created"})
"""Actions that tell of a new item; what is done to it afterwards may be anybody's doing."""


async def why_ours(event: SourceEvent) -> str | None:
    """The evidence that we did it, in words; None where it was somebody else."""
    for evidence in (_by_marker, _by_comment, _by_account, _by_effect):
        why = await evidence(event)
        if why is not None:
            return why
    return None


async def _by_marker(event: SourceEvent) -> str | None:
    markers = markers_in(event.text)
    if not markers:
        return None
    found = await rows(
        f"""SELECT kind, platform_id, content,
              touched_at > now() - interval '{WINDOW}' AS is_recent
            FROM effect WHERE source = $1 AND marker = ANY($2::text[])""",  # noqa: S608 # a constant of ours
        event.source, markers,
    )  # fmt: skip
    if any(_marks(event, one) for one in found):
        return f"{OURS}: it carries our marker"
    return None


def _marks(event: SourceEvent, effect: Mapping[str, Any]) -> bool:
    """Whether the event tells of the very writing that the marker stands for.

    The text of an item that we created carries its marker for good, and people close, label and
    edit it; a marker on another comment than the recorded one was copied by somebody.
    """
    recorded, subject = effect["platform_id"], event.subject
    if effect["kind"] == "create":
        if event.comment_id is not None or subject is None or recorded not in {None, subject.key}:
            return False
        labels = json.loads(effect["content"]).get("labels", ())
        return _is_creation(event) or (effect["is_recent"] and event.change in labels)
    if event.comment_id is not None:
        # a review's remarks on lines have ids of their own
        is_remark = effect["kind"] == "review" and effect["is_recent"]
        return is_remark or recorded in {None, event.comment_id}
    return subject is None or event.text != subject.body  # an edited comment, and no item's text


def _is_creation(event: SourceEvent) -> bool:
    # Old Jira Servers give no action, neither to a creation nor to what is done afterwards.
    return event.action in CREATIONS and not event.event_name.endswith("updated")


async def _by_comment(event: SourceEvent) -> str | None:
    if event.comment_id is None:
        return None
    found = await rows(
        """SELECT 1 FROM effect WHERE source = $1 AND platform_id = $2 AND site = $3
             AND (kind = 'comment' OR kind = 'review' AND source = 'gitlab') LIMIT 1""",
        event.source, event.comment_id, event.site,
    )  # fmt: skip
    return f"{OURS}: we posted this comment" if found else None


async def _by_account(event: SourceEvent) -> str | None:
    if event.actor is None or not event.actor.is_bot:
        return None
    found = await rows(
        "SELECT 1 FROM effect WHERE source = $1 AND account = $2 AND site = $3 LIMIT 1",
        event.source, event.actor.login, event.site,
    )  # fmt: skip
    return f"{OURS}: {event.actor.login} is our bot account" if found else None


async def _by_effect(event: SourceEvent) -> str | None:
    if event.told_by == "state":
        return await _by_any_effect(event)
    source = get_source(event.source)
    if isinstance(source, EchoedSource):
        return await _by_echo(event, source.echoes(event))
    kinds = KINDS.get(event.action or "")
    if kinds is None or event.subject is None:
        return None
    found = await _recent_effects(event, event.subject, kinds)
    if any(_tells_of(event, one["kind"], json.loads(one["content"])) for one in found):
        return f"{OURS}: we intended {event.action} on this item"
    return None


async def _by_any_effect(
    event: SourceEvent, kinds: frozenset[str] = CHANGES | {"comment", "create", "review"}
) -> str | None:
    """That the item changed is told, not how: what we wrote at that time is what was seen."""
    if event.subject is None or event.happened_at is None:
        return None
    found = await rows(
        f"""SELECT 1 FROM effect
            WHERE source = $1 AND project_key = $2 AND item_key = $3 AND kind = ANY($5::text[])
              AND site = $6
              AND status IN ('intended', 'sent')
              AND touched_at BETWEEN $4::text::timestamptz - interval '{STATE_WINDOW}'
                AND $4::text::timestamptz + interval '{STATE_WINDOW}' LIMIT 1""",  # noqa: S608 # a constant of ours
        event.source, event.subject.project[:400], event.subject.key[:100], event.happened_at,
        sorted(kinds), event.site,
    )  # fmt: skip
    return f"{OURS}: we wrote to this item at that time" if found else None


async def _by_echo(event: SourceEvent, told: Mapping[str, Sequence[frozenset[str]]]) -> str | None:
    """For platforms that tell several changes in one event: ours only if each of them is."""
    if not told or event.subject is None:
        return None
    if ANY_CHANGE in told:
        return await _by_any_effect(event, kinds=CHANGES)
    found = await _recent_effects(event, event.subject, told.keys())
    wrote: dict[str, list[Mapping[str, Any]]] = {}
    for one in found:
        wrote.setdefault(one["kind"], []).append(json.loads(one["content"]))
    for kind, changes in told.items():
        contents = wrote.get(kind, [])
        for changed in changes:
            if not any(_echoes(kind, changed, one, event.subject) for one in contents):
                return None
    return f"{OURS}: we intended to {' and '.join(sorted(told))} this item"


def _echoes(kind: str, changed: frozenset[str], content: Mapping[str, Any], now: Subject) -> bool:
    """Whether one effect wrote one changed thing."""
    if kind == "update":
        return all(
            content.get(name) is not None and _same_words(content[name], getattr(now, name))
            for name in changed
        )
    if kind == "close" or not changed:  # which one it was is not told
        return True
    return bool(changed & {str(name).casefold() for name in content.get("names", ())})


def _same_words(one: str, other: str) -> bool:
    """Whether two texts say the same, though a platform has put one into its own markup."""
    words = [re.findall(r"\w+", clean(text).casefold()) for text in (one, other)]
    if words[0] == words[1]:
        return True
    shared = sum((Counter(words[0]) & Counter(words[1])).values())
    return shared * 10 >= 9 * max(len(words[0]), len(words[1])) > 0


async def _recent_effects(
    event: SourceEvent, subject: Subject, kinds: Iterable[str]
) -> list[dict[str, Any]]:
    """What we wrote to the item about when the event happened; a poll may tell of it late."""
    polled_at = event.happened_at if event.told_by == "poll" else None
    return await rows(
        f"""SELECT kind, content FROM effect
            WHERE source = $1 AND project_key = $2 AND item_key = $3 AND kind = ANY($4::text[])
              AND site = $6 AND status IN ('intended', 'sent')
              AND touched_at > coalesce($5::text::timestamptz, now()) - interval '{WINDOW}'
              AND ($5 IS NULL OR touched_at < $5::text::timestamptz + interval '{WINDOW}')""",  # noqa: S608 # a constant of ours
        event.source, subject.project[:400], subject.key[:100], sorted(kinds), polled_at,
        event.site,
    )  # fmt: skip


def _tells_of(event: SourceEvent, kind: str, content: Mapping[str, Any]) -> bool:
    """Whether the event says what the effect wrote."""
    if event.source is SourceName.GITLAB and event.action == "update":
        return is_gitlab_echo(event.payload.get("changes"), kind, content)
    if kind == "review":
        is_approval = event.action in {"approved", "approval"}
        return bool(content["verdict"] == ("approve" if is_approval else "request_changes"))
    if kind in {"label", "unlabel", "assign"}:
        return event.change in content.get("names", ())
    if kind == "update" and event.subject is not None:
        return _tells_of_update(event, event.subject, content)
    return kind == "close"


def _tells_of_update(event: SourceEvent, now: Subject, content: Mapping[str, Any]) -> bool:
    if event.text != now.body:
        return False  # somebody edited a comment
    wrote = {name: content[name] for name in ("title", "body") if content.get(name) is not None}
    told = event.payload.get("changes")  # GitHub and GitLab say what was edited
    names = set(told) if isinstance(told, Mapping) else set()
    edited = ({"body"} if "description" in names else set()) | names & {"title", "body"}
    if edited and not edited & set(wrote):
        return False  # something else than what we wrote
    return all(value == getattr(now, name) for name, value in wrote.items())
