"""Tests of /health."""

from dataclasses import dataclass
from datetime import datetime

import pytest

from rest_compat import OPS
from tests.rest_compat import table
from tests.rest_compat.conftest import client_of


@dataclass
class Health:
    status: str = "ok"
    timestamp: datetime = table.CREATED


@pytest.mark.parametrize("path", ["/health", "/health?cache=1&cache=2"])
async def test_health_is_told_as_the_reference_shows_it(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def health() -> Health:
        return Health()

    monkeypatch.setattr("resolvers.monitoring.health", health)

    async with client_of(table.application(ops=OPS), "probe.example") as client:
        answer = await client.get(path)

    assert answer.status_code == 200
    assert answer.text == '{"status":"ok","timestamp":"2026-02-18T10:00:00Z"}'
