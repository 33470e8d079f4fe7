"""Which addresses a user may have us call: no inner ones, unless the operator allows them.

Judged here is what the address itself says when it is saved. What a name resolves to is the
business of whoever connects.
"""

import ipaddress
import re
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from aether.config import Settings, is_loopback
from aether.errors import InvalidInputError

NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last bits
_PLAIN_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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
    address = _address(host)
    is_inner = is_loopback(host) if address is None else _is_inner(address)
    if is_inner and not _is_allowed(settings, host, address):
        raise InvalidInputError(field, f"{host} is an inner address; OUTBOUND_ALLOW can allow it")


def _address(host: str) -> Address | None:
    """The IP address that ``host`` is, in any spelling that a resolver takes: ``127.1``."""
    try:
        found: Address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    if isinstance(found, ipaddress.IPv4Address):
        return found
    within = found.ipv4_mapped or found.sixtofour
    if within is None and found in NAT64:
        within = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
    return within or found


def _is_inner(address: Address) -> bool:
    return not address.is_global or address.is_multicast


def _is_allowed(settings: Settings, host: str, address: Address | None) -> bool:
    for told in (*settings.outbound_allow, *_hosts_of_environment(settings)):
        if told.strip("[]").rstrip(".").lower() == host:
            return True
        try:
            network = ipaddress.ip_network(told.strip("[]"), strict=False)
        except ValueError:
            continue
        if address is not None and address in network:
            return True
    return False


def _hosts_of_environment(settings: Settings) -> Iterator[str]:
    for url in (
        settings.github_api_url,
        settings.gitlab_url,
        settings.jira_url,
        settings.plane_url,
    ):
        if url:
            yield urlsplit(url).hostname or ""
