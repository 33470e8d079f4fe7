"""Starting a child process that cannot outlive us, and ending one."""

import ctypes
import json
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aether.embedded.lock import FILE_MODE, write_private
from aether.errors import NotConfiguredError

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
MAX_LOG_BYTES = 8 * 2**20
POLL_SECONDS = 0.01
ON_LINUX: bool = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group that a service runs as."""

    uid: int
    gid: int


def service_account(data: Path) -> Account | None:
    """Whom a service on ``data`` runs as; None: as we do.

    PostgreSQL refuses to run as root. Root runs a service as the owner of its data, and as
    ``nobody`` where there is no data yet.

    Raises:
        NotConfiguredError: the data belongs to somebody else, or there is no ``nobody``.
    """
    me = os.geteuid()
    owner = data.stat() if data.exists() else None
    if me != 0:
        if owner is not None and owner.st_uid != me:
            raise NotConfiguredError(
                f"AETHER_HOME: {data} belongs to user {owner.st_uid}; run as that user or as "
                "root, or name another folder"
            )
        return None
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise NotConfiguredError(
            "as root the embedded services run as the user nobody, who does not exist here; "
            "run aether as an ordinary user or set DATABASE_URL and BROKER_URL"
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def is_reachable(path: Path, account: Account) -> bool:
    """Whether ``account`` may read ``path`` and walk every folder on the way (no ACLs)."""
    whole = path.resolve()
    folders_pass = all(_allows(folder, account, 0o1) for folder in whole.parents)
    return folders_pass and _allows(whole, account, 0o5 if whole.is_dir() else 0o4)


def _allows(path: Path, account: Account, wanted: int) -> bool:
    status = path.stat()
    if status.st_uid == account.uid:
        granted = status.st_mode >> 6
    elif status.st_gid == account.gid:
        granted = status.st_mode >> 3
    else:
        granted = status.st_mode
    return granted & wanted == wanted


@dataclass(frozen=True, slots=True)
class Folder:
    """An open data folder, and the path by which the service's account reaches it.

    Root's data folder may lie under folders that ``nobody`` cannot walk. On Linux the service
    then gets the folder as an open descriptor: ``/proc/self/fd/N`` leads straight to it
    (https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html), and no parent is opened to others.
    """

    path: str
    descriptor: int | None

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)

    @property
    def keep_open(self) -> tuple[int, ...]:
        return () if self.descriptor is None else (self.descriptor,)


def open_folder(path: Path, account: Account | None) -> Folder:
    """Open ``path`` for a service that runs as ``account``."""
    if account is None:
        return Folder(str(path), None)
    if not ON_LINUX:
        if not is_reachable(path, account):
            raise NotConfiguredError(
                f"AETHER_HOME: user {account.uid} cannot reach {path}; run aether as an "
                "ordinary user or name a folder that others may enter"
            )
        return Folder(str(path), None)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    return Folder(f"/proc/self/fd/{descriptor}", descriptor)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child runs before ``exec`` so that it gets ``death_signal`` when we die.

    Linux counts the *thread* that forked as the parent: call it from one that lives as long as
    the process. Elsewhere there is no such call; the next start ends what is left.
    """
    if not ON_LINUX:
        return None
    prctl = _libc().prctl  # loaded before the fork: afterwards the loader's lock may be held
    parent = os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # we died before the call: nobody would tell this child
            os._exit(1)

    return before_exec


def spawn(
    argv: Sequence[str],
    *,
    death_signal: signal.Signals,
    environment: Mapping[str, str],
    account: Account | None = None,
    log_path: Path | None = None,
    folder: str | None = "/",
    keep_open: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start ``argv`` in a session of its own, so that a terminal's Ctrl-C reaches only us.

    Its output goes to ``log_path``, or where ours goes; ``folder`` None: it works where we do.
    """
    output = None if log_path is None else open_log(log_path)
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            pass_fds=keep_open,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
            # The child runs three C calls and a comparison there: no lock, no import.
            preexec_fn=die_with_parent(death_signal),  # noqa: PLW1509
        )
    except PermissionError as error:
        raise NotConfiguredError(f"cannot start {argv[0]}: {error.strerror}") from error
    finally:
        if output is not None:
            os.close(output)


def service_environment() -> dict[str, str]:
    """The environment of an embedded server: no secret of ours, no PGDATA or PGPORT of yours."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8" if ON_LINUX else "C"}


def open_log(path: Path) -> int:
    """Open ``path`` for appending (0600)."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)


def trim_log(path: Path) -> None:
    """Keep ``path`` under ``MAX_LOG_BYTES``: its text moves to ``….1`` and it starts anew.

    The writer appends, so cutting the file under it is safe; a line written in between is lost.
    """
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            shutil.copy2(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)
    except FileNotFoundError:
        return


def log_since(path: Path, offset: int) -> str:
    """The text of ``path`` from byte ``offset`` on, at most its last 64 kB."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(offset, end - 65536) if offset <= end else 0)
            return file.read(65536).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def size_of(path: Path) -> int:
    """Bytes in ``path``; 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def wait_until(condition: Callable[[], bool], limit_seconds: float) -> bool:
    """Ask until ``condition`` holds or the time is over; whether it holds."""
    deadline = time.monotonic() + limit_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def wait_for_end(process: subprocess.Popen[bytes], limit_seconds: float) -> bool:
    """Wait for ``process``; whether it ended in time."""
    return wait_until(lambda: process.poll() is not None, limit_seconds)


def identity(pid: int) -> str | None:
    """What tells the process ``pid`` from a later one of the same number; None: it is gone."""
    if ON_LINUX:
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()  # the name before it may hold anything
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    told = subprocess.run(
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or None


def works_in(pid: int, folder: Path) -> bool:
    """Whether the live process ``pid`` is a server whose data is ``folder``."""
    if ON_LINUX:
        try:
            return Path(f"/proc/{pid}/cwd").samefile(folder)
        except OSError:
            return False
    told = subprocess.run(
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return str(folder) in told.stdout


def remember(path: Path, pids: Iterable[int]) -> None:
    """Write down who runs, for ``end_remembered`` of the next start."""
    write_private(path, json.dumps({str(pid): identity(pid) for pid in pids}))


def end_remembered(path: Path, *, patience_seconds: float) -> None:
    """End what an earlier, killed holder left running, and forget it.

    Waits first: on Linux a child was told when its parent died and is on its way out.
    Only a process with the remembered start time is touched.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        left = {int(pid): str(mark) for pid, mark in told.items() if mark}
    except FileNotFoundError:
        return
    except (ValueError, AttributeError):
        left = {}

    def alive() -> list[int]:
        return [pid for pid, mark in left.items() if identity(pid) == mark]

    if alive():
        log.info("waiting for what an earlier run left behind: pid %s", alive())
    steps = ((None, patience_seconds), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
    for step, limit_seconds in steps:
        for pid in alive():
            if step is not None:
                signal_group(pid, step)
        if wait_until(lambda: not alive(), limit_seconds):
            break
    path.unlink(missing_ok=True)


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send ``number`` to the process group that ``pid`` leads; a group that is gone is fine."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return
    except PermissionError:  # macOS says so of a group of zombies
        return
