"""``aether up`` keeps its parts up, gives up in the end, and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path

import asyncpg
import pytest

from tests.embedded.rig import family, is_gone, running, sql, told_lines, until

PARTS = ("web", "worker", "scheduler")


class Up:
    """A folder for one ``aether up`` and the notes of its stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.notes = folder / "notes"
        self.notes.mkdir()

    def running(
        self, *arguments: str, **more: str
    ) -> "AbstractContextManager[subprocess.Popen[str]]":
        given = {
            "AETHER_HOME": str(self.home),
            "STAND_IN_NOTES": str(self.notes),
            "PORT": "0",
            "DATABASE_URL": "",
            "BROKER_URL": "",
        }
        return running("upping", *arguments, environment=given | more)

    def starts(self, part: str) -> list[int]:
        """The pids that ran as ``part`` so far, oldest first."""
        found = sorted(self.notes.glob(f"{part}.*"), key=lambda path: path.stat().st_mtime_ns)
        return [int(path.suffix[1:]) for path in found]

    def wait_until_up(self) -> dict[str, int]:
        """The pids of the parts once each has started."""
        until(lambda: all(self.starts(part) for part in PARTS), "each part started", 30)
        return {part: self.starts(part)[-1] for part in PARTS}

    def given_to(self, part: str, pid: int) -> dict[str, str | None]:
        told: dict[str, str | None] = json.loads((self.notes / f"{part}.{pid}").read_text())
        return told


