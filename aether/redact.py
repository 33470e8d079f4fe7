"""Takes secrets out of text that others may read: errors, logs, records, prompts, comments.

A process knows the secrets of its settings and its environment, and learns each stored one when it
decrypts it: nothing can quote a secret to us that we have not sent it, and so have decrypted.
"""

import os
import re
import threading
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

from aether.config import Settings

MASK: Final = "***"
SHORTEST: Final = 6  # a shorter value may be an ordinary word; taking it out would garble the text
SHORTEST_FROM_ENVIRONMENT: Final = 8
SHORTEST_IN_CONTENT: Final = 8
LONGEST_WORD: Final = 16  # letters alone, and fewer: a word that a text may well hold
PEM_LINE: Final = 16
MOST_LEARNT: Final = 5_000

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


_learnt: Final[dict[str, None]] = {}
_learning: Final = threading.Lock()


def learn(values: Iterable[str]) -> None:
    """Know these secrets from now on, in this process: stored ones, as they are decrypted.

    The newest 5,000 are kept. May be called from any thread.
    """
    with _learning:
        for value in values:
            for part in _parts(value, SHORTEST_FROM_ENVIRONMENT):
                _learnt.pop(part, None)
                _learnt[part] = None
        while len(_learnt) > MOST_LEARNT:
            del _learnt[next(iter(_learnt))]


def forget() -> None:
    """Know no stored secret any more."""
    with _learning:
        _learnt.clear()


def redact(text: str, settings: Settings | None = None) -> str:
    """``text`` with ``***`` for every secret that is known or looks like one.

    Known are the secrets of ``settings``, each part of a comma-separated list, the passwords in its
    addresses, what was learnt, and the values of environment variables named like ``…_API_KEY``,
    where a provider's key may be. Redact before cutting: half a secret is not recognised.
    """
    for secret in _known_secrets(settings):
        text = text.replace(secret, MASK)
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def redact_known(text: str, settings: Settings | None = None) -> str:
    """``text`` with ``***`` for the secrets that are known, and nothing else changed.

    For what people, models and tools say, where a look is no proof; secrets that are ordinary words
    (``changeme``) stay.
    """
    return Mask(settings).whole(text)


class Mask:
    """Takes the known secrets out of a text that comes in pieces, wherever it is cut.

    What may be the beginning of a secret is held back until it is seen what follows.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._secrets = [one for one in _known_secrets(settings) if tells_apart(one)]
        self._firsts = {one[0] for one in self._secrets}
        self._longest = max(map(len, self._secrets), default=0)
        self._held = ""

    def whole(self, text: str) -> str:
        """A text that does not come in pieces."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def feed(self, piece: str) -> str:
        """What may be passed on once ``piece`` has come."""
        text = self.whole(self._held + piece)
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start] not in self._firsts:
                continue
            tail = text[start:]
            if any(one.startswith(tail) for one in self._secrets):
                self._held = tail
                return text[:start]
        self._held = ""
        return text

    def end(self) -> str:
        """What was held back, once nothing more comes."""
        held, self._held = self._held, ""
        return self.whole(held)


def tells_apart(secret: str) -> bool:
    """Whether a text that holds it must mean the secret: it is long, and no plain word."""
    is_word = secret.isalpha() and len(secret) < LONGEST_WORD
    return len(secret) >= SHORTEST_IN_CONTENT and not is_word


def _known_secrets(settings: Settings | None) -> list[str]:
    """Longest first, so that a secret within another does not leave the other's rest."""
    found: set[str] = set()
    for value in _configured(settings):
        found |= _parts(value, SHORTEST)
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name) and len(value) >= SHORTEST_FROM_ENVIRONMENT:
            found.add(value)
    with _learning:
        found |= _learnt.keys()
    return sorted(found, key=len, reverse=True)


def _parts(value: str, shortest: int) -> set[str]:
    """A secret, each part of a list, each long line of a key, and how addresses write them."""
    found: set[str] = set()
    for part in {value, *value.split(","), *_long_lines(value)}:
        if len(part.strip()) >= shortest:
            found |= {part.strip(), quote(part.strip(), safe="")}
    return found


def _configured(settings: Settings | None) -> list[str]:
    if settings is None:
        return []
    found = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            found.append(value.get_secret_value())
        if isinstance(value, SecretStr | str):
            told = value.get_secret_value() if isinstance(value, SecretStr) else value
            found += _passwords(told)
    return found


def _passwords(value: str) -> list[str]:
    """The password in an address, unless it is a name that the address tells anyway."""
    if "@" not in value or "://" not in value:
        return []
    try:
        parts = urlsplit(value)
        password = parts.password
    except ValueError:
        return []
    told = {parts.username, parts.hostname, parts.path.strip("/")}
    return [unquote(password), password] if password and password not in told else []


def _long_lines(value: str) -> list[str]:
    return [line for line in value.splitlines() if len(line) >= PEM_LINE]
