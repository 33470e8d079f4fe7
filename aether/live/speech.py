"""A reply's text on its way to whoever follows the run, while the model still writes it.

Best effort by design: it is written beside the run, never in its transactions, and whatever goes
wrong with it is dropped. The stored reply is the truth, and comes right after.
"""

import asyncio
import json
import logging
from types import TracebackType
from typing import Final, Self

from aether.config import Settings
from aether.db import rows
from aether.leases import Lease
from aether.redact import redact
from aether.rendering import clean

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 0.25
MOST_CHARACTERS: Final = 64_000  # of one reply; the rest comes with the stored reply
WRITE_SECONDS: Final = 5.0
WRITTEN: Final = """
SELECT set_config('synchronous_commit', 'off', true), tell_live('text', $1, $1, $2::text::jsonb)
"""

_writing: Final[set[asyncio.Task[None]]] = set()
"""Keeps the tasks alive: an event loop holds them weakly."""


class Speech:
    """Gathers one reply's text, and tells it four times a second at most.

    ``async with`` it around the call of the model, outside of any transaction; ``hear`` takes each
    piece. ``position`` is the one that the reply will have in the conversation; ``round`` counts as
    a tool execution's does.
    """

    def __init__(self, settings: Settings, lease: Lease, *, position: int, round: int) -> None:
        self._settings = settings
        self._lease = lease
        self._about = {
            "run": lease.run,
            "token": lease.token,
            "position": position,
            "round": round,
        }
        self._heard = ""
        self._told = ""
        self._is_over = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tell(), name="a reply's text")
        _writing.add(self._task)
        self._task.add_done_callback(_writing.discard)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        self._wake.set()  # what is being written ends by itself; the run does not wait for it
        if error is not None and self._task is not None:
            self._task.cancel()

    def hear(self, piece: str) -> None:
        """Take the next piece of the reply, as the model wrote it."""
        if len(self._heard) < MOST_CHARACTERS and not self._is_over:
            self._heard += piece
            self._wake.set()

    def begin_again(self) -> None:
        """The reply is asked for once more: what was heard is void, and is replaced."""
        self._heard = ""

    async def _tell(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._is_over:
                    return
                await self._tell_news()
                await asyncio.sleep(EVERY_SECONDS)
        except Exception as error:  # noqa: BLE001 - a run must not fail because somebody watches it
            self._is_over = True
            log.info("a reply's text is not told as it comes (%s)", type(error).__name__)

    async def _tell_news(self) -> None:
        text = redact(clean(_whole_words(self._heard)), self._settings)
        offset = len(self._told) if text.startswith(self._told) else 0
        news = text[offset:]
        if not news:
            return
        about = {**self._about, "offset": offset, "text": news}
        async with asyncio.timeout(WRITE_SECONDS):
            await rows(WRITTEN, self._lease.execution_id, json.dumps(about, ensure_ascii=False))
        self._told = text


def _whole_words(text: str) -> str:
    """``text`` up to where nothing that follows can belong to its last word.

    Half a secret is not recognised as one; a secret has no spaces in it, and is ASCII.
    """
    for place in range(len(text), 0, -1):
        if text[place - 1].isspace() or not text[place - 1].isascii():
            return text[:place]
    return ""
