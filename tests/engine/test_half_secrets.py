"""A secret that stands where a text is cut does not leave by halves."""

from typing import Any

import pytest

from aether.demo.model import Reply
from aether.llm.prompts import BODY_LIMIT, TOOL_RESULT_LIMIT
from aether.models import ToolExecution
from aether.redact import learn
from aether.tools import mcp_results
from aether.tools.mcp import McpEndpoint
from aether.vocabulary import McpTransport
from tests.engine import test_execute as base

World = base.World
CALL = base.CALL
make = base.make
world = base.world

STORED = "planted-0123456789-ABCDEFGHIJ-secret"
HALVES = (STORED[: len(STORED) // 2], STORED[len(STORED) // 2 :])


def astride(place: int, whole: int) -> str:
    """A text of this length with the secret's middle at ``place``."""
    before = "a" * (place - len(STORED) // 2)
    return (before + STORED).ljust(whole, "b")


async def sent(world: World, body: str, *replies: Any) -> str:
    """All that the model was sent in a run that an issue with this text woke."""
    learn([STORED])
    done = await world.run(*replies, body=body)
    assert done.status == "succeeded"
    return str([one["messages"] for one in world.model.requests])


@pytest.mark.parametrize("from_end", [False, True])
async def test_of_an_item_s_long_text(world: World, from_end: bool) -> None:
    whole = BODY_LIMIT * 2
    place = whole - BODY_LIMIT // 4 if from_end else BODY_LIMIT * 3 // 4

    told = await sent(world, astride(place, whole), Reply.text("Long."))

    assert "characters left out" in told
    assert not any(half in told for half in HALVES)


async def test_of_what_a_tool_has_read(world: World) -> None:
    begin = len('{"key": "7", "title": "Boom", "body": "')
    text = astride(TOOL_RESULT_LIMIT * 3 // 4 - begin, TOOL_RESULT_LIMIT * 2)

    told = await sent(world, text, Reply.calls(CALL("get_issue", {}, "c1")), Reply.text("Long."))

    [ran] = await ToolExecution.all()
    assert "characters left out" in (ran.result or "")
    assert not any(half in told or half in (ran.result or "") for half in HALVES)


class _Result:
    """As much of an MCP answer as is looked at."""

    structured_content = None

    def __init__(self, text: str) -> None:
        self.content = [type("Text", (), {"type": "text", "text": text})]


def test_of_what_an_mcp_server_answers() -> None:
    learn([STORED])
    endpoint = McpEndpoint(name="Docs", url="http://a.example/", transport=McpTransport.SSE)

    told = mcp_results.result_text(
        _Result(astride(mcp_results.LONGEST, mcp_results.LONGEST * 2)), endpoint.redact
    )

    assert told.endswith("[… cut …]")
    assert not any(half in told for half in HALVES)
