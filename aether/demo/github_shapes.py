"""GitHub's JSON: accounts, repositories, issues, pull requests and comments, as REST shows them.

Written from https://docs.github.com/en/rest and the published examples of webhook bodies.
"""

import base64
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from aether.clock import to_wire
from aether.demo.github_state import (
    DEFAULT_LABELS,
    Account,
    Comment,
    Issue,
    Pull,
    PullFile,
    Repository,
    Review,
    stable_id,
)

Json = dict[str, Any]


@dataclass(frozen=True)
class Addresses:
    """Where the API and the pages for people live; no slash at the end."""

    api: str = "https://api.github.com"
    html: str = "https://github.com"


GITHUB: Final = Addresses()


def node_id(kind: str, number: int) -> str:
    """The opaque id that GraphQL knows the thing by."""
    return base64.b64encode(f"{len(kind):03d}:{kind}{number}".encode()).decode()


def account(who: Account, at: Addresses) -> Json:
    url = f"{at.api}/users/{quote(who.login)}"
    page = f"{at.html}/apps/{who.app_slug}" if who.app_slug else f"{at.html}/{who.login}"
    return {
        "login": who.login,
        "id": who.id,
        "node_id": node_id(who.type, who.id),
        "avatar_url": f"https://avatars.githubusercontent.com/u/{who.id}?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": page,
        "followers_url": f"{url}/followers",
        "following_url": f"{url}/following{{/other_user}}",
        "gists_url": f"{url}/gists{{/gist_id}}",
        "starred_url": f"{url}/starred{{/owner}}{{/repo}}",
        "subscriptions_url": f"{url}/subscriptions",
        "organizations_url": f"{url}/orgs",
        "repos_url": f"{url}/repos",
        "events_url": f"{url}/events{{/privacy}}",
        "received_events_url": f"{url}/received_events",
        "type": who.type,
        "user_view_type": "public",
        "site_admin": False,
    }


_REPOSITORY_URLS: Final = {
    "forks": "forks",
    "keys": "keys{/key_id}",
    "collaborators": "collaborators{/collaborator}",
    "teams": "teams",
    "hooks": "hooks",
    "issue_events": "issues/events{/number}",
    "events": "events",
    "assignees": "assignees{/user}",
    "branches": "branches{/branch}",
    "tags": "tags",
    "blobs": "git/blobs{/sha}",
    "git_tags": "git/tags{/sha}",
    "git_refs": "git/refs{/sha}",
    "trees": "git/trees{/sha}",
    "statuses": "statuses/{sha}",
    "languages": "languages",
    "stargazers": "stargazers",
    "contributors": "contributors",
    "subscribers": "subscribers",
    "subscription": "subscription",
    "commits": "commits{/sha}",
    "git_commits": "git/commits{/sha}",
    "comments": "comments{/number}",
    "issue_comment": "issues/comments{/number}",
    "contents": "contents/{+path}",
    "compare": "compare/{base}...{head}",
    "merges": "merges",
    "archive": "{archive_format}{/ref}",
    "downloads": "downloads",
    "issues": "issues{/number}",
    "pulls": "pulls{/number}",
    "milestones": "milestones{/number}",
    "notifications": "notifications{?since,all,participating}",
    "labels": "labels{/name}",
    "releases": "releases{/id}",
    "deployments": "deployments",
}


def repository(repo: Repository, at: Addresses) -> Json:
    url, page = f"{at.api}/repos/{repo.full_name}", f"{at.html}/{repo.full_name}"
    open_issues = sum(issue.state == "open" for issue in repo.issues.values())
    return {
        "id": repo.id,
        "node_id": node_id("Repository", repo.id),
        "name": repo.name,
        "full_name": repo.full_name,
        "private": repo.private,
        "owner": account(Account(repo.owner), at),
        "html_url": page,
        "description": None,
        "fork": False,
        "url": url,
        **{f"{name}_url": f"{url}/{path}" for name, path in _REPOSITORY_URLS.items()},
        "created_at": "2024-03-04T09:12:31Z",
        "updated_at": "2026-01-19T15:04:08Z",
        "pushed_at": "2026-01-19T15:04:02Z",
        "git_url": f"git://github.com/{repo.full_name}.git",
        "ssh_url": f"git@github.com:{repo.full_name}.git",
        "clone_url": f"{page}.git",
        "svn_url": page,
        "homepage": None,
        "size": 1804,
        "stargazers_count": 0,
        "watchers_count": 0,
        "language": "Python",
        "has_issues": True,
        "has_projects": True,
        "has_downloads": True,
        "has_wiki": False,
        "has_pages": False,
        "has_discussions": False,
        "forks_count": 0,
        "mirror_url": None,
        "archived": repo.archived,
        "disabled": False,
        "open_issues_count": open_issues,
        "license": None,
        "allow_forking": True,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "private" if repo.private else "public",
        "forks": 0,
        "open_issues": open_issues,
        "watchers": 0,
        "default_branch": "main",
        "custom_properties": {},
    }


