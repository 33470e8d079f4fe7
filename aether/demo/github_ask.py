"""One request to the GitHub stand-in as its routes see it, and the pages of a list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from aether.demo import github_payloads as payloads
from aether.demo import github_rules as rules
from aether.demo import github_shapes as shapes
from aether.demo.github_rules import RefusedError
from aether.demo.github_shapes import Addresses, Json
from aether.demo.github_state import Account, Comment, Issue, Pull, Repository, State, comments_of

_PER_PAGE: Final = 30
_MAX_PER_PAGE: Final = 100


@dataclass(kw_only=True)
class Ask:
    """One authenticated request. ``told`` collects the webhooks that it causes."""

    state: State
    account: Account
    path: Mapping[str, Any]
    query: Mapping[str, str]
    json: Any
    url: str
    at: Addresses
    told: list[tuple[str, Json]] = field(default_factory=list)

    @property
    def fields(self) -> Mapping[str, Any]:
        """The JSON object that was sent."""
        if not isinstance(self.json, Mapping):
            raise RefusedError(400, "Body should be a JSON object")
        return self.json

    def repository(self, *, to_write: bool = False) -> Repository:
        found = self.state.find(f"{self.path['owner']}/{self.path['repo']}")
        if found is None:
            raise rules.not_found()
        if to_write and found.archived:
            raise RefusedError(403, "Repository was archived so is read-only.")
        return found

    def issue(self, *, to_write: bool = False) -> tuple[Repository, Issue]:
        repository = self.repository(to_write=to_write)
        found = repository.issues.get(self.path["number"])
        if found is None:
            raise rules.not_found()
        return repository, found

    def pull(self) -> tuple[Repository, Issue, Pull]:
        repository, issue = self.issue()
        if issue.pull is None:
            raise rules.not_found()
        return repository, issue, issue.pull

    def comment(self, *, to_write: bool = False) -> tuple[Repository, Issue, Comment]:
        repository = self.repository(to_write=to_write)
        for issue, comment in comments_of(repository):
            if comment.id == self.path["comment"]:
                return repository, issue, comment
        raise rules.not_found()

    def tell_issue(self, action: str, repository: Repository, issue: Issue, **more: Any) -> None:
        """What happens to a pull request is told as that, not as an issue's event."""
        if issue.pull is None:
            told = payloads.issue_payload(action, repository, issue, self.account, self.at, **more)
            self.told.append(("issues", told))
            return
        about = {
            "number": issue.number,
            "pull_request": shapes.pull(repository, issue, issue.pull, self.at),
            **more,
        }
        told = payloads.event_payload(action, repository, self.account, self.at, **about)
        self.told.append(("pull_request", told))

    def tell_comment(
        self, action: str, repository: Repository, issue: Issue, comment: Comment, **more: Any
    ) -> None:
        payload = payloads.comment_payload(
            action, repository, issue, comment, self.account, self.at, **more
        )
        self.told.append(("issue_comment", payload))


@dataclass(frozen=True)
class Answer:
    """What to answer; ``json`` None sends no body."""

    status: int
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Ask], Answer]


def _number(text: str | None, default: int, most: int | None = None) -> int:
    number = int(text) if text is not None and text.isdecimal() else default
    return max(1, number if most is None else min(number, most))


def paged(ask: Ask, items: Sequence[Any], show: Callable[[Any], Any]) -> Answer:
    """One page of ``items`` with the Link header that names its neighbours.

    https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api
    """
    size = _number(ask.query.get("per_page"), _PER_PAGE, _MAX_PER_PAGE)
    page, last = _number(ask.query.get("page"), 1), max(1, -(-len(items) // size))
    links: dict[str, int] = {}
    if page > 1:
        links |= {"prev": min(page - 1, last), "first": 1}
    if page < last:
        links |= {"next": page + 1, "last": last}
    named = [
        f'<{ask.url}?{urlencode({**ask.query, "page": number})}>; rel="{rel}"'
        for rel, number in links.items()
    ]
    shown = [show(item) for item in items[(page - 1) * size : page * size]]
    return Answer(200, shown, {"Link": ", ".join(named)} if named else {})
