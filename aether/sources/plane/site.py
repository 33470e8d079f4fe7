"""One workspace of Plane for the length of one act: its paths, its pages, the time that is left.

https://developers.plane.so/api-reference/introduction . What is called a work item now was an
issue: installations before v0.27 know ``/issues/`` only, and the old word is to go.
"""

import logging
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from aether.errors import InvalidInputError, NotConfiguredError, UpstreamError
from aether.sources.base import Described, Outbound
from aether.sources.plane.shapes import reference, uuid
from aether.sources.reading import clean, mapping, sequence, text

log = logging.getLogger(__name__)

PAGE: Final = 100
MAX_PAGES: Final = 50
LONGEST_TITLE: Final = 255
CLOUD_API: Final = "api.plane.so"
CLOUD_PAGES: Final = "https://app.plane.so"

_SLUG: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_]{1,40}")
_HUMAN_KEY: Final = re.compile(r"(?P<identifier>[A-Za-z0-9_]{1,40})-(?P<number>[0-9]{1,18})")
_CURSOR: Final = re.compile(r"[0-9]{1,9}:-?[0-9]{1,9}:-?[0-9]")
_WORDS: Final = ("work-items", "issues")
_MOST_HOSTS: Final = 1_000

_known_words: dict[str, str] = {}
"""By address: the word under which an installation was last seen to answer."""


