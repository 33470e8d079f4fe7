"""The embedded services of one AETHER_HOME, and how other commands find them."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from aether.config import Settings
from aether.embedded.lock import HolderLock, is_held, write_private
from aether.embedded.postgres import Postgres
from aether.embedded.processes import trim_log
from aether.embedded.valkey import Valkey

DATABASE = "aether"


class EmbeddedServices:
    """PostgreSQL and the queue under AETHER_HOME, each only where no URL names another.

    While they run, AETHER_HOME is locked and ``services.json`` (0600) holds their addresses.
    Every call blocks; see ``Postgres`` for the thread to call from.
    """

    def __init__(self, settings: Settings, *, holder: str, durable: bool = True) -> None:
        """``holder``: what a second starter is told, such as ``aether up``."""
        home = settings.aether_home.expanduser().absolute()
        self.home = home
        self.postgres = (
            Postgres(home / "postgres", durable=durable, binaries=settings.postgres_bin)
            if settings.database_url is None
            else None
        )
        self.valkey = Valkey(home / "valkey") if settings.broker_url is None else None
        self._settings = settings
        self._lock = HolderLock(_lock_path(home), subject=home, holder=holder)

    @property
    def database_url(self) -> str:
        """The database to use: the embedded one's address, or the one that was set."""
        if self.postgres is not None:
            return self.postgres.dsn(DATABASE)
        url = self._settings.database_url
        return "" if url is None else url.get_secret_value()

    @property
    def broker_url(self) -> str:
        """The queue to use: the embedded one's address, or the one that was set."""
        if self.valkey is not None:
            return self.valkey.url
        url = self._settings.broker_url
        return "" if url is None else url.get_secret_value()

    def lock(self) -> None:
        """Take AETHER_HOME.

        Raises:
            ConflictError: another holder has it; the text names its pid and since when.
        """
        self._lock.acquire()

    @property
    def is_locked(self) -> bool:
        """Whether AETHER_HOME is ours."""
        return self._lock.is_ours

    def start(self) -> None:
        """Lock, start what is embedded, make the database, write the addresses down.

        Raises:
            ConflictError: another holder has AETHER_HOME.
            NotConfiguredError, UnavailableError: a service cannot be started.
        """
        try:
            self.lock()
            if self.valkey is not None:
                self.valkey.start()
            if self.postgres is not None:
                self.postgres.start()
                self.postgres.ensure_database(DATABASE)
            self.publish()
        except BaseException:
            self.stop()
            raise

    def publish(self) -> None:
        """Write the addresses to ``services.json``; a restarted service may have a new one."""
        urls = {"database_url": self.database_url, "broker_url": self.broker_url}
        write_private(_addresses_path(self.home), json.dumps(urls))

    def stop(self, *, limit_seconds: float = 4.0) -> None:
        """Stop what was started, in at most ``limit_seconds`` and two; free AETHER_HOME."""
        try:
            if self.valkey is not None:
                self.valkey.stop(limit_seconds=1.0)
        finally:
            try:
                if self.postgres is not None:
                    self.postgres.stop(limit_seconds=limit_seconds)
            finally:
                if self.is_locked:
                    _addresses_path(self.home).unlink(missing_ok=True)
                self._lock.release()

    def trim_logs(self) -> None:
        """Keep the services' logs from growing without bound."""
        for service in (self.postgres, self.valkey):
            if service is not None:
                trim_log(service.log_path)


@contextlib.contextmanager
def embedded_services(
    settings: Settings, *, holder: str = "aether", durable: bool = True
) -> Iterator[tuple[str, str]]:
    """Run the embedded services for a while: gives ``(database_url, broker_url)``.

    Raises:
        ConflictError: another holder has AETHER_HOME.
        NotConfiguredError, UnavailableError: a service cannot be started.
    """
    services = EmbeddedServices(settings, holder=holder, durable=durable)
    services.start()
    try:
        yield services.database_url, services.broker_url
    finally:
        services.stop()


def with_running_services(settings: Settings) -> Settings:
    """``settings`` with the absent URLs filled in from an ``aether up`` that runs on its home.

    Unchanged when none runs.
    """
    home = settings.aether_home.expanduser().absolute()
    if not is_held(_lock_path(home)):
        return settings
    try:
        told = json.loads(_addresses_path(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return settings
    found = {
        name: SecretStr(str(told[name]))
        for name in ("database_url", "broker_url")
        if getattr(settings, name) is None and told.get(name)
    }
    return settings.model_copy(update=found)


def _lock_path(home: Path) -> Path:
    return home / "lock"


def _addresses_path(home: Path) -> Path:
    return home / "services.json"
