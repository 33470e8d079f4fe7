"""Other commands find the services of a running ``aether up``; nobody else's."""

import json
from pathlib import Path

import redis
from pydantic import SecretStr

from aether.config import Settings
from aether.embedded.services import embedded_services, with_running_services
from tests.embedded.rig import sql


def _settings(home: Path, **more: SecretStr) -> Settings:
    return Settings.model_validate({"aether_home": home, **more})


def test_both_services_run_for_the_block_and_others_find_them(tmp_path: Path) -> None:
    settings = _settings(tmp_path / "home")

    with embedded_services(settings, durable=False) as (database_url, broker_url):
        found = with_running_services(settings)

        assert sql(database_url, "SELECT current_database()") == ["aether"]
        with redis.Redis.from_url(broker_url) as client:
            assert client.ping()
        assert found.database_url == SecretStr(database_url)
        assert found.broker_url == SecretStr(broker_url)

    assert with_running_services(settings) == settings


def test_a_url_that_is_set_is_used_and_its_service_not_started(tmp_path: Path) -> None:
    url = SecretStr("postgresql://db.test/x")
    settings = _settings(tmp_path / "home", database_url=url)

    with embedded_services(settings) as (database_url, broker_url):
        found = with_running_services(settings)

        assert database_url == "postgresql://db.test/x"
        assert broker_url.startswith("unix://")
        assert found.database_url == url
        assert not (tmp_path / "home" / "postgres").exists()


def test_addresses_that_a_killed_up_left_behind_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    stale = {"database_url": "postgresql://postgres@/aether?host=/gone", "broker_url": "unix:///x"}
    (tmp_path / "services.json").write_text(json.dumps(stale))
    settings = _settings(tmp_path)

    assert with_running_services(settings) == settings
