"""What reaches ``POST /webhook/<slug>`` of an integration: proven by its own secret alone."""

import hashlib
import hmac
import json
import time
from typing import Any, Final

import pytest

from aether.config import Settings
from aether.models import Delivery
from tests.doors.calls import SECRET, Door, issue_opened

KEY: Final = "key-key-key-key-key-key-key-key-key-key"
HOOK_SECRET: Final = "a secret of the hook"
BODY: Final = json.dumps(issue_opened()).encode()


async def integration(door: Door, *, webhook: Any, **change: Any) -> Any:
    settings = {"ENCRYPTION_KEY": KEY, "GITHUB_WEBHOOK_SECRET": SECRET}
    door.runtime.settings = Settings.from_environment(settings)
    sent = {
        "source": "github", "name": "Ours", "credentials": {}, "slug": "ours", "webhook": webhook,
    }  # fmt: skip
    return await door.post("/api/integrations", sent | change)


async def send(door: Door, *, slug: str = "ours", **headers: str) -> Any:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return await door.client.post(
        f"/webhook/{slug}",
        content=BODY,
        headers={
            "content-type": "application/json", "x-github-event": "issues",
            "x-github-delivery": "d-1", **told,
        },
    )  # fmt: skip


def digest(content: bytes, secret: str = HOOK_SECRET) -> str:
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


async def test_a_secret_alone_is_the_platforms_own_way(door: Door) -> None:
    await integration(door, webhook={"secret": HOOK_SECRET})

    taken = await send(door, x_hub_signature_256=f"sha256={digest(BODY)}")
    refused = await send(door, x_hub_signature_256=f"sha256={digest(BODY, SECRET)}")

    assert (taken.status_code, taken.json()["status"]) == (200, "ignored")  # nothing is mapped
    assert refused.status_code == 401
    assert refused.json()["error"] == (
        "X-Hub-Signature-256 does not match the body under webhook.secret of integration 'Ours'"
    )
    [delivery] = await Delivery.all()
    assert (delivery.slug, delivery.source, delivery.is_verified) == ("ours", "github", True)


async def test_a_header_algorithm_and_prefix_of_its_own_prove(door: Door) -> None:
    webhook = {"header": "X-Relay", "algorithm": "hmac-sha256", "prefix": "v0=",
               "secret": HOOK_SECRET}  # fmt: skip
    created = await integration(door, webhook=webhook)

    taken = await send(door, x_relay=f"v0={digest(BODY)}")
    refused = await send(door, x_hub_signature_256=f"sha256={digest(BODY)}")

    assert created["webhook"] == {
        "header": "X-Relay", "algorithm": "sha256", "prefix": "v0=", "encoding": None,
        "timestamp_header": None, "window_seconds": None, "secret": "••••hook",
    }  # fmt: skip
    assert taken.status_code == 200
    assert refused.status_code == 401
    assert refused.json()["error"] == (
        "X-Relay is missing, which proves a delivery to this webhook"
    )
    assert await Delivery.all().count() == 1


async def test_a_bearer_secret_and_a_time_stamp_prove(door: Door) -> None:
    webhook = {"header": "Authorization", "algorithm": "bearer", "secret": HOOK_SECRET}
    created = await integration(door, webhook=webhook)
    path = f"/api/integrations/{created['id']}"
    now = str(int(time.time()))
    old = str(int(time.time()) - 400)

    bearer = await send(door, authorization=f"Bearer {HOOK_SECRET}")
    changes = {"header": "X-Sign", "algorithm": None, "timestamp_header": "X-Time"}
    await door.put(path, {"webhook": changes})
    fresh = await send(door, x_sign=digest(now.encode() + b"." + BODY), x_time=now)
    stale = await send(door, x_sign=digest(old.encode() + b"." + BODY), x_time=old)

    assert [bearer.status_code, fresh.status_code, stale.status_code] == [200, 200, 401]
    assert stale.json()["error"] == "X-Time is more than 300 seconds away from our clock"


@pytest.mark.parametrize("webhook", [None, {"header": "X-Sign"}, {}])
async def test_without_a_secret_every_delivery_is_refused(door: Door, webhook: Any) -> None:
    await integration(door, webhook=webhook)

    answer = await send(door, x_sign=digest(BODY, ""), x_hub_signature_256="sha256=0")

    assert answer.status_code == 401
    assert "webhook.secret of integration 'Ours' is not set" in answer.json()["error"]
    assert await Delivery.all().count() == 0


async def test_a_secret_of_another_key_refuses_and_is_never_no_secret(door: Door) -> None:
    await integration(door, webhook={"secret": HOOK_SECRET})
    told = {"ENCRYPTION_KEY": "x" * 40, "ALLOW_UNSIGNED": "all"}
    door.runtime.settings = Settings.from_environment(told)

    answer = await send(door, x_hub_signature_256=f"sha256={digest(BODY)}")

    assert answer.status_code == 401
    assert "cannot be read" in answer.json()["error"]
    assert await Delivery.all().count() == 0


async def test_a_slug_that_is_switched_off_or_taken_away_is_a_404(door: Door) -> None:
    created = await integration(door, webhook={"secret": HOOK_SECRET})
    path = f"/api/integrations/{created['id']}"
    signed = f"sha256={digest(BODY)}"

    await door.put(path, {"enabled": False})
    off = await send(door, x_hub_signature_256=signed)
    await door.put(path, {"enabled": True, "slug": "other"})
    moved = await send(door, x_hub_signature_256=signed)
    taken = await send(door, slug="other", x_hub_signature_256=signed)

    assert [off.status_code, moved.status_code, taken.status_code] == [404, 404, 200]


async def test_a_webhook_that_is_taken_away_proves_nothing(door: Door) -> None:
    created = await integration(door, webhook={"secret": HOOK_SECRET})
    path = f"/api/integrations/{created['id']}"

    put = await door.put(path, {"webhook": None})
    answer = await send(door, x_hub_signature_256=f"sha256={digest(BODY)}")

    assert put["webhook"] is None
    assert answer.status_code == 401
