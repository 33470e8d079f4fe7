"""What every platform offers the engine: the Source protocol and the values it speaks in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol, runtime_checkable

from aether.events import SourceEvent, Subject
from aether.http_answers import Fetched
from aether.vocabulary import SourceName

__all__ = [
    "ANY_CHANGE",
    "Comment",
    "CompletingSource",
    "Described",
    "DescribingSource",
    "EchoedSource",
    "Fetched",
    "Headers",
    "ItemChanges",
    "KeyedSource",
    "LineComment",
    "NewItem",
    "NewReview",
    "Outbound",
    "PollPage",
    "PolledSource",
    "Posted",
    "ReviewingSource",
    "Source",
    "Verdict",
]

ANY_CHANGE: Final = "any"

Verdict = Literal["comment", "approve", "request_changes"]
Headers = Mapping[str, str]
"""Names in lower case; values as received, decoded as latin-1."""


@dataclass(frozen=True, kw_only=True)
class Comment:
    """One comment on an item. ``created_at`` is ISO 8601 as the platform gave it."""

    id: str
    body: str
    author: str
    url: str
    created_at: str
    is_bot: bool = False
    is_restricted: bool = False  # not everybody who sees the item is shown it
    association: str | None = None


@dataclass(frozen=True, kw_only=True)
class Posted:
    """What a platform made of a write: its id there and an address a person can open.

    ``bot_account``: the login that wrote it, where the platform says that it is a bot's.
    """

    id: str
    url: str
    bot_account: str | None = None


@dataclass(frozen=True, kw_only=True)
class ItemChanges:
    """What to change on an item; None leaves a thing as it is."""

    title: str | None = None
    body: str | None = None
    state: str | None = None  # "open" or "closed"
    state_reason: str | None = None
    add_labels: Sequence[str] = ()
    remove_labels: Sequence[str] = ()
    add_assignees: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """An issue to create."""

    title: str
    body: str = ""
    labels: Sequence[str] = ()
    assignees: Sequence[str] = ()
    is_confidential: bool = False  # where the platform knows such: as private as what it came from
    origin: Subject | None = None  # what it comes from, and must be as private as


@dataclass(frozen=True, kw_only=True)
class LineComment:
    """A remark on one line of a change; ``side`` is "new", or "old" for a line taken out."""

    path: str
    line: int
    body: str
    side: Literal["new", "old"] = "new"


@dataclass(frozen=True, kw_only=True)
class NewReview:
    """A verdict on a pull or merge request. Every text in it ends with our marker."""

    verdict: Verdict
    body: str
    comments: Sequence[LineComment] = ()


@dataclass(frozen=True, kw_only=True)
class PollPage:
    """What one step of a poll saw.

    ``events`` are in the order in which they happened, as far as the platform tells it; each has
    ``told_by`` and ``happened_at``. ``cursor`` is JSON that only the source reads: where to go on,
    once the events are stored. ``has_more``: ask again at once, with this cursor.
    """

    events: Sequence[SourceEvent]
    cursor: Mapping[str, Any]
    has_more: bool = False


class Outbound(Protocol):
    """An authenticated connection to one platform, for one credential (aether.http gives it)."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """The decoded JSON of the answer; raises UpstreamError, which says whether it may pass."""
        ...

    async def pages(self, path: str, query: Mapping[str, str], *, max_pages: int = 20) -> list[Any]:
        """All items over the pages that ``Link: rel="next"`` names."""
        ...

    async def fetch(
        self, path: str, query: Mapping[str, str], *, etag: str | None = None
    ) -> Fetched:
        """One page, or "unchanged" where the platform says so of ``etag`` (If-None-Match)."""
        ...


@runtime_checkable
class Described(Protocol):
    """A connection that says where it leads: what ``aether.renewing`` has is one."""

    @property
    def base_url(self) -> str:
        """The address of the platform, without a slash at its end."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """What is no secret of the credential: ``email``, ``is_cloud``, ``workspace``."""
        ...


class Source(Protocol):
    """One platform: how its deliveries are verified and read, and how it is written to.

    ``verify`` and ``extract`` do no I/O, so a recorded request tests them whole.
    """

    @property
    def name(self) -> SourceName: ...

    @property
    def max_comment_characters(self) -> int:
        """The longest comment the platform takes."""
        ...

    def verify(self, headers: Headers, body: bytes, secret: str) -> None:
        """Return quietly, or raise SignatureError. ``secret`` may be a comma-separated list."""

    def extract(self, headers: Headers, body: bytes) -> SourceEvent:
        """Read one request, or raise InvalidInputError naming what is missing."""
        ...

    async def read_item(self, client: Outbound, subject: Subject) -> Mapping[str, Any]:
        """The item as it is now: title, body, state, labels, assignees, author, url."""
        ...

    async def list_comments(
        self, client: Outbound, subject: Subject, *, since: str | None = None
    ) -> list[Comment]:
        """Comments, oldest first; ``since`` is ISO 8601."""
        ...

    async def post_comment(
        self, client: Outbound, subject: Subject, body: str, *, timeout: float
    ) -> Posted: ...

    async def edit_comment(
        self, client: Outbound, subject: Subject, comment_id: str, body: str, *, timeout: float
    ) -> Posted: ...

    async def update_item(
        self, client: Outbound, subject: Subject, changes: ItemChanges, *, timeout: float
    ) -> Posted: ...

    async def create_item(
        self, client: Outbound, project: str, new: NewItem, *, timeout: float
    ) -> Posted: ...

    async def find_item(
        self, client: Outbound, project: str, marker: str, *, since: str
    ) -> Posted | None:
        """The item created since ``since`` whose body holds ``marker``."""
        ...


@runtime_checkable
class PolledSource(Source, Protocol):
    """A platform that can also be asked what happened; to be one, a source needs this method."""

    async def poll(
        self,
        client: Outbound,
        source_project_id: str,
        cursor: Mapping[str, Any],
        *,
        now: datetime,
        since: datetime,
    ) -> PollPage:
        """What happened after ``cursor`` in one project: one bounded step, a few requests.

        An empty ``cursor`` begins at ``since``; what happened before is never told. Afterwards
        ``since`` is not asked. ``now`` is the database's clock; both are aware. The project may
        be written in any way that ``SourceEvent.project_names`` could be.

        The engine stores the events and then the cursor, so a step may be asked for again after
        a crash: what it tells must be told under the same keys. A poll may overlap with the one
        before it, since the keys are unique in the database; but what it knows to have told
        (by the cursor) it must leave out, because old deliveries may have been pruned.

        - ``change_key``: of a creation, a close, a comment, a review: the very key of its webhook.
          Of an item that changed in no way that is told: ``<kind>:<id>:updated:<moment>``, with
          ``told_by="state"``; the engine drops it where a webhook has told of that state, or
          where the change is our own writing.
        - ``delivery_key``: ``poll:`` and the change key.
        - ``payload``: in the shape of the webhook's, so that users' jq meets what it knows.
        - One item that cannot be read is logged and left out: it must not stop all others.

        Raises:
            InvalidInputError: this cannot be a project of the platform.
            UpstreamError: the platform failed or refused; nothing of this step counts.
        """
        ...


@runtime_checkable
class ReviewingSource(Source, Protocol):
    """A platform where verdicts on pull or merge requests can be given."""

    async def find_review(
        self, client: Outbound, subject: Subject, marker: str, *, since: str
    ) -> Posted | None:
        """The whole review submitted since ``since`` whose text holds ``marker``."""
        ...

    async def submit_review(
        self,
        client: Outbound,
        subject: Subject,
        new: NewReview,
        *,
        since: str | None,
        timeout: float,
    ) -> Posted:
        """Give the verdict. Asked twice, a platform may have it twice, but for what is there.

        ``since``: parts of it may have been made from then on, and are looked for; None: none.

        Raises:
            InvalidInputError: it cannot be given in this form; nothing was written.
            UpstreamError: the platform refused it, or a part of it.
        """
        ...


@runtime_checkable
class CompletingSource(Source, Protocol):
    """A platform that tells some events without their item, so that it has to be asked for it."""

    def is_incomplete(self, event: SourceEvent) -> bool:
        """Whether the event's subject is known to be there, but not which it is."""
        ...

    async def complete(self, client: Outbound, event: SourceEvent) -> SourceEvent:
        """The event with its subject and project names; called by a worker, never on the way in.

        Raises:
            UpstreamError: the platform failed, or does not show the item.
        """
        ...


@runtime_checkable
class DescribingSource(CompletingSource, Protocol):
    """A platform that tells some events with little more than the id of their item."""

    def is_bare(self, event: SourceEvent) -> bool:
        """Whether ``complete`` would add what the item says; a run can do without."""
        ...


@runtime_checkable
class KeyedSource(Source, Protocol):
    """A platform that finds an item by its key alone, whatever project it is asked for."""

    def is_of_project(self, project: str, key: str) -> bool:
        """Whether a key that a model gave is known to be of that project; no I/O."""
        ...


@runtime_checkable
class EchoedSource(Source, Protocol):
    """A platform whose event names do not tell which of our own writings an event may echo."""

    def echoes(self, event: SourceEvent) -> Mapping[str, Sequence[frozenset[str]]]:
        """Kind of effect to what it changed; empty where the event is no echo of ours.

        Kinds are those of ``aether.effects``: label, unlabel, assign, update, close. Each changed
        thing is the set of its spellings, case folded; ``update`` names the fields ``title`` and
        ``body``. An empty set: which one it was is not told, as with a label told by its id. An
        event that tells of anything else beside is no echo. ``ANY_CHANGE`` alone: that the item
        changed is told, and not how.
        """
        ...
