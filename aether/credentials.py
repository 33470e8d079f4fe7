"""Whose token speaks for this source, project and agent; looked up when it is used."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from pydantic import SecretStr

from aether.config import Settings
from aether.credential_store import PUBLIC_NAMES, Credential, CredentialStore
from aether.errors import NotConfiguredError, UpstreamError
from aether.github_app import GitHubApp
from aether.http import Connection, HttpClients
from aether.http_call import PUBLIC_HEADERS, Redact
from aether.platform_auth import (
    ACCOUNTS,
    HEADERS,
    SCOPES,
    Account,
    github_headers,
)
from aether.reach import Reach
from aether.redact import learn
from aether.redact import redact as redact_all
from aether.renewing import RenewingConnection
from aether.vocabulary import SourceName

ACCOUNT_SECONDS: Final = 3600.0
MAX_ACCOUNTS: Final = 1000
MIN_SECRET_CHARACTERS: Final = 8  # a shorter one would tear holes into ordinary words


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
        self._store = CredentialStore(settings)
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
    ) -> RenewingConnection:
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
                self._store.find(source, agent_id, project_id, site)
                if integration_id is None
                else self._store.of_integration(source, integration_id)
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
        credential = await self._store.find(source, agent_id, project_id)
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
        return await self._ask_account(source, self._store.of_environment(source))

    async def missing_scope(self, source: SourceName) -> str | None:
        """The scope that the environment's token would need and has not; None where it has it,
        or where the platform does not say.

        Raises as ``ask_environment``.
        """
        if source not in SCOPES:
            return None
        path, needed = SCOPES[source]
        try:
            told = await self._connect(source, self._store.of_environment(source)).request(
                "GET", path
            )
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
        credential = self._store.of_environment(source)
        slug = credential.told.get("workspace", "")
        if not slug:
            raise NotConfiguredError(
                "PLANE_WORKSPACE: not set; it is the first part of your address at Plane: "
                "app.plane.so/<workspace>"
            )
        path = f"/api/v1/workspaces/{slug}/projects/"
        await self._connect(source, credential).request("GET", path, query={"per_page": "1"})

    async def _ask_account(self, source: SourceName, credential: Credential) -> Account:
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

    def _connect(
        self,
        source: SourceName,
        credential: Credential,
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

    def _app(self, source: SourceName, credential: Credential) -> GitHubApp | None:
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

    def _redactor(self, credential: Credential) -> Redact:
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
