"""Settings: each environment variable, its default, its unit, what it turns on.

A setting whose value cannot be read stops the start with a message that names it.
"""

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from aether.errors import NotConfiguredError
from aether.prices import ModelPrice, read_prices
from aether.vocabulary import OutputAct, SourceName

ALLOWED_HOST: Final = re.compile(
    r"(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
LOOPBACK_NAMES: Final = frozenset({"localhost", "ip6-localhost"})


def is_loopback(host: str) -> bool:
    """Whether ``host`` (no port; brackets allowed) names this machine only."""
    name = host.strip("[]").rstrip(".").lower()
    if name in LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises ValueError beyond 65535
    except ValueError:
        return False
    rest = (parts.path.removeprefix("/"), parts.query, parts.fragment)
    whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    return whole and not any(rest)


def allowed_host(text: str) -> tuple[str, int | None]:
    """The host, address or network that an entry of OUTBOUND_ALLOW is, and its port if it has one.

    Raises:
        ValueError: it is none of these, and would let nothing through.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ipaddress.ip_network(bare, strict=False)
    except ValueError:
        found = ALLOWED_HOST.fullmatch(text)
    else:
        return bare.lower(), None
    host = (found["host"].strip("[]").rstrip(".") if found else "").lower()
    port = int(found["port"]) if found and found["port"] else None
    if not _is_host(host) or (port is not None and not 1 <= port <= 65535):
        raise ValueError(
            f"{text!r} is no host, address or network; such as mcp-server, mcp-server:8080, "
            "10.1.2.3 or 10.0.0.0/8"
        )
    return host, port


def _is_host(name: str) -> bool:
    try:
        if ":" in name:
            ipaddress.ip_address(name)
        elif name.rpartition(".")[2].isdigit():
            socket.inet_aton(name)  # 127.1 is an address, 10.0.0.256 is nothing
    except (OSError, ValueError):
        return False
    return bool(name)


def _default_home() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/aether")
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "share") / "aether"


class Settings(BaseModel):
    """Every setting. The environment variable is the field's name in upper case."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL with pgvector 0.8 or later. Absent: the embedded one."
    )
    broker_url: SecretStr | None = Field(
        None, description="The queue: redis://, rediss://, unix:// or amqp://. Absent: embedded."
    )
    host: str = Field("127.0.0.1", description="Address to listen on; loopback unless API_TOKEN.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    aether_home: Path = Field(
        default_factory=_default_home,
        description="Folder of the embedded services' data.",
    )
    api_token: SecretStr | None = Field(
        None, description="Bearer token that every call but webhooks and /health must carry."
    )
    frontend_origins: tuple[str, ...] = Field(
        (), description="Origins of browser front ends (CORS), comma-separated."
    )
    encryption_key: SecretStr | None = Field(
        None,
        description="At least 32 characters; encrypts stored credentials. A comma-separated list "
        "rotates: the first encrypts, all decrypt.",
    )
    watchdog_enabled: bool = Field(False, description="Keep warnings and errors for /api/watchdog.")
    tracker_updates_enabled: bool = Field(
        True, description="false: nothing is written to a platform; recorded as not sent."
    )
    allow_unsigned: frozenset[str] = Field(
        frozenset(),
        description="Sources whose deliveries are let in unverified while no secret is set: "
        "jira,plane or all.",
    )
    allow_output: frozenset[str] = Field(
        frozenset(),
        description="What generated text may do at a platform: mentions, closing_words, "
        "quick_actions, images (comma-separated), or all. Absent: none of it.",
    )
    outbound_allow: tuple[str, ...] = Field(
        (),
        description="Private hosts that MCP servers and integrations may reach, comma-separated: "
        "mcp-server, mcp-server:8080, 10.1.2.3, 10.0.0.0/8.",
    )

    llm_base_url: str | None = Field(
        None, description="An OpenAI-compatible server, such as a LiteLLM proxy."
    )
    llm_api_key: SecretStr | None = Field(None, description="Key for LLM_BASE_URL.")
    llm_model: str | None = Field(
        None,
        description="With LLM_BASE_URL the name that server knows, else LiteLLM's name of a model.",
    )
    llm_stream: bool = Field(
        True, description="Tell a reply's text while it is written; false: once it is whole."
    )
    llm_fallback_models: tuple[str, ...] = Field(
        (), description="Models that are asked in order where one fails, comma-separated."
    )
    llm_max_prompt_tokens: int | None = Field(
        None,
        ge=500,
        le=100_000_000,
        description="Longest prompt; where a server cuts longer ones without a word, as Ollama.",
    )
    llm_max_tool_rounds: int = Field(5, ge=0, le=100, description="Rounds of tool calls in a run.")
    llm_max_chats: int = Field(
        100, ge=1, le=200, description="Chats at once in one web process; more are answered 429."
    )
    model_prices: Mapping[str, ModelPrice] = Field(
        {},
        description="What models cost, before LiteLLM's price list: JSON, US dollars per million "
        'tokens, `{"phi4": {"prompt": 0.07, "completion": 0.14, "cached": 0.01}}`; `cached` may '
        "be left out.",
    )
    embedding_model: str | None = Field(
        None, description="LiteLLM's name of an embedding model. Absent: the embedded one."
    )

    github_token: SecretStr | None = Field(
        None, description="GitHub token for reading and answers."
    )
    github_api_url: str = Field("https://api.github.com", description="GitHub's REST API.")
    github_webhook_secret: SecretStr | None = Field(None, description="Secret of GitHub's webhook.")
    github_app_id: str | None = Field(None, description="GitHub App id, with its private key.")
    github_app_private_key: SecretStr | None = Field(None, description="The App's key, PEM.")
    gitlab_url: str = Field("https://gitlab.com", description="GitLab's address.")
    gitlab_token: SecretStr | None = Field(None, description="GitLab token.")
    gitlab_webhook_secret: SecretStr | None = Field(None, description="X-Gitlab-Token to expect.")
    gitlab_signing_token: SecretStr | None = Field(None, description="whsec_… signing token.")
    jira_url: str | None = Field(
        None, description="Jira's address, with its context path if it has one."
    )
    jira_email: str | None = Field(None, description="Account; set: Basic, absent: Bearer.")
    jira_api_token: SecretStr | None = Field(None, description="API token or password.")
    jira_is_cloud: bool | None = Field(
        None, description="Whether it speaks REST v3. Absent: decided by JIRA_URL."
    )
    jira_webhook_secret: SecretStr | None = Field(None, description="Secret of Jira's webhook.")
    plane_url: str = Field("https://api.plane.so", description="Plane's API address.")
    plane_workspace: str | None = Field(None, description="Plane's workspace slug.")
    plane_api_key: SecretStr | None = Field(None, description="Plane API key.")
    plane_webhook_secret: SecretStr | None = Field(None, description="Secret of Plane's webhook.")

    worker_threads: int = Field(32, ge=1, le=512, description="Runs at once in one worker.")
    lease_seconds: float = Field(30, gt=0, description="Lease of a run; renewed while it goes on.")
    max_tries: int = Field(4, ge=1, le=100, description="Tries of an execution before it fails.")
    run_timeout_seconds: float = Field(900, gt=0, description="Longest time of one run.")
    llm_timeout_seconds: float = Field(300, gt=0, description="Longest wait for one model call.")
    poll_look_back_minutes: int = Field(
        60,
        ge=0,
        le=525_600,
        description="How far a new poll source's first poll looks back from when it was created.",
    )
    approval_timeout_minutes: int = Field(
        1440, ge=1, le=525_600, description="How long a person may take to approve; then it fails."
    )
    retention_days: int = Field(
        0, ge=0, description="Deliveries and executions older than this are pruned; 0 keeps all."
    )
    postgres_bin: Path | None = Field(
        None, description="Folder of PostgreSQL binaries to use instead of the wheel's."
    )

    @property
    def output_acts(self) -> frozenset[OutputAct]:
        """What generated text may do at a platform."""
        if "all" in self.allow_output:
            return frozenset(OutputAct)
        return frozenset(map(OutputAct, self.allow_output))

    @field_validator(
        "frontend_origins",
        "outbound_allow",
        "allow_unsigned",
        "allow_output",
        "llm_fallback_models",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("model_prices", mode="before")
    @classmethod
    def _prices(cls, value: Any) -> Any:
        return read_prices(value)

    @field_validator("allow_unsigned")
    @classmethod
    def _known_sources(cls, value: frozenset[str]) -> frozenset[str]:
        unknown = value - {*SourceName, "all"}
        if unknown:
            raise ValueError(
                f"unknown source {min(unknown)!r}; known: github, gitlab, jira, plane, all"
            )
        return value

    @field_validator("allow_output")
    @classmethod
    def _known_acts(cls, value: frozenset[str]) -> frozenset[str]:
        unknown = value - {*OutputAct, "all"}
        if unknown:
            known = ", ".join((*OutputAct, "all"))
            raise ValueError(f"unknown word {min(unknown)!r}; known: {known}")
        return value

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, value: str) -> str:
        return value.strip("[]")  # as in an address; to listen, it is resolved without them

    @field_validator("api_token")
    @classmethod
    def _one_word(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        token = value.get_secret_value().strip()  # a file it is read from ends with a line end
        if not token or re.search(r"[\s\0]", token):
            raise ValueError("must be one word, without spaces: no header could carry it")
        return SecretStr(token)

    @field_validator("frontend_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if one != "*" and not _is_origin(one):
                raise ValueError(
                    f"{one!r} is no origin; it is a scheme, a host and a port where it is not the "
                    "usual one, such as http://localhost:5173"
                )
        return tuple(one.rstrip("/").lower() for one in value)

    @field_validator("outbound_allow")
    @classmethod
    def _allowed_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            allowed_host(one)
        return value

    @field_validator("encryption_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            keys = [key.strip() for key in value.get_secret_value().split(",")]
            if any(len(key) < 32 for key in keys):
                raise ValueError("each key needs at least 32 characters")
        return value

    @field_validator("llm_base_url", "github_api_url", "gitlab_url", "jira_url", "plane_url")
    @classmethod
    def _http_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/") if value else value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings; an empty variable counts as absent.

        Raises:
            NotConfiguredError: a value cannot be read; the text names the variable.
        """
        told = os.environ if environment is None else environment
        values = {name: told[name.upper()] for name in cls.model_fields if told.get(name.upper())}
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]).upper() if first["loc"] else "settings"
            raise NotConfiguredError(
                f"{name}: {first['msg'].removeprefix('Value error, ')}"
            ) from None
        return settings

    def check_exposure(self) -> None:
        """Refuse to be open to everybody.

        Raises:
            NotConfiguredError: without API_TOKEN, HOST is not loopback or every web page may call.
        """
        if self.api_token is None and "*" in self.frontend_origins:
            raise NotConfiguredError("FRONTEND_ORIGINS: * needs API_TOKEN")
        if self.api_token is None and not is_loopback(self.host):
            raise NotConfiguredError(
                f"HOST: {self.host} can be reached from outside; set API_TOKEN, "
                "or listen on 127.0.0.1"
            )
