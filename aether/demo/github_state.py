"""What the GitHub stand-in remembers: repositories, issues, pull requests, comments, labels."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from aether import clock

AccountType = Literal["User", "Bot"]

# GitHub's ids left 32 bits behind; so do ours, to catch whoever stores them in an int4.
_ISSUE_IDS: Final = 2_500_000_000
_AS_ISSUE: Final = 2_000_000_000
_FIRST_COMMENT_ID: Final = 3_000_000_001


# https://docs.github.com/en/issues/using-labels-and-milestones-to-track-work/managing-labels
DEFAULT_LABELS: Final = {
    "bug": "d73a4a",
    "documentation": "0075ca",
    "duplicate": "cfd3d7",
    "enhancement": "a2eeef",
    "good first issue": "7057ff",
    "help wanted": "008672",
    "invalid": "e4e669",
    "question": "d876e3",
    "wontfix": "ffffff",
}


def stable_id(*parts: object) -> int:
    """The same number for the same words, in every process."""
    return zlib.crc32("/".join(str(part).lower() for part in parts).encode())


def moment() -> datetime:
    """Now, in whole seconds as GitHub keeps times."""
    return clock.now().replace(microsecond=0)


@dataclass(frozen=True)
class Account:
    """Who acts. The login of an App's bot ends in ``[bot]``."""

    login: str
    type: AccountType = "User"

    @property
    def id(self) -> int:
        return stable_id("user", self.login)

    @property
    def app_slug(self) -> str | None:
        """The App this account writes through, if it is one's bot."""
        is_app = self.type == "Bot" and self.login.endswith("[bot]")
        return self.login.removesuffix("[bot]") if is_app else None


@dataclass(kw_only=True)
class Comment:
    """One comment on an issue or pull request."""

    id: int
    issue_number: int
    body: str
    author: Account
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class PullFile:
    """One file that a pull request changes; ``patch`` in unified form."""

    filename: str
    status: str = "modified"
    additions: int = 1
    deletions: int = 0
    patch: str = "@@ -0,0 +1 @@\n+changed"


@dataclass(kw_only=True)
class Review:
    """A review; ``state`` in REST's upper case: APPROVED, CHANGES_REQUESTED, COMMENTED, PENDING."""

    id: int
    author: Account
    body: str
    state: str
    commit_id: str
    comments: list[dict[str, object]]
    submitted_at: datetime | None


@dataclass(kw_only=True)
class Pull:
    """What an issue has more when it is a pull request."""

    head: str = "changes"
    base: str = "main"
    files: Sequence[PullFile] = ()
    merged_at: datetime | None = None
    draft: bool = False
    reviews: list[Review] = field(default_factory=list)

    @property
    def head_sha(self) -> str:
        return f"{stable_id(self.head):08x}" * 5


@dataclass(kw_only=True)
class Issue:
    """An issue, or a pull request where ``pull`` is set."""

    id: int
    number: int
    title: str
    body: str | None
    author: Account
    created_at: datetime
    updated_at: datetime
    state: Literal["open", "closed"] = "open"
    state_reason: str | None = None
    closed_at: datetime | None = None
    closed_by: Account | None = None
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    association: str = "CONTRIBUTOR"
    locked: bool = False
    pull: Pull | None = None
    comments: list[Comment] = field(default_factory=list)

    @property
    def id_as_issue(self) -> int:
        """Its id in lists of issues: GitHub gives a pull request one of its own there."""
        return self.id if self.pull is None else self.id + _AS_ISSUE

    def touch(self) -> None:
        self.updated_at = moment()


@dataclass(kw_only=True)
class Repository:
    """One repository. Its collaborators are those who can be assigned; the owner always can."""

    full_name: str
    private: bool = False
    archived: bool = False
    collaborators: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=lambda: dict(DEFAULT_LABELS))
    issues: dict[int, Issue] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.full_name.partition("/")[0]

    @property
    def name(self) -> str:
        return self.full_name.partition("/")[2]

    @property
    def id(self) -> int:
        return stable_id("repository", self.full_name)

    def may_be_assigned(self, login: str) -> bool:
        known = {self.owner.lower(), *(name.lower() for name in self.collaborators)}
        return login.lower() in known

    def association_of(self, account: Account) -> str:
        """GitHub's author_association of what ``account`` writes here."""
        if account.login.lower() == self.owner.lower():
            return "OWNER"
        if account.type == "Bot":
            return "NONE"
        return "COLLABORATOR" if self.may_be_assigned(account.login) else "CONTRIBUTOR"

    def label_name(self, wanted: str) -> str:
        """The repository's label of that name, in its own case; created grey if it is new."""
        for name in self.labels:
            if name.lower() == wanted.lower():
                return name
        self.labels[wanted] = "ededed"
        return wanted

    def next_number(self) -> int:
        return max(self.issues, default=0) + 1


def new_issue(
    full_name: str,
    number: int,
    title: str,
    body: str | None,
    author: Account,
    *,
    id: int | None = None,
    labels: Iterable[str] = (),
    assignees: Iterable[str] = (),
    association: str = "CONTRIBUTOR",
    pull: Pull | None = None,
    at: datetime | None = None,
) -> Issue:
    """An issue as freshly opened; without ``id`` one that follows from its name and number."""
    opened = (at or moment()).replace(microsecond=0)
    return Issue(
        id=_ISSUE_IDS + stable_id("issue", full_name, number) % 1_000_000_000 if id is None else id,
        number=number,
        title=title,
        body=body or None,  # an empty body is kept, sent and shown as null
        author=author,
        created_at=opened,
        updated_at=opened,
        labels=list(labels),
        assignees=list(assignees),
        association=association,
        pull=pull,
    )


STATES: Final = ("open", "closed", "all")
SORTS: Final[dict[str, Callable[[Issue], Any]]] = {
    "created": lambda issue: issue.created_at,
    "updated": lambda issue: issue.updated_at,
    "comments": lambda issue: len(issue.comments),
}


class State:
    """All repositories. Not locked by itself: the stand-in holds one lock around each use."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self._last_id = _FIRST_COMMENT_ID - 1

    def next_id(self) -> int:
        """An id for a comment or a review; ids only grow."""
        self._last_id += 1
        return self._last_id

    def find(self, full_name: str) -> Repository | None:
        """By name, in any case, as GitHub looks it up."""
        for name, repository in self.repositories.items():
            if name.lower() == full_name.lower():
                return repository
        return None

    def ensure(self, full_name: str) -> Repository:
        """The repository of that name, created if there is none."""
        owner, slash, name = full_name.partition("/")
        if not (owner and slash and name) or "/" in name:
            raise ValueError(f"repository: {full_name!r} is not owner/name")
        repository = self.find(full_name)
        if repository is None:
            repository = self.repositories[full_name] = Repository(full_name=full_name)
        return repository

    def add_comment(self, issue: Issue, body: str, author: Account) -> Comment:
        now = moment()
        comment = Comment(
            id=self.next_id(),
            issue_number=issue.number,
            body=body,
            author=author,
            created_at=now,
            updated_at=now,
        )
        issue.comments.append(comment)
        issue.updated_at = now
        return comment


def comments_of(repository: Repository) -> Iterator[tuple[Issue, Comment]]:
    """Every comment of a repository with its issue, in no order."""
    for issue in repository.issues.values():
        for comment in issue.comments:
            yield issue, comment
