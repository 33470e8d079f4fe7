"""A short path to a Unix socket that lies in a service's data folder."""

import os
import shutil
import tempfile
from pathlib import Path

MAX_SOCKET_PATH_BYTES = 103  # sun_path with its NUL: 104 on macOS, 108 on Linux (unix(7))


class SocketPlace:
    """The folder in which clients find the socket.

    The server binds in its data folder by a relative name, so only clients mind the length. Where
    the path is too long for them, or has a comma (which address parsers split at), a symbolic
    link in a private temporary folder stands in for it.
    """

    def __init__(self, data: Path, name: str) -> None:
        self._data = data
        self._name = name
        self._made: Path | None = None

    @property
    def folder(self) -> Path:
        """What a client is told; valid between ``open`` and ``close``."""
        return self._data if self._made is None else self._made / "s"

    @property
    def path(self) -> Path:
        """The socket itself."""
        return self.folder / self._name

    def open(self) -> None:
        """Make the link if one is needed."""
        if self._made is not None or self._fits(self._data):
            return
        base = tempfile.gettempdir()
        if not self._fits(Path(base) / "aether-12345678" / "s"):
            base = "/tmp"  # noqa: S108 - mkdtemp makes a private folder in it
        self._made = Path(tempfile.mkdtemp(prefix="aether-", dir=base))
        (self._made / "s").symlink_to(self._data)

    def close(self) -> None:
        """Remove the link."""
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
            self._made = None

    def _fits(self, folder: Path) -> bool:
        path = os.fsencode(folder / self._name)
        return len(path) <= MAX_SOCKET_PATH_BYTES and b"," not in path
