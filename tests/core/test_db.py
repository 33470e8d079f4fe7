"""The way to the database: addresses, migrations by two at once, and no drift from the models."""

import asyncio
import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import asyncpg
import pytest
from tortoise.migrations.operations import RunPython, RunSQL

from aether import db
from aether.embedded.postgres import Postgres
from aether.errors import NotConfiguredError, UnavailableError
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
        "postgresql://a:secret@b/c?port=x",
        "postgresql://a:secret@[b/c",
        "postgresql://a:sec/secret@b/c",
        "postgresql://a:secret@b/c?sslmode=verify-full&sslrootcert=/ca.pem",
    ],
)
def test_an_address_that_cannot_be_used_names_the_setting_and_shows_no_password(url: str) -> None:
    with pytest.raises(NotConfiguredError, match=r"^DATABASE_URL: ") as refused:
        db.credentials(url)

    assert "secret" not in str(refused.value)


async def test_a_server_that_refuses_us_is_told_at_once_by_the_setting(postgres: Postgres) -> None:
    began = time.monotonic()

    with pytest.raises(NotConfiguredError, match=r'^DATABASE_URL: database "nothing" does not exi'):
        await db.wait_until_ready(postgres.dsn("nothing"))

    assert time.monotonic() - began < 5


async def test_a_server_that_does_not_answer_is_told_by_the_setting() -> None:
    url = "postgresql://a:secret@127.0.0.1:1/c"

    with pytest.raises(UnavailableError, match=r"^DATABASE_URL: .*out of reach") as refused:
        await db.wait_until_ready(url, seconds=0.3)

    assert "secret" not in str(refused.value)


@pytest.mark.slow
async def test_a_database_older_than_the_program_is_told_with_what_to_do(empty: str) -> None:
    names = sorted(one.stem for one in Path(db.__file__).with_name("migrations").glob("[0-9]*.py"))

    with pytest.raises(NotConfiguredError) as refused:
        await db.require_migrations(empty)

    assert str(refused.value) == (
        f"DATABASE_URL: the database lacks {', '.join(names)}; run `aether migrate`"
    )
    await db.migrate(empty)
    await db.require_migrations(empty)


@pytest.mark.slow
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


def test_no_migration_asks_by_a_model() -> None:
    """``migrate`` does not have Tortoise work out how a model of that time is asked for."""
    ours = sorted(Path(db.__file__).with_name("migrations").glob("[0-9]*.py"))
    kinds = {
        type(operation)
        for one in ours
        for operation in import_module(f"aether.migrations.{one.stem}").Migration.operations
    }

    assert RunSQL in kinds
    assert RunPython not in kinds


async def test_a_transaction_cancelled_at_its_beginning_gives_its_connection_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with db.pool(database_url, size=1):
        begun = asyncio.Event()

        async def never(_: object) -> None:
            begun.set()
            await asyncio.Event().wait()

        async def begin() -> None:
            async with db.transaction():
                pass

        with monkeypatch.context() as slow:
            slow.setattr("tortoise.backends.asyncpg.client.TransactionWrapper.begin", never)
            waiting = asyncio.create_task(begin())
            await begun.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        async with asyncio.timeout(5), db.transaction():
            assert await db.rows("SELECT 1 AS one") == [{"one": 1}]


async def test_a_transaction_cancelled_at_its_end_is_not_the_tasks_own_any_more(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with db.pool(database_url, size=2):
        released = asyncpg.Pool.release

        async def cancelled(pool: asyncpg.Pool, *told: object, **more: object) -> None:
            await released(pool, *told, **more)
            raise asyncio.CancelledError

        async def end() -> None:
            async with db.transaction():
                await db.rows("SELECT 1 AS one")

        with monkeypatch.context() as slow:
            slow.setattr(asyncpg.Pool, "release", cancelled)
            with pytest.raises(asyncio.CancelledError):
                await end()

        assert await db.rows("SELECT 2 AS two") == [{"two": 2}]
