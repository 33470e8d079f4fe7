"""Takes secrets out of text that others may read: errors, logs, records, prompts, comments.

A process knows the secrets of its settings and its environment, and learns each stored one when it
decrypts it: nothing can quote a secret to us that we have not sent it, and so have decrypted. Each
is known in every spelling in which programs quote it (``aether.spellings``).
"""

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from aether.config import Settings
from aether.spellings import START, Finder, spellings

MASK: Final = "***"
SHORTEST: Final = START  # a shorter value may be an ordinary word; taking it out would garble
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
    (re.compile(r"(?i)\b(authorization[\\'\"]*\s*[:=]\s*[\\'\"]*(?:\w+\s+)?)"
                r"(?:[^\s'\",}\\]|\\[^\s'\"\\]){4,}"),
     rf"\g<1>{MASK}"),
    (re.compile(r"(?i)\b(x-api-key|private-token|api[-_]?key)([\\'\"]*\s*[:=]\s*[\\'\"]*)"
                r"(?:[^\s'\",}&\\]|\\[^\s'\"\\]){4,}"),
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


@dataclass(frozen=True)
class _Known:
    """The secrets of one moment: ``all`` of them, and those that no text holds by chance."""

    secrets: frozenset[str]
    all: Finder = field(init=False)
    telling: Finder = field(init=False)

    def __post_init__(self) -> None:
        found = {spelled for one in self.secrets for spelled in spellings(one)}
        object.__setattr__(self, "all", Finder(found))
        object.__setattr__(self, "telling", Finder(one for one in found if tells_apart(one)))


_learnt: Final[dict[str, None]] = {}
_learning: Final = threading.Lock()
_last: Final[list[_Known]] = []  # what was known last, at most one


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
    text = _known(settings).all.masked(text, MASK)
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
        self._secrets = _known(settings).telling
        self._held = ""

    def whole(self, text: str) -> str:
        """A text that does not come in pieces."""
        return self._secrets.masked(text, MASK)

    def within(self, value: Any) -> Any:
        """A JSON value with every text in it masked, names included; the same where none is."""
        told = "\n".join(_texts(value))
        return value if self.whole(told) == told else self._within(value)

    def _within(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.whole(value)
        if isinstance(value, Mapping):
            return {self.whole(name): self._within(one) for name, one in value.items()}
        return [self._within(one) for one in value] if isinstance(value, list) else value

    def feed(self, piece: str) -> str:
        """What may be passed on once ``piece`` has come."""
        text = self.whole(self._held + piece)
        for start in range(max(0, len(text) - self._secrets.longest + 1), len(text)):
            if self._secrets.begins_with(text[start:]):
                self._held = text[start:]
                return text[:start]
        self._held = ""
        return text

    def end(self) -> str:
        """What was held back, once nothing more comes."""
        held, self._held = self._held, ""
        return self.whole(held)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield name
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def tells_apart(secret: str) -> bool:
    """Whether a text that holds it must mean the secret: it is long, and no plain word."""
    is_word = secret.isalpha() and len(secret) < LONGEST_WORD
    return len(secret) >= SHORTEST_IN_CONTENT and not is_word


def _known(settings: Settings | None) -> _Known:
    """What is known now; put in order anew only where something has changed."""
    found: set[str] = set()
    for value in _configured(settings):
        found |= _parts(value, SHORTEST)
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name):
            found |= _parts(value, SHORTEST_FROM_ENVIRONMENT)
        for password in _passwords(value):  # of a proxy, for one
            found |= _parts(password, SHORTEST_FROM_ENVIRONMENT)
    with _learning:
        found |= _learnt.keys()
    last = _last[:]
    if last and last[0].secrets == found:
        return last[0]
    known = _Known(frozenset(found))
    _last[:] = [known]
    return known


def _parts(value: str, shortest: int) -> set[str]:
    """A secret, each part of a list, each long line of a key."""
    parts = {value, *value.split(","), *_long_lines(value)}
    return {part.strip() for part in parts if len(part.strip()) >= shortest}


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
