"""Proves that a delivery came from GitLab: by its signature, else by the token that it shows.

https://docs.gitlab.com/user/project/integrations/webhooks/ ; the signature is that of
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final

from aether.errors import SignatureError
from aether.proofs import SIGNING_PREFIX
from aether.sources.base import Headers

TOKEN_HEADER: Final = "X-Gitlab-Token"  # noqa: S105 # the header's name
SIGNATURE_HEADER: Final = "webhook-signature"
TOKEN_SETTING: Final = "GITLAB_WEBHOOK_SECRET"  # noqa: S105 # the setting's name
SIGNING_SETTING: Final = "GITLAB_SIGNING_TOKEN"
WINDOW_SECONDS: Final = 300
"""How far a signed time stamp may be from our clock, on either side; the end still counts."""

_SCHEME: Final = "v1,"
_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


def verify(headers: Headers, body: bytes, secret: str, *, now: float) -> None:
    """Return quietly if the delivery is proven by one of the secrets.

    ``secret`` is a comma-separated list: a part that begins with ``whsec_`` is a signing token,
    which is never shown; any other is what ``X-Gitlab-Token`` shows. A signature that is present
    must be right, whatever the token says; ``now`` is in seconds since 1970.

    Raises:
        SignatureError: it is not proven, or there is no secret; names the header and the setting.
    """
    secrets = [part for part in map(str.strip, secret.split(",")) if part]
    if not secrets:
        raise SignatureError(f"{TOKEN_SETTING} is not set: the delivery cannot be verified")
    signing = [one for one in secrets if one.startswith(SIGNING_PREFIX)]
    if headers.get(SIGNATURE_HEADER, "").strip():
        _check_signature(headers, body, signing, now)
    else:
        _check_token(headers, secret, [one for one in secrets if one not in signing])


def _check_signature(headers: Headers, body: bytes, tokens: list[str], now: float) -> None:
    if not tokens:
        raise SignatureError(
            f"{SIGNING_SETTING} is not set: the {SIGNATURE_HEADER} of this delivery cannot be "
            "verified"
        )
    keys = [key for key in map(_key, tokens) if key]
    if not keys:
        raise SignatureError(
            f"{SIGNING_SETTING} is no signing token: after {SIGNING_PREFIX} it must be base64"
        )
    stamp = headers.get("webhook-timestamp", "").strip()
    signed = b".".join((_raw(headers.get("webhook-id", "").strip()), _raw(stamp), body))
    sent = [
        _raw(one.removeprefix(_SCHEME))
        for one in headers[SIGNATURE_HEADER].split()
        if one.startswith(_SCHEME)
    ]
    # Once a key and not once a pair: whoever sends a large body may send many signatures with it.
    expected = [_signature(key, signed) for key in keys]
    # Every key is tried whatever the ones before gave, so that time tells nothing.
    matches = [hmac.compare_digest(one, right) for one in sent for right in expected]
    if not any(matches):
        raise SignatureError(f"{SIGNATURE_HEADER} does not match the body under {SIGNING_SETTING}")
    if not _SECONDS.fullmatch(stamp):
        raise SignatureError("webhook-timestamp does not hold the seconds since 1970")
    if abs(now - int(stamp)) > WINDOW_SECONDS:
        raise SignatureError(
            f"webhook-timestamp is more than {WINDOW_SECONDS} seconds away from our clock"
        )


def _check_token(headers: Headers, whole: str, tokens: list[str]) -> None:
    if not tokens:
        raise SignatureError(
            f"{SIGNATURE_HEADER} is missing: give the webhook the signing token of "
            f"{SIGNING_SETTING}, or set {TOKEN_SETTING} to its secret token"
        )
    sent = _raw(headers.get(TOKEN_HEADER.lower(), ""))
    if not sent:
        raise SignatureError(
            f"{TOKEN_HEADER} is missing: give the webhook the secret token of {TOKEN_SETTING}"
        )
    known = [*tokens, whole.strip()]  # a token may hold a comma itself
    # surrogateescape: a secret that is not UTF-8 reaches us so from the environment
    matches = [hmac.compare_digest(sent, one.encode(errors="surrogateescape")) for one in known]
    if not any(matches):
        raise SignatureError(f"{TOKEN_HEADER} is not the secret token of {TOKEN_SETTING}")


def _raw(header: str) -> bytes:
    """The header's bytes as they came; it is decoded as latin-1."""
    return header.encode("latin-1", errors="replace")


def _key(token: str) -> bytes | None:
    try:
        return base64.b64decode(token.removeprefix(SIGNING_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None


def _signature(key: bytes, signed: bytes) -> bytes:
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
