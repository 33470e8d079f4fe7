"""What the GitHub stand-in does for each route: plain functions over its state.

Each takes an ``Ask`` (who asks, for what) and returns an ``Answer``, or raises RefusedError.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from aether.demo import github_rules as rules
from aether.demo import github_shapes as shapes
from aether.demo.github_ask import Answer, Ask, Handler, paged
from aether.demo.github_pull_routes import PULL
from aether.demo.github_pull_routes import ROUTES as PULL_ROUTES
from aether.demo.github_rules import RefusedError
from aether.demo.github_state import (
    SORTS,
    STATES,
    Account,
    Issue,
    Repository,
    comments_of,
    moment,
    new_issue,
)

_OF_PULLS: Final = frozenset({"title", "body", "state"})
_REASONS: Final = ("completed", "not_planned", "duplicate", "reopened", None)


def get_user(ask: Ask) -> Answer:
    """An App's installation token is nobody's user: GitHub answers it 403 here."""
    if ask.account.app_slug is not None:
        raise rules.read_only("Bot")
    return Answer(200, shapes.account(ask.account, ask.at))


def get_repository(ask: Ask) -> Answer:
    return Answer(200, shapes.repository(ask.repository(), ask.at))


def list_issues(ask: Ask) -> Answer:
    """Issues and pull requests; ``since`` is inclusive and goes by ``updated_at``."""
    repository, query = ask.repository(), ask.query
    state = rules.check_choice("Issue", "state", query.get("state", "open"), STATES)
    sort = rules.check_choice("Issue", "sort", query.get("sort", "created"), tuple(SORTS))
    direction = query.get("direction", "desc")
    rules.check_choice("Issue", "direction", direction, ("asc", "desc"))
    since = rules.check_since(query.get("since"))
    wanted = {name for name in query.get("labels", "").split(",") if name}
    found = [
        issue
        for issue in repository.issues.values()
        if state in ("all", issue.state)
        and (since is None or issue.updated_at >= since)
        and wanted <= set(issue.labels)
    ]
    found.sort(key=lambda issue: (SORTS[sort](issue), issue.number), reverse=direction == "desc")
    return paged(ask, found, lambda issue: shapes.issue(repository, issue, ask.at))


def get_issue(ask: Ask) -> Answer:
    repository, issue = ask.issue()
    return Answer(200, shapes.issue(repository, issue, ask.at))


def create_issue(ask: Ask) -> Answer:
    repository, told = ask.repository(to_write=True), ask.fields
    if "title" not in told:
        raise rules.missing("title")
    title, body = rules.check_title(told["title"]), rules.check_issue_body(told.get("body"))
    labels = rules.check_labels(told.get("labels") or [])
    assignees = rules.check_assignees(told.get("assignees") or [])
    issue = new_issue(
        repository.full_name,
        repository.next_number(),
        title,
        body,
        ask.account,
        labels=[repository.label_name(name) for name in labels],
        assignees=[login for login in assignees if repository.may_be_assigned(login)],
        association=repository.association_of(ask.account),
    )
    repository.issues[issue.number] = issue
    ask.tell_issue("opened", repository, issue)
    shown = shapes.issue(repository, issue, ask.at)
    return Answer(201, shown, {"Location": shown["url"]})


def update_issue(ask: Ask) -> Answer:
    repository, issue = ask.issue(to_write=True)
    told = _checked_changes(ask.fields)
    _edit(ask, repository, issue, told)
    if "labels" in told:
        _set_labels(ask, repository, issue, told["labels"])
    if "assignees" in told:
        _set_assignees(ask, repository, issue, told["assignees"])
    _set_state(ask, repository, issue, told)
    return Answer(200, shapes.issue(repository, issue, ask.at))


def update_pull(ask: Ask) -> Answer:
    """Its title, text and state; labels and people are changed by the issue that it also is."""
    repository, issue, pull = ask.pull()
    told = _checked_changes({name: ask.fields[name] for name in _OF_PULLS & ask.fields.keys()})
    _edit(ask, repository, issue, told)
    _set_state(ask, repository, issue, {name: told[name] for name in ("state",) if name in told})
    return Answer(200, shapes.pull(repository, issue, pull, ask.at))


def _checked_changes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """All of them are looked at before any is applied: a 422 changes nothing."""
    told = dict(fields)
    if "title" in told:
        told["title"] = rules.check_title(told["title"])
    if "body" in told:
        told["body"] = rules.check_issue_body(told["body"])
    if "labels" in told:
        told["labels"] = rules.check_labels(told["labels"])
    if "assignees" in told:
        told["assignees"] = rules.check_assignees(told["assignees"])
    rules.check_choice("Issue", "state", told.get("state", "open"), ("open", "closed"))
    rules.check_choice("Issue", "state_reason", told.get("state_reason"), _REASONS)
    return told


def _edit(ask: Ask, repository: Repository, issue: Issue, told: Mapping[str, Any]) -> None:
    changes = {}
    for name in ("title", "body"):
        if name in told and told[name] != getattr(issue, name):
            changes[name] = {"from": getattr(issue, name)}
            setattr(issue, name, told[name])
    if changes:
        issue.touch()
        ask.tell_issue("edited", repository, issue, changes=changes)


def _set_state(ask: Ask, repository: Repository, issue: Issue, told: Mapping[str, Any]) -> None:
    wanted = told.get("state", issue.state)
    if wanted == issue.state:
        return
    closes = wanted == "closed"
    issue.state = "closed" if closes else "open"
    issue.state_reason = told.get("state_reason") or ("completed" if closes else "reopened")
    issue.closed_at, issue.closed_by = (moment(), ask.account) if closes else (None, None)
    issue.touch()
    ask.tell_issue("closed" if closes else "reopened", repository, issue)


def _set_labels(ask: Ask, repository: Repository, issue: Issue, wanted: Iterable[str]) -> None:
    """Make the labels these, each once; one webhook a label, as GitHub does."""
    names = list(dict.fromkeys(repository.label_name(name) for name in wanted))
    before = list(issue.labels)
    for name in [*before, *names]:
        if (name in before) == (name in names):
            continue
        issue.labels = [*issue.labels, name] if name in names else _without(issue.labels, name)
        issue.touch()
        action = "labeled" if name in names else "unlabeled"
        ask.tell_issue(action, repository, issue, label=shapes.label(repository, name, ask.at))


def _set_assignees(ask: Ask, repository: Repository, issue: Issue, wanted: Iterable[str]) -> None:
    """Make the assignees these; whoever cannot be assigned is silently left out."""
    logins = list(dict.fromkeys(login for login in wanted if repository.may_be_assigned(login)))
    before = list(issue.assignees)
    for login in [*before, *logins]:
        if (login in before) == (login in logins):
            continue
        added = login in logins
        issue.assignees = [*issue.assignees, login] if added else _without(issue.assignees, login)
        issue.touch()
        assignee = shapes.account(Account(login), ask.at)
        action = "assigned" if added else "unassigned"
        ask.tell_issue(action, repository, issue, assignee=assignee)


def _without(names: Iterable[str], unwanted: str) -> list[str]:
    return [name for name in names if name != unwanted]


def _shown_labels(ask: Ask, repository: Repository, issue: Issue) -> Answer:
    return Answer(200, [shapes.label(repository, name, ask.at) for name in issue.labels])


def list_labels(ask: Ask) -> Answer:
    return _shown_labels(ask, *ask.issue())


def add_labels(ask: Ask) -> Answer:
    """Takes ``{"labels": [...]}`` or a bare array; a new name becomes a label."""
    repository, issue = ask.issue(to_write=True)
    told = ask.json if isinstance(ask.json, list) else ask.fields.get("labels")
    _set_labels(ask, repository, issue, [*issue.labels, *rules.check_labels(told)])
    return _shown_labels(ask, repository, issue)


def remove_label(ask: Ask) -> Answer:
    repository, issue = ask.issue(to_write=True)
    wanted = ask.path["name"].lower()
    name = next((name for name in issue.labels if name.lower() == wanted), None)
    if name is None:
        raise RefusedError(404, "Label does not exist")
    _set_labels(ask, repository, issue, _without(issue.labels, name))
    return _shown_labels(ask, repository, issue)


def add_assignees(ask: Ask) -> Answer:
    repository, issue = ask.issue(to_write=True)
    wanted = rules.check_assignees(ask.fields.get("assignees"))
    _set_assignees(ask, repository, issue, [*issue.assignees, *wanted])
    return Answer(201, shapes.issue(repository, issue, ask.at))


def remove_assignees(ask: Ask) -> Answer:
    repository, issue = ask.issue(to_write=True)
    unwanted = rules.check_assignees(ask.fields.get("assignees"))
    left = [login for login in issue.assignees if login not in unwanted]
    _set_assignees(ask, repository, issue, left)
    return Answer(200, shapes.issue(repository, issue, ask.at))


def list_comments(ask: Ask) -> Answer:
    """Oldest first, by id; ``since`` is inclusive and goes by ``updated_at``."""
    repository, issue = ask.issue()
    since = rules.check_since(ask.query.get("since"))
    found = [one for one in issue.comments if since is None or one.updated_at >= since]
    return paged(ask, found, lambda one: shapes.comment(repository, issue, one, ask.at))


def list_repository_comments(ask: Ask) -> Answer:
    repository, since = ask.repository(), rules.check_since(ask.query.get("since"))
    by_update = ask.query.get("sort") == "updated"
    found = [
        (issue, one)
        for issue, one in comments_of(repository)
        if since is None or one.updated_at >= since
    ]
    found.sort(
        key=lambda pair: (pair[1].updated_at if by_update else pair[1].created_at, pair[1].id),
        reverse=ask.query.get("direction") == "desc",
    )
    return paged(ask, found, lambda pair: shapes.comment(repository, pair[0], pair[1], ask.at))


def create_comment(ask: Ask) -> Answer:
    repository, issue = ask.issue(to_write=True)
    body = rules.check_comment(ask.fields)
    if issue.locked and not repository.may_be_assigned(ask.account.login):
        raise RefusedError(403, "Unable to create comment because issue is locked.")
    comment = ask.state.add_comment(issue, body, ask.account)
    ask.tell_comment("created", repository, issue, comment)
    shown = shapes.comment(repository, issue, comment, ask.at)
    return Answer(201, shown, {"Location": shown["url"]})


def get_comment(ask: Ask) -> Answer:
    repository, issue, comment = ask.comment()
    return Answer(200, shapes.comment(repository, issue, comment, ask.at))


def update_comment(ask: Ask) -> Answer:
    repository, issue, comment = ask.comment(to_write=True)
    before, body = comment.body, rules.check_comment(ask.fields)
    comment.body, comment.updated_at = body, moment()
    issue.touch()
    ask.tell_comment("edited", repository, issue, comment, changes={"body": {"from": before}})
    return Answer(200, shapes.comment(repository, issue, comment, ask.at))


def delete_comment(ask: Ask) -> Answer:
    repository, issue, comment = ask.comment(to_write=True)
    issue.comments.remove(comment)
    issue.touch()
    ask.tell_comment("deleted", repository, issue, comment)
    return Answer(204)


_REPOSITORY: Final = "/repos/{owner}/{repo}"
_ISSUE: Final = _REPOSITORY + "/issues/{number:int}"
_COMMENT: Final = _REPOSITORY + "/issues/comments/{comment:int}"

ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/user", get_user),
    ("GET", _REPOSITORY, get_repository),
    ("GET", f"{_REPOSITORY}/issues", list_issues),
    ("POST", f"{_REPOSITORY}/issues", create_issue),
    ("GET", f"{_REPOSITORY}/issues/comments", list_repository_comments),
    ("GET", _COMMENT, get_comment),
    ("PATCH", _COMMENT, update_comment),
    ("DELETE", _COMMENT, delete_comment),
    ("GET", _ISSUE, get_issue),
    ("PATCH", _ISSUE, update_issue),
    ("GET", f"{_ISSUE}/comments", list_comments),
    ("POST", f"{_ISSUE}/comments", create_comment),
    ("GET", f"{_ISSUE}/labels", list_labels),
    ("POST", f"{_ISSUE}/labels", add_labels),
    ("DELETE", _ISSUE + "/labels/{name}", remove_label),
    ("POST", f"{_ISSUE}/assignees", add_assignees),
    ("DELETE", f"{_ISSUE}/assignees", remove_assignees),
    ("PATCH", PULL, update_pull),
    *PULL_ROUTES,
)
