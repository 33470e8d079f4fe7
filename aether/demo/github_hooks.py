"""Sends the GitHub stand-in's own webhooks: signed, once each, as GitHub does not repeat them."""

import asyncio
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

import httpx

from aether.demo.github_payloads import FIRST_HOOK_ID, signed_delivery
from aether.demo.github_shapes import Json

_TIMEOUT_SECONDS: Final = 10.0  # what github.com waits for an answer


@dataclass(frozen=True, kw_only=True)
class Hook:
    """Where deliveries go. ``events`` None sends all."""

    id: int
    url: str
    secret: str | None
    events: Collection[str] | None = None

    def __repr__(self) -> str:
        return f"Hook(id={self.id}, url={self.url!r})"


@dataclass(kw_only=True)
class SentWebhook:
    """One delivery. ``status`` is None until it is answered, and where it never was."""

    hook_id: int
    event: str
    action: str
    delivery_id: str
    payload: Json
    status: int | None = None
    answer: str = ""
    error: str = ""
    done: bool = False


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

    def add(self, url: str, secret: str | None, events: Collection[str] | None) -> Hook:
        with self._lock:
            hook_id = FIRST_HOOK_ID + len(self._hooks)
            hook = Hook(id=hook_id, url=url, secret=secret, events=events)
            self._hooks.append(hook)
        return hook

    def remove(self, hook: Hook) -> None:
        with self._lock:
            self._hooks.remove(hook)

    def send(self, told: Iterable[tuple[str, Json]]) -> None:
        """Send each event to each hook that wants it, in the background of the running loop.

        One after another for each write, so that a receiver sees them in the order they happened.
        """
        with self._lock:
            hooks = list(self._hooks)
        queue = [
            (hook, event, payload)
            for event, payload in told
            for hook in hooks
            if hook.events is None or event in hook.events
        ]
        if queue:
            task = asyncio.create_task(self._send_all(queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End what is still being sent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send_all(self, queue: Iterable[tuple[Hook, str, Json]]) -> None:
        # A hook goes where it was told to, not through a proxy of this machine's environment.
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            for hook, event, payload in queue:
                await self._send_one(client, hook, event, payload)

    async def _send_one(
        self, client: httpx.AsyncClient, hook: Hook, event: str, payload: Json
    ) -> None:
        headers, body = signed_delivery(event, payload, hook.secret, hook_id=hook.id)
        sent = SentWebhook(
            hook_id=hook.id,
            event=event,
            action=str(payload.get("action", "")),
            delivery_id=headers["X-GitHub-Delivery"],
            payload=payload,
        )
        with self._lock:
            self._sent.append(sent)
        try:
            response = await client.post(hook.url, content=body, headers=headers)
            sent.status, sent.answer = response.status_code, response.text
        except httpx.HTTPError as error:
            sent.error = f"{type(error).__name__}: {error}"
        finally:
            sent.done = True
