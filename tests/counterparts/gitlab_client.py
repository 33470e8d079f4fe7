"""Asks a GitLab with python-gitlab and prints what it understood, as JSON; run by its own Python.

python -I gitlab_client.py URL TOKEN PROJECT: reads what is there, then writes a little.
"""

import json
import sys

import gitlab  # type: ignore[import-not-found,unused-ignore] # not one of ours


def main(url: str, token: str, path: str) -> None:
    """Print one JSON object."""
    client = gitlab.Gitlab(url, private_token=token, retry_transient_errors=False)
    client.auth()
    project = client.projects.get(path)
    issue = project.issues.get(1)
    request = project.mergerequests.get(1)
    told = {
        "user": client.user.username,
        "project": project.path_with_namespace,
        "issue": [issue.title, issue.state, issue.labels, issue.author["username"]],
        "notes": [one.body for one in issue.notes.list(sort="asc", get_all=True, per_page=50)],
        "issues": len(project.issues.list(get_all=True, per_page=100)),
        "pages": project.issues.list(iterator=True, per_page=100).total_pages,
        "request": [request.title, request.target_branch, request.draft],
        "deployments": [one.status for one in project.deployments.list(get_all=True)],
        "nobody": client.users.list(username="nobody"),
    }
    issue.notes.create({"body": "Written by a client."})
    issue.labels = [*issue.labels, "seen"]
    issue.save()
    request.approve()
    created = project.issues.create({"title": "Made by a client", "labels": ["a", "b"]})
    told["created"] = [created.iid, created.labels]
    try:
        project.issues.get(99_999)
    except gitlab.exceptions.GitlabGetError as error:
        told["refused"] = [error.response_code, error.error_message]
    print(json.dumps(told))  # noqa: T201 # the caller reads it


if __name__ == "__main__":
    main(*sys.argv[1:])
