"""Which secret proves a delivery, the environment's or an integration's own, and how the latter."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pydantic import SecretStr

from aether.config import Settings
from aether.crypto import Vault
from aether.db import row
from aether.errors import NotConfiguredError, NotFoundError, SignatureError
from aether.platform_auth import site_of
from aether.redact import learn
from aether.vocabulary import SourceName

PROOF_COLUMN: Final = "webhook_secret_encrypted"
WINDOW_SECONDS: Final = 300
SHOWN_KEY: Final = {"header": "X-API-Key", "algorithm": "bearer"}
SIGNING_PREFIX: Final = "whsec_"

_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class WebhookAlgorithm(StrEnum):
    """How a delivery to a slug of its own is proven."""

    SHA256 = "sha256"  #: HMAC over the body.
    SHA512 = "sha512"
    SHA1 = "sha1"
    BEARER = "bearer"  #: The header holds the secret itself.


class WebhookEncoding(StrEnum):
    """How an HMAC is written."""

    HEX = "hex"
    BASE64 = "base64"


_HASHES: Final[Mapping[WebhookAlgorithm, Callable[..., Any]]] = {
    WebhookAlgorithm.SHA256: hashlib.sha256,
    WebhookAlgorithm.SHA512: hashlib.sha512,
    WebhookAlgorithm.SHA1: hashlib.sha1,
}


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a delivery that comes by one slug must be signed with.

    ``secret`` may be a comma-separated list, each of which proves; None: none is set, and unless
    ``lets_unsigned_in`` the delivery is refused, naming ``setting``. ``is_stand_in``: the secret
    is the API token, which GitLab's and Plane's deliveries show as it is where no webhook secret
    is set. ``webhook`` is how an integration of its own, or Plane's stand-in, is verified, empty
    otherwise; ``site`` is the one that the integration speaks to, empty otherwise.
    """

    source: SourceName
    secret: SecretStr | None
    setting: str
    lets_unsigned_in: bool
    is_stand_in: bool = False
    integration_id: int | None = None
    site: str = ""
    webhook: Mapping[str, Any] = field(default_factory=dict)


async def webhook_proof(settings: Settings, slug: str) -> Proof:
    """What proves a delivery to ``/webhook/<slug>``; asks the database for slugs not built in.

    Raises:
        NotFoundError: no source, integration or webhook mapping has this slug.
        SignatureError: the stored secret cannot be decrypted; nothing is proven by it.
    """
    source, integration = await _owner(slug)
    if integration is not None:
        return _integration_proof(settings, integration)
    return _source_proof(settings, source)


async def webhook_source(settings: Settings, slug: str) -> tuple[SourceName, str]:
    """The source and the site whose deliveries come to ``/webhook/<slug>``, whatever proves them.

    Raises:
        NotFoundError: as ``webhook_proof``.
    """
    source, integration = await _owner(slug)
    return source, site_of(settings, source, integration["base_url"]) if integration else ""


async def _owner(slug: str) -> tuple[SourceName, Mapping[str, Any] | None]:
    """A slug's source, and the integration's row where it is an integration's."""
    if slug in set(SourceName):
        return SourceName(slug), None
    if not slug.isprintable():  # NUL or half a character: no row can have it
        raise NotFoundError("webhook", slug)
    integration = await row(
        "SELECT id, source, name, base_url, webhook, webhook_secret_encrypted AS secret"
        " FROM integration WHERE slug = $1 AND enabled",
        slug,
    )
    if integration is not None:
        return SourceName(integration["source"]), integration
    mapping = await row("SELECT source FROM webhook_mapping WHERE slug = $1", slug)
    if mapping is None:
        raise NotFoundError("webhook", slug)
    return SourceName(mapping["source"]), None


def _source_proof(settings: Settings, source: SourceName) -> Proof:
    secret, is_stand_in = _environment_secret(settings, source)
    # Plane signs with the secret that is not set here: a stand-in can only be shown.
    is_shown = is_stand_in and source is SourceName.PLANE
    return Proof(
        source=source,
        secret=secret,
        setting="PLANE_API_KEY" if is_shown else f"{source.upper()}_WEBHOOK_SECRET",
        lets_unsigned_in=_lets_unsigned_in(settings, source),
        is_stand_in=is_stand_in,
        webhook=SHOWN_KEY if is_shown else {},
    )


