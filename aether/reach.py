"""Which hosts we may connect to: judged on the very addresses that a connection then goes to.

A name is resolved once, each of its addresses is judged, and the connection goes to one of them:
no second look-up could give another. TLS and the Host header keep the name.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from aether.config import Settings, allowed_host, is_loopback
from aether.errors import UpstreamError

log = logging.getLogger(__name__)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last bits
COMPATIBLE: Final = ipaddress.ip_network("::/96")  # RFC 4291, 2.5.5.1: likewise
TRANSLATED: Final = ipaddress.ip_network("::ffff:0:0:0/96")  # RFC 7915: likewise
GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")  # RFC 4291, 2.4: the rest is no host's
PROTOCOLS: Final = ipaddress.ip_network("192.0.0.0/24")  # RFC 6890; Python took it for public
METADATA: Final = frozenset(
    {"169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200"}
)
"""Where clouds answer the machines inside them:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
https://cloud.google.com/compute/docs/metadata/querying-metadata
https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata"""
MOST_ADDRESSES: Final = 32


@dataclass(frozen=True)
class Reach:
    """What OUTBOUND_ALLOW and the platforms' addresses in the environment let us connect to.

    Public addresses are always within reach. A host that is named there may also be at a private
    or loopback address, but at a link-local one, where clouds keep their secrets, only when the
    address itself is named, alone or in a network. An entry with a port is for that port only.
    """

    allowed: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the environment says."""
        return cls((*settings.outbound_allow, *_hosts_of_environment(settings)))

    def names(self, host: str, port: int) -> bool:
        """Whether this very host is allowed by its name, or by its address, at this port."""
        address = address_of(host)
        return self._names_host(host, port) or (
            address is not None and self._names_address(address, port)
        )

    def allows(self, host: str, address: Address, port: int) -> bool:
        """Whether a connection to ``host`` may go to ``address`` at this port."""
        if not is_inner(address) or self._names_address(address, port):
            return True
        return self._names_host(host, port) and not _is_guarded(address)

    async def judged(self, host: str, port: int, resolve: Resolve) -> list[str]:
        """The addresses of ``host``, once each of them may be connected to.

        Raises:
            UpstreamError: one of them may not. Nothing has been sent.
            OSError: there are none.
        """
        literal = address_of(host)
        told = [str(literal)] if literal is not None else list(await resolve(host, port))
        if not told:
            raise OSError(f"{host} has no address")
        for one in told[:MOST_ADDRESSES]:
            address = address_of(one)
            if address is None or not self.allows(host, address, port):
                log.warning("%s leads to %s, an inner address: not connected", host, one)
                raise UpstreamError(
                    f"{host} leads to an inner address; OUTBOUND_ALLOW can allow it",
                    retryable=False,
                )
        return told[:MOST_ADDRESSES]

    def _names_host(self, host: str, port: int) -> bool:
        return _plain(host) in self._at(port)

    def _names_address(self, address: Address, port: int) -> bool:
        return any(address in network for network in _networks(self._at(port)))

    def _at(self, port: int) -> list[str]:
        """What is allowed at this port."""
        return [name for name, only in _entries(self.allowed) if only in {None, port}]


def address_of(host: str) -> Address | None:
    """The IP address that ``host`` is, in any spelling that a resolver takes: ``127.1``.

    What an IPv6 address carries of an IPv4 one is what counts.
    """
    host = host.strip("[]").partition("%")[0]
    try:
        found: Address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
        except (OSError, UnicodeError, ValueError):
            return None
    if isinstance(found, ipaddress.IPv4Address):
        return found
    return found.ipv4_mapped or found.sixtofour or _last_bits(found) or found


def port_of(scheme: str, port: int | None) -> int:
    """The port that an address leads to, whether or not it tells one."""
    return port or (443 if scheme == "https" else 80)


def is_inner(address: Address) -> bool:
    """Whether it is no public host's: private, loopback, link-local, multicast, of a cloud."""
    if str(address) in METADATA or address.is_multicast or not address.is_global:
        return True
    if address in PROTOCOLS:
        return True
    return isinstance(address, ipaddress.IPv6Address) and address not in GLOBAL_UNICAST


def proxy_for(scheme: str, host: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name for ``host``, if any."""
    if is_loopback(host) or proxy_bypass(host):
        return None
    told = getproxies()
    proxy = told.get(scheme) or told.get("all")
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of ``host``, best first, as the machine's resolver gives them.

    Raises:
        OSError: there are none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class JudgingBackend:
    """A network backend of httpcore, or of httpcore2, that connects within reach only.

    https://www.encode.io/httpcore/network-backends/
    """

    def __init__(
        self,
        inner: Any,
        reach: Reach,
        *,
        failures: tuple[type[Exception], type[Exception]],
        resolve: Resolve | None = None,
    ) -> None:
        """``failures``: the library's ConnectError and ConnectTimeout."""
        self._inner = inner
        self._reach = reach
        self._failed, self._timed_out = failures
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Any:
        """A stream to the first address of ``host`` that takes it, once all are judged.

        Raises:
            UpstreamError: one is out of reach.
        """
        loop = asyncio.get_running_loop()
        ends = None if timeout is None else loop.time() + timeout
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._reach.judged(host, port, self._resolve or resolve)
        except TimeoutError:
            raise self._timed_out(f"{host}: no address within {timeout:g} s") from None
        except (OSError, UnicodeError) as error:
            raise self._failed(str(error)) from error
        for place, address in enumerate(addresses, start=1):
            left = None if ends is None else max(ends - loop.time(), 0.001)
            share = None if left is None else left / (len(addresses) - place + 1)
            try:
                return await self._inner.connect_tcp(
                    host=address,
                    port=port,
                    timeout=share,
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (self._failed, self._timed_out):
                if place == len(addresses):
                    raise
        raise self._failed(f"{host} has no address")  # pragma: no cover - judged gives one

    async def connect_unix_socket(self, path: str, **_: Any) -> Any:
        """Never: no address of a user's is a file."""
        raise self._failed(f"{path}: not over the network")

    async def sleep(self, seconds: float) -> None:
        """As the library's own."""
        await self._inner.sleep(seconds)


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _last_bits(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    within = address in NAT64 or address in TRANSLATED or address in COMPATIBLE
    if not within or address in (ipaddress.IPv6Address(0), ipaddress.IPv6Address(1)):
        return None
    return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def _is_guarded(address: Address) -> bool:
    return str(address) in METADATA or address.is_link_local or address.is_multicast


@lru_cache(maxsize=64)
def _entries(told: tuple[str, ...]) -> tuple[tuple[str, int | None], ...]:
    """Of each entry its host or network, and the only port that it is for."""
    return tuple(map(_entry, told))


def _entry(told: str) -> tuple[str, int | None]:
    try:
        return allowed_host(told)
    except ValueError:  # of a platform's address, whose host is taken as it is
        return _plain(told), None


def _networks(told: Iterable[str]) -> Iterator[Any]:
    for one in told:
        try:
            yield ipaddress.ip_network(one, strict=False)
        except ValueError:
            continue


def _hosts_of_environment(settings: Settings) -> Iterator[str]:
    for url in (
        settings.github_api_url,
        settings.gitlab_url,
        settings.jira_url,
        settings.plane_url,
    ):
        if url and (host := urlsplit(url).hostname):
            yield host
