"""The model as LLMock, which breaks streams on demand and gives a verdict on its client."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aether.config import Settings
from aether.errors import UpstreamError
from aether.llm import chat, streaming
from tests.counterparts import install, models
from tests.counterparts.conftest import or_skip
from tests.counterparts.models import LlMock
from tests.counterparts.programs import Started
from tests.llm.conftest import until

pytestmark = pytest.mark.counterparts


@pytest.fixture
def mock(started: Started, tmp_path: Path) -> Iterator[LlMock]:
    with models.llmock(or_skip(install.llmock), started, tmp_path) as made:
        yield made


async def ask(mock: LlMock, *, timeout: float = 20) -> tuple[chat.Reply, list[str]]:
    """One streamed call: the reply and what was heard of it."""
    heard: list[str] = []
    settings = Settings.from_environment(
        {"LLM_BASE_URL": mock.url, "LLM_API_KEY": "none-needed", "LLM_MODEL": "gpt-4o"}
    )
    reply = await chat.complete(
        settings,
        model=None,
        messages=[{"role": "user", "content": "Write a paragraph about trees."}],
        tools=None,
        timeout=timeout,
        on_text=heard.append,
    )
    return reply, heard


@pytest.mark.parametrize(
    "fault",
    [
        {"type": "fail", "status": 429, "retry_after": 1},
        {"type": "fail", "status": 503, "retry_after": 2},
        {"type": "stream_fault", "kind": "disconnect", "after_chunks": 3},
        {"type": "stream_fault", "kind": "truncate", "after_chunks": 3},
        {"type": "stream_fault", "kind": "malformed", "after_chunks": 3},
        {"type": "stream_fault", "kind": "stall", "after_chunks": 3, "stall_seconds": 3},
    ],
    ids=lambda fault: str(fault.get("kind", fault.get("status"))),
)
async def test_every_fault_is_one_that_may_pass_and_the_verdict_is_clean(
    mock: LlMock, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    streaming.forget()
    monkeypatch.setattr(streaming, "IDLE_SECONDS", 1.0)
    mock.breaks(fault)

    try:
        with pytest.raises(UpstreamError) as raised:
            await ask(mock)
        await until(lambda: mock.requests() == 1)  # it notes a request at its end
        # as a run does that is tried again: LLMock judges the whole
        await asyncio.sleep(raised.value.retry_after or 0.2)
        monkeypatch.setattr(streaming, "IDLE_SECONDS", 30.0)
        reply, heard = await ask(mock)
        verdict = mock.verdict()
    finally:
        await chat.close()

    assert raised.value.retryable is True
    assert raised.value.retry_after == fault.get("retry_after")
    # Two warnings of it cannot be helped: it takes a stream with a malformed chunk for answered, so
    # that what follows is another call to it, and what it sends to a connection that we have closed
    # for sent. What we make of either is asserted above.
    found = {one["code"] for one in verdict["findings"]}
    assert verdict["passed"] is True
    assert found <= {"malformed_chunk_ignored", "no_read_timeout"}
    assert (verdict["attempts"], verdict["faults_injected"]) == (2, 1)
    assert reply.text == "".join(heard)
    assert reply.text
    assert reply.usage.completion_tokens > 0
