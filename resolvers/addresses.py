"""Which addresses a user may have us call: no inner ones, unless the operator allows them.

Judged here is what the address itself says when it is saved. What a name resolves to is judged
when it is connected to, by ``aether.reach``.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from aether.config import Settings, is_loopback
from aether.errors import InvalidInputError
from aether.reach import Reach, address_of, port_of

_PLAIN_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")


def check_reach(settings: Settings, url: str, *, field: str) -> None:
    """Return quietly if ``url``, an http address, may be saved.

    Names other than localhost pass; inner addresses only where OUTBOUND_ALLOW, or the address of
    a platform in the environment, names that host.

    Raises:
        InvalidInputError: it may not; names ``field``.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.query or parts.fragment:
        raise InvalidInputError(field, "must not hold a query or a fragment")
    if not _PLAIN_HOST.fullmatch(host):
        raise InvalidInputError(field, "its host must be letters, digits, '.' and '-', or an IP")
    reach, address = Reach.of(settings), address_of(host)
    port = port_of(parts.scheme, parts.port)
    is_allowed = reach.names(host, port) or not is_loopback(host)
    if address is not None:
        is_allowed = reach.allows(host, address, port)
    if not is_allowed:
        raise InvalidInputError(field, f"{host} is an inner address; OUTBOUND_ALLOW can allow it")