def label(repo: Repository, name: str, at: Addresses) -> Json:
    number = stable_id("label", repo.full_name, name)
    return {
        "id": number,
        "node_id": node_id("Label", number),
        "url": f"{at.api}/repos/{repo.full_name}/labels/{quote(name)}",
        "name": name,
        "color": repo.labels.get(name, "ededed"),
        "default": name in DEFAULT_LABELS,
        "description": None,
    }


def _reactions(url: str) -> Json:
    kinds = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
    return {"url": f"{url}/reactions", "total_count": 0, **dict.fromkeys(kinds, 0)}


def app(who: Account, at: Addresses) -> Json | None:
    """The App that ``who`` writes through, as ``performed_via_github_app`` names it."""
    if who.app_slug is None:
        return None
    number = stable_id("app", who.app_slug)
    return {
        "id": number,
        "client_id": f"Iv1.{number:016x}",
        "slug": who.app_slug,
        "node_id": node_id("App", number),
        "owner": account(Account("acme"), at),
        "name": who.app_slug,
        "description": "",
        "external_url": "https://example.com",
        "html_url": f"{at.html}/apps/{who.app_slug}",
        "created_at": "2025-06-02T08:00:00Z",
        "updated_at": "2025-06-02T08:00:00Z",
        "permissions": {"issues": "write", "metadata": "read", "pull_requests": "write"},
        "events": ["issues", "issue_comment", "pull_request"],
    }


def issue(repo: Repository, item: Issue, at: Addresses) -> Json:
    base = f"{at.api}/repos/{repo.full_name}"
    url, kind = f"{base}/issues/{item.number}", "pull" if item.pull else "issues"
    page = f"{at.html}/{repo.full_name}/{kind}/{item.number}"
    assignees = [account(Account(login), at) for login in item.assignees]
    told: Json = {
        "url": url,
        "repository_url": base,
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": page,
        "id": item.id_as_issue,
        "node_id": node_id("PullRequest" if item.pull else "Issue", item.id),
        "number": item.number,
        "title": item.title,
        "user": account(item.author, at),
        "labels": [label(repo, name, at) for name in item.labels],
        "state": item.state,
        "locked": item.locked,
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "milestone": None,
        "comments": len(item.comments),
        "created_at": to_wire(item.created_at),
        "updated_at": to_wire(item.updated_at),
        "closed_at": to_wire(item.closed_at) if item.closed_at else None,
        "author_association": item.association,
        "type": None,
        "active_lock_reason": None,
        "sub_issues_summary": {"total": 0, "completed": 0, "percent_completed": 0},
        "body": item.body,
        "reactions": _reactions(url),
        "timeline_url": f"{url}/timeline",
        "performed_via_github_app": app(item.author, at),
        "state_reason": item.state_reason,
    }
    if item.pull is not None:
        told["draft"] = item.pull.draft
        told["pull_request"] = {
            "url": f"{base}/pulls/{item.number}",
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "merged_at": to_wire(item.pull.merged_at) if item.pull.merged_at else None,
        }
    return told


def comment(repo: Repository, item: Issue, one: Comment, at: Addresses) -> Json:
    base = f"{at.api}/repos/{repo.full_name}"
    url, kind = f"{base}/issues/comments/{one.id}", "pull" if item.pull else "issues"
    return {
        "url": url,
        "html_url": f"{at.html}/{repo.full_name}/{kind}/{item.number}#issuecomment-{one.id}",
        "issue_url": f"{base}/issues/{item.number}",
        "id": one.id,
        "node_id": node_id("IssueComment", one.id),
        "user": account(one.author, at),
        "created_at": to_wire(one.created_at),
        "updated_at": to_wire(one.updated_at),
        "body": one.body,
        "author_association": repo.association_of(one.author),
        "reactions": _reactions(url),
        "performed_via_github_app": app(one.author, at),
    }