def _environment_secret(settings: Settings, source: SourceName) -> tuple[SecretStr | None, bool]:
    """The secret of a source, and whether it is the API token that stands in for one."""
    told: dict[SourceName, tuple[SecretStr | None, ...]] = {
        SourceName.GITHUB: (settings.github_webhook_secret,),
        SourceName.GITLAB: (
            _signing_tokens(settings.gitlab_signing_token),
            settings.gitlab_webhook_secret,
        ),
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
                column=PROOF_COLUMN,
                row_key=integration["id"],
            )
        except NotConfiguredError as error:
            raise SignatureError(f"the webhook's stored secret cannot be read: {error}") from error
        learn([plain])
        secret = _joined(SecretStr(plain))
    return Proof(
        source=source,
        secret=secret,
        setting=f"webhook.secret of integration {integration['name']!r}",
        lets_unsigned_in=_lets_unsigned_in(settings, source),
        integration_id=integration["id"],
        site=site_of(settings, source, integration["base_url"]),
        webhook=json.loads(integration["webhook"]),
    )


def _joined(*secrets: SecretStr | None) -> SecretStr | None:
    """One comma-separated list without empty parts: an empty secret would prove everything."""
    told = [secret.get_secret_value().split(",") for secret in secrets if secret is not None]
    parts = [part.strip() for one in told for part in one if part.strip()]
    return SecretStr(",".join(parts)) if parts else None


def _signing_tokens(told: SecretStr | None) -> SecretStr | None:
    """GitLab's signing tokens with the prefix that tells them from tokens that are shown."""
    if told is None:
        return None
    parts = [part.strip() for part in told.get_secret_value().split(",") if part.strip()]
    return SecretStr(
        ",".join(f"{SIGNING_PREFIX}{part.removeprefix(SIGNING_PREFIX)}" for part in parts)
    )


def _lets_unsigned_in(settings: Settings, source: SourceName) -> bool:
    return bool(settings.allow_unsigned & {source.value, "all"})


def verify(proof: Proof, headers: Mapping[str, str], body: bytes, *, now: float) -> None:
    """Return quietly if the header that ``proof.webhook`` names proves ``body``.

    An HMAC is over the body's bytes; where ``timestamp_header`` is named, over its text, a dot
    and the body, and the time in it (seconds since 1970, as ``now``) must be within
    ``window_seconds``, 300 unless told. Each part of a comma-separated secret proves.

    Raises:
        SignatureError: it does not, or there is no secret.
    """
    header = str(proof.webhook["header"])
    sent = _sent(headers, header)
    if not sent and proof.is_stand_in:
        raise SignatureError(
            f"{header} is missing; set {proof.source.upper()}_WEBHOOK_SECRET, so that deliveries "
            f"are proven by their signature, or have {proof.setting} sent along"
        )
    if not sent:
        raise SignatureError(f"{header} is missing, which proves a delivery to this webhook")
    whole = proof.secret.get_secret_value() if proof.secret is not None else ""
    secrets = [part.encode() for part in whole.split(",") if part]
    algorithm = WebhookAlgorithm(proof.webhook.get("algorithm", WebhookAlgorithm.SHA256))
    stamp = b""
    if algorithm is WebhookAlgorithm.BEARER:
        expected = secrets
    else:
        named = proof.webhook.get("timestamp_header")
        stamp = _sent(headers, str(named)) if named else b""
        signed = stamp + b"." + body if named else body
        expected = [_signature(proof.webhook, algorithm, one, signed) for one in secrets]
    prefix = _prefix(proof.webhook, algorithm)
    # Every secret is tried whatever the ones before gave, so that time tells nothing.
    matches = [hmac.compare_digest(sent, prefix + one) for one in expected]
    if not any(matches):
        raise SignatureError(f"{header} does not prove the body under {proof.setting}")
    if proof.webhook.get("timestamp_header"):
        _check_time(proof.webhook, stamp, now)


def _sent(headers: Mapping[str, str], name: str) -> bytes:
    """The header's bytes as they came; ``headers`` holds them as latin-1."""
    return headers.get(name.lower(), "").strip().encode("latin-1", errors="replace")


def _prefix(webhook: Mapping[str, Any], algorithm: WebhookAlgorithm) -> bytes:
    told = webhook.get("prefix")
    if told is None:
        is_scheme = str(webhook["header"]).lower() == "authorization"
        told = "Bearer " if is_scheme and algorithm is WebhookAlgorithm.BEARER else ""
    return str(told).encode()


def _signature(
    webhook: Mapping[str, Any], algorithm: WebhookAlgorithm, secret: bytes, signed: bytes
) -> bytes:
    digest = hmac.new(secret, signed, _HASHES[algorithm]).digest()
    if webhook.get("encoding") == WebhookEncoding.BASE64:
        return base64.b64encode(digest)
    return digest.hex().encode()


def _check_time(webhook: Mapping[str, Any], stamp: bytes, now: float) -> None:
    header, window = webhook["timestamp_header"], webhook.get("window_seconds", WINDOW_SECONDS)
    text = stamp.decode("latin-1")
    if not _SECONDS.fullmatch(text):
        raise SignatureError(f"{header} does not hold the seconds since 1970")
    if abs(now - int(text)) > window:
        raise SignatureError(f"{header} is more than {window} seconds away from our clock")
