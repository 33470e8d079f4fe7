"""One Jira site for the length of one act: which API it speaks, its paths, the time that is left.

Cloud:  https://developer.atlassian.com/cloud/jira/platform/rest/v3/
Server: https://developer.atlassian.com/server/jira/platform/rest/ (v2)
"""

import re
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from aether.errors import InvalidInputError, UpstreamError
from aether.sources.base import Described, Outbound
from aether.sources.jira import shapes, texts
from aether.sources.reading import clean

CLOUD_HOSTS: Final = (
    ".atlassian.net",
    ".jira.com",
    ".jira-dev.com",
    ".atlassian-us-gov.net",
    ".atlassian-us-gov-mod.net",
    "api.atlassian.com",
)
LONGEST_TITLE: Final = 255
LONGEST_LABEL: Final = 255

_ISSUE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*-[0-9]{1,18}|[0-9]{1,20}")
_PROJECT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*|[0-9]{1,20}")
_NUMBER: Final = re.compile(r"[0-9]{1,20}")


def speaks_v3(client: Outbound) -> bool:
    """Whether it is Jira Cloud: JIRA_IS_CLOUD or the integration's ``is_cloud``, else the host."""
    if not isinstance(client, Described):
        return False
    told = client.options.get("is_cloud", "").strip().lower()
    if told in {"true", "false", "1", "0", "yes", "no"}:
        return told in {"true", "1", "yes"}
    host = urlsplit(client.base_url).hostname or ""
    return f".{host}".endswith(CLOUD_HOSTS)


class Site:
    """A connection and a deadline; every path is checked before it is asked for."""

    def __init__(self, client: Outbound, *, timeout: float | None = None) -> None:
        """``timeout``: seconds for all calls together; None: each has its own limit."""
        self.is_cloud = speaks_v3(client)
        self._client = client
        self._deadline = None if timeout is None else time.monotonic() + timeout

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> Any:
        """The decoded answer of ``/rest/api/<version><path>``.

        Raises:
            UpstreamError: as for ``Outbound.request``; also where no time is left.
        """
        whole = f"/rest/api/{3 if self.is_cloud else 2}{path}"
        left = None
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise UpstreamError(f"{method} {whole}: no time left for this call")
        return await self._client.request(method, whole, query=query, json=json, timeout=left)

    def browse_url(self, own_address: object, issue_key: str) -> str:
        """What a person opens: on the site that the answer names, else on the one we asked."""
        told = shapes.browse_url(own_address, issue_key)
        if told or not isinstance(self._client, Described):
            return told
        return shapes.browse_url(f"{self._client.base_url}/rest/api/", issue_key)

    def wire_text(self, markdown: str, *, limit: int = texts.LONGEST) -> str | dict[str, Any]:
        """A text as this site takes it, shortened to ``limit`` of its characters."""
        if self.is_cloud:
            return texts.in_document(markdown, limit=limit)
        return texts.in_wiki(markdown, limit=limit)

    def person(self, identity: str | None) -> dict[str, str | None]:
        """How this site is told of a person; None: nobody."""
        return {"accountId" if self.is_cloud else "name": identity}


def issue_path(issue_key: str) -> str:
    """``/issue/<key>``.

    Raises:
        InvalidInputError: it is no issue's key, nor its number.
    """
    # Keys come from payloads and from models: nothing that could lead elsewhere gets through.
    if not _ISSUE.fullmatch(issue_key):
        raise InvalidInputError("key", f"{issue_key!r} is not the key of an issue of Jira")
    return f"/issue/{issue_key}"


def project_key(project: str) -> str:
    """``project``, if it can be a project's key or number.

    Raises:
        InvalidInputError: it cannot.
    """
    if not _PROJECT.fullmatch(project):
        raise InvalidInputError("project", f"{project!r} is not the key of a project of Jira")
    return project


def number(field: str, value: str) -> str:
    """``value``, if it is a number."""
    if not _NUMBER.fullmatch(value):
        raise InvalidInputError(field, f"{value!r} is not a number")
    return value


def title(told: str) -> str:
    """A summary: one line, not blank, 255 characters at most."""
    line = " ".join(clean(told).split())
    if not line:
        raise InvalidInputError("title", "must hold something to read")
    return line if len(line) <= LONGEST_TITLE else line[: LONGEST_TITLE - 1].rstrip() + "…"


def label(told: str) -> str:
    """A label, or InvalidInputError: Jira's hold no spaces."""
    if not told or re.search(r"\s", told):
        better = "-".join(told.split())
        hint = f"; write {better!r}" if better else ""
        raise InvalidInputError("labels", f"{told!r}: a label of Jira holds no spaces{hint}")
    if len(told) > LONGEST_LABEL:
        raise InvalidInputError("labels", f"longer than {LONGEST_LABEL} characters")
    return told
