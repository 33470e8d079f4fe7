"""How each platform takes a credential: its address, its headers, what it says of our account.

GitHub: https://docs.github.com/en/rest/authentication/authenticating-to-the-rest-api
GitLab: https://docs.gitlab.com/api/rest/authentication/
Jira: https://developer.atlassian.com/cloud/jira/platform/basic-auth-for-rest-apis/
Plane: https://developers.plane.so/api-reference/introduction
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from aether.config import Settings
from aether.errors import NotConfiguredError
from aether.vocabulary import SourceName

GITHUB_HEADERS: Final = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
}


LONGEST_SITE: Final = 200  # characters; an address may be longer


def github_headers(told: Mapping[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {told['token']}", **GITHUB_HEADERS}


def _gitlab_headers(told: Mapping[str, str]) -> dict[str, str]:
    return {"PRIVATE-TOKEN": told["token"]}


def _jira_headers(told: Mapping[str, str]) -> dict[str, str]:
    if not told.get("email"):
        return {"Authorization": f"Bearer {told['token']}"}
    pair = base64.b64encode(f"{told['email']}:{told['token']}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _plane_headers(told: Mapping[str, str]) -> dict[str, str]:
    return {"X-API-Key": told["token"]}


HEADERS: Final[Mapping[SourceName, Callable[[Mapping[str, str]], dict[str, str]]]] = {
    SourceName.GITHUB: github_headers,
    SourceName.GITLAB: _gitlab_headers,
    SourceName.JIRA: _jira_headers,
    SourceName.PLANE: _plane_headers,
}
TOKEN_NAMES: Final = ("token", "api_token", "api_key")  # what an integration may call its token
TOKEN_SETTINGS: Final[Mapping[SourceName, str]] = {
    SourceName.GITHUB: "GITHUB_TOKEN",
    SourceName.GITLAB: "GITLAB_TOKEN",
    SourceName.JIRA: "JIRA_API_TOKEN",
    SourceName.PLANE: "PLANE_API_KEY",
}
URL_SETTINGS: Final[Mapping[SourceName, str]] = {
    SourceName.GITHUB: "GITHUB_API_URL",
    SourceName.GITLAB: "GITLAB_URL",
    SourceName.JIRA: "JIRA_URL",
    SourceName.PLANE: "PLANE_URL",
}


@dataclass(frozen=True, kw_only=True)
class Account:
    """Who we are on a platform: the login that ``events.Actor.login`` shows for our own doing."""

    login: str
    id: str
    is_bot: bool = False


def _github_account(told: Mapping[str, Any]) -> Account:
    return Account(login=told["login"], id=str(told["id"]), is_bot=told.get("type") == "Bot")


def _gitlab_account(told: Mapping[str, Any]) -> Account:
    return Account(login=told["username"], id=str(told["id"]), is_bot=bool(told.get("bot")))


def _jira_account(told: Mapping[str, Any]) -> Account:
    login = str(told.get("accountId") or told["name"])
    return Account(login=login, id=login, is_bot=told.get("accountType") == "app")


def _plane_account(told: Mapping[str, Any]) -> Account:
    return Account(login=str(told.get("display_name") or told["id"]), id=str(told["id"]))


ACCOUNTS: Final[Mapping[SourceName, tuple[str, Callable[[Mapping[str, Any]], Account]]]] = {
    SourceName.GITHUB: ("/user", _github_account),
    SourceName.GITLAB: ("/api/v4/user", _gitlab_account),
    SourceName.JIRA: ("/rest/api/2/myself", _jira_account),
    SourceName.PLANE: ("/api/v1/users/me/", _plane_account),
}

SCOPES: Final[Mapping[SourceName, tuple[str, str]]] = {
    # https://docs.gitlab.com/api/personal_access_tokens/#get-details-on-a-personal-access-token
    SourceName.GITLAB: ("/api/v4/personal_access_tokens/self", "api"),
}
"""Where a platform says what a token may do, and the scope that we cannot do without."""


def base_url(settings: Settings, source: SourceName, integration_url: str | None) -> str:
    """Where a source's API is asked: the integration's own address, else the environment's.

    Raises:
        NotConfiguredError: neither names one.
    """
    told = {
        SourceName.GITHUB: settings.github_api_url,
        SourceName.GITLAB: settings.gitlab_url,
        SourceName.JIRA: settings.jira_url,
        SourceName.PLANE: settings.plane_url,
    }
    url = integration_url or told[source]
    if not url:
        raise NotConfiguredError(f"{URL_SETTINGS[source]}: not set")
    # These addresses are often copied from an example of the API.
    below = {SourceName.GITLAB: "/api/v4", SourceName.PLANE: "/api/v1"}.get(source)
    return url.rstrip("/").removesuffix(below) if below else url


def site_of(settings: Settings, source: SourceName, integration_url: str | None) -> str:
    """Which site of a platform an integration speaks to; empty for the environment's own.

    Two addresses that lead to one site are one: ``HTTPS://Jira.example.com/`` and
    ``https://jira.example.com:443`` both are ``jira.example.com``.
    """
    if not integration_url:
        return ""
    named = _site(base_url(settings, source, integration_url))
    try:
        own = _site(base_url(settings, source, None))
    except NotConfiguredError:
        own = ""
    return "" if named == own else named


def _site(url: str) -> str:
    """Host, port where it is not the usual one, and path."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme.lower())
    port = f":{parts.port}" if parts.port not in {None, usual} else ""
    named = f"{(parts.hostname or '').lower()}{port}{parts.path.rstrip('/')}"
    if len(named) <= LONGEST_SITE:
        return named
    return f"sha256:{hashlib.sha256(named.encode()).hexdigest()}"


def from_environment(settings: Settings, source: SourceName) -> Mapping[str, str]:
    """What the environment says about a source; empty for nothing. An App goes before a token."""
    secrets: dict[str, SecretStr | None] = {}
    plain: dict[str, str | None] = {}
    match source:
        case SourceName.GITHUB if settings.github_app_id or settings.github_app_private_key:
            plain = {"app_id": settings.github_app_id}
            secrets = {"private_key": settings.github_app_private_key}
        case SourceName.GITHUB:
            secrets = {"token": settings.github_token}
        case SourceName.GITLAB:
            secrets = {"token": settings.gitlab_token}
        case SourceName.JIRA:
            if settings.jira_api_token:
                plain = {"email": settings.jira_email, **site_options(settings, source)}
            secrets = {"token": settings.jira_api_token}
        case SourceName.PLANE:
            if settings.plane_api_key:
                plain = {**site_options(settings, source)}
            secrets = {"token": settings.plane_api_key}
    values = plain | {name: one.get_secret_value() for name, one in secrets.items() if one}
    return {name: value.strip() for name, value in values.items() if value and value.strip()}


def site_options(settings: Settings, source: SourceName) -> dict[str, str]:
    """What the environment says of the site itself, whoever speaks to it."""
    if source is SourceName.JIRA and settings.jira_is_cloud is not None:
        return {"is_cloud": str(settings.jira_is_cloud).lower()}
    if source is SourceName.PLANE and settings.plane_workspace:
        return {"workspace": settings.plane_workspace.strip()}
    return {}
