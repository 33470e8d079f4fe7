"""How the database is reached: the pool of a process, plain SQL, transactions, migrations."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
from pydantic import SecretStr
from tortoise import Tortoise, connections
from tortoise.exceptions import DBConnectionError, IntegrityError
from tortoise.migrations.api import migrate as apply_migrations
from tortoise.migrations.schema_generator.state_apps import StateApps
from tortoise.transactions import in_transaction

from aether.errors import NotConfiguredError, UnavailableError

log = logging.getLogger(__name__)

UNAVAILABLE: Final[tuple[type[Exception], ...]] = (
    DBConnectionError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    ConnectionError,
    TimeoutError,
    FileNotFoundError,  # the server's unix socket is gone
    socket.gaierror,
)
"""What "the database is out of reach" raises, whichever layer notices it."""

MIGRATION_LOCK: Final = 0x4145_5448  # "AETH": two starting processes migrate one after the other
SSL_MODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
SSL_FILES: Final = {
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
}
"""What asyncpg reads from the environment, and not from keywords."""
REFUSED: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.exceptions.ClientConfigurationError,
)
"""What no waiting changes: the user, the password, the database's name, files of TLS."""

UniqueViolation = IntegrityError


def credentials(url: SecretStr | str) -> dict[str, Any]:
    """A connection URL as asyncpg's keywords.

    Takes libpq's ``?sslmode=`` and ``?host=/socket/folder``; Tortoise's own parser takes neither.

    Raises:
        NotConfiguredError: it is no PostgreSQL address; names DATABASE_URL, shows no password.
    """
    text = url.get_secret_value() if isinstance(url, SecretStr) else url
    try:
        parts = urlsplit(text)
    except ValueError:  # such as a bracket that is not closed
        raise NotConfiguredError("DATABASE_URL: cannot be read") from None
    if parts.scheme not in {"postgres", "postgresql"}:
        raise NotConfiguredError("DATABASE_URL: must start with postgresql://")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    try:
        port = int(query["port"]) if "port" in query else parts.port
    except ValueError:
        raise NotConfiguredError(
            "DATABASE_URL: the port is not a number (a / ? # or @ in the password is written "
            "%2F %3F %23 %40)"
        ) from None
    for name in query:
        if name in SSL_FILES:
            raise NotConfiguredError(f"DATABASE_URL: {name} is read from {SSL_FILES[name]} only")
    told: dict[str, Any] = {
        "host": query.get("host") or unquote(parts.hostname or "localhost"),
        "port": port or 5432,
        "user": unquote(parts.username or query.get("user") or "postgres"),
        "password": unquote(parts.password) if parts.password else query.get("password"),
        "database": unquote(parts.path.lstrip("/")) or "postgres",
    }
    mode = query.get("sslmode")
    if mode is not None:
        if mode not in SSL_MODES:
            raise NotConfiguredError(f"DATABASE_URL: sslmode {mode!r} is not known")
        told["ssl"] = mode
    return told


def tortoise_config(url: SecretStr | str, *, pool: int = 10) -> dict[str, Any]:
    """Tortoise's configuration for one process; ``pool`` is the most connections it opens."""
    keywords = credentials(url)
    keywords |= {
        "minsize": 1,
        "maxsize": pool,
        "command_timeout": 60,
        "server_settings": {
            "plan_cache_mode": "force_custom_plan",  # a generic plan took 35 ms where 5 do
            "application_name": "aether",
            "timezone": "UTC",
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.ef_search": "100",
        },
    }
    return {
        "connections": {
            "default": {"engine": "tortoise.backends.asyncpg", "credentials": keywords}
        },
        "apps": {
            "aether": {
                "models": ["aether.models"],
                "default_connection": "default",
                "migrations": "aether.migrations",
            }
        },
        "use_tz": True,
        "timezone": "UTC",
    }


async def open_pool(url: SecretStr | str, *, pool: int = 10) -> None:
    """Open this process's pool; it serves the running event loop until ``close_pool``."""
    await Tortoise.init(config=tortoise_config(url, pool=pool), _enable_global_fallback=True)


async def close_pool() -> None:
    """Close every connection of this process."""
    await Tortoise.close_connections()


@asynccontextmanager
async def pool(url: SecretStr | str, *, size: int = 10) -> AsyncIterator[None]:
    """``open_pool`` … ``close_pool`` around a block."""
    await open_pool(url, pool=size)
    try:
        yield
    finally:
        await close_pool()


