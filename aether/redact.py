"""Takes secrets out of text that others may read: errors, logs, records, comments."""

import os
import re
from typing import Final
from urllib.parse import quote

from pydantic import SecretStr

from aether.config import Settings

MASK: Final = "***"
SHORTEST: Final = 6  # a shorter value may be an ordinary word; taking it out would garble the text
SHORTEST_FROM_ENVIRONMENT: Final = 8
PEM_LINE: Final = 32

_SECRET_NAMES: Final = re.compile(
    r"(?:_|\b)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS)$", re.IGNORECASE
)
_SHAPES: Final = (
    # what follows a word that announces a credential
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{4,}"), rf"\g<1>{MASK}"),
    (re.compile(r"(?i)\b(authorization['\"]?\s*[:=]\s*['\"]?(?:\w+\s+)?)[^\s'\",}]{4,}"),
     rf"\g<1>{MASK}"),
    (re.compile(r"(?i)\b(x-api-key|private-token|api[-_]?key)(['\"]?\s*[:=]\s*['\"]?)[^\s'\",}&]{4,}"),
     rf"\g<1>\g<2>{MASK}"),
    # in an address: ?key=…, &access_token=…, https://user:password@host
    (re.compile(r"(?i)([?&;][\w.-]*(?:key|token|secret|password|signature|sig|code)=)[^&\s'\"<>)]+"),
     rf"\g<1>{MASK}"),
    (re.compile(r"(://[^/\s:@]*:)[^@\s/]+@"), rf"\g<1>{MASK}@"),
    # keys that are known by how they begin
    (re.compile(
        r"(?<![A-Za-z0-9])(?:sk-|rk-|pk-|AIza|gsk_|xai-|hf_|gh[oprsu]_|github_pat_|glpat-|gldt-"
        r"|whsec_|xox[abeprs]-|ATATT|AKIA|ASIA|plane_api_|r8_|eyJ)[A-Za-z0-9_.=+/-]{4,}"
    ), MASK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
                re.DOTALL), MASK),
)  # fmt: skip


def redact(text: str, settings: Settings | None = None) -> str:
    """``text`` with ``***`` for every secret that is known or looks like one.

    Known are the secrets of ``settings``, each part of a comma-separated list, and the values of
    environment variables named like ``…_API_KEY``, where a provider's key may be. Redact before
    cutting: half a secret is not recognised.
    """
    for secret in _known_secrets(settings):
        text = text.replace(secret, MASK)
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def _known_secrets(settings: Settings | None) -> list[str]:
    """Longest first, so that a secret within another does not leave the other's rest."""
    found: set[str] = set()
    for value in _configured(settings):
        for part in {value, *value.split(","), *_long_lines(value)}:
            if len(part.strip()) >= SHORTEST:
                found |= {part.strip(), quote(part.strip(), safe="")}
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name) and len(value) >= SHORTEST_FROM_ENVIRONMENT:
            found.add(value)
    return sorted(found, key=len, reverse=True)


def _configured(settings: Settings | None) -> list[str]:
    if settings is None:
        return []
    values = (getattr(settings, name) for name in type(settings).model_fields)
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


def _long_lines(value: str) -> list[str]:
    return [line for line in value.splitlines() if len(line) >= PEM_LINE]