def _branch(repo: Repository, ref: str, sha: str, at: Addresses) -> Json:
    return {
        "label": f"{repo.owner}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": account(Account(repo.owner), at),
        "repo": repository(repo, at),
    }


def pull(repo: Repository, item: Issue, more: Pull, at: Addresses) -> Json:
    """A pull request as ``GET /pulls/{number}`` and the ``pull_request`` event show it."""
    told = issue(repo, item, at)
    base = f"{at.api}/repos/{repo.full_name}"
    url, page = f"{base}/pulls/{item.number}", told["html_url"]
    merged, merged_at = more.merged_at is not None, told.pop("pull_request")["merged_at"]
    for name in ("repository_url", "labels_url", "events_url", "reactions", "timeline_url"):
        del told[name]
    for name in ("type", "sub_issues_summary", "performed_via_github_app", "state_reason"):
        del told[name]
    links = {
        "self": url,
        "html": page,
        "issue": f"{base}/issues/{item.number}",
        "comments": f"{base}/issues/{item.number}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{base}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{base}/statuses/{more.head_sha}",
    }
    return told | {
        "url": url,
        "id": item.id,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "issue_url": links["issue"],
        "commits_url": links["commits"],
        "review_comments_url": links["review_comments"],
        "review_comment_url": links["review_comment"],
        "comments_url": links["comments"],
        "statuses_url": links["statuses"],
        "merged_at": merged_at,
        "merge_commit_sha": more.head_sha[::-1] if merged else None,
        "requested_reviewers": [],
        "requested_teams": [],
        "head": _branch(repo, more.head, more.head_sha, at),
        "base": _branch(repo, more.base, f"{stable_id(more.base):08x}" * 5, at),
        "_links": {name: {"href": href} for name, href in links.items()},
        "auto_merge": None,
        "merged": merged,
        "mergeable": None if item.state == "closed" else True,
        "rebaseable": None if item.state == "closed" else True,
        "mergeable_state": "unknown" if item.state == "closed" else "clean",
        "merged_by": account(item.closed_by or item.author, at) if merged else None,
        "review_comments": sum(len(review.comments) for review in more.reviews),
        "maintainer_can_modify": False,
        "commits": 1,
        "additions": sum(file.additions for file in more.files),
        "deletions": sum(file.deletions for file in more.files),
        "changed_files": len(more.files),
    }


_NOT_LISTED: Final = (
    "merged", "mergeable", "rebaseable", "mergeable_state", "merged_by", "comments",
    "review_comments", "maintainer_can_modify", "commits", "additions", "deletions",
    "changed_files",
)  # fmt: skip


def listed_pull(repo: Repository, item: Issue, more: Pull, at: Addresses) -> Json:
    """A pull request as ``GET /pulls`` lists it: without what takes Git to know."""
    told = pull(repo, item, more, at)
    return {name: value for name, value in told.items() if name not in _NOT_LISTED}


def pull_file(repo: Repository, more: Pull, file: PullFile, at: Addresses) -> Json:
    page, sha = f"{at.html}/{repo.full_name}", more.head_sha
    name = quote(file.filename)
    return {
        "sha": f"{stable_id(file.filename):08x}" * 5,
        "filename": file.filename,
        "status": file.status,
        "additions": file.additions,
        "deletions": file.deletions,
        "changes": file.additions + file.deletions,
        "blob_url": f"{page}/blob/{sha}/{name}",
        "raw_url": f"{page}/raw/{sha}/{name}",
        "contents_url": f"{at.api}/repos/{repo.full_name}/contents/{name}?ref={sha}",
        "patch": file.patch,
    }


def review(repo: Repository, item: Issue, one: Review, at: Addresses) -> Json:
    page = f"{at.html}/{repo.full_name}/pull/{item.number}#pullrequestreview-{one.id}"
    url = f"{at.api}/repos/{repo.full_name}/pulls/{item.number}"
    told: Json = {
        "id": one.id,
        "node_id": node_id("PullRequestReview", one.id),
        "user": account(one.author, at),
        "body": one.body,
        "state": one.state,
        "html_url": page,
        "pull_request_url": url,
        "author_association": repo.association_of(one.author),
        "_links": {"html": {"href": page}, "pull_request": {"href": url}},
        "commit_id": one.commit_id,
    }
    if one.submitted_at is not None:
        told["submitted_at"] = to_wire(one.submitted_at)
    return told
