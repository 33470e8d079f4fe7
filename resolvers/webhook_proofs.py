"""How deliveries to an integration's slug prove themselves: what a user says, stores and sees."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic.types import Strict

from aether.credential_store import TABLE
from aether.crypto import MASKED, Vault, mask
from aether.errors import InvalidInputError, NotConfiguredError
from aether.models import Integration
from aether.proofs import PROOF_COLUMN, WebhookAlgorithm, WebhookEncoding
from resolvers.fields import INTEGRAL, Input
from resolvers.secrets import IS_A_MASK, SecretOrMask, is_mask

HEADER_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"  # RFC 9110, 5.6.2


def _header_name(value: str) -> str:
    if not re.fullmatch(HEADER_NAME[1:-1], value):
        raise ValueError("must be the name of a header, such as X-Signature-256")
    return value


def _without_hmac(value: Any) -> Any:
    return value.lower().removeprefix("hmac-") if isinstance(value, str) else value


HeaderName = Annotated[
    str,
    StringConstraints(max_length=100),
    AfterValidator(_header_name),
    Field(json_schema_extra={"pattern": HEADER_NAME}),
]
Algorithm = Annotated[WebhookAlgorithm, Strict(strict=False), BeforeValidator(_without_hmac)]
"""``sha256``, also written ``hmac-sha256``."""
Encoding = Annotated[WebhookEncoding, Strict(strict=False)]
Window = Annotated[int, Strict(), Field(ge=1, le=86_400), INTEGRAL]


class Webhook(Input):
    """How deliveries to the integration's slug prove themselves; what is absent stays, or is null.

    Without ``header`` they prove themselves in the platform's own way, with ``secret``.
    """

    header: HeaderName | None = None
    algorithm: Algorithm | None = None
    prefix: Annotated[str, StringConstraints(max_length=100)] | None = None
    encoding: Encoding | None = None
    timestamp_header: HeaderName | None = None
    window_seconds: Window | None = None
    secret: SecretOrMask | None = None


@dataclass(frozen=True, kw_only=True)
class ShownWebhook:
    """How deliveries prove themselves; ``secret`` is a mask."""

    header: str | None
    algorithm: WebhookAlgorithm | None
    prefix: str | None
    encoding: WebhookEncoding | None
    timestamp_header: str | None
    window_seconds: int | None
    secret: str | None


def webhook_columns(
    vault: Vault,
    row_id: int,
    told: Webhook | None,
    *,
    stored: Mapping[str, Any] | None = None,
    has_secret: bool = False,
) -> dict[str, Any]:
    """The columns that ``told`` makes of what is stored; None: that nothing proves a delivery.

    Raises:
        InvalidInputError: its parts do not fit together, or a mask stands where no secret is.
        NotConfiguredError: a secret is given, and there is no ENCRYPTION_KEY.
    """
    if told is None:
        return {"webhook": {}, PROOF_COLUMN: None}
    sent = told.model_dump(mode="json", exclude={"secret"}, exclude_unset=True)
    merged = {**(stored or {}), **sent}
    columns: dict[str, Any] = {"webhook": _checked(merged)}
    if is_mask(told.secret):
        if not has_secret:
            raise InvalidInputError("webhook.secret", IS_A_MASK)
    elif told.secret is not None:
        columns[PROOF_COLUMN] = vault.encrypt(
            told.secret, table=TABLE, column=PROOF_COLUMN, row_key=row_id
        )
    elif "secret" in told.model_fields_set:
        columns[PROOF_COLUMN] = None
    return columns


def _checked(merged: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``merged`` is set, if it fits together."""
    webhook = {name: value for name, value in merged.items() if value is not None}
    if webhook and "header" not in webhook:
        raise InvalidInputError("webhook.header", "required with the rest of it")
    if webhook.get("algorithm") == WebhookAlgorithm.BEARER:
        for name in ("timestamp_header", "encoding"):
            if name in webhook:
                raise InvalidInputError(f"webhook.{name}", "has no meaning for a bearer secret")
    if "window_seconds" in webhook and "timestamp_header" not in webhook:
        raise InvalidInputError("webhook.timestamp_header", "required with window_seconds")
    return webhook


def shown_webhook(vault: Vault, one: Integration) -> ShownWebhook | None:
    """How deliveries prove themselves, as anybody may see it; None: nothing proves one."""
    secret = None
    if one.webhook_secret_encrypted:
        try:
            secret = mask(
                vault.decrypt(
                    one.webhook_secret_encrypted, table=TABLE, column=PROOF_COLUMN, row_key=one.id
                )
            )
        except NotConfiguredError:
            secret = MASKED
    stored = dict(one.webhook)
    if not stored and secret is None:
        return None
    told = Webhook.model_validate({**stored, "secret": secret})
    return ShownWebhook(**told.model_dump())
