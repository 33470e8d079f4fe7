"""Whose token speaks for this source, project and agent, and which secret proves a delivery."""

import asyncio
import base64
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr

from aether.config import Settings
from aether.crypto import DecryptionError, Vault
from aether.db import row, rows
from aether.errors import NotConfiguredError, NotFoundError, SignatureError, UpstreamError
from aether.http import HttpClients
from aether.http_call import Redact
from aether.sources.base import Outbound
from aether.vocabulary import SourceName

log = logging.getLogger(__name__)

TABLE: Final = "integration"
CREDENTIALS_COLUMN: Final = "credentials_encrypted"
WEBHOOK_SECRET_COLUMN: Final = "webhook_secret_encrypted"
RENEW_BEFORE: Final = timedelta(minutes=5)
ACCOUNT_SECONDS: Final = 3600.0
GITHUB_HEADERS: Final = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
}


# -- what proves a delivery ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a delivery that comes by one slug must be signed with.

    ``secret`` may be a comma-separated list, each of which proves; None: none is set, and unless
    ``lets_unsigned_in`` the delivery is refused, naming ``setting``. ``is_stand_in``: the secret
    is the API token, which GitLab's and Plane's deliveries show as it is where no webhook secret
    is set. ``webhook`` is how an integration of its own is verified, empty otherwise.
    """

    source: SourceName
    secret: SecretStr | None
    setting: str
    lets_unsigned_in: bool
    is_stand_in: bool = False
    integration_id: int | None = None
    webhook: Mapping[str, Any] = field(default_factory=dict)


async def webhook_proof(settings: Settings, slug: str) -> Proof:
    """What proves a delivery to ``/webhook/<slug>``; asks the database for slugs not built in.

    Raises:
        NotFoundError: no source, integration or webhook mapping has this slug.
        SignatureError: the stored secret cannot be decrypted; nothing is proven by it.
    """
    if slug in set(SourceName):
        return _source_proof(settings, SourceName(slug))
    if not slug.isprintable():  # NUL or half a character: no row can have it
        raise NotFoundError("webhook", slug)
    integration = await row(
        "SELECT id, source, name, webhook, webhook_secret_encrypted AS secret"
        " FROM integration WHERE slug = $1 AND enabled",
        slug,
    )
    if integration is not None:
        return _integration_proof(settings, integration)
    mapping = await row("SELECT source FROM webhook_mapping WHERE slug = $1", slug)
    if mapping is None:
        raise NotFoundError("webhook", slug)
    return _source_proof(settings, SourceName(mapping["source"]))


def _source_proof(settings: Settings, source: SourceName) -> Proof:
    secret, is_stand_in = _environment_secret(settings, source)
    return Proof(
        source=source,
        secret=secret,
        setting=f"{source.upper()}_WEBHOOK_SECRET",
        lets_unsigned_in=_lets_unsigned_in(settings, source),
        is_stand_in=is_stand_in,
    )


def _environment_secret(settings: Settings, source: SourceName) -> tuple[SecretStr | None, bool]:
    """The secret of a source, and whether it is the API token that stands in for one."""
    told: dict[SourceName, tuple[SecretStr | None, ...]] = {
        SourceName.GITHUB: (settings.github_webhook_secret,),
        SourceName.GITLAB: (settings.gitlab_signing_token, settings.gitlab_webhook_secret),
        SourceName.JIRA: (settings.jira_webhook_secret,),
        SourceName.PLANE: (settings.plane_webhook_secret,),
    }
    secret = _joined(*told[source])
    if secret is not None:
        return secret, False
    stand_ins = {
        SourceName.GITLAB: settings.gitlab_token,
        SourceName.PLANE: settings.plane_api_key,
    }
    secret = _joined(stand_ins.get(source))
    return secret, secret is not None


def _integration_proof(settings: Settings, integration: Mapping[str, Any]) -> Proof:
    source = SourceName(integration["source"])
    secret = None
    if integration["secret"] is not None:
        try:
            plain = Vault(settings.encryption_key).decrypt(
                integration["secret"],
                table=TABLE,
                column=WEBHOOK_SECRET_COLUMN,
                row_key=integration["id"],
            )
        except NotConfiguredError as error:
            raise SignatureError(f"the webhook's stored secret cannot be read: {error}") from error
        secret = _joined(SecretStr(plain))
    return Proof(
        source=source,
        secret=secret,
        setting=f"webhook.secret of integration {integration['name']!r}",
        lets_unsigned_in=_lets_unsigned_in(settings, source),
        integration_id=integration["id"],
        webhook=json.loads(integration["webhook"]),
    )


def _joined(*secrets: SecretStr | None) -> SecretStr | None:
    """One comma-separated list without empty parts: an empty secret would prove everything."""
    told = [secret.get_secret_value().split(",") for secret in secrets if secret is not None]
    parts = [part.strip() for one in told for part in one if part.strip()]
    return SecretStr(",".join(parts)) if parts else None


def _lets_unsigned_in(settings: Settings, source: SourceName) -> bool:
    return bool(settings.allow_unsigned & {source.value, "all"})


# -- what a platform wants to see ------------------------------------------------------------


def _github_headers(told: Mapping[str, str]) -> dict[str, str]:
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
    SourceName.GITHUB: _github_headers,
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
        raise NotConfiguredError(f"{source.upper()}_URL: not set")
    return url


# -- whose token -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Credential:
    """One way to speak to a platform. ``origin`` names where it is set, for errors."""

    base_url: str
    origin: str
    told: Mapping[str, str] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Changes with the secret and the address; tells nothing about them."""
        whole = json.dumps([self.base_url, sorted(self.told.items())])
        return hashlib.sha256(whole.encode()).hexdigest()


