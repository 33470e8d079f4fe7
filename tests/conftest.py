"""What the suite shares: one embedded PostgreSQL and queue a session, one database a test."""

import asyncio
import functools
import itertools
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Final

import asyncpg
import httpx
import pytest
from tortoise import Model
from tortoise.apps import Apps

from aether import db, redact
from aether.embedded.postgres import Postgres
from aether.embedded.valkey import Valkey
from aether.engine import known_secrets

EMPTYING: Final = {"session_replication_role": "replica", "client_min_messages": "warning"}
"""No trigger fires and no foreign key is looked at: all rows go."""

EMPTY: Final = """DO $$
DECLARE
  emptied CONSTANT text[] := array(
    SELECT oid::regclass::text FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
      AND relname NOT IN ('tortoise_migrations', 'configuration_version')
      AND pg_relation_size(oid) > 0);
  one text;
BEGIN
  IF emptied <> '{}' THEN
    EXECUTE format('LOCK TABLE %s IN EXCLUSIVE MODE', array_to_string(emptied, ', '));
  END IF;
  FOREACH one IN ARRAY emptied LOOP
    IF pg_relation_size(one::regclass) > 32 * 8192 OR EXISTS (
      SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
      JOIN pg_am ON pg_am.oid = relam
      WHERE indrelid = one::regclass AND amname <> 'btree')
    THEN
      EXECUTE format('TRUNCATE %s CASCADE', one);
    ELSE
      EXECUTE format('DELETE FROM %s', one);
    END IF;
  END LOOP;
  PERFORM setval(format('public.%I', sequencename)::regclass, start_value, false)
  FROM pg_sequences
  WHERE last_value IS NOT NULL AND sequencename <> 'tortoise_migrations_id_seq';
END $$"""
"""Takes every row out, once whoever still writes has ended, and begins all numbers anew.

Rows are deleted: to truncate a table makes a file anew for it and for each of its indexes, and
again for all that refer to it, which was most of what a test cost. Truncated is what has grown,
and what has an index that keeps dead rows in the way: of vectors, of words.
"""

LONG: Final = ("e2e", "aside", "embedded", "core/test_upgrade.py", "core/test_db.py")
"""Places below ``tests`` whose files start whole processes or make whole databases."""

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first, then files of many tests: no worker is left alone at the end."""
    tests = Counter(item.path for item in items)
    long = [Path(__file__).parent / place for place in LONG]
    first = {path for path in tests if any(path.is_relative_to(place) for place in long)}
    items.sort(key=lambda item: (item.path not in first, -tests[item.path]))


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


@pytest.fixture(scope="session", autouse=True)
def models_are_worked_out_once() -> Iterator[None]:
    """Each opening of a pool works out every model's filters: 18 ms a test, always the same."""
    work_out = Apps._build_initial_querysets
    known: set[frozenset[type[Model]]] = set()

    def work_out_once(apps: Apps) -> None:
        models = frozenset(model for app in apps.apps.values() for model in app.values())
        if models not in known:
            work_out(apps)
            known.add(models)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Apps, "_build_initial_querysets", work_out_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def certificates_are_read_once() -> Iterator[None]:
    """Each client of httpx's reads some 150 certificates, in 20 ms, though it stays on loopback."""
    read_once = functools.cache(httpx.create_ssl_context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", read_once)
        yield


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


@pytest.fixture(scope="session")
def empty_shared(postgres: Postgres) -> Iterator[Callable[[], None]]:
    """Empties the database that the tests share, over one connection that is kept."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(postgres.dsn("shared"), server_settings=EMPTYING))
        yield lambda: runner.run(connection.execute(EMPTY))
        runner.run(connection.close())


@pytest.fixture
def database_url(postgres: Postgres, empty_shared: Callable[[], None]) -> str:
    """A migrated database, emptied for the test: a hundred times as fast as making one."""
    empty_shared()
    return postgres.dsn("shared")


async def emptied(url: str) -> str:
    """Take every row out of a database, and begin its numbers anew; its address."""
    connection = await asyncpg.connect(url, server_settings=EMPTYING)
    try:
        await connection.execute(EMPTY)
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
