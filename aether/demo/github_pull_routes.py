"""What the GitHub stand-in does for pull requests and their reviews."""

from typing import Final

from aether.demo import github_payloads as payloads
from aether.demo import github_rules as rules
from aether.demo import github_shapes as shapes
from aether.demo.github_ask import Answer, Ask, Handler, paged
from aether.demo.github_rules import RefusedError
from aether.demo.github_shapes import Json
from aether.demo.github_state import SORTS, STATES, Issue, Pull, Repository, Review, moment

_PULL_SORTS: Final = ("created", "updated")
_VERDICTS: Final = {
    "APPROVE": "APPROVED",
    "REQUEST_CHANGES": "CHANGES_REQUESTED",
    "COMMENT": "COMMENTED",
    None: "PENDING",
}


def get_pull(ask: Ask) -> Answer:
    return Answer(200, shapes.pull(*ask.pull(), ask.at))


def list_pulls(ask: Ask) -> Answer:
    """There is no ``since`` here, and ``direction`` is desc only for the default order."""
    repository, query = ask.repository(), ask.query
    state = rules.check_choice("PullRequest", "state", query.get("state", "open"), STATES)
    sort = rules.check_choice("PullRequest", "sort", query.get("sort", "created"), _PULL_SORTS)
    direction = query.get("direction", "desc" if sort == "created" else "asc")
    rules.check_choice("PullRequest", "direction", direction, ("asc", "desc"))
    found = [
        (issue, issue.pull)
        for issue in repository.issues.values()
        if issue.pull is not None and state in ("all", issue.state)
    ]
    found.sort(key=lambda pair: (SORTS[sort](pair[0]), pair[0].number), reverse=direction == "desc")
    return paged(ask, found, lambda pair: shapes.listed_pull(repository, pair[0], pair[1], ask.at))


def list_reviews(ask: Ask) -> Answer:
    """In the order in which they were written; a pending one is its author's alone."""
    repository, issue, pull = ask.pull()
    found = [
        one for one in pull.reviews if one.submitted_at is not None or one.author == ask.account
    ]
    return paged(ask, found, lambda one: shapes.review(repository, issue, one, ask.at))


def merge_pull(ask: Ask) -> Answer:
    """``sha`` guards against a head that has moved."""
    repository, issue, pull = ask.pull()
    told = ask.fields if ask.json is not None else {}
    if issue.state == "closed":
        raise RefusedError(405, "Pull Request is not mergeable")
    if told.get("sha", pull.head_sha) != pull.head_sha:
        raise RefusedError(409, "Head branch was modified. Review and try the merge again.")
    issue.state, issue.closed_at, issue.closed_by = "closed", moment(), ask.account
    pull.merged_at = issue.closed_at
    issue.touch()
    ask.tell_issue("closed", repository, issue)
    done = {
        "sha": pull.head_sha[::-1],
        "merged": True,
        "message": "Pull Request successfully merged",
    }
    return Answer(200, done)


def list_pull_files(ask: Ask) -> Answer:
    repository, _, pull = ask.pull()
    return paged(ask, pull.files, lambda file: shapes.pull_file(repository, pull, file, ask.at))


def create_review(ask: Ask) -> Answer:
    """Without ``event`` the review stays PENDING, and no webhook tells of it."""
    repository, issue, pull = ask.pull()
    told = ask.fields
    verdict = told.get("event")
    rules.check_choice("PullRequestReview", "event", verdict, tuple(_VERDICTS))
    body, comments = told.get("body") or "", told.get("comments") or []
    if verdict == "APPROVE" and issue.author == ask.account:
        raise _unprocessable("Can not approve your own pull request")
    if verdict == "REQUEST_CHANGES" and issue.author == ask.account:
        raise _unprocessable("Can not request changes on your own pull request")
    if verdict in ("REQUEST_CHANGES", "COMMENT") and not body.strip() and not comments:
        raise _unprocessable(f"Review cannot be submitted without a body: {verdict}")
    if any(one.get("path") not in {file.filename for file in pull.files} for one in comments):
        raise _unprocessable("Path could not be resolved")
    review = Review(
        id=ask.state.next_id(),
        author=ask.account,
        body=body,
        state=_VERDICTS[verdict],
        commit_id=told.get("commit_id") or pull.head_sha,
        comments=list(comments),
        submitted_at=moment() if verdict else None,
    )
    pull.reviews.append(review)
    shown = shapes.review(repository, issue, review, ask.at)
    if verdict:
        issue.touch()
        ask.told.append(("pull_request_review", _review_payload(ask, repository, issue, shown)))
    return Answer(200, shown)


def _unprocessable(text: str) -> RefusedError:
    return RefusedError(422, "Unprocessable Entity", errors=[text])


def _review_payload(ask: Ask, repository: Repository, issue: Issue, shown: Json) -> Json:
    about = {
        "review": shown | {"state": shown["state"].lower()},  # webhooks say it in lower case
        "pull_request": shapes.pull(repository, issue, issue.pull or Pull(), ask.at),
    }
    return payloads.event_payload("submitted", repository, ask.account, ask.at, **about)


PULLS: Final = "/repos/{owner}/{repo}/pulls"
PULL: Final = PULLS + "/{number:int}"

ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", PULLS, list_pulls),
    ("GET", PULL, get_pull),
    ("PUT", f"{PULL}/merge", merge_pull),
    ("GET", f"{PULL}/files", list_pull_files),
    ("GET", f"{PULL}/reviews", list_reviews),
    ("POST", f"{PULL}/reviews", create_review),
)
