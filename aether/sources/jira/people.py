"""Finds the person that a model or a user names, as the site wants to be told of one.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-user-search/
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from aether.errors import UpstreamError
from aether.sources.jira import shapes
from aether.sources.jira.site import Site
from aether.sources.reading import mapping, sequence, text

_ACCOUNT_ID: Final = re.compile(r"[0-9a-f]{24}|[0-9a-z]+:[0-9a-f-]{36}|qm:[0-9A-Za-z:-]+")
_MOST_NAMED: Final = 5


async def find(site: Site, wanted: str, where: Mapping[str, str]) -> str:
    """The ``accountId`` (Cloud) or ``name`` (Server) of one whom an issue can be assigned to.

    ``wanted`` is an account id, a name, an e-mail address or a display name. ``where`` is
    ``{"issueKey": …}`` or ``{"project": …}``.

    Raises:
        UpstreamError: nobody there is called so, or several are; names them.
    """
    if site.is_cloud and _ACCOUNT_ID.fullmatch(wanted):
        return wanted
    query = {"query" if site.is_cloud else "username": wanted, "maxResults": "50", **where}
    found = await site.call("GET", "/user/assignable/search", query=query)
    people = [one for one in map(mapping, sequence(found)) if _identity(site, one)]
    exact = [one for one in people if wanted.casefold() in shapes.spellings(one)]
    chosen = exact or people
    if len(chosen) == 1:
        return _identity(site, chosen[0])
    if not chosen:
        problem = f"nobody whom this can be assigned to is called {wanted!r}"
    else:
        names = ", ".join(_shown(site, one) for one in chosen[:_MOST_NAMED])
        problem = f"{wanted!r} may be {len(chosen)} people: {names}; name one of them"
    raise UpstreamError(f"Jira did not assign: {problem}", status=422, retryable=False)


def _identity(site: Site, person: Mapping[str, Any]) -> str:
    return text(person.get("accountId" if site.is_cloud else "name"))


def _shown(site: Site, person: Mapping[str, Any]) -> str:
    return f"{text(person.get('displayName'))} ({_identity(site, person)})"