class Workspace:
    """A connection and a deadline; every path is checked before it is asked for."""

    def __init__(
        self, client: Outbound, project: str | None = None, *, timeout: float | None = None
    ) -> None:
        """``project``: ``workspace/id``, or the id in the workspace of the credential; its
        identifier (``PROJ``) may stand for the id; None where no project is asked for.
        ``timeout``: seconds for all calls together.

        Raises:
            InvalidInputError: it can be no project of Plane.
            NotConfiguredError: nothing names the workspace.
        """
        slug, has_slug, name = (project or "").rpartition("/")
        if project is not None and not (uuid(name) or _IDENTIFIER.fullmatch(name)):
            raise InvalidInputError("project", f"{project!r} is not a project of Plane")
        if has_slug and not _SLUG.fullmatch(slug):
            raise InvalidInputError("project", f"{project!r} is not a project of Plane")
        self._client = client
        self.own_slug = _own_slug(client)
        self.slug = slug or self.own_slug
        self._project = uuid(name) or name
        if not self.slug:
            raise NotConfiguredError(
                "PLANE_WORKSPACE: not set, nor is workspace in the credentials of the integration; "
                "it is the first part of your address at Plane: app.plane.so/<workspace>"
            )
        self._deadline = None if timeout is None else time.monotonic() + timeout

    @property
    def project_name(self) -> str:
        """How events name the project: its id, with its workspace if that is another one."""
        return self._project if self.slug == self.own_slug else f"{self.slug}/{self._project}"

    async def project(self) -> str:
        """The id of the project; an identifier is looked up among those that the key sees.

        Raises:
            UpstreamError: there is none of this identifier.
        """
        if uuid(self._project):
            return self._project
        async for one in self.each("/projects/", {}):
            if text(one.get("identifier")).casefold() == self._project.casefold():
                self._project = uuid(one.get("id")) or self._project
        if not uuid(self._project):
            raise UpstreamError(
                f"the workspace {self.slug} shows no project {self._project} to this key",
                status=404,
                retryable=False,
            )
        return self._project

    async def items(self, method: str, below: str = "", **told: Any) -> Any:
        """The answer of a path below the project's work items, under the word that is known here.

        A 404 may mean that the word is not known: the other one is tried.

        Raises:
            UpstreamError: as for ``Outbound.request``.
        """
        return await self._in_words(method, f"/projects/{await self.project()}/", below, told)

    async def find_by_key(self, human_key: str) -> Mapping[str, Any]:
        """The work item that people call ``PROJ-12``."""
        return mapping(await self._in_words("GET", "/", f"{human_key}/", {}))

    async def item_id(self, item_key: str) -> str:
        """The id of a work item, which may be named as people do.

        Raises:
            InvalidInputError: it is neither.
            UpstreamError: there is no such item in this project.
        """
        if identity := uuid(item_key):
            return identity
        named = _HUMAN_KEY.fullmatch(item_key)
        if named is None:
            raise InvalidInputError("key", f"{item_key!r} is not the key of a work item of Plane")
        identifier = named["identifier"].upper()
        found = await self.find_by_key(f"{identifier}-{named['number']}")
        where = reference(found.get("project")) or reference(found.get("project_id"))
        identity = uuid(found.get("id"))
        if identity is None or where != await self.project():
            raise UpstreamError(
                f"{item_key} is no work item of this project", status=404, retryable=False
            )
        return identity

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> Any:
        """The decoded answer of ``/api/v1/workspaces/<slug><path>``.

        Raises:
            UpstreamError: as for ``Outbound.request``; also where no time is left.
        """
        whole = f"/api/v1/workspaces/{self.slug}{path}"
        left = None
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise UpstreamError(f"{method} {whole}: no time left for this call")
        return await self._client.request(method, whole, query=query, json=json, timeout=left)

    async def each(
        self, path: str, query: Mapping[str, str], *, of_items: bool = False
    ) -> AsyncIterator[Mapping[str, Any]]:
        """What a list holds over all its pages; ``of_items``: ``path`` is below the work items.

        Plane's cursor is an offset: rows move under it, so that one may come twice; it is given
        once. Old lists are a plain array.
        """
        seen: set[str] = set()
        cursor = ""
        for _ in range(MAX_PAGES):
            asked = {"per_page": str(PAGE), **query} | ({"cursor": cursor} if cursor else {})
            if of_items:
                answer = await self.items("GET", path, query=asked)
            else:
                answer = await self.call("GET", path, query=asked)
            for one in results(answer):
                identity = reference(one)
                if identity is None or identity not in seen:
                    seen.add(identity or "")
                    yield one
            cursor = next_cursor(answer)
            if not cursor:
                return
        log.warning("Plane %s: stopped after %d pages, there are more", path, MAX_PAGES)

    def item_url(self, item_id: str, comment_id: str | None = None) -> str:
        """What a person opens."""
        if not isinstance(self._client, Described):
            return ""
        base = self._client.base_url
        base = CLOUD_PAGES if urlsplit(base).hostname == CLOUD_API else base
        page = f"{base}/{self.slug}/projects/{self._project}/issues/{item_id}"
        return f"{page}#comment-{comment_id}" if comment_id else page

    async def _in_words(self, method: str, before: str, below: str, told: Mapping[str, Any]) -> Any:
        where = self._client.base_url if isinstance(self._client, Described) else ""
        known = _known_words.get(where)
        words = sorted(_WORDS, key=lambda word: word != known)
        refused: UpstreamError | None = None
        for word in words:
            try:
                answer = await self.call(method, f"{before}{word}/{below}", **told)
            except UpstreamError as error:
                if error.status not in {404, 405}:
                    raise
                refused = error if refused is None or known is None else refused
            else:
                if len(_known_words) >= _MOST_HOSTS:
                    _known_words.clear()
                _known_words[where] = word
                return answer
        raise refused or UpstreamError("Plane was not asked", retryable=False)


def results(answer: object) -> list[Mapping[str, Any]]:
    """The rows of a page, or of a whole list."""
    held = answer if isinstance(answer, list) else mapping(answer).get("results")
    return [mapping(one) for one in sequence(held)]


def next_cursor(answer: object) -> str:
    """Where the next page begins; empty on the last one."""
    told = mapping(answer)
    cursor = text(told.get("next_cursor"))
    has_more = told.get("next_page_results") is True and bool(results(answer))
    return cursor if has_more and _CURSOR.fullmatch(cursor) else ""


def title(told: str) -> str:
    """A work item's name: one line, not blank, 255 characters at most."""
    line = " ".join(clean(told).split())
    if not line:
        raise InvalidInputError("title", "must hold something to read")
    return line if len(line) <= LONGEST_TITLE else line[: LONGEST_TITLE - 1].rstrip() + "…"


def _own_slug(client: Outbound) -> str:
    told = client.options.get("workspace", "").strip() if isinstance(client, Described) else ""
    if told and not _SLUG.fullmatch(told):
        raise NotConfiguredError(
            f"PLANE_WORKSPACE: {told!r} is no workspace; it is one word, the first part of your "
            "address at Plane: app.plane.so/<workspace>"
        )
    return told
