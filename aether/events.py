"""What a source says and the engine hears: plain values, no I/O, the same for every platform."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Final, Literal

from aether.vocabulary import SourceName

ItemKind = Literal["issue", "pr", "deployment"]
Visibility = Literal["confidential", "internal"]
"""What not everybody may read: a confidential item, or a comment at hand that is internal."""
ToldBy = Literal["webhook", "poll", "state"]
"""How we know: a webhook told it, a poll saw what happened, or a poll saw only that the item is
no longer as before."""

_SELDOM: Final = frozenset({"visibility", "restricted_to", "author_association"})
_UNSAID: Final = {"told_by": "webhook", "happened_at": None, "site": ""}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One (event name, action) under which source event mappings may know the event."""

    event_name: str
    action: str | None = None


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who did it."""

    login: str
    is_bot: bool = False
    id: str | None = None
    association: str | None = None  # GitHub's author_association of the text at hand, if told


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The item an event is about and an answer goes to.

    ``project`` and ``key`` are the platform's: ``acme/api`` and ``7``. ``body`` is Markdown,
    empty where the platform sends null. A deployment cannot be answered, nor can what belongs to
    no project (an epic of a group), whose ``project`` is empty.
    """

    kind: ItemKind
    project: str
    key: str
    title: str = ""
    body: str = ""
    url: str = ""
    state: str | None = None
    author: str | None = None
    author_association: str | None = None  # how its author stands to the project, if told
    labels: tuple[str, ...] = ()
    visibility: Visibility | None = None  # None: whoever may read the project; not in a summary
    restricted_to: str | None = None  # whom the platform shows it to, in words of its own; likewise

    @property
    def can_be_answered(self) -> bool:
        """Whether there is a place for a comment."""
        return self.kind != "deployment" and bool(self.project)

    @property
    def audience(self) -> str:
        """Whom a comment is for: empty for whoever may read the item. No two share a comment."""
        if self.visibility != "internal":
            return ""
        return f"internal {self.restricted_to or ''}".strip()[:300]


@dataclass(frozen=True, kw_only=True)
class SourceEvent:
    """One delivery, read.

    ``delivery_key`` stays the same over a delivery's retries; ``change_key`` names what
    happened, so that several hooks, a replay under a fresh id and a poll agree on it.
    ``candidates`` come sharpest first; with ``stops`` nothing else is asked after them, also
    not a row whose action is null. ``text`` is what the actor wrote just now (the comment, the
    review, else the item's body) as Markdown. ``happened_at`` is by the platform's clock, in UTC
    (``2026-03-04T09:15:00Z``; fractions allowed): a poll always tells it, since it may come hours
    later; a webhook tells when its item last changed, where it knows. ``site`` is where it was told
    (``aether.platform_auth.site_of``), empty for the environment's own: ids and keys are a
    site's, and mean something else on another.
    """

    source: SourceName
    delivery_key: str
    change_key: str
    event_name: str
    action: str | None = None
    candidates: tuple[Candidate, ...] = ()
    stops: bool = False
    is_ping: bool = False
    project_names: tuple[str, ...] = ()  # every name a project row may know it by
    subject: Subject | None = None
    actor: Actor | None = None
    text: str = ""
    comment_id: str | None = None  # the platform's id of the comment this event created
    change: str | None = None  # the value that changed: a label's name, an assignee's login
    outcome: str | None = None  # how a deployment or a review ended: success, approved
    told_by: ToldBy = "webhook"
    happened_at: str | None = None
    site: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key_prefix(self) -> str:
        """What its keys begin with in our rows: another site may give the same key to another
        thing. Empty for the environment's own site."""
        return f"site:{self.site} " if self.site else ""

    def summary(self) -> dict[str, Any]:
        """All but the payload, as JSON: what the delivery row keeps and jq sees as ``$event``."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: _plain(value)
            for name, value in values.items()
            if name != "payload" and not (name in _UNSAID and value == _UNSAID[name])
        }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if not is_dataclass(value) or isinstance(value, type):
        return value
    told = asdict(value)
    return {name: one for name, one in told.items() if name not in _SELDOM or one is not None}


def event_from_summary(told: Mapping[str, Any], payload: Mapping[str, Any]) -> SourceEvent:
    """The event that ``summary`` was made from."""
    values = dict(told)
    values["source"] = SourceName(values["source"])
    values["candidates"] = tuple(Candidate(**one) for one in values["candidates"])
    values["project_names"] = tuple(values["project_names"])
    if values["subject"] is not None:
        subject = dict(values["subject"])
        subject["labels"] = tuple(subject["labels"])
        values["subject"] = Subject(**subject)
    if values["actor"] is not None:
        values["actor"] = Actor(**values["actor"])
    return SourceEvent(**values, payload=payload)