@pytest.fixture
def up(tmp_path: Path) -> Up:
    return Up(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_ends_everything_within_ten_seconds(up: Up, number: signal.Signals) -> None:
    with up.running() as supervisor:
        up.wait_until_up()
        everybody = family(supervisor.pid)

        began = time.monotonic()
        supervisor.send_signal(number)
        code = supervisor.wait(timeout=15)

    assert code == 0
    assert time.monotonic() - began < 10.0
    assert len(everybody) >= 5  # PostgreSQL, the queue, three parts
    assert [pid for pid in everybody if not is_gone(pid)] == []
    assert not (up.home / "services.json").exists()


def test_the_parts_get_the_embedded_addresses_after_one_migration(up: Up) -> None:
    with up.running(PGHOST="elsewhere.test") as supervisor:
        pids = up.wait_until_up()
        given = up.given_to("worker", pids["worker"])
        written = json.loads((up.home / "services.json").read_text())

        assert len(up.starts("migrate")) == 1
        assert up.starts("seed") == []
        assert given == {
            "DATABASE_URL": written["database_url"],
            "BROKER_URL": written["broker_url"],
            "PGHOST": None,
        }
        assert sql(str(given["DATABASE_URL"]), "SELECT current_database()") == ["aether"]
        assert (up.home / "services.json").stat().st_mode & 0o777 == 0o600
        assert supervisor.poll() is None


def test_seeds_are_loaded_when_asked_for(up: Up) -> None:
    with up.running("--seed"):
        up.wait_until_up()

        assert len(up.starts("seed")) == 1


def test_a_part_that_dies_is_started_again(up: Up) -> None:
    with up.running() as supervisor:
        pids = up.wait_until_up()

        os.kill(pids["worker"], signal.SIGKILL)

        until(lambda: len(up.starts("worker")) == 2, "the worker started again")
        assert [len(up.starts(part)) for part in PARTS] == [1, 2, 1]
        assert supervisor.poll() is None


def test_what_a_killed_part_had_started_is_ended_too(up: Up) -> None:
    with up.running(STAND_IN_LEAVING="web"):
        pid = up.wait_until_up()["web"]
        left = int(str(up.given_to("web", pid)["left"]))
        assert not is_gone(left)

        os.kill(pid, signal.SIGKILL)

        until(lambda: is_gone(left), "its process ended")


def test_the_database_and_the_queue_are_started_again_at_the_same_address(up: Up) -> None:
    with up.running() as supervisor:
        pids = up.wait_until_up()
        address = str(up.given_to("web", pids["web"])["DATABASE_URL"])
        sql(address, "CREATE TABLE kept AS SELECT 7 AS n")
        postmaster = int((up.home / "postgres" / "postmaster.pid").read_text().split()[0])
        queue = int(next(iter(json.loads((up.home / "valkey.pid").read_text()))))

        os.kill(postmaster, signal.SIGKILL)
        os.kill(queue, signal.SIGKILL)

        until(lambda: _answers(address), "PostgreSQL answers again")
        until(lambda: _connects(up.home / "valkey" / "valkey.sock"), "the queue answers again")
        assert sql(address, "SELECT n FROM kept") == [7]
        assert supervisor.poll() is None


def _answers(address: str) -> bool:
    try:
        return sql(address, "SELECT 1") == [1]
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.mark.slow
def test_a_part_that_keeps_dying_ends_it_all_with_an_error(up: Up) -> None:
    with up.running(STAND_IN_FLAPPING="web") as supervisor:
        up.wait_until_up()
        everybody = family(supervisor.pid)

        code = supervisor.wait(timeout=30)
        said = told_lines(supervisor)

    assert code == 1
    assert len(up.starts("web")) == 5
    assert "aether: web ended 5 times within 60 s; giving up" in said
    assert [pid for pid in everybody if not is_gone(pid)] == []


@pytest.mark.slow
def test_a_part_that_ignores_the_request_is_ended_within_ten_seconds(up: Up) -> None:
    with up.running(STAND_IN_STUBBORN="worker") as supervisor:
        pid = up.wait_until_up()["worker"]

        began = time.monotonic()
        supervisor.terminate()
        code = supervisor.wait(timeout=15)

    assert code == 0
    assert 5.0 < time.monotonic() - began < 10.0
    assert is_gone(pid)


def test_a_second_request_hurries(up: Up) -> None:
    with up.running(STAND_IN_STUBBORN="worker") as supervisor:
        pids = up.wait_until_up()

        began = time.monotonic()
        supervisor.send_signal(signal.SIGINT)
        until(lambda: is_gone(pids["web"]), "the web part stopped")
        supervisor.send_signal(signal.SIGINT)
        supervisor.wait(timeout=15)

    assert time.monotonic() - began < 4.0
    assert is_gone(pids["worker"])


def test_a_second_up_on_the_same_data_says_who_holds_it(up: Up) -> None:
    with up.running() as first:
        up.wait_until_up()
        everybody = family(first.pid)

        with up.running() as second:
            code = second.wait(timeout=15)
            assert second.stderr is not None
            said = second.stderr.read()

        assert code == 1
        assert f"{up.home} is in use by aether up (pid {first.pid}, since 20" in said
        assert [pid for pid in everybody if is_gone(pid)] == []
        assert (up.home / "services.json").exists()
        assert (up.home / "children.json").exists()


def test_after_a_kill_everything_goes_away_and_the_next_start_recovers(up: Up) -> None:
    with up.running() as first:
        pids = up.wait_until_up()
        sql(str(up.given_to("web", pids["web"])["DATABASE_URL"]), "CREATE TABLE kept (n int)")
        everybody = family(first.pid)
        first.kill()
        first.wait()

        with up.running():
            until(lambda: len(up.starts("scheduler")) == 2, "the parts started again", 30)
            address = str(up.given_to("web", up.starts("web")[-1])["DATABASE_URL"])

            assert sql(address, "SELECT count(*) FROM kept") == [0]
            assert [pid for pid in everybody if not is_gone(pid)] == []


@pytest.mark.slow
def test_a_part_that_outlives_a_killed_up_is_ended_by_the_next(up: Up) -> None:
    with up.running(STAND_IN_STUBBORN="worker") as first:
        left = up.wait_until_up()["worker"]
        until((up.home / "children.json").exists, "the parts are noted")
        first.kill()
        first.wait()
        assert not is_gone(left)

        with up.running():
            until(lambda: len(up.starts("web")) == 2, "the parts started again", 30)

            assert is_gone(left)


def test_a_request_during_the_start_ends_it(up: Up) -> None:
    with up.running() as supervisor:
        until((up.home / "lock").exists, "it has begun")
        supervisor.terminate()
        code = supervisor.wait(timeout=15)

    assert code == 0
    assert up.starts("web") == []


def test_a_failed_migration_starts_no_part(up: Up) -> None:
    with up.running(STAND_IN_MIGRATE_CODE="9") as supervisor:
        code = supervisor.wait(timeout=15)
        assert supervisor.stderr is not None
        said = supervisor.stderr.read()

    assert code == 1
    assert "aether: `aether migrate` failed with exit code 9" in said
    assert up.starts("web") == []


def test_with_both_urls_nothing_is_embedded(up: Up) -> None:
    urls = {"DATABASE_URL": "postgresql://db.test/x", "BROKER_URL": "redis://queue.test/0"}
    with up.running(**urls) as supervisor:
        pids = up.wait_until_up()

        assert sorted(family(supervisor.pid)) == sorted(pids.values())
        assert up.given_to("web", pids["web"]) == urls | {"PGHOST": os.environ.get("PGHOST")}
        assert not (up.home / "postgres").exists()
        assert not (up.home / "valkey").exists()


def test_a_port_in_use_is_named_before_anything_starts(up: Up) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with up.running(PORT=port) as supervisor:
            code = supervisor.wait(timeout=15)
            assert supervisor.stderr is not None
            said = supervisor.stderr.read()

    assert code == 1
    assert f"aether: cannot listen on HOST 127.0.0.1, PORT {port}: Address already in use" in said
    assert not (up.home / "postgres").exists()


def test_an_open_address_without_a_token_is_refused_before_anything_starts(up: Up) -> None:
    with up.running(HOST="0.0.0.0", API_TOKEN="") as supervisor:
        code = supervisor.wait(timeout=15)
        assert supervisor.stderr is not None
        said = supervisor.stderr.read()

    assert code == 1
    assert "aether: HOST: 0.0.0.0 can be reached from outside; set API_TOKEN" in said
    assert not up.home.exists()