class _Transaction:
    """Tortoise's transaction, which alone keeps its connection for ever when it is cancelled.

    Cancelled in BEGIN it never gives the connection back; cancelled while it gives it back it
    leaves the dead transaction as the task's current one.
    """

    def __init__(self) -> None:
        self._inner: Any = in_transaction("default")

    async def __aenter__(self) -> Any:
        try:
            return await self._inner.__aenter__()
        except BaseException:
            connection = getattr(self._inner.client, "_connection", None)
            self._forget()
            if connection is not None:
                # a connection in mid-transaction is closed, not reused
                connection.terminate()
                await asyncio.shield(self._inner.client._parent._pool.release(connection))  # noqa: SLF001
            raise

    async def __aexit__(self, *raised: Any) -> Any:
        try:
            return await self._inner.__aexit__(*raised)
        finally:
            self._forget()

    def _forget(self) -> None:
        token = getattr(self._inner, "token", None)
        if token is not None and connections.get("default") is self._inner.client:
            connections.reset(token)


def transaction() -> AbstractAsyncContextManager[Any]:
    """One transaction; everything inside the block, ORM or SQL, takes part.

    Never start a task inside it: the task would write in the same transaction.
    """
    return _Transaction()


@asynccontextmanager
async def reading() -> AsyncIterator[None]:
    """A transaction that sees the database as it is at its first look, and may write nothing."""
    async with transaction():
        await rows("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


async def rows(sql: str, *parameters: Any) -> list[dict[str, Any]]:
    """Run one statement and give its rows; JSON columns come as text. Joins an open transaction.

    Works for ``INSERT/UPDATE … RETURNING`` as well, which Tortoise's execute_query loses.
    """
    found = await connections.get("default").execute_query_dict(sql, list(parameters))
    return [dict(row) for row in found]


async def row(sql: str, *parameters: Any) -> dict[str, Any] | None:
    """The first row, or None."""
    found = await rows(sql, *parameters)
    return found[0] if found else None


async def connect(url: SecretStr | str, *, name: str = "aether") -> asyncpg.Connection:
    """A connection outside the pool, for locks and LISTEN; the caller closes it.

    ``name`` is what ``pg_stat_activity`` shows of it.
    """
    settings = {"application_name": name}
    return await asyncpg.connect(**credentials(url), timeout=10, server_settings=settings)


async def migrate(url: SecretStr | str) -> None:
    """Bring the database to the newest migration; safe when several processes start at once.

    Raises:
        NotConfiguredError: pgvector is missing or older than 0.8.
    """
    lock = await connect(url)
    try:
        await lock.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        await _require_pgvector(lock)
        config = tortoise_config(url, pool=2)
        try:
            with _without_querysets():
                await apply_migrations(config=config)
        finally:
            await Tortoise.close_connections()
    finally:
        await lock.close()


@contextmanager
def _without_querysets() -> Iterator[None]:
    """Tortoise works out how every model is asked for at every step of every migration.

    No migration of ours asks by a model; that was more than half of the time of a first start.
    """
    name = "_build_initial_querysets"
    work_out = getattr(StateApps, name)
    setattr(StateApps, name, lambda _: None)
    try:
        yield
    finally:
        setattr(StateApps, name, work_out)


async def _require_pgvector(connection: asyncpg.Connection) -> None:
    version = await connection.fetchval(
        "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
    )
    if version is None:
        raise NotConfiguredError("DATABASE_URL: the server lacks the extension pgvector")
    if tuple(int(part) for part in version.split(".")[:2]) < (0, 8):
        raise NotConfiguredError(f"DATABASE_URL: pgvector {version} is too old; 0.8 is needed")
    await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")


async def wait_until_ready(url: SecretStr | str, *, seconds: float = 30) -> None:
    """Wait for the server to take connections, for ``seconds`` at most.

    Raises:
        NotConfiguredError: the server answers and refuses us; names DATABASE_URL.
        UnavailableError: it does not answer; says what the last try met.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            connection = await connect(url)
        except REFUSED as error:
            raise NotConfiguredError(f"DATABASE_URL: {error}") from error
        except (OSError, asyncpg.PostgresError) as error:
            if asyncio.get_running_loop().time() > deadline:
                met = str(error) or type(error).__name__
                raise UnavailableError(
                    f"DATABASE_URL: the database is out of reach: {met}"
                ) from error
            await asyncio.sleep(0.2)
        else:
            await connection.close()
            return


async def require_migrations(url: SecretStr | str) -> None:
    """See that the schema is as new as this program.

    Raises:
        NotConfiguredError: it is older, or there is none; says what to do.
    """
    connection = await connect(url)
    try:
        exists = await connection.fetchval("SELECT to_regclass('tortoise_migrations')")
        found = await connection.fetch("SELECT name FROM tortoise_migrations") if exists else []
    finally:
        await connection.close()
    ours = {one.stem for one in Path(__file__).with_name("migrations").glob("[0-9]*.py")}
    missing = ours - {one["name"] for one in found}
    if missing:
        raise NotConfiguredError(
            f"DATABASE_URL: the database lacks {', '.join(sorted(missing))}; run `aether migrate`"
        )
