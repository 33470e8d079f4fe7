"""The model behind the LiteLLM proxy, with and without ``/v1``, and with a key it does not know."""

import pytest

from tests.counterparts.conftest import MakeSystem
from tests.counterparts.models import PROXY_KEY, served_by
from tests.counterparts.programs import Program
from tests.e2e.system import System

pytestmark = pytest.mark.counterparts

REPO = "acme/api"
WRONG_KEY = "sk-a-key-that-the-proxy-does-not-know"


def start(system: System) -> None:
    """Start every process with one task on an opened issue."""
    system.start("worker")
    system.start("scheduler")
    system.start_web()
    system.one_task()


@pytest.mark.parametrize(
    ("path", "model", "asked", "answer", "labels"),
    [
        ("", "answers", 1, "It came through the proxy.", []),
        ("/v1/", "calls-tools", 2, "I have labelled it.", ["bug"]),
    ],
)
def test_a_run_goes_through_the_proxy(
    make_system: MakeSystem,
    litellm: Program,
    path: str,
    model: str,
    asked: int,
    answer: str,
    labels: list[str],
) -> None:
    before = len(served_by(litellm))
    with make_system(
        LLM_BASE_URL=f"{litellm.url}{path}",
        LLM_API_KEY=PROXY_KEY,
        LLM_MODEL=model,
        LLM_MAX_TOOL_ROUNDS="1",  # its canned answer calls the tool each time
        LLM_STREAM="false",  # its canned answers stream no tool calls and no usage
    ) as system:
        start(system)

        [execution_id] = system.open_issue(REPO)
        done = system.finished(execution_id)

        assert (done["status"], done["answer"], done["error"]) == ("succeeded", answer, None)
        spent = done["usage"]
        assert (spent["llm_calls"], spent["prompt_tokens"]) == (asked, 10 * asked)
        [comment] = system.github.comments(REPO, 7)
        assert comment.body.startswith(f"{answer}\n\n<!-- aether:")
        assert list(system.github.issue(REPO, 7).labels) == labels
        line = "POST /v1/chat/completions HTTP/1.1 200 OK"
        assert served_by(litellm)[before:] == [line] * asked
        assert system.model.requests == []


def test_a_key_the_proxy_does_not_know_is_named_by_its_setting(
    make_system: MakeSystem, litellm: Program
) -> None:
    with make_system(
        LLM_BASE_URL=litellm.url, LLM_API_KEY=WRONG_KEY, LLM_MODEL="answers"
    ) as system:
        start(system)

        [execution_id] = system.open_issue(REPO)
        done = system.finished(execution_id)

        assert (done["status"], done["tries"]) == ("failed", 1)
        assert done["error"].startswith("LLM_API_KEY: the model 'answers' refused the key")
        assert WRONG_KEY not in done["error"]
        assert WRONG_KEY not in system.log.read_text()
        assert system.github.comments(REPO, 7) == []
