"""What the audit log keeps, and what never gets into it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from aether import audit
from aether.crypto import MASKED
from aether.db import rows, transaction
from aether.redact import learn


async def _entries() -> list[dict[str, Any]]:
    found = await rows("SELECT * FROM audit_entry ORDER BY id")
    return [one | {"detail": json.loads(one["detail"])} for one in found]


@pytest.mark.usefixtures("database")
async def test_an_act_is_kept_as_it_was_told() -> None:
    await audit.record(
        "comment.posted",
        agent_id="ta_leo",
        execution_id=7,
        delivery_id=3,
        caller="api",
        detail={
            "url": "https://a.test/7",
            "tries": 2,
            "at": datetime(2026, 2, 18, tzinfo=UTC),
        },
    )
    await audit.record("task.started")

    first, second = await _entries()
    assert (first["action"], first["agent_id"]) == ("comment.posted", "ta_leo")
    assert (first["execution_id"], first["delivery_id"], first["caller"]) == (7, 3, "api")
    assert first["detail"] == {
        "url": "https://a.test/7", "tries": 2, "at": "2026-02-18T00:00:00Z",
    }  # fmt: skip
    assert first["created_at"].tzinfo is not None
    assert (second["agent_id"], second["caller"], second["detail"]) == (None, None, {})


@pytest.mark.usefixtures("database")
async def test_an_act_that_was_rolled_back_is_not_told() -> None:
    async def act_and_fail() -> None:
        async with transaction():
            await audit.record("task.started")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await act_and_fail()

    assert await _entries() == []


@pytest.mark.usefixtures("database")
async def test_no_secret_gets_into_the_log() -> None:
    await audit.record(
        "integration.updated",
        detail={
            "credentials": {"token": "ghp_0123456789abcdef"},
            "headers": [{"X-API-Key": "s", "Authorization": "Bearer s", "Accept": "x"}],
            "prompt_tokens": 12,
            "project_key": "acme/api",
            "password": None,
        },
    )

    [entry] = await _entries()
    assert entry["detail"] == {
        "credentials": MASKED,
        "headers": [{"X-API-Key": MASKED, "Authorization": MASKED, "Accept": "x"}],
        "prompt_tokens": 12,
        "project_key": "acme/api",
        "password": None,
    }


@pytest.mark.usefixtures("database")
async def test_a_known_secret_in_any_text_is_taken_out_before_it_is_cut() -> None:
    learn(["planted-0123456789-secret"])
    half = "x" * (audit.MAX_CHARACTERS - 10)

    await audit.record(
        "agent.updated",
        detail={
            "after": {"prompt": "Your key is planted-0123456789-secret."},
            "before": {"prompt": f"{half}planted-0123456789-secret and more"},
        },
    )

    [entry] = await _entries()
    assert entry["detail"]["after"] == {"prompt": "Your key is ***."}
    assert "planted" not in entry["detail"]["before"]["prompt"]


@pytest.mark.usefixtures("database")
async def test_what_no_database_stores_and_what_has_no_end_is_cut() -> None:
    circle: dict[str, Any] = {}
    circle["again"] = circle

    await audit.record(
        "tool.called",
        detail={
            "text": "a\x00b\ud800", "long": "x" * 5000, "many": list(range(500)),
            "circle": circle, "nan": float("nan"), "inf": float("inf"),
        },
    )  # fmt: skip

    [entry] = await _entries()
    assert entry["detail"]["text"] == "ab�"
    assert entry["detail"]["long"] == "x" * 2000 + "…"
    assert entry["detail"]["many"] == list(range(100))
    assert (entry["detail"]["nan"], entry["detail"]["inf"]) == ("nan", "inf")
    assert json.dumps(entry["detail"]["circle"]).count("again") <= audit.MAX_DEPTH


@pytest.mark.parametrize(
    "key",
    ["token", "accessToken", "GITHUB_TOKEN", "webhook-secret", "clientSecret", "apiKey", "api_key",
     "X-API-Key", "private_key", "key", "Authorization", "set-cookie", "credentials",
     "userPassword"],
)  # fmt: skip
def test_a_name_that_means_a_secret_is_known(key: str) -> None:
    assert audit.names_a_secret(key)


@pytest.mark.parametrize(
    "key",
    ["project_key", "item_key", "delivery_key", "keyboard", "monkey", "secretary", "", "7"],
)
def test_another_name_is_left_alone(key: str) -> None:
    assert not audit.names_a_secret(key)
