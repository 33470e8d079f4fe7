"""A lock file that names its holder and is free again when the holder dies."""

import errno
import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from aether.errors import ConflictError, NotConfiguredError

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def private_folder(path: Path) -> Path:
    """Make ``path`` and its missing parents, 0700; what exists keeps its mode."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Put ``text`` into ``path`` (0600) so that a reader sees the old or the new, never a part."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


class HolderLock:
    """``flock`` on ``path``: one holder at a time, on one machine.

    The kernel frees it when the holder ends, however it ends, so nothing is ever stale. The file
    stays: removing it would let two holders lock two files of the same name.
    """

    def __init__(self, path: Path, *, subject: Path, holder: str) -> None:
        """``subject``: what a refusal calls the thing held; ``holder``: what it calls us."""
        self._path = path
        self._subject = subject
        self._holder = holder
        self._descriptor: int | None = None

    @property
    def is_ours(self) -> bool:
        """Whether we hold it."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock, or say who has it.

        Raises:
            ConflictError: somebody else holds it; the text names the pid and since when.
            NotConfiguredError: we may not write there.
        """
        if self._descriptor is not None:
            return
        try:
            private_folder(self._path.parent)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as error:
            raise NotConfiguredError(
                f"AETHER_HOME: cannot write {self._path}: {error.strerror}"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise ConflictError(f"{self._subject} is in use by {_told(self._path)}") from None
        note = {
            "holder": self._holder,
            "pid": os.getpid(),
            "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Free the lock; does nothing when it is not ours."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(path: Path) -> bool:
    """Whether a running process holds the lock file ``path``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _told(path: Path) -> str:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return f"{note['holder']} (pid {note['pid']}, since {note['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
