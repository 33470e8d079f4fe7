"""Which secret proves a delivery: the source's from the environment, or an integration's own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from aether.config import Settings
from aether.crypto import Vault
from aether.db import row
from aether.errors import NotConfiguredError, NotFoundError, SignatureError
from aether.vocabulary import SourceName


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
                table="integration",
                column="webhook_secret_encrypted",
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
