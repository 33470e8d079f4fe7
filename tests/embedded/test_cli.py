"""The ``aether`` command: what it prints, what it refuses, with which exit code."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from aether import __version__, cli
from aether.config import Settings
from aether.embedded.postgres import Postgres
from aether.errors import ConflictError
from seeding import SEEDS


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("AETHER_HOME", str(tmp_path / "home"))


def test_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"aether {__version__}\n"


def test_no_command_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([])

    assert ended.value.code == 2
    assert "usage: aether" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["web", "worker", "scheduler"])
def test_a_part_alone_without_a_database_is_refused_by_its_setting(
    part: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = cli.main([part])

    assert code == 2
    assert capsys.readouterr().err == (
        f"aether: DATABASE_URL is not set and no `aether up` runs on {tmp_path / 'home'}; set it, "
        "or start `aether up`, which brings its own\n"
    )
    assert not (tmp_path / "home").exists()


def test_a_part_alone_without_a_queue_is_refused_by_its_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.test/x")

    assert cli.main(["worker"]) == 2
    assert capsys.readouterr().err.startswith("aether: BROKER_URL is not set and no `aether up`")


@pytest.mark.parametrize("part", ["web", "worker", "scheduler"])
def test_a_part_alone_on_an_empty_database_says_to_migrate(
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    postgres: Postgres,
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.dsn("postgres"))
    monkeypatch.setenv("BROKER_URL", "redis://127.0.0.1:1")

    assert cli.main([part]) == 2
    assert capsys.readouterr().err.endswith("; run `aether migrate`\n")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BROKER_URL", "foo://x", "BROKER_URL: must start with redis://"),
        ("BROKER_URL", "redis://h:secret", "BROKER_URL: cannot be read"),
        ("HOST", "no-such-host.invalid", "HOST: no-such-host.invalid: "),
    ],
)
def test_the_web_part_is_stopped_by_a_wrong_setting_without_a_traceback(
    name: str, value: str, said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("API_TOKEN", "t")
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("BROKER_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv(name, value)

    assert cli.main(["web"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"aether: {said}")
    assert "secret" not in line


def test_a_setting_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALLOW_UNSIGNED", "bitbucket")

    assert cli.main(["up"]) == 2
    assert capsys.readouterr().err.startswith("aether: ALLOW_UNSIGNED: unknown source 'bitbucket'")


def test_a_failure_that_is_no_setting_s_has_exit_code_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise ConflictError("/data is in use by aether up (pid 12, since then)")

    monkeypatch.setattr("aether.embedded.supervisor.run_up", refuse)

    assert cli.main(["up"]) == 1
    assert capsys.readouterr().err == (
        "aether: /data is in use by aether up (pid 12, since then)\n"
    )


def test_settings_shows_each_setting_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "not-to-be-seen")
    monkeypatch.setenv("PORT", "8123")
    monkeypatch.setenv("FRONTEND_ORIGINS", "http://b.test,http://a.test")
    monkeypatch.setenv("LLM_BASE_URL", "https://ann:pass-of-ann@models.test/v1")

    assert cli.main(["settings"]) == 0

    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if not line.startswith(" ")] == [
        name.upper() for name in Settings.model_fields
    ]
    assert "not-to-be-seen" not in said
    assert "    value: https://ann:***@models.test/v1 (default: none)\n" in said
    assert "    value: *** (default: none)\n" in said
    assert "    value: 8123 (default: 8000)\n" in said
    assert "    value: http://b.test,http://a.test (default: none)\n" in said


def test_seed_loads_what_is_named_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    name = SEEDS[0]

    codes = [cli.main(["seed", name]), cli.main(["seed", name])]

    first, second = capsys.readouterr().out.splitlines()
    count = first.removeprefix(f"{name}: ").removesuffix(" created, 0 skipped")
    assert codes == [0, 0]
    assert int(count) > 0
    assert second == f"{name}: 0 created, {count} skipped"
    told = asyncio.run(recorded(database_url))
    assert [(one["action"], one["caller"], one["origin"]) for one in told] == [
        ("seeded", "api", "cli"),
    ] * 2  # fmt: skip
    assert len(json.loads(told[0]["detail"])["rows"]) == int(count)


async def recorded(url: str) -> list[asyncpg.Record]:
    """The audit log, oldest first."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch("SELECT * FROM audit_entry ORDER BY id"))
    finally:
        await connection.close()


def test_an_unknown_seed_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["seed", "no-such"]) == 1

    assert capsys.readouterr().err == "aether: seed 'no-such' not found\n"
    assert not (tmp_path / "home").exists()


def test_openapi_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["openapi"]) == 0

    assert json.loads(capsys.readouterr().out)["openapi"] == "3.1.0"


def test_sdl_is_the_schema_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sdl"]) == 0

    assert "type Query {" in capsys.readouterr().out


def test_the_supervisor_s_process_loads_no_orm_and_no_web_server() -> None:
    heavy = ("tortoise", "asyncpg", "starlette", "strawberry", "litellm", "dramatiq", "redis")
    code = (
        "import sys, aether.cli, aether.embedded.supervisor; "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout == "[]\n"
