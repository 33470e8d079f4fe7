"""Settings: what stops the start, in words that name the variable, and what is forgiven."""

import pytest

from aether.config import Settings
from aether.errors import NotConfiguredError


def told(name: str, value: str) -> Settings:
    return Settings.from_environment({name: value})


@pytest.mark.parametrize(
    "value",
    ["localhost:5173", "http://front.example/path", "http://localhost:99999", "front.example",
     "ftp://front.example", "http://", "http://me@front.example", "http://[::1", "null",
     "http://a.example,b.example", "http://front.example?x"],
)  # fmt: skip
def test_a_front_end_that_is_no_origin_is_refused_by_its_setting(value: str) -> None:
    with pytest.raises(NotConfiguredError, match=r"^FRONTEND_ORIGINS: .* is no origin"):
        told("FRONTEND_ORIGINS", value)


def test_front_ends_are_kept_as_browsers_write_them() -> None:
    settings = told("FRONTEND_ORIGINS", "https://Front.example/, http://localhost:5173,,")

    assert settings.frontend_origins == ("https://front.example", "http://localhost:5173")


@pytest.mark.parametrize(
    "value",
    ["http://mcp-server", "mcp-server/mcp", "http://mcp-server:8080/mcp", "mcp-server:", ":8080",
     "mcp-server:0", "mcp-server:65536", "mcp-server:http", "a:1:2", "*.lan", "*", "10.0.0.0/33",
     "10.0.0.256", "10.0.0.1-10.0.0.9", "10.0.0.0/8:80", "[::1", "[::g]:80", "me@mcp-server",
     "one two", "a;b", ".lan", "fine,http://mcp-server"],
)  # fmt: skip
def test_what_would_let_nothing_through_is_refused_by_its_setting(value: str) -> None:
    with pytest.raises(NotConfiguredError) as refused:
        told("OUTBOUND_ALLOW", value)

    [bad] = [one for one in value.split(",") if one != "fine"]
    assert str(refused.value) == (
        f"OUTBOUND_ALLOW: {bad!r} is no host, address or network; such as mcp-server, "
        "mcp-server:8080, 10.1.2.3 or 10.0.0.0/8"
    )


def test_hosts_addresses_networks_and_ports_are_let_through() -> None:
    value = "mcp-server, Mcp_Server.lan.:8080,10.0.0.0/8,10.1.2.3/8,127.1,::1,[::1],[::1]:80,0x7f.1"

    assert told("OUTBOUND_ALLOW", value).outbound_allow == tuple(value.replace(" ", "").split(","))


def test_every_front_end_needs_a_token_before_anything_starts() -> None:
    with pytest.raises(NotConfiguredError, match=r"^FRONTEND_ORIGINS: \* needs API_TOKEN$"):
        told("FRONTEND_ORIGINS", "*").check_exposure()

    Settings.from_environment({"FRONTEND_ORIGINS": "*", "API_TOKEN": "t"}).check_exposure()


@pytest.mark.parametrize("value", [" ", "\n", "two words", "a\tb", "a\nb"])
def test_a_token_that_no_header_can_carry_is_refused(value: str) -> None:
    with pytest.raises(NotConfiguredError, match=r"^API_TOKEN: must be one word") as refused:
        told("API_TOKEN", value)

    assert "two" not in str(refused.value)


def test_a_token_read_from_a_file_may_end_with_a_line_end() -> None:
    token = told("API_TOKEN", "s3cret\n").api_token

    assert token is not None
    assert token.get_secret_value() == "s3cret"


@pytest.mark.parametrize(
    ("host", "is_refused"),
    [("127.0.0.1", False), ("localhost", False), ("[::1]", False), ("::1", False),
     ("0.0.0.0", True), ("::", True), ("[::]", True), ("10.0.0.1", True), ("my.host", True)],
)  # fmt: skip
def test_only_this_machine_is_served_without_a_token(host: str, is_refused: bool) -> None:
    settings = told("HOST", host)

    if is_refused:
        with pytest.raises(NotConfiguredError, match=r"^HOST: .* set API_TOKEN"):
            settings.check_exposure()
    else:
        settings.check_exposure()
    assert settings.host == host.strip("[]")
