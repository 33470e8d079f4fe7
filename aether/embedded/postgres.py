"""The embedded PostgreSQL: made, started, recovered and stopped on one data folder."""

import logging
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from aether.embedded.binaries import postgres_binaries
from aether.embedded.lock import HolderLock
from aether.embedded.processes import (
    ON_LINUX,
    Account,
    Folder,
    die_with_parent,
    log_since,
    open_folder,
    service_account,
    service_environment,
    size_of,
    spawn,
    trim_log,
    wait_for_end,
    wait_until,
    works_in,
)
from aether.embedded.sockets import SocketPlace
from aether.errors import InvalidInputError, NotConfiguredError, UnavailableError

log = logging.getLogger(__name__)

SUPERUSER: Final = "postgres"
SOCKET_NAME: Final = ".s.PGSQL.5432"
START_LIMIT_SECONDS: Final = 600.0  # recovery after a crash replays at most max_wal_size (1 GB)
LEFTOVER_LIMIT_SECONDS: Final = 10.0
QUIT_LIMIT_SECONDS: Final = 1.0
FIRST_MAJOR_WITH_IO_METHOD: Final = 18

# https://www.postgresql.org/docs/18/runtime-config.html
OPTIONS: Final = {
    "listen_addresses": "",
    "unix_socket_directories": ".",  # the data folder: the server has changed into it by then
    "unix_socket_permissions": "0700",  # with `trust` this is the whole access control
    "shared_buffers": "128MB",
    "maintenance_work_mem": "256MB",
    "max_connections": "100",
    "wal_compression": "on",
    "jit": "off",
    "max_parallel_maintenance_workers": "0",  # a container's /dev/shm of 64 MB is too small
    "max_logical_replication_workers": "0",
    "TimeZone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_error_verbosity": "terse",  # a DETAIL shows the failing row, secrets included
    "log_line_prefix": "%m [%p] ",
}
NOT_DURABLE: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """One PostgreSQL server over one data folder, reached by a Unix socket only.

    Every call blocks. On Linux the server is told to shut down when the thread that called
    ``start`` ends, so call it from one that lives as long as the process.
    """

    def __init__(self, data: Path, *, durable: bool = True, binaries: Path | None = None) -> None:
        """``durable=False``: for tests; a power cut may lose the data, a killed server not.

        ``binaries``: a folder with ``postgres``, ``initdb`` and ``psql``; absent: the wheel's.
        Beside ``data`` come ``….lock`` and ``….log``.
        """
        self.data = data.absolute()
        self.log_path = self.data.with_name(self.data.name + ".log")
        self._durable = durable
        self._named_binaries = binaries
        self._lock = HolderLock(
            self.data.with_name(self.data.name + ".lock"), subject=self.data, holder="PostgreSQL"
        )
        self._socket = SocketPlace(self.data, SOCKET_NAME)
        self._process: subprocess.Popen[bytes] | None = None
        self._binaries = Path()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def process(self) -> "subprocess.Popen[bytes] | None":
        """The server's process while it is started; it may have died since."""
        return self._process

    def start(self) -> None:
        """Make the data folder if there is none, start the server, wait until it answers.

        After a crash the server recovers by itself first. A server that an earlier, killed
        holder left running on this data is shut down before.

        Raises:
            ConflictError: another process holds this data; the text names it.
            NotConfiguredError: no binaries, or data of another major version or another user.
            UnavailableError: the server did not come up; the text has the end of its log.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def restart(self) -> None:
        """Start the server again after it died, at the same address; errors as ``start``."""
        self._halt(0.0)
        try:
            self._start()
        except BaseException:
            self._halt(0.0)
            raise

    def stop(self, *, limit_seconds: float = 4.0) -> None:
        """Shut the server down, cleanly if that takes less than ``limit_seconds``.

        Past that it stops at once and recovers at the next start; a second more at most.
        Never SIGKILL: that would leave its children and its shared memory behind.
        """
        try:
            self._halt(limit_seconds)
        finally:
            self._socket.close()

    def dsn(self, database: str = "aether") -> str:
        """The address of ``database``, for asyncpg and Tortoise."""
        host = quote(str(self._socket.folder), safe="")
        return f"postgresql://{SUPERUSER}@/{quote(database, safe='')}?host={host}"

    def ensure_database(self, name: str = "aether") -> None:
        """Create ``name`` unless it exists.

        Raises:
            UnavailableError: the server refused; the text has its words.
        """
        if not name or "\0" in name or len(name.encode()) > 63:
            raise InvalidInputError("database", "a name has 1 to 63 bytes")
        sql = (
            "SELECT format('CREATE DATABASE %I', :'name') "
            "WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec\n"
        )
        told = subprocess.run(
            [
                *(str(self._binaries / "psql"), "--no-psqlrc", "--quiet", "--no-password"),
                *("-v", "ON_ERROR_STOP=1", "-v", f"name={name}"),
                *("-h", str(self._socket.folder), "-U", SUPERUSER, "-d", "postgres"),
            ],
            input=sql,
            capture_output=True,
            text=True,
            env=service_environment(),
            cwd="/",
            check=False,
        )
        if told.returncode != 0:
            raise UnavailableError(f"cannot create the database {name}: {told.stderr.strip()}")

    def _start(self) -> None:
        self._lock.acquire()
        account = service_account(self.data)
        self._binaries = postgres_binaries(self._named_binaries, account)
        major = self._server_major()
        if not self.data.exists():
            self._initialise(account)
        self._check_version(major)
        self._end_leftover()
        self._socket.open()
        self._launch(account, major)

    def _halt(self, limit_seconds: float) -> None:
        process, self._process = self._process, None
        try:
            if process is not None:
                _shut_down(process, limit_seconds)
        finally:
            self._lock.release()

    def _server_major(self) -> int:
        told = subprocess.run(
            [str(self._binaries / "postgres"), "--version"],
            capture_output=True,
            text=True,
            env=service_environment(),
            check=False,
        )
        found = re.search(r"\) (\d+)", told.stdout)
        if found is None:
            raise NotConfiguredError(
                f"PostgreSQL in {self._binaries} does not run: {told.stderr.strip()}"
            )
        return int(found.group(1))

    def _check_version(self, major: int) -> None:
        try:
            has = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise NotConfiguredError(
                f"AETHER_HOME: {self.data} is not a PostgreSQL data folder; move it away"
            ) from None
        if has != str(major):
            raise NotConfiguredError(
                f"{self.data} was made by PostgreSQL {has}, this is {major}. Set POSTGRES_BIN to "
                f"the programs of PostgreSQL {has}, dump with pg_dump, move the folder away, "
                "start again and restore"
            )

    def _initialise(self, account: Account | None) -> None:
        """Make the data folder under another name first: a killed ``initdb`` leaves no half one."""
        fresh = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if account is not None:
            os.chown(fresh, account.uid, account.gid)
        folder = open_folder(fresh, account)
        try:
            told = subprocess.run(
                [
                    *(str(self._binaries / "initdb"), "-D", folder.path, "-U", SUPERUSER),
                    *("-A", "trust", "-E", "UTF8", "--no-instructions", *_locale_options()),
                    *(() if self._durable else ("--no-sync",)),
                ],
                capture_output=True,
                text=True,
                env=service_environment(),
                cwd="/",
                pass_fds=folder.keep_open,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else [],
                preexec_fn=die_with_parent(signal.SIGTERM),
                check=False,
            )
        finally:
            folder.close()
        if told.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise UnavailableError(f"initdb failed: {told.stderr.strip() or told.stdout.strip()}")
        fresh.rename(self.data)

    def _end_leftover(self) -> None:
        """Shut down the server of an earlier holder that was killed.

        We hold the lock, so its owner is gone and it is shutting down already where the kernel
        told it (Linux). A pid file whose number now belongs to somebody else, as after the
        restart of a container, is removed: PostgreSQL would take that process for its own.
        """
        pid, _ = self._pid_file()
        if pid is None:
            return
        if not works_in(pid, self.data):
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            return
        log.warning("PostgreSQL of an earlier run (pid %d) still holds %s", pid, self.data)
        patience = LEFTOVER_LIMIT_SECONDS if ON_LINUX else 0.0
        for step in (None, signal.SIGINT, signal.SIGQUIT):
            if step is not None:
                os.kill(pid, step)
            limit_seconds = patience if step is None else LEFTOVER_LIMIT_SECONDS
            if wait_until(lambda: not works_in(pid, self.data), limit_seconds):
                return
        raise UnavailableError(f"PostgreSQL (pid {pid}) on {self.data} does not stop")

    def _pid_file(self) -> tuple[int | None, str]:
        """The pid and the state in ``postmaster.pid`` (its lines 1 and 8)."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None, ""
        pid = int(lines[0]) if lines and lines[0].strip().isdigit() else None
        return pid, lines[7].strip() if len(lines) > 7 else ""

    def _launch(self, account: Account | None, major: int) -> None:
        """Start the server; again for a while when a dying one still holds the shared memory."""
        deadline = time.monotonic() + LEFTOVER_LIMIT_SECONDS
        while True:
            trim_log(self.log_path)
            offset = size_of(self.log_path)
            folder = open_folder(self.data, account)
            try:
                self._process = spawn(
                    self._command(folder, major),
                    death_signal=signal.SIGINT,  # PostgreSQL's fast shutdown
                    environment=service_environment(),
                    account=account,
                    log_path=self.log_path,
                    keep_open=folder.keep_open,
                )
            finally:
                folder.close()
            if self._becomes_ready():
                return
            told = log_since(self.log_path, offset).strip()
            if "still in use" not in told or time.monotonic() > deadline:
                last = "\n".join(told.splitlines()[-5:])
                raise UnavailableError(f"PostgreSQL did not start ({self.log_path}):\n{last}")
            time.sleep(0.2)

    def _command(self, folder: Folder, major: int) -> list[str]:
        options = OPTIONS | ({} if self._durable else NOT_DURABLE)
        if major >= FIRST_MAJOR_WITH_IO_METHOD:
            options = options | {"io_method": "sync"}  # else three more processes
        command = [str(self._binaries / "postgres"), "-D", folder.path]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _becomes_ready(self) -> bool:
        """Wait until the server takes connections; False: it ended."""
        process = self._process
        if process is None:
            return False
        deadline = time.monotonic() + START_LIMIT_SECONDS
        notice = time.monotonic() + 10.0
        while process.poll() is None:
            if self._pid_file() == (process.pid, "ready"):
                return True
            now = time.monotonic()
            if now > deadline:
                raise UnavailableError(
                    f"PostgreSQL is not ready after {START_LIMIT_SECONDS:.0f} s ({self.log_path})"
                )
            if now > notice:
                log.info("PostgreSQL is still recovering (%s)", self.log_path)
                notice = now + 10.0
            time.sleep(0.005)
        return False


def _shut_down(process: "subprocess.Popen[bytes]", limit_seconds: float) -> None:
    steps = ((signal.SIGINT, limit_seconds), (signal.SIGQUIT, QUIT_LIMIT_SECONDS))
    for number, limit in steps:
        process.send_signal(number)
        if wait_for_end(process, limit):
            return
    log.error("PostgreSQL (pid %d) has not ended yet; it was told to quit", process.pid)


def _locale_options() -> tuple[str, ...]:
    if ON_LINUX:
        return ("--locale=C.UTF-8",)
    # Elsewhere the system may not know C.UTF-8; PostgreSQL 17 and later bring their own.
    return ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
