"""Whose token speaks for this source, project and agent; looked up when it is used."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from pydantic import SecretStr

from aether.config import Settings
from aether.crypto import DecryptionError, Vault
from aether.db import rows
from aether.errors import NotConfiguredError, UpstreamError
from aether.github_app import GitHubApp
from aether.http import CALL_SECONDS, Connection, HttpClients
from aether.http_answers import Fetched
from aether.http_call import PUBLIC_HEADERS, Redact
from aether.platform_auth import (
    ACCOUNTS,
    HEADERS,
    SCOPES,
    TOKEN_NAMES,
    TOKEN_SETTINGS,
    Account,
    base_url,
    from_environment,
    github_headers,
    site_of,
    site_options,
)
from aether.proofs import Proof, webhook_proof
from aether.reach import Reach
from aether.redact import learn
from aether.redact import redact as redact_all
from aether.vocabulary import SourceName

__all__ = ["Account", "Credentials", "Proof", "RenewingConnection", "webhook_proof"]

TABLE: Final = "integration"
CREDENTIALS_COLUMN: Final = "credentials_encrypted"
ACCOUNT_SECONDS: Final = 3600.0
MAX_ACCOUNTS: Final = 1000
PUBLIC_NAMES: Final = frozenset({"email", "app_id", "workspace", "base_url", "is_cloud"})
MIN_SECRET_CHARACTERS: Final = 8  # a shorter one would tear holes into ordinary words


@dataclass(frozen=True, kw_only=True)
class _Credential:
    """One way to speak to a platform. ``origin`` names where it is set, for errors."""

    base_url: str
    origin: str
    is_stored: bool  # in an integration; false: in the environment
    told: Mapping[str, str] = field(repr=False)

    @property
    def options(self) -> Mapping[str, str]:
        """What of it is no secret."""
        return {name: value for name, value in self.told.items() if name in PUBLIC_NAMES}

    @property
    def fingerprint(self) -> str:
        """Changes with the secret and the address; tells nothing about them."""
        whole = json.dumps([self.base_url, sorted(self.told.items())])
        return hashlib.sha256(whole.encode()).hexdigest()


class Credentials:
    """The credentials of one process and event loop; looked up when used, never kept for a run.

    The order: agent and project, project, agent, source (an integration of neither), environment.
    """

    def __init__(
        self,
        settings: Settings,
        clients: HttpClients | None = None,
        *,
        redact: Redact | None = None,
    ) -> None:
        """``redact`` takes secrets out of what a platform says, as for ``clients.connection``; by
        default all that this process knows.
        """
        self._settings = settings
        self._clients = clients or HttpClients()
        self._redact = redact or partial(redact_all, settings=settings)
        self._reach = Reach.of(settings)
        self._apps: dict[tuple[str, str], GitHubApp] = {}
        self._accounts: dict[str, tuple[float, Account | None]] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    async def outbound(
        self,
        source: SourceName,
        *,
        agent_id: str | None = None,
        project_id: int | None = None,
        project_key: str | None = None,
        integration_id: int | None = None,
        site: str = "",
    ) -> "RenewingConnection":
        """A connection to ``source``; on a 401 the credential is read once more and used once.

        ``project_id`` is our row, ``project_key`` the platform's name (``acme/api``), by which a
        GitHub App finds its installation. With ``integration_id`` that integration and no other.
        ``site`` is where the event at hand was told: a credential of another is not asked.

        Raises:
            NotConfiguredError: no credential is there, or it cannot be decrypted; names the
                setting.
        """

        used = ""

        def remember(token: str) -> None:
            nonlocal used
            used = token

        async def find() -> Connection:
            credential = await (
                self._find(source, agent_id, project_id, site)
                if integration_id is None
                else self._of_integration(source, integration_id)
            )
            if used and (app := self._app(source, credential)) is not None:
                app.forget(used)
            return self._connect(source, credential, project_key, remember)

        return RenewingConnection(find, await find(), self._clients.monotonic)

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
        until, known = self._accounts.get(key, (0.0, None))
        if self._clients.monotonic() < until:
            return known
        try:
            account = await self._ask_account(source, credential)
        except UpstreamError as error:
            if error.status not in {403, 404}:
                raise
            account = None
        if len(self._accounts) >= MAX_ACCOUNTS:
            self._accounts.clear()
        self._accounts[key] = (self._clients.monotonic() + ACCOUNT_SECONDS, account)
        return account

    async def ask_environment(self, source: SourceName) -> Account:
        """Who the environment's credential speaks as; the platform is asked now, once.

        Raises:
            NotConfiguredError: the environment has no credential, or no address; names it.
            UpstreamError: the platform failed, or refused the credential.
        """
        return await self._ask_account(source, self._of_environment(source))

    async def missing_scope(self, source: SourceName) -> str | None:
        """The scope that the environment's token would need and has not; None where it has it,
        or where the platform does not say.

        Raises as ``ask_environment``.
        """
        if source not in SCOPES:
            return None
        path, needed = SCOPES[source]
        try:
            told = await self._connect(source, self._of_environment(source)).request("GET", path)
        except UpstreamError as error:
            if error.retryable:
                raise
            return None  # an older instance, or another kind of token
        scopes = told.get("scopes") if isinstance(told, dict) else None
        return needed if isinstance(scopes, list) and needed not in scopes else None

    async def check_workspace(self, source: SourceName) -> None:
        """Ask for the workspace that the environment names, where a source has such.

        Raises:
            NotConfiguredError: none is named.
            UpstreamError: the credential does not see it, or the platform failed.
        """
        if source is not SourceName.PLANE:
            return
        credential = self._of_environment(source)
        slug = credential.told.get("workspace", "")
        if not slug:
            raise NotConfiguredError(
                "PLANE_WORKSPACE: not set; it is the first part of your address at Plane: "
                "app.plane.so/<workspace>"
            )
        path = f"/api/v1/workspaces/{slug}/projects/"
        await self._connect(source, credential).request("GET", path, query={"per_page": "1"})

    async def _ask_account(self, source: SourceName, credential: _Credential) -> Account:
        app = self._app(source, credential)
        if app is not None:
            return await app.account()
        path, read = ACCOUNTS[source]
        told = await self._connect(source, credential).request("GET", path)
        try:
            return read(told)
        except (KeyError, TypeError, AttributeError):
            problem = f"GET {path}: {source} says in no readable form who we are"
            raise UpstreamError(problem, retryable=False) from None

    async def _find(
        self, source: SourceName, agent_id: str | None, project_id: int | None, site: str = ""
    ) -> _Credential:
        found = await rows(
            "SELECT id, name, base_url, credentials_encrypted, slug,"
            " agent_id IS NULL AND project_id IS NULL AS is_for_all FROM integration"
            " WHERE source = $1 AND enabled"
            " AND (agent_id IS NULL OR agent_id = $2::text)"
            " AND (project_id IS NULL OR project_id = $3::int)"
            " ORDER BY project_id IS NULL, agent_id IS NULL, id",
            source.value,
            agent_id,
            project_id,
        )
        near, far = self._of_site(source, found, site)
        environment = None if site else from_environment(self._settings, source)
        for integration in near if environment else near + far:
            credential = self._stored(source, integration)
            if credential is not None:
                return credential
        if site:
            raise NotConfiguredError(
                f"no integration of this agent and project speaks to {source} at {site}"
            )
        return self._of_environment(source, f", and no integration speaks to {source}")

    def _of_site(
        self, source: SourceName, found: Sequence[Mapping[str, Any]], site: str
    ) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """Those that speak to ``site``; and those that may, where nobody else does.

        One without a slug has its events sent to the platform's own, where they cannot be told
        from the environment's. If it is for an agent or a project, it speaks for that.
        """
        near: list[Mapping[str, Any]] = []
        far: list[Mapping[str, Any]] = []
        for one in found:
            if site_of(self._settings, source, one["base_url"]) == site:
                near.append(one)
            elif not site and not one["slug"]:
                (far if one["is_for_all"] else near).append(one)
        return near, far

    async def _of_integration(self, source: SourceName, integration_id: int) -> _Credential:
        found = await rows(
            "SELECT id, name, base_url, credentials_encrypted, enabled FROM integration"
            " WHERE id = $1 AND source = $2",
            integration_id,
            source.value,
        )
        if not found:
            raise NotConfiguredError(f"integration_id: no {source} integration {integration_id}")
        if not found[0]["enabled"]:
            raise NotConfiguredError(f"integration_id: integration {integration_id} is disabled")
        credential = self._stored(source, found[0])
        if credential is None:
            raise NotConfiguredError(
                f"integration_id: integration {integration_id} has no credentials"
            )
        return credential

    def _stored(self, source: SourceName, integration: Mapping[str, Any]) -> _Credential | None:
        told = self._decrypted(integration)
        if not told:  # one that only serves a webhook has none
            return None
        if not integration["base_url"]:
            told = site_options(self._settings, source) | told
        return _Credential(
            base_url=base_url(self._settings, source, integration["base_url"]),
            origin=f"credentials of integration {integration['name']!r}",
            is_stored=True,
            told=told,
        )

    def _of_environment(self, source: SourceName, otherwise: str = "") -> _Credential:
        told = from_environment(self._settings, source)
        setting = TOKEN_SETTINGS[source]
        if not told:
            raise NotConfiguredError(f"{setting}: not set{otherwise}")
        return _Credential(
            base_url=base_url(self._settings, source, None),
            origin=setting,
            is_stored=False,
            told=told,
        )

    def _decrypted(self, integration: Mapping[str, Any]) -> dict[str, str]:
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
        learn(value for name, value in values.items() if name not in PUBLIC_NAMES)
        token = next((values[name] for name in TOKEN_NAMES if name in values), None)
        return values | {"token": token} if token else values

    def _connect(
        self,
        source: SourceName,
        credential: _Credential,
        project_key: str | None = None,
        remember: Callable[[str], None] | None = None,
    ) -> Connection:
        """A connection by ``credential``; ``remember`` is told each App token that is used."""
        app = self._app(source, credential)
        redact = self._redactor(credential)
        if app is not None:

            async def app_headers() -> Mapping[str, str]:
                token = await app.token(project_key)
                learn([token])
                if remember is not None:
                    remember(token)
                return github_headers({"token": token})

            return self._clients.connection(
                credential.base_url, app_headers, redact=redact, reach=self._reach
            )
        if "token" not in credential.told:
            raise NotConfiguredError(f"{credential.origin}: has no token")
        headers = HEADERS[source](credential.told)
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise NotConfiguredError(f"{credential.origin}: holds characters no token can have")

        learn(
            value.rpartition(" ")[2]
            for name, value in headers.items()
            if name.lower() not in PUBLIC_HEADERS
        )

        async def fixed_headers() -> Mapping[str, str]:
            return headers

        made = self._clients.connection(
            credential.base_url, fixed_headers, redact=redact, reach=self._reach
        )
        made.options = credential.options
        return made

    def _app(self, source: SourceName, credential: _Credential) -> GitHubApp | None:
        """The App that ``credential`` names, the same object while it stays the same."""
        told = credential.told
        if source is not SourceName.GITHUB or not {"app_id", "private_key"} & told.keys():
            return None
        for name in ("app_id", "private_key"):
            if name not in told:
                setting = {"app_id": "GITHUB_APP_ID"}.get(name, "GITHUB_APP_PRIVATE_KEY")
                missing = f"{setting}: not set"
                if credential.is_stored:
                    missing = f"{credential.origin}: has no {name}"
                raise NotConfiguredError(missing)
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
                reach=self._reach,
            )
            self._apps[key] = app
        return app

    def _redactor(self, credential: _Credential) -> Redact:
        secrets = [
            value
            for name, value in credential.told.items()
            if name not in PUBLIC_NAMES and len(value) >= MIN_SECRET_CHARACTERS
        ]

        def redact(text: str) -> str:
            for secret in secrets:
                text = text.replace(secret, "***")
            return self._redact(text)

        return redact


class RenewingConnection:
    """An ``Outbound`` that looks its credential up again, once a call, when it is answered 401."""

    def __init__(
        self,
        find: Callable[[], Awaitable[Connection]],
        first: Connection,
        monotonic: Callable[[], float],
    ) -> None:
        self._find = find
        self._current = first
        self._monotonic = monotonic

    @property
    def base_url(self) -> str:
        """Where it leads, without a slash at its end."""
        return self._current.base_url

    @property
    def options(self) -> Mapping[str, str]:
        """What is no secret of its credential."""
        return self._current.options

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """As ``Connection.request``; ``timeout`` bounds both tries together."""
        ends = self._monotonic() + (CALL_SECONDS if timeout is None else timeout)
        try:
            return await self._current.request(
                method, path, query=query, json=json, timeout=timeout
            )
        except UpstreamError as error:
            if error.status != 401:
                raise
        self._current = await self._find()
        left = max(ends - self._monotonic(), 0.0)
        return await self._current.request(method, path, query=query, json=json, timeout=left)

    async def pages(self, path: str, query: Mapping[str, str], *, max_pages: int = 20) -> list[Any]:
        """As ``Connection.pages``; begins again at the first page."""
        try:
            return await self._current.pages(path, query, max_pages=max_pages)
        except UpstreamError as error:
            if error.status != 401:
                raise
        self._current = await self._find()
        return await self._current.pages(path, query, max_pages=max_pages)

    async def fetch(
        self, path: str, query: Mapping[str, str], *, etag: str | None = None
    ) -> Fetched:
        """As ``Connection.fetch``."""
        try:
            return await self._current.fetch(path, query, etag=etag)
        except UpstreamError as error:
            if error.status != 401:
                raise
        self._current = await self._find()
        return await self._current.fetch(path, query, etag=etag)