class Credentials:
    """The credentials of one process. They are looked up when used, never kept for a run.

    The order: agent and project, project, agent, source (an integration of neither), environment.
    """

    def __init__(
        self, settings: Settings, clients: HttpClients, *, redact: Redact | None = None
    ) -> None:
        """``redact`` takes secrets out of what a platform says, as for ``clients.connection``."""
        self._settings = settings
        self._clients = clients
        self._redact = redact
        self._apps: dict[tuple[str, str], GitHubApp] = {}
        self._accounts: dict[str, tuple[float, Account | None]] = {}

    async def outbound(
        self,
        source: SourceName,
        *,
        agent_id: str | None = None,
        project_id: int | None = None,
        project_key: str | None = None,
    ) -> Outbound:
        """A connection to ``source``; on a 401 the credential is read once more and used once.

        ``project_id`` is our row, ``project_key`` the platform's name (``acme/api``), by which a
        GitHub App finds its installation.

        Raises:
            NotConfiguredError: no credential is there, or it cannot be decrypted; names the
                setting.
        """

        async def find(*, is_renewal: bool = False) -> Outbound:
            credential = await self._find(source, agent_id, project_id)
            return self._connect(source, credential, project_key, is_renewal=is_renewal)

        return _Renewing(find, await find(), self._clients.monotonic)

    async def account(
        self,
        source: SourceName,
        *,
        agent_id: str | None = None,
        project_id: int | None = None,
        project_key: str | None = None,
    ) -> Account | None:
        """Who we are there, kept for an hour; None where the platform does not say (403, 404).

        Raises:
            NotConfiguredError: as for ``outbound``.
            UpstreamError: the platform failed.
        """
        credential = await self._find(source, agent_id, project_id)
        key = credential.fingerprint
        until, account = self._accounts.get(key, (0.0, None))
        if self._clients.monotonic() < until:
            return account
        app = self._app(credential) if source is SourceName.GITHUB else None
        try:
            if app is not None:
                account = await app.account()
            else:
                path, read = ACCOUNTS[source]
                connection = self._connect(source, credential, project_key)
                account = read(await connection.request("GET", path))
        except UpstreamError as error:
            if error.status not in {403, 404}:
                raise
            account = None
        except (KeyError, TypeError, AttributeError):
            raise UpstreamError(f"{source}: says in no readable form who we are") from None
        if len(self._accounts) >= 1000:
            self._accounts.clear()
        self._accounts[key] = (self._clients.monotonic() + ACCOUNT_SECONDS, account)
        return account

    async def _find(
        self, source: SourceName, agent_id: str | None, project_id: int | None
    ) -> _Credential:
        found = await rows(
            "SELECT id, name, base_url, credentials_encrypted FROM integration"
            " WHERE source = $1 AND enabled"
            " AND (agent_id IS NULL OR agent_id = $2::text)"
            " AND (project_id IS NULL OR project_id = $3::int)"
            " ORDER BY project_id IS NULL, agent_id IS NULL, id",
            source.value,
            agent_id,
            project_id,
        )
        for integration in found:
            told = self._decrypted(integration)
            if told:  # one that only serves a webhook has none
                return _Credential(
                    base_url=base_url(self._settings, source, integration["base_url"]),
                    origin=f"credentials of integration {integration['name']!r}",
                    told=told,
                )
        told = _from_environment(self._settings, source)
        setting = TOKEN_SETTINGS[source]
        if not told:
            raise NotConfiguredError(f"{setting}: not set, and no integration speaks to {source}")
        return _Credential(
            base_url=base_url(self._settings, source, None), origin=setting, told=told
        )

    def _decrypted(self, integration: Mapping[str, Any]) -> Mapping[str, str]:
        plain = Vault(self._settings.encryption_key).decrypt(
            integration["credentials_encrypted"],
            table=TABLE,
            column=CREDENTIALS_COLUMN,
            row_key=integration["id"],
        )
        try:
            told = json.loads(plain)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise DecryptionError(f"credentials of integration {integration['name']!r}: unreadable")
        values = {str(name): str(value) for name, value in told.items() if value}
        token = next((values[name] for name in TOKEN_NAMES if name in values), None)
        return values | {"token": token} if token else values

    def _connect(
        self,
        source: SourceName,
        credential: _Credential,
        project_key: str | None,
        *,
        is_renewal: bool = False,
    ) -> Outbound:
        app = self._app(credential) if source is SourceName.GITHUB else None
        if app is not None:
            if is_renewal:
                app.forget()

            async def app_headers() -> Mapping[str, str]:
                return _github_headers({"token": await app.token(project_key)})

            return self._clients.connection(
                credential.base_url, app_headers, redact=self._redactor(credential)
            )
        if "token" not in credential.told:
            raise NotConfiguredError(f"{credential.origin}: has no token")
        headers = HEADERS[source](credential.told)
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise NotConfiguredError(f"{credential.origin}: holds characters no token can have")

        async def fixed_headers() -> Mapping[str, str]:
            return headers

        return self._clients.connection(
            credential.base_url, fixed_headers, redact=self._redactor(credential)
        )

    def _app(self, credential: _Credential) -> "GitHubApp | None":
        told = credential.told
        if "app_id" not in told and "private_key" not in told:
            return None
        for name in ("app_id", "private_key"):
            if name not in told:
                of = "" if credential.origin == "GITHUB_TOKEN" else f"{credential.origin}: "
                raise NotConfiguredError(
                    f"{of}GITHUB_APP_{name.upper().removeprefix('APP_')}: not set"
                )
        key = (credential.base_url, told["app_id"])
        app = self._apps.get(key)
        if app is None or app.fingerprint != credential.fingerprint:
            app = GitHubApp(
                self._clients,
                credential.base_url,
                app_id=told["app_id"],
                private_key=SecretStr(told["private_key"]),
                fingerprint=credential.fingerprint,
                redact=self._redactor(credential),
            )
            self._apps[key] = app
        return app

    def _redactor(self, credential: _Credential) -> Redact:
        secrets = [
            value for name, value in credential.told.items() if name not in {"email", "app_id"}
        ]

        def redact(text: str) -> str:
            for secret in secrets:
                if len(secret) >= 8:
                    text = text.replace(secret, "***")
            return self._redact(text) if self._redact is not None else text

        return redact


