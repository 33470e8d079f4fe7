"""Where a platform's credentials are set: in integrations, encrypted, and in the environment."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aether.config import Settings
from aether.crypto import DecryptionError, Vault
from aether.db import rows
from aether.errors import NotConfiguredError
from aether.platform_auth import (
    TOKEN_NAMES,
    TOKEN_SETTINGS,
    base_url,
    from_environment,
    site_of,
    site_options,
)
from aether.redact import learn
from aether.vocabulary import SourceName

TABLE: Final = "integration"
CREDENTIALS_COLUMN: Final = "credentials_encrypted"
PUBLIC_NAMES: Final = frozenset({"email", "app_id", "workspace", "base_url", "is_cloud"})


@dataclass(frozen=True, kw_only=True)
class Credential:
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


class CredentialStore:
    """What is set, read and decrypted each time it is asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def find(
        self, source: SourceName, agent_id: str | None, project_id: int | None, site: str = ""
    ) -> Credential:
        """The sharpest of ``site`` that may speak for this agent and project.

        The order: agent and project, project, agent, source (an integration of neither),
        environment.

        Raises:
            NotConfiguredError: there is none, or it cannot be decrypted; names the setting.
        """
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
        return self.of_environment(source, f", and no integration speaks to {source}")

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

    async def of_integration(self, source: SourceName, integration_id: int) -> Credential:
        """That of one integration.

        Raises:
            NotConfiguredError: it is not there, disabled, without credentials, or unreadable.
        """
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

    def _stored(self, source: SourceName, integration: Mapping[str, Any]) -> Credential | None:
        told = self._decrypted(integration)
        if not told:  # one that only serves a webhook has none
            return None
        if not integration["base_url"]:
            told = site_options(self._settings, source) | told
        return Credential(
            base_url=base_url(self._settings, source, integration["base_url"]),
            origin=f"credentials of integration {integration['name']!r}",
            is_stored=True,
            told=told,
        )

    def of_environment(self, source: SourceName, otherwise: str = "") -> Credential:
        """The environment's.

        Raises:
            NotConfiguredError: it has none; names the setting, and says ``otherwise``.
        """
        told = from_environment(self._settings, source)
        setting = TOKEN_SETTINGS[source]
        if not told:
            raise NotConfiguredError(f"{setting}: not set{otherwise}")
        return Credential(
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
