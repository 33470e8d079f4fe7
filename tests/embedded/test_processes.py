"""Logs stay bounded, and only a process that was remembered is ended."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aether.embedded import processes
from aether.embedded.processes import (
    end_remembered,
    identity,
    log_since,
    open_log,
    remember,
    trim_log,
)

PAUSE = (sys.executable, "-c", "import signal; signal.pause()")


def test_a_log_over_its_limit_moves_aside_and_the_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "MAX_LOG_BYTES", 10)
    path = tmp_path / "server.log"
    with open(open_log(path), "wb", buffering=0) as writer:  # noqa: PTH123 - a descriptor
        writer.write(b"first words\n")

        trim_log(path)
        writer.write(b"then\n")

    assert path.read_text() == "then\n"
    assert (tmp_path / "server.log.1").read_text() == "first words\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_log_since_a_start_leaves_out_what_was_before(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("before\nafter\n")

    assert log_since(path, 7) == "after\n"
    assert log_since(tmp_path / "none.log", 0) == ""


def test_a_remembered_process_is_ended(tmp_path: Path) -> None:
    with subprocess.Popen(PAUSE, start_new_session=True) as process:
        remember(tmp_path / "pids.json", [process.pid])

        end_remembered(tmp_path / "pids.json", patience_seconds=0.0)

        assert process.wait(timeout=5) == -signal.SIGTERM
    assert not (tmp_path / "pids.json").exists()


def test_a_process_that_only_has_a_remembered_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(PAUSE, start_new_session=True) as process:
        (tmp_path / "pids.json").write_text(json.dumps({str(process.pid): "another boot 1"}))

        end_remembered(tmp_path / "pids.json", patience_seconds=0.0)

        assert identity(process.pid) is not None
        process.kill()


def test_a_note_that_cannot_be_read_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "pids.json").write_text("[")

    end_remembered(tmp_path / "pids.json", patience_seconds=0.0)

    assert not (tmp_path / "pids.json").exists()
