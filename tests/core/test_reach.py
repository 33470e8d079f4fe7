"""Which hosts we connect to: every spelling of an address, no second look-up, the name kept."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from aether.config import Settings
from aether.errors import UpstreamError
from aether.http import HttpClients, _Judged
from aether.reach import JudgingBackend, Reach, address_of, is_inner, proxy_for
from tests.core.fakes import FakeTime, Platform

PUBLIC = "93.184.215.14"


async def resolved(reach: Reach, host: str, *addresses: str, port: int = 80) -> list[str]:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return await reach.judged(host, port, resolve)


@pytest.mark.parametrize(
    "spelled",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "127.0.0.1.",
        "[::1]", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1", "2002:7f00:1::", "0.0.0.0", "0", "::", "10.0.0.1", "172.31.255.255",
        "192.168.0.1", "100.64.0.1", "169.254.169.254", "0xa9fea9fe", "2852039166",
        "::ffff:169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200",
        "192.0.0.192", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "ff02::1", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "2001:db8::1", "2001::1",
        "64:ff9b:1::1", "100::1", "5f00::1", "4000::1",
    ],
)  # fmt: skip
async def test_an_inner_address_is_known_in_every_spelling(spelled: str) -> None:
    address = address_of(spelled)

    assert address is not None
    assert is_inner(address)
    with pytest.raises(UpstreamError, match="leads to an inner address"):
        await resolved(Reach(), spelled)


@pytest.mark.parametrize(
    "spelled", [PUBLIC, "8.8.8.8", "134744072", "2606:4700::1111", "::ffff:8.8.8.8",
                "64:ff9b::808:808"]
)  # fmt: skip
async def test_a_public_address_is_within_reach(spelled: str) -> None:
    [told] = await resolved(Reach(), spelled)

    assert ipaddress.ip_address(told).is_global


@pytest.mark.parametrize(
    "host", ["mcp-server", "example.com", "xn--bcher-kva.example", "1.2.3.4.5"]
)
def test_a_name_is_no_address(host: str) -> None:
    assert address_of(host) is None


async def test_one_inner_address_among_many_refuses_them_all() -> None:
    with pytest.raises(UpstreamError) as raised:
        await resolved(Reach(), "mixed.example", PUBLIC, "10.0.0.1")

    told = "mixed.example leads to an inner address; OUTBOUND_ALLOW can allow it"
    assert str(raised.value) == told
    assert not raised.value.retryable
    assert not raised.value.may_have_happened


@pytest.mark.parametrize(
    ("allowed", "host", "address", "is_allowed"),
    [
        ("mcp-server", "mcp-server", "172.18.0.5", True),
        ("MCP-Server.", "mcp-server", "127.0.0.1", True),
        ("mcp-server", "mcp-server.", "172.18.0.5", True),
        ("mcp-server", "other", "172.18.0.5", False),
        ("mcp-server", "evil.mcp-server", "172.18.0.5", False),
        ("172.18.0.0/16", "anything", "172.18.0.5", True),
        ("172.18.0.0/16", "anything", "172.19.0.5", False),
        ("mcp-server", "mcp-server", "169.254.169.254", False),
        ("mcp-server", "mcp-server", "fe80::1", False),
        ("mcp-server", "mcp-server", "168.63.129.16", False),
        ("mcp-server", "mcp-server", "fd20:ce::254", False),
        ("169.254.169.254", "anything", "169.254.169.254", True),
        ("fc00::/7", "anything", "fc00::9", True),
        ("localhost", "localhost", "127.0.0.1", True),
        ("localhost", "localhost.evil.example", "127.0.0.1", False),
    ],
)
async def test_the_operator_lets_hosts_and_networks_through(
    allowed: str, host: str, address: str, *, is_allowed: bool
) -> None:
    reach = Reach.of(Settings.from_environment({"OUTBOUND_ALLOW": allowed}))

    if is_allowed:
        assert await resolved(reach, host, address) == [address]
    else:
        with pytest.raises(UpstreamError, match="OUTBOUND_ALLOW"):
            await resolved(reach, host, address)


@pytest.mark.parametrize(
    ("allowed", "host", "address"),
    [
        ("mcp-server:8080", "mcp-server", "172.18.0.5"),
        ("Mcp_Server.:8080", "mcp_server", "172.18.0.5"),
        ("172.18.0.5:8080", "anything", "172.18.0.5"),
        ("[fc00::9]:8080", "anything", "fc00::9"),
        ("127.1:8080", "127.1", "127.0.0.1"),
    ],
)
async def test_an_entry_with_a_port_lets_through_at_that_port_only(
    allowed: str, host: str, address: str
) -> None:
    reach = Reach.of(Settings.from_environment({"OUTBOUND_ALLOW": f"other, {allowed}"}))

    assert await resolved(reach, host, address, port=8080) == [address]
    for port in (80, 8081):
        with pytest.raises(UpstreamError, match="OUTBOUND_ALLOW"):
            await resolved(reach, host, address, port=port)


async def test_a_named_port_opens_no_guarded_address() -> None:
    reach = Reach.of(Settings.from_environment({"OUTBOUND_ALLOW": "mcp-server:80"}))

    with pytest.raises(UpstreamError, match="OUTBOUND_ALLOW"):
        await resolved(reach, "mcp-server", "169.254.169.254")


@pytest.mark.parametrize("told", ["bücher.lan", "gitlab_lan", "[fc00::9]"])
async def test_a_platforms_host_is_taken_at_any_port_as_it_is_spelled(told: str) -> None:
    reach = Reach.of(Settings.from_environment({"GITLAB_URL": f"http://{told}:8929"}))

    for port in (80, 8929):
        assert await resolved(reach, told, "fc00::9", port=port) == ["fc00::9"]


async def test_hosts_that_the_environment_names_are_within_reach_by_themselves() -> None:
    reach = Reach.of(Settings.from_environment({"GITLAB_URL": "http://gitlab.lan:8929"}))

    assert await resolved(reach, "gitlab.lan", "192.168.1.5") == ["192.168.1.5"]
    with pytest.raises(UpstreamError):
        await resolved(reach, "other.lan", "192.168.1.5")


class Network:
    """A network backend whose addresses answer, or do not."""

    def __init__(self, *dead: str) -> None:
        self.dead = dead
        self.asked: list[tuple[str, float | None]] = []

    async def connect_tcp(self, *, host: str, timeout: float | None, **_: Any) -> str:
        self.asked.append((host, timeout))
        if host in self.dead:
            raise httpcore.ConnectError("nobody there")
        return f"a stream to {host}"


def backend(network: Network, *addresses: str) -> JudgingBackend:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        if not addresses:
            raise OSError("no such host")
        return addresses

    failures = (httpcore.ConnectError, httpcore.ConnectTimeout)
    return JudgingBackend(network, Reach(), failures=failures, resolve=resolve)


async def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    network = Network()

    stream = await backend(network, PUBLIC).connect_tcp("example.com", 443, timeout=5)

    assert stream == f"a stream to {PUBLIC}"
    assert [host for host, _ in network.asked] == [PUBLIC]


async def test_the_next_address_is_tried_when_the_first_is_dead() -> None:
    network = Network("2606:4700::1")

    stream = await backend(network, "2606:4700::1", PUBLIC).connect_tcp("example.com", 443, 4)

    assert stream == f"a stream to {PUBLIC}"
    assert [host for host, _ in network.asked] == ["2606:4700::1", PUBLIC]
    assert network.asked[0][1] is not None
    assert network.asked[0][1] <= 2  # half of it is left for the other


async def test_a_host_without_an_address_fails_as_a_connection_does() -> None:
    with pytest.raises(httpcore.ConnectError, match="no such host"):
        await backend(Network()).connect_tcp("nowhere.example", 443)


async def test_a_resolver_that_hangs_is_left_in_time() -> None:
    async def never(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    failures = (httpcore.ConnectError, httpcore.ConnectTimeout)
    hanging = JudgingBackend(Network(), Reach(), failures=failures, resolve=never)

    with pytest.raises(httpcore.ConnectTimeout):
        await hanging.connect_tcp("slow.example", 443, timeout=0.05)


async def test_a_socket_file_is_never_connected_to() -> None:
    with pytest.raises(httpcore.ConnectError):
        await backend(Network(), PUBLIC).connect_unix_socket("/run/docker.sock")


async def hello(request: Request) -> Response:
    return JSONResponse({"host": request.headers["host"]})


async def headers() -> dict[str, str]:
    return {"Authorization": "Bearer a-token-of-the-tests"}


async def test_our_own_client_refuses_an_integration_that_leads_inside_and_sends_nothing() -> None:
    platform = Platform({"/hello": hello})
    with platform.served():
        port = platform.url.rpartition(":")[2]
        async with FakeTime().clients() as clients:
            for host in ("localhost", "127.0.0.1"):
                connection = clients.connection(f"http://{host}:{port}", headers, reach=Reach())
                with pytest.raises(
                    UpstreamError, match=f"{host} leads to an inner address"
                ) as told:
                    await connection.request("POST", "/hello", json={})
                assert not told.value.retryable
                assert not told.value.may_have_happened

    assert platform.asked == []


async def test_our_own_client_reaches_what_is_allowed_under_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [["127.0.0.1"], [PUBLIC]]

    async def resolve(_host: str, _port: int) -> list[str]:
        return answers.pop(0)

    monkeypatch.setattr("aether.reach.resolve", resolve)
    platform = Platform({"/hello": hello})
    with platform.served():
        port = platform.url.rpartition(":")[2]
        async with HttpClients() as clients:
            base = f"http://ghe.lan:{port}"
            connection = clients.connection(base, headers, reach=Reach(("ghe.lan",)))
            told = await connection.request("GET", "/hello")

    assert told == {"host": f"ghe.lan:{port}"}
    assert len(answers) == 1  # looked up once


@pytest.fixture
def certified(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of secure.example, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "secure.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("secure.example")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    certificate, secret = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, secret


async def test_tls_is_for_the_name_though_the_connection_goes_to_the_address(
    certified: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr("aether.reach.resolve", resolve)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(*certified)
    asked: list[str | None] = []
    ours.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ours)
    port = server.sockets[0].getsockname()[1]
    theirs = ssl.create_default_context(cafile=str(certified[0]))
    reach = Reach(("secure.example", "other.example"))
    async with server, httpx.AsyncClient(transport=_Judged(reach, theirs)) as client:
        answer = await client.get(f"https://secure.example:{port}/")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(f"https://other.example:{port}/")

    assert answer.status_code == 204
    assert asked == ["secure.example", "other.example"]


@pytest.mark.parametrize(
    ("scheme", "host", "proxy"),
    [
        ("https", "api.github.com", "http://proxy.lan:3128"),
        ("http", "mcp-server", "http://other.lan:8080"),
        ("https", "not.example", None),
        ("https", "localhost", None),
        ("http", "127.0.0.1", None),
    ],
)
def test_the_environments_proxy_is_for_what_is_beyond_this_machine(
    monkeypatch: pytest.MonkeyPatch, scheme: str, host: str, proxy: str | None
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.lan:3128")
    monkeypatch.setenv("http_proxy", "other.lan:8080")
    monkeypatch.setenv("no_proxy", "not.example")

    assert proxy_for(scheme, host) == proxy


async def test_only_a_host_that_is_named_goes_by_a_proxy_which_would_look_it_up_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["10.0.0.7"]

    monkeypatch.setattr("aether.reach.resolve", resolve)
    platform = Platform({"/hello": hello})
    with platform.served():
        monkeypatch.setenv("http_proxy", platform.url)
        async with HttpClients() as clients:
            named = clients.connection("http://ghe.lan", headers, reach=Reach(("ghe.lan",)))
            other = clients.connection("http://other.lan", headers, reach=Reach(("ghe.lan",)))
            told = await named.request("GET", "/hello")
            with pytest.raises(UpstreamError, match=r"other\.lan leads to an inner"):
                await other.request("GET", "/hello")

    assert told == {"host": "ghe.lan"}
    assert len(platform.asked) == 1
