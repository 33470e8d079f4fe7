"""A real model, small enough to run here: chat, streaming and usage through every layer."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.counterparts import install, models
from tests.counterparts.conftest import MakeSystem, or_skip
from tests.counterparts.programs import Program, Started

pytestmark = pytest.mark.counterparts


@pytest.fixture
def small(started: Started, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    found = or_skip(install.small_model)
    folder = tmp_path_factory.mktemp("small-model")
    with models.small_model(found.python, found.weights, started, folder) as made:
        yield made


def test_a_real_models_words_come_whole_and_in_pieces_and_are_counted(
    make_system: MakeSystem, small: Program
) -> None:
    with make_system(LLM_BASE_URL=small.url, LLM_API_KEY="none", LLM_MODEL="smollm2") as system:
        system.start_web()
        system.call("POST", "/api/agents", json={
            "id": "ta_leo", "name": "Leo", "role_id": "ta", "prompt": "You are a helpful person.",
        })  # fmt: skip
        body = {
            "agent_id": "ta_leo",
            "messages": [{"role": "user", "content": "Name three colours of the rainbow."}],
        }

        def post(**more: Any) -> httpx.Response:
            return httpx.post(f"{system.url}/api/llm/chat", json={**body, **more}, timeout=120)

        plain = post().json()
        streamed = post(stream=True).text
        [used] = system.call("GET", "/api/usage")

    events = [one.split("\ndata: ") for one in streamed.strip().split("\n\n")]
    texts = [json.loads(data)["text"] for name, data in events if name == "event: text"]
    name, last = events[-1]
    done = json.loads(last)
    assert plain["message"]["content"].strip()
    assert name == "event: done"
    assert len(texts) > 5
    assert "".join(texts) == done["message"]["content"]
    for one in (plain, done):
        assert one["usage"]["prompt_tokens"] > 10
        assert 0 < one["usage"]["completion_tokens"] <= 48
    assert plain["usage"]["prompt_tokens"] == done["usage"]["prompt_tokens"]
    assert (used["agent_id"], used["llm_calls"]) == ("ta_leo", 2)
    assert used["total_tokens"] == plain["usage"]["total_tokens"] + done["usage"]["total_tokens"]
