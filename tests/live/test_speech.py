"""A reply's text on its way: what is asked for anew voids what was heard."""

import asyncio
import json

import pytest

from aether.config import Settings
from aether.db import rows
from aether.leases import Lease
from aether.live.speech import Speech


async def told() -> list[tuple[int, str]]:
    found = await rows("SELECT about FROM live_event WHERE kind = 'text' ORDER BY tx, id")
    return [(one["offset"], one["text"]) for one in (json.loads(row["about"]) for row in found)]


@pytest.mark.usefixtures("database")
async def test_a_reply_that_is_asked_for_anew_replaces_what_was_told() -> None:
    lease = Lease(execution_id=7, token=1, run=1, tries=0, seconds=30)

    async with (
        asyncio.timeout(20),
        Speech(Settings.model_validate({}), lease, position=2, round=1) as speech,
    ):
        speech.hear("The first model said ")
        while not await told():  # noqa: ASYNC110 # written by a task of its own
            await asyncio.sleep(0.01)
        speech.begin_again()
        speech.hear("The second says ")
        while len(await told()) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert await told() == [(0, "The first model said "), (0, "The second says ")]
