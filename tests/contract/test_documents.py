"""The documents say what is so: settings, words, commands, endpoints, links."""

import re
import tomllib
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from pydantic import SecretStr

import seeding
from aether import __version__, cli
from aether.actors.executions import ACTORS
from aether.config import Settings
from aether.live.events import LiveKind
from aether.queue import Job
from aether.tools import TOOLS
from aether.vocabulary import (
    ApprovalStatus,
    DeliveryStatus,
    EffectStatus,
    ExecutionStatus,
    PollStatus,
    ToolExecutionStatus,
)
from rest_compat import OPS

ROOT: Final = Path(__file__).parents[2]
HOW_TOS: Final = tuple(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md")))
WRITTEN: Final = (
    *("README.md", "GLOSSARY.md", "CONTRIBUTING.md", "CHANGELOG.md", "DECISIONS.md"),
    *HOW_TOS,
)
PACKAGES: Final = ("aether", "schema", "resolvers", "rest_compat", "seeding")
NOT_IN_COMPOSE: Final = {"AETHER_HOME", "POSTGRES_BIN"}  # of embedded services, which it has not
HOME: Final = "`~/.local/share/aether`; as root `/var/lib/aether`"
TABLE: Final = re.compile(r"<!-- settings: .*? -->\n(.*?)\n<!-- settings end -->", re.DOTALL)
STATES: Final[tuple[type[StrEnum], ...]] = (
    DeliveryStatus,
    PollStatus,
    ExecutionStatus,
    ApprovalStatus,
    ToolExecutionStatus,
    EffectStatus,
    LiveKind,
)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def settings_table() -> str:
    """README's table of settings, as ``aether/config.py`` has them."""
    rows = [
        f"| `{name.upper()}` | {_default(name)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(("| setting | default | meaning |", "|---|---|---|", *rows))


def _default(name: str) -> str:
    if name == "aether_home":
        return HOME
    value = Settings.model_fields[name].default
    if value is None or isinstance(value, tuple | frozenset | dict):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_the_readme_lists_every_setting_with_its_default_and_meaning() -> None:
    found = TABLE.search(read("README.md"))

    wanted = settings_table()
    assert found is not None
    assert found[1] == wanted, f"put this between README's two settings comments:\n{wanted}"


def test_no_setting_has_a_default_that_the_table_would_not_show() -> None:
    shown = {name: field.default for name, field in Settings.model_fields.items()}
    del shown["aether_home"]

    assert [name for name, value in shown.items() if isinstance(value, SecretStr)] == []
    assert [
        name
        for name, value in shown.items()
        if isinstance(value, tuple | frozenset | dict) and value
    ] == []


@pytest.mark.parametrize(
    ("user", "folder"), [(1000, "/home/octocat/.local/share/aether"), (0, "/var/lib/aether")]
)
def test_the_data_is_where_the_readme_says(
    user: int, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setenv("HOME", "/home/octocat")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)

    found = Settings.from_environment({}).aether_home

    assert found == Path(folder)
    assert folder.replace("/home/octocat", "~") in HOME


def test_the_containers_are_given_every_setting_and_our_defaults() -> None:
    told: dict[str, str] = yaml.safe_load(read("docker-compose.yml"))["x-aether"]["environment"]

    names = re.findall(
        r"^    ([A-Z_]+): ", read("docker-compose.yml").partition("services:")[0], re.MULTILINE
    )
    assert len(names) == len(set(names))  # YAML lets the last of two win
    assert set(told) == {name.upper() for name in Settings.model_fields} - NOT_IN_COMPOSE
    assert {name: one for name, one in _fallbacks(told) if one != _usual(name)} == {
        "LLM_MODEL": "gpt-4o"  # the proxy in the file has to be given one
    }


def _fallbacks(told: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Of ``NAME: ${NAME:-value}`` the name and the value."""
    for name, value in told.items():
        found = re.fullmatch(rf"\$\{{{name}:-(.*)\}}", value)
        if found:
            yield name, found[1]


def _usual(name: str) -> str:
    shown = _default(name.lower())
    return "" if shown == "none" else shown.strip("`")


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def glossary() -> list[tuple[str, str]]:
    """(term, name in its column "code") for each name of GLOSSARY.md."""
    rows = [_cells(line) for line in read("GLOSSARY.md").splitlines() if line.startswith("| **")]
    return [(row[0], name) for row in rows for name in re.findall(r"`([^`]+)`", row[2])]


@cache
def code() -> str:
    """All code and seeds."""
    files = [
        file for one in PACKAGES for file in (ROOT / one).rglob("*") if "static" not in file.parts
    ]
    return "\n".join(
        file.read_text(encoding="utf-8")
        for file in sorted(files)
        if file.suffix in {".py", ".yaml"}
    )


def _exists(name: str) -> bool:
    if name.startswith(("/api/", "/webhook/")):
        return name in {op.path for op in OPS}
    if "/" in name or name == "pyproject.toml" or name in PACKAGES:
        return (ROOT / name).exists()
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", code()) is not None


def test_every_word_of_the_glossary_lives_where_it_says() -> None:
    names = glossary()

    assert len(names) > 100
    assert [(term, name) for term, name in names if not _exists(name)] == []


def test_the_glossary_has_each_word_once() -> None:
    terms = [term for line in read("GLOSSARY.md").splitlines() if line.startswith("| **")
             for term in re.findall(r"\*\*([^*]+)\*\*", _cells(line)[0])]  # fmt: skip

    assert len(terms) == len(set(terms))


@pytest.mark.parametrize("states", STATES, ids=lambda one: one.__name__)
def test_the_glossary_draws_every_state(states: type[StrEnum]) -> None:
    drawn = read("GLOSSARY.md").partition("## States")[2]

    assert [one.value for one in states if not re.search(rf"\b{one.value}\b", drawn)] == []


def _paths(text: str) -> set[str]:
    """Endpoints in backticks; those of curl lines are tried in test_examples.py."""
    found = re.findall(r"`(?:[A-Z]+ )?(/(?:api|webhook)/[\w/<>{}-]+)", text)
    return {re.sub(r"<\w+>|(?<=/webhook/)\w+", "{}", one) for one in found}


def _served() -> set[str]:
    return {re.sub(r"{\w+(:path)?}", "{}", op.path) for op in OPS}


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", *HOW_TOS])
def test_the_documents_name_only_endpoints_that_are_there(name: str) -> None:
    there = read(name).partition("Not yet, though")[0]

    assert _paths(there) - _served() == set()


def test_what_the_readme_calls_coming_is_not_there_yet() -> None:
    coming = read("README.md").partition("Not yet, though")[2]

    named = _paths(coming)

    assert {one for one in named if any(path.startswith(one) for path in _served())} == set()


@pytest.mark.parametrize("name", WRITTEN)
def test_every_command_in_the_documents_is_one(name: str) -> None:
    text = read(name)
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    parts = set(re.findall(r"^    ([a-z]+)  ", cli._parser().format_help(), re.MULTILINE)) | {
        "scheduler"  # argparse breaks the line after so long a name
    }

    assert set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.MULTILINE)) <= {
        pair for one in targets for pair in ((one, ""), ("", one))
    }
    assert set(re.findall(r"(?:`|bin/|exec web )aether ([a-z]+)", text)) <= parts


@pytest.mark.parametrize("name", WRITTEN)
def test_every_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", read(name))

    assert [one for one in links if "://" not in one and not _leads_somewhere(name, one)] == []


def _leads_somewhere(name: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (ROOT / name).parent / path if path else ROOT / name
    if not target.exists():
        return False
    heads = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE)
    return not anchor or anchor in {
        re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in heads
    }


def test_the_readme_leads_to_every_how_to() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+)", read("README.md")))

    assert HOW_TOS
    assert linked == set(HOW_TOS)


@pytest.mark.parametrize("name", WRITTEN)
def test_no_document_says_the_same_line_twice(name: str) -> None:
    prose = re.sub(r"^( *)```.*?^\1```$", "", read(name), flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for line in prose.splitlines() if len(line.strip()) > 30]

    assert sorted({line for line in lines if lines.count(line) > 1}) == []


def test_every_decision_has_its_number_and_no_date_goes_back() -> None:
    heads = re.findall(r"^## (\w+)\. .*\((\d{4}-\d\d-\d\d)", read("DECISIONS.md"), re.MULTILINE)

    assert len(heads) == len(re.findall(r"^## ", read("DECISIONS.md"), re.MULTILINE))
    assert [number for number, _ in heads] == [str(one) for one in range(1, len(heads) + 1)]
    assert [date for _, date in heads] == sorted(date for _, date in heads)


@pytest.mark.parametrize("name", WRITTEN)
def test_no_document_promises_too_much_or_knows_a_machine(name: str) -> None:
    text = read(name).lower()

    assert [word for word in ("guarantee", "exactly once", "todo") if word in text] == []
    assert [place for place in ("/work/", "/root/", "/home/") if place in text] == []


def test_the_readme_can_be_read_in_five_minutes() -> None:
    assert len(read("README.md").splitlines()) < 400
    assert [name for name in HOW_TOS if len(read(name).splitlines()) > 150] == []


def test_the_changelog_is_ahead_of_the_version_or_at_it() -> None:
    heads = re.findall(r"^## \[([^\]]+)\]", read("CHANGELOG.md"), re.MULTILINE)

    assert heads[0] == "Unreleased"
    assert heads[1:2] in ([], [__version__])


def test_the_registries_that_contributing_names_are_whole() -> None:
    assert set(ACTORS) == set(Job)
    assert {row["name"] for row in seeding.load("tools")} == set(TOOLS)


def test_the_licence_is_the_one_that_the_package_names() -> None:
    project: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]

    first, _, rest = read("LICENSE").partition("\n")

    assert first == f"{project['license']} License"
    assert "Aether contributors" in rest
