"""Proves that a delivery came from Jira.

https://developer.atlassian.com/cloud/jira/platform/webhooks/ (securing webhooks; Data Center
signs from 10.x on). The header is GitHub's old one, the method is SHA-256.
"""

import hashlib
import hmac
from typing import Final

from aether.errors import SignatureError
from aether.sources.base import Headers

HEADER: Final = "X-Hub-Signature"
SETTING: Final = "JIRA_WEBHOOK_SECRET"


def verify(headers: Headers, body: bytes, secret: str) -> None:
    """Return quietly if ``X-Hub-Signature`` was made over ``body`` with ``secret``.

    The header is ``sha256=`` and 64 lower-case hex digits; another method or upper case is
    refused. ``secret`` may be a comma-separated list, of which each verifies, as does the whole
    (a secret may hold a comma itself). An empty one verifies nothing.

    Raises:
        SignatureError: it was not, or there is no signature or no secret.
    """
    secrets = [part for part in map(str.strip, secret.split(",")) if part]
    if not secrets:
        raise SignatureError(f"{SETTING} is not set: the delivery cannot be verified")
    sent = headers.get(HEADER.lower(), "").encode(errors="replace")
    if not sent:
        raise SignatureError(
            f"{HEADER} is missing: give the webhook the secret of {SETTING}, or Jira does not "
            "sign its deliveries; Server and Data Center can do so from 10.0 on only"
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
    return b"sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest().encode()
