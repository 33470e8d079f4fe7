"""Sends the GitLab stand-in's webhooks: token shown or signed, with the headers of its age."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

_TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Hook:
    """Where deliveries go; ``header`` other than None is sent instead of each event's name."""

    url: str
    token: str | None = field(default=None, repr=False)
    signing_token: str | None = field(default=None, repr=False)
    header: str | None = None


@dataclass(kw_only=True)
class SentWebhook:
    """One delivery; ``status`` is None until it is answered."""

    event: str
    payload: Mapping[str, Any]
    headers: Mapping[str, str]
    status: int | None = None
    answer: str = ""
    done: bool = False


def signature(signing_token: str, delivery_id: str, stamp: str, body: bytes) -> str:
    """``v1,…`` as Standard Webhooks has it."""
    key = base64.b64decode(signing_token.removeprefix("whsec_"))
    signed = f"{delivery_id}.{stamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def delivery(
    event: str,
    payload: Mapping[str, Any],
    *,
    token: str | None = None,
    signing_token: str | None = None,
    delivery_id: str | None = None,
    instance: str = "https://gitlab.example.com",
) -> tuple[dict[str, str], bytes]:
    """Headers and body of one delivery as GitLab 18 sends it."""
    body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    identity = delivery_id or str(uuid.uuid4())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitLab/18.4.0-ee",
        "Idempotency-Key": identity,
        "X-Gitlab-Event": event,
        "X-Gitlab-Webhook-UUID": str(uuid.uuid4()),  # another with each attempt
        "X-Gitlab-Instance": instance,
        "X-Gitlab-Event-UUID": "5cf5d0e0-e574-480d-8bb6-6d61edca6277",  # shared by many
    }
    if token is not None:
        headers["X-Gitlab-Token"] = token
    if signing_token is not None:
        stamp = str(int(time.time()))
        headers |= {
            "webhook-id": identity,
            "webhook-timestamp": stamp,
            "webhook-signature": signature(signing_token, identity, stamp, body),
        }
    return headers, body


class Hooks:
    """The hooks of a stand-in and every delivery that they sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hooks: list[Hook] = []
        self._sent: list[SentWebhook] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def sent(self) -> list[SentWebhook]:
        with self._lock:
            return list(self._sent)

    def add(self, hook: Hook) -> None:
        with self._lock:
            self._hooks.append(hook)

    def send(self, told: Iterable[tuple[str, Mapping[str, Any]]], instance: str) -> None:
        """Send each event to each hook, in order, in the background of the running loop."""
        with self._lock:
            queue = [(hook, event, body) for event, body in told for hook in self._hooks]
        if queue:
            task = asyncio.create_task(self._send_all(queue, instance))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End what is still being sent."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send_all(
        self, queue: Iterable[tuple[Hook, str, Mapping[str, Any]]], instance: str
    ) -> None:
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            for hook, event, payload in queue:
                headers, body = delivery(
                    hook.header or event, payload, token=hook.token,
                    signing_token=hook.signing_token, instance=instance,
                )  # fmt: skip
                sent = SentWebhook(event=event, payload=payload, headers=headers)
                with self._lock:
                    self._sent.append(sent)
                try:
                    response = await client.post(hook.url, content=body, headers=headers)
                    sent.status, sent.answer = response.status_code, response.text
                except httpx.HTTPError as error:
                    sent.answer = f"{type(error).__name__}: {error}"
                finally:
                    sent.done = True
