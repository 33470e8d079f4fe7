"""The embedded queue: one Valkey server over one data folder."""

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from aether.embedded.binaries import valkey_binary
from aether.embedded.lock import HolderLock
from aether.embedded.processes import (
    Account,
    Folder,
    end_remembered,
    log_since,
    open_folder,
    remember,
    service_account,
    service_environment,
    size_of,
    spawn,
    trim_log,
    wait_for_end,
)
from aether.embedded.sockets import SocketPlace
from aether.errors import UnavailableError

log = logging.getLogger(__name__)

SOCKET_NAME: Final = "valkey.sock"
APPEND_ONLY_FOLDER: Final = "appendonlydir"
START_LIMIT_SECONDS: Final = 120.0
LEFTOVER_LIMIT_SECONDS: Final = 5.0
UNREADABLE: Final = re.compile(r"append only file|\bAOF\b|\bRDB\b", re.IGNORECASE)

# https://valkey.io/topics/valkey.conf/
OPTIONS: Final = {
    "port": "0",
    "unixsocket": SOCKET_NAME,  # in `dir`, which the server has changed into by then
    "unixsocketperm": "700",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "aof-load-truncated": "yes",
    "save": "",
    "maxmemory-policy": "noeviction",
    "hz": "5",  # ten ticks a second are what an idle server spends its time on
    "logfile": "",
}


class Valkey:
    """One Valkey (or Redis) server, reached by a Unix socket only. Every call blocks.

    As with ``Postgres``, call ``start`` from a thread that lives as long as the process.
    """

    def __init__(self, data: Path) -> None:
        """Beside ``data`` come ``….lock``, ``….log`` and, while it runs, ``….pid``."""
        self.data = data.absolute()
        self.log_path = self.data.with_name(self.data.name + ".log")
        self._pid_path = self.data.with_name(self.data.name + ".pid")
        self._lock = HolderLock(
            self.data.with_name(self.data.name + ".lock"), subject=self.data, holder="the queue"
        )
        self._socket = SocketPlace(self.data, SOCKET_NAME)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def process(self) -> "subprocess.Popen[bytes] | None":
        """The server's process while it is started; it may have died since."""
        return self._process

    @property
    def url(self) -> str:
        """The queue's address, for redis-py and Dramatiq."""
        return f"unix://{quote(str(self._socket.path))}?db=0"

    def start(self) -> None:
        """Start the server on what it kept, and wait until it answers.

        A file cut short by a crash loses its last, incomplete command. Files that cannot be read
        at all are put aside: the queue holds hints only, and the sweep sends them again.

        Raises:
            ConflictError: another process holds this data; the text names it.
            NotConfiguredError: there is no program, or the data belongs to another user.
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

    def stop(self, *, limit_seconds: float = 3.0) -> None:
        """End the server; past ``limit_seconds`` by SIGKILL, which costs a second's messages."""
        try:
            self._halt(limit_seconds)
        finally:
            self._socket.close()

    def _start(self) -> None:
        self._lock.acquire()
        account = service_account(self.data)
        end_remembered(self._pid_path, patience_seconds=LEFTOVER_LIMIT_SECONDS)
        self._prepare(account)
        program = valkey_binary(account)
        self._socket.open()
        self._start_on_what_is_kept(program, account)

    def _halt(self, limit_seconds: float) -> None:
        process, self._process = self._process, None
        try:
            if process is not None:
                process.send_signal(signal.SIGTERM)
                if not wait_for_end(process, limit_seconds):
                    process.kill()
                    process.wait()
                self._pid_path.unlink(missing_ok=True)
        finally:
            self._lock.release()

    def _prepare(self, account: Account | None) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        if account is not None and self.data.stat().st_uid == 0:
            os.chown(self.data, account.uid, account.gid)
        (self.data / SOCKET_NAME).unlink(missing_ok=True)  # a killed server leaves it

    def _start_on_what_is_kept(self, program: Path, account: Account | None) -> None:
        told = self._launch(program, account)
        if told and UNREADABLE.search(told) and self._put_aside():
            told = self._launch(program, account)
        if told:
            last = "\n".join(told.splitlines()[-5:])
            raise UnavailableError(f"the queue did not start ({self.log_path}):\n{last}")

    def _launch(self, program: Path, account: Account | None) -> str:
        """Start the server; empty when it answers, else what it logged before it ended."""
        trim_log(self.log_path)
        offset = size_of(self.log_path)
        folder = open_folder(self.data, account)
        try:
            process = self._process = spawn(
                _command(program, folder),
                death_signal=signal.SIGTERM,
                environment=service_environment(),
                account=account,
                log_path=self.log_path,
                keep_open=folder.keep_open,
            )
        finally:
            folder.close()
        remember(self._pid_path, [process.pid])
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while process.poll() is None:
            if self._answers():
                return ""
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"the queue is not ready after {START_LIMIT_SECONDS:.0f} s ({self.log_path})"
                )
            time.sleep(0.005)
        return log_since(self.log_path, offset).strip() or "it ended without a word"

    def _answers(self) -> bool:
        """Whether the server says PONG; while it still loads it says LOADING."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(self._socket.path))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def _put_aside(self) -> bool:
        """Move the unreadable files away, over those of an earlier time."""
        kept = self.data / APPEND_ONLY_FOLDER
        aside = self.data / f"{APPEND_ONLY_FOLDER}.unreadable"
        if not kept.is_dir():
            return False
        shutil.rmtree(aside, ignore_errors=True)
        kept.rename(aside)
        log.warning("the queue's files cannot be read; put aside as %s", aside)
        return True


def _command(program: Path, folder: Folder) -> list[str]:
    command = [str(program), "--dir", folder.path]
    for name, value in OPTIONS.items():
        command += [f"--{name}", value]
    return command
