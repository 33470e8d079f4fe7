"""What the aside does of a chat: the whole answer, or its pieces as they are written."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from aether.config import Settings
from aether.engine.chat import Asked, Ears, converse
from aether.engine.chat_tools import CalledTool

LONGEST_PIECE: Final = 16_384


async def chat(settings: Settings, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``Answer.to_json`` for ``Asked``."""
    return (await converse(settings, Asked.from_json(arguments), Ears())).to_json()


async def chat_pieces(
    settings: Settings, arguments: Mapping[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    """``{"text"}``, ``{"tool"}`` and ``{"called"}`` (``CalledTool.to_json``) as they come, then
    ``{"answer"}``: ``Answer.to_json``.

    ``{"again": true}``: the text since the last tool is void, the reply is asked for once more.

    A reader that is slow gets longer pieces; closing this ends the call of the model.
    """
    pieces = _Pieces()
    asked = Asked.from_json(arguments)
    talking = asyncio.create_task(
        converse(
            settings,
            asked,
            Ears(
                text=pieces.add_text,
                tool=pieces.add_tool,
                called=pieces.add_called,
                again=pieces.begin_again,
            ),
        )
    )
    talking.add_done_callback(lambda _: pieces.end())
    try:
        while (piece := await pieces.next()) is not None:
            yield piece
        yield {"answer": (await talking).to_json()}
    finally:
        talking.cancel()
        await asyncio.wait([talking])


class _Pieces:
    """What waits for the reader; texts that wait grow together."""

    def __init__(self) -> None:
        self._waiting: deque[dict[str, Any]] = deque()
        self._changed = asyncio.Event()
        self._has_ended = False

    def add_text(self, text: str) -> None:
        last = self._waiting[-1] if self._waiting else {}
        if "text" in last and len(last["text"]) < LONGEST_PIECE:
            last["text"] += text
        else:
            self._waiting.append({"text": text})
        self._changed.set()

    def add_tool(self, name: str) -> None:
        self._waiting.append({"tool": name})
        self._changed.set()

    def add_called(self, call: CalledTool) -> None:
        self._waiting.append({"called": call.to_json()})
        self._changed.set()

    def begin_again(self) -> None:
        self._waiting.append({"again": True})
        self._changed.set()

    def end(self) -> None:
        self._has_ended = True
        self._changed.set()

    async def next(self) -> dict[str, Any] | None:
        """The next piece; None after the last."""
        while not self._waiting:
            if self._has_ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft()
