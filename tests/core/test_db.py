"""The way to the database: addresses, migrations by two at once, and no drift from the models."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from aether import db
from aether.embedded.postgres import Postgres
from aether.errors import NotConfiguredError
from aether.models import AuditEntry


@pytest.fixture
async def empty(postgres: Postgres) -> str:
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    await connection.execute("DROP DATABASE IF EXISTS unmigrated WITH (FORCE)")
    await connection.execute("CREATE DATABASE unmigrated TEMPLATE template0")
    await connection.close()
    return postgres.dsn("unmigrated")


def test_an_address_with_odd_characters_is_read_whole() -> None:
    told = db.credentials("postgresql://us%40er:p%2Fw%3A@db.example:5433/ae%20ther?sslmode=require")

    assert told == {
        "host": "db.example",
        "port": 5433,
        "user": "us@er",
        "password": "p/w:",
        "database": "ae ther",
        "ssl": "require",
    }


@pytest.mark.parametrize(
    "url",
    [
        "mysql://a:secret@b/c",
        "postgresql://a:secret@b:port/c",
        "postgresql://a:secret@b/c?sslmode=x",
    ],
)
def test_an_address_that_cannot_be_used_names_the_setting_and_shows_no_password(url: str) -> None:
    with pytest.raises(NotConfiguredError, match=r"^DATABASE_URL: ") as refused:
        db.credentials(url)

    assert "secret" not in str(refused.value)


async def test_two_processes_that_migrate_at_once_both_succeed(empty: str) -> None:
    code = "import asyncio, sys; from aether.db import migrate; asyncio.run(migrate(sys.argv[1]))"

    migrating = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, empty, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    ended = [await one.communicate() for one in migrating]

    assert [one.returncode for one in migrating] == [0, 0], ended
    connection = await asyncpg.connect(empty)
    applied = await connection.fetchval("SELECT count(*) FROM tortoise_migrations")
    await connection.close()
    found = list(Path(db.__file__).with_name("migrations").glob("[0-9]*.py"))
    assert applied == len(found)


async def test_an_audit_entry_can_be_neither_changed_nor_deleted(database: str) -> None:
    await AuditEntry.create(action="task.started")

    for statement in ("UPDATE audit_entry SET action = 'x'", "DELETE FROM audit_entry"):
        with pytest.raises(Exception, match="audit_entry is append-only"):
            await db.rows(statement)

    assert (await AuditEntry.get()).action == "task.started"


def test_the_migrations_say_what_the_models_say(postgres: Postgres, tmp_path: Path) -> None:
    config = tmp_path / "tortoise.json"
    config.write_text(json.dumps(db.tortoise_config(postgres.dsn("template"))))
    before = sorted(Path(db.__file__).with_name("migrations").glob("[0-9]*.py"))

    told = subprocess.run(
        [
            str(Path(sys.executable).with_name("tortoise")), "--config-file", str(config),
            "makemigrations", "-n", "drift",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    made = list(Path(db.__file__).with_name("migrations").glob("[0-9]*.py"))
    for one in set(made) - set(before):
        one.unlink()
    assert sorted(made) == before, told.stdout
    assert "No changes detected" in told.stdout, told.stdout + told.stderr