def _from_environment(settings: Settings, source: SourceName) -> Mapping[str, str]:
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
            plain = {"email": settings.jira_email} if settings.jira_api_token else {}
            secrets = {"token": settings.jira_api_token}
        case SourceName.PLANE:
            secrets = {"token": settings.plane_api_key}
    values = plain | {name: one.get_secret_value() for name, one in secrets.items() if one}
    return {name: value.strip() for name, value in values.items() if value and value.strip()}


class _Renewing:
    """An Outbound that looks its credential up again, once a call, when it is answered 401."""

    def __init__(
        self,
        find: Callable[..., Awaitable[Outbound]],
        first: Outbound,
        monotonic: Callable[[], float],
    ) -> None:
        self._find = find
        self._current = first
        self._monotonic = monotonic

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        timeout: float | None = None,
    ) -> Any:
        began = self._monotonic()
        try:
            return await self._current.request(
                method, path, query=query, json=json, timeout=timeout
            )
        except UpstreamError as error:
            if error.status != 401:
                raise
            self._current = await self._find(is_renewal=True)
        left = None if timeout is None else timeout - (self._monotonic() - began)
        return await self._current.request(method, path, query=query, json=json, timeout=left)

    async def pages(self, path: str, query: Mapping[str, str], *, max_pages: int = 20) -> list[Any]:
        try:
            return await self._current.pages(path, query, max_pages=max_pages)
        except UpstreamError as error:
            if error.status != 401:
                raise
            self._current = await self._find(is_renewal=True)
        return await self._current.pages(path, query, max_pages=max_pages)


