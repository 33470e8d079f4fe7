"""What the suite shares: one embedded PostgreSQL and queue a session, one database a test."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import asyncpg
import pytest

from aether import db, redact
from aether.embedded.postgres import Postgres
from aether.embedded.valkey import Valkey
from aether.engine import known_secrets

_numbers = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what a test logged printable: some log lone surrogates, which no terminal takes."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "replace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def nothing_learnt() -> Iterator[None]:
    """No test knows the secrets that another one has stored."""
    yield
    redact.forget()
    known_secrets.forget()


@pytest.fixture(scope="session")
def data_folder() -> Iterator[Path]:
    """A folder of the session's own, which every user of this machine may pass through."""
    with tempfile.TemporaryDirectory(prefix="aether-tests-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres(data_folder: Path) -> Iterator[Postgres]:
    """The embedded PostgreSQL, holding a migrated database ``template``."""
    with Postgres(data_folder / "postgres", durable=False) as server:
        asyncio.run(_make_template(server))
        yield server


async def _make_template(server: Postgres) -> None:
    connection = await asyncpg.connect(server.dsn("postgres"))
    await connection.execute("CREATE DATABASE template")
    await connection.close()
    await db.migrate(server.dsn("template"))
    await make_database(server, "shared")


async def make_database(server: Postgres, name: str) -> str:
    """A migrated database of this name; its address."""
    connection = await asyncpg.connect(server.dsn("postgres"))
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template")
    finally:
        await connection.close()
    return server.dsn(name)


@pytest.fixture(scope="session")
def valkey(data_folder: Path) -> Iterator[Valkey]:
    """The embedded queue."""
    with Valkey(data_folder / "valkey") as server:
        yield server


@pytest.fixture
def database_url(postgres: Postgres) -> str:
    """A migrated database, emptied for the test: ten times as fast as making one."""
    return asyncio.run(emptied(postgres.dsn("shared")))


async def emptied(url: str) -> str:
    """Take every row out of a database, and begin its numbers anew; its address.

    Only tables that were written to are truncated: each costs PostgreSQL some milliseconds, of
    which thirty a test would be most of what a test costs.
    """
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetchval(
            """SELECT string_agg(quote_ident(relname), ', ') FROM pg_class
               WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                 AND relname NOT IN ('tortoise_migrations', 'configuration_version')
                 AND pg_relation_size(oid) > 0"""
        )
        if tables:
            await connection.execute(
                f"SET aether.prune = 'on'; TRUNCATE {tables} RESTART IDENTITY CASCADE"
            )
        await connection.execute(
            """SELECT setval(format('public.%I', sequencename)::regclass, start_value, false)
               FROM pg_sequences
               WHERE last_value IS NOT NULL AND sequencename <> 'tortoise_migrations_id_seq'"""
        )
    finally:
        await connection.close()
    return url


@pytest.fixture
def own_database_url(postgres: Postgres) -> str:
    """A migrated database that no other test sees, for whole processes."""
    return asyncio.run(make_database(postgres, f"own_{next(_numbers)}"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[str]:
    """The same, with this test's pool open on it."""
    async with db.pool(database_url, size=8):
        yield database_url
