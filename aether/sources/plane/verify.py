"""Proves that a delivery came from Plane.

https://developers.plane.so/dev-tools/intro-webhooks (verifying the signature). Plane signs the
very bytes that it sends; the digest stands alone in the header, without ``sha256=``.
"""

import hashlib
import hmac
from typing import Final

from aether.errors import SignatureError
from aether.sources.base import Headers

HEADER: Final = "X-Plane-Signature"
SETTING: Final = "PLANE_WEBHOOK_SECRET"


def verify(headers: Headers, body: bytes, secret: str) -> None:
    """Return quietly if ``X-Plane-Signature`` was made over ``body`` with ``secret``.

    The header is 64 lower-case hex digits; a prefix or upper case is refused. ``secret`` may be a
    comma-separated list, of which each verifies, as does the whole (a secret may hold a comma
    itself). An empty one verifies nothing.

    Raises:
        SignatureError: it was not, or there is no signature or no secret.
    """
    secrets = [part for part in map(str.strip, secret.split(",")) if part]
    if not secrets:
        raise SignatureError(f"{SETTING} is not set: the delivery cannot be verified")
    sent = headers.get(HEADER.lower(), "").encode(errors="replace")
    if not sent:
        raise SignatureError(
            f"{HEADER} is missing: {SETTING} is to hold the secret that Plane showed when the "
            "webhook was made"
        )
    if len(secrets) > 1:
        secrets.append(secret)
    # Every secret is tried whatever the ones before gave, so that time tells nothing.
    matches = [hmac.compare_digest(sent, _expected(one, body)) for one in secrets]
    if not any(matches):
        raise SignatureError(f"{HEADER} does not match the body under {SETTING}")


def _expected(secret: str, body: bytes) -> bytes:
    # surrogateescape: a secret that is not UTF-8 reaches us so from the environment
    key = secret.encode(errors="surrogateescape")
    return hmac.new(key, body, hashlib.sha256).hexdigest().encode()