# -- GitHub App ------------------------------------------------------------------------------


class GitHubApp:
    """A GitHub App: signs for itself, and keeps each installation's token until it runs out.

    https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
    """

    def __init__(
        self,
        clients: HttpClients,
        base_url: str,
        *,
        app_id: str,
        private_key: SecretStr,
        fingerprint: str,
        redact: Redact | None = None,
    ) -> None:
        """
        Raises:
            NotConfiguredError: the key cannot be read.
        """
        self.fingerprint = fingerprint
        self._clients = clients
        self._app_id = app_id
        self._key = _read_key(private_key)
        self._connection = clients.connection(base_url, self._headers, redact=redact)
        self._installations: dict[str | None, int] = {}
        self._tokens: dict[int, tuple[datetime, str]] = {}
        self._minting = asyncio.Lock()

    async def token(self, project_key: str | None) -> str:
        """A token for the installation on ``project_key`` that lives for another 5 minutes.

        Without a project: of the only installation there is.

        Raises:
            NotConfiguredError: the App is not installed there, or a project is needed.
            UpstreamError: GitHub failed.
        """
        async with self._minting:
            installation = self._installations.get(project_key)
            if installation is None:
                installation = await self._installation(project_key)
                self._installations[project_key] = installation
            expires_at, token = self._tokens.get(installation, (None, ""))
            if expires_at is not None and self._clients.clock() < expires_at - RENEW_BEFORE:
                return token
            told = await self._connection.request(
                "POST", f"/app/installations/{installation}/access_tokens"
            )
            token = str(told["token"])
            self._tokens[installation] = (datetime.fromisoformat(told["expires_at"]), token)
            return token

    async def account(self) -> Account:
        """The bot that the App's installations act as: ``<slug>[bot]``."""
        told = await self._connection.request("GET", "/app")
        return Account(login=f"{told['slug']}[bot]", id=str(told["id"]), is_bot=True)

    def forget(self) -> None:
        """Drop every token and installation: one of them was refused."""
        self._installations.clear()
        self._tokens.clear()

    async def _installation(self, project_key: str | None) -> int:
        if project_key is None:
            found = await self._connection.request(
                "GET", "/app/installations", query={"per_page": "2"}
            )
            if len(found) != 1:
                many = "several" if found else "no"
                raise NotConfiguredError(f"GITHUB_APP_ID: the App has {many} installations")
            return int(found[0]["id"])
        try:
            told = await self._connection.request(
                "GET", f"/repos/{quote(project_key, safe='/')}/installation"
            )
        except UpstreamError as error:
            if error.status != 404:
                raise
            raise NotConfiguredError(
                f"GITHUB_APP_ID: the App is not installed on {project_key}"
            ) from error
        return int(told["id"])

    async def _headers(self) -> Mapping[str, str]:
        return _github_headers({"token": self._signed_token()})

    def _signed_token(self) -> str:
        """A JSON web token (RFC 7519), RS256, for ten minutes less what clocks may differ by."""
        now = int(self._clients.clock().timestamp())
        head = _base64url(b'{"alg":"RS256","typ":"JWT"}')
        claims = {"iat": now - 60, "exp": now + 540, "iss": self._app_id}
        body = _base64url(json.dumps(claims, separators=(",", ":")).encode())
        signature = self._key.sign(f"{head}.{body}".encode(), padding.PKCS1v15(), SHA256())
        return f"{head}.{body}.{_base64url(signature)}"


def _read_key(private_key: SecretStr) -> rsa.RSAPrivateKey:
    pem = private_key.get_secret_value().replace("\\n", "\n").strip()
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):  # TypeError: it has a passphrase
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise NotConfiguredError("GITHUB_APP_PRIVATE_KEY: is no RSA key in PEM without passphrase")
    return key


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
