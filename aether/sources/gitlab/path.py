"""Where GitLab's REST API keeps what we ask for; nothing that could lead elsewhere gets through.

https://docs.gitlab.com/api/rest/#namespaced-paths
"""

import re
from typing import Final
from urllib.parse import quote

from aether.errors import InvalidInputError
from aether.events import Subject

API: Final = "/api/v4"

_NUMBER: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_SEGMENT: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.][A-Za-z0-9_.-]*"
_PROJECT: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})+|[0-9]{{1,20}}", re.ASCII)
_FOLDERS: Final = {"issue": "issues", "pr": "merge_requests", "deployment": "deployments"}


def project_path(project: str) -> str:
    """The path of a project that is known by its own path or by its number.

    Raises:
        InvalidInputError: it cannot be one.
    """
    if not project:
        raise InvalidInputError(
            "project", "the item belongs to a group and to no project (an epic): it cannot be "
            "reached by GitLab's REST API"
        )  # fmt: skip
    if len(project) > 1_000 or not _PROJECT.fullmatch(project):
        raise InvalidInputError("project", f"{project!r} is no group/project or number of GitLab")
    return f"{API}/projects/{quote(project, safe='')}"


def issues_path(project: str) -> str:
    """The issues of a project."""
    return f"{project_path(project)}/issues"


def item_path(subject: Subject) -> str:
    """An issue, a merge request or a deployment."""
    folder = _FOLDERS[subject.kind]
    return f"{project_path(subject.project)}/{folder}/{number('key', subject.key)}"


def number(field: str, value: str) -> str:
    """``value``, which must be digits."""
    if not _NUMBER.fullmatch(value):
        raise InvalidInputError(field, f"{value!r} is not a number")
    return value
