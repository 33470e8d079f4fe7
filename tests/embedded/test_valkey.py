"""The embedded queue keeps what it took, over restarts, kills and damage."""

import os
import signal
import stat
from pathlib import Path

import pytest
import redis

from aether.embedded.valkey import Valkey
from aether.errors import ConflictError
from tests.embedded.rig import is_gone, running, told, until


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "home" / "valkey"


def _pid(valkey: Valkey) -> int:
    assert valkey.process is not None
    return valkey.process.pid


def _fill(valkey: Valkey, count: int) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.rpush("queue", *range(count))


def _length(valkey: Valkey) -> int:
    with redis.Redis.from_url(valkey.url) as client:
        length: int = client.llen("queue")
    return length


def test_it_listens_on_a_private_socket_only(data: Path) -> None:
    with Valkey(data) as valkey, redis.Redis.from_url(valkey.url) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert stat.S_IMODE(valkey._socket.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_what_it_took_is_there_after_a_restart(data: Path) -> None:
    with Valkey(data) as valkey:
        _fill(valkey, 100)

    with Valkey(data) as valkey:
        assert _length(valkey) == 100


def test_what_it_took_is_there_after_a_kill(data: Path) -> None:
    valkey = Valkey(data)
    valkey.start()
    _fill(valkey, 1000)
    address = valkey.url

    os.kill(_pid(valkey), signal.SIGKILL)
    valkey.restart()

    assert _length(valkey) == 1000
    assert valkey.url == address
    valkey.stop()


def test_a_file_cut_short_loses_its_last_command_only(data: Path) -> None:
    with Valkey(data) as valkey:
        _fill(valkey, 10)
        _fill(valkey, 10)
    kept = next((data / "appendonlydir").glob("*.incr.aof"))
    os.truncate(kept, kept.stat().st_size - 5)

    with Valkey(data) as valkey:
        assert _length(valkey) == 10


@pytest.mark.parametrize("part", ["*.incr.aof", "*.base.rdb", "*.manifest"])
def test_files_that_cannot_be_read_are_put_aside(data: Path, part: str) -> None:
    with Valkey(data) as valkey:
        _fill(valkey, 100)
    damaged = next((data / "appendonlydir").glob(part))
    content = damaged.read_bytes()
    third = len(content) // 3
    damaged.write_bytes(content[:third] + b"\xff" * 20 + content[third + 20 :])

    with Valkey(data) as valkey:
        assert _length(valkey) == 0

    assert (data / "appendonlydir.unreadable" / damaged.name).exists()


def test_a_second_holder_is_refused_and_told_the_pid_of_the_first(data: Path) -> None:
    with running("holding", "valkey", str(data)) as holder:
        pid = told(holder)["pid"]

        with pytest.raises(ConflictError, match=rf"in use by the queue \(pid {holder.pid}, since"):
            Valkey(data).start()

        assert not is_gone(pid)


def test_a_server_whose_owner_is_killed_goes_away_by_itself(data: Path) -> None:
    with running("holding", "valkey", str(data)) as holder:
        pid = told(holder)["pid"]

        holder.kill()

        until(lambda: is_gone(pid), "gone", 10)
    with Valkey(data) as valkey:
        assert _length(valkey) == 0


def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    with Valkey(tmp_path / ("long" * 25) / "val,key") as valkey:
        _fill(valkey, 3)

        assert _length(valkey) == 3
