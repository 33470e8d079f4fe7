"""A GitHub App's tokens: signs for itself, finds its installations, keeps their tokens fresh."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from pydantic import SecretStr

from aether.crypto import RsaSigner, base64url
from aether.errors import NotConfiguredError, UpstreamError
from aether.http import HttpClients
from aether.http_call import Redact
from aether.platform_auth import Account, github_headers
from aether.reach import Reach

RENEW_BEFORE: Final = timedelta(minutes=5)


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
        reach: Reach | None = None,
    ) -> None:
        """
        Raises:
            NotConfiguredError: the key cannot be read.
        """
        self.fingerprint = fingerprint
        self._clients = clients
        self._app_id = app_id
        try:
            self._key = RsaSigner(private_key)
        except ValueError as error:
            raise NotConfiguredError(f"GITHUB_APP_PRIVATE_KEY: {error}") from None
        self._connection = clients.connection(base_url, self._headers, redact=redact, reach=reach)
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
            try:
                told = await self._connection.request(
                    "POST", f"/app/installations/{installation}/access_tokens"
                )
            except UpstreamError:
                del self._installations[project_key]  # it may have been removed and added again
                raise
            with _reading():
                token = str(told["token"])
                self._tokens[installation] = (datetime.fromisoformat(told["expires_at"]), token)
            return token

    async def account(self) -> Account:
        """The bot that the App's installations act as: ``<slug>[bot]``."""
        told = await self._connection.request("GET", "/app")
        with _reading():
            return Account(login=f"{told['slug']}[bot]", id=str(told["id"]), is_bot=True)

    def forget(self, refused: str) -> None:
        """Drop a token that was refused, unless somebody has renewed it already."""
        for installation, (_, token) in list(self._tokens.items()):
            if token == refused:
                del self._tokens[installation]
                self._installations = {
                    key: one for key, one in self._installations.items() if one != installation
                }

    async def _installation(self, project_key: str | None) -> int:
        if project_key is None:
            found = await self._connection.request(
                "GET", "/app/installations", query={"per_page": "2"}
            )
            with _reading():
                if len(found) == 1:
                    return int(found[0]["id"])
            many = "several installations; a project is needed" if found else "no installation"
            raise NotConfiguredError(f"GITHUB_APP_ID: the App has {many}")
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
        with _reading():
            return int(told["id"])

    async def _headers(self) -> Mapping[str, str]:
        return github_headers({"token": self._signed_token()})

    def _signed_token(self) -> str:
        """A JSON web token (RFC 7519), RS256, for ten minutes less what clocks may differ by."""
        now = int(self._clients.clock().timestamp())
        head = base64url(b'{"alg":"RS256","typ":"JWT"}')
        claims = {"iat": now - 60, "exp": now + 540, "iss": self._app_id}
        body = base64url(json.dumps(claims, separators=(",", ":")).encode())
        return f"{head}.{body}.{base64url(self._key.sign(f'{head}.{body}'.encode()))}"


@contextmanager
def _reading() -> Iterator[None]:
    """Turns an answer of another shape into the error of a platform."""
    try:
        yield
    except (KeyError, TypeError, ValueError):
        problem = "GitHub's answer about the App cannot be read"
        raise UpstreamError(problem, retryable=False) from None
