"""The model as aimock, in strict mode: what it is asked, and a limit that it sets."""

import pytest

from tests.counterparts.conftest import MakeAiMock, MakeSystem
from tests.counterparts.models import AIMOCK_KEY, calls, refuses, says
from tests.e2e.system import wait_for

pytestmark = pytest.mark.counterparts

REPO = "acme/api"
RETRY_AFTER = 7  # above our own first wait, which is 4 to 6 s


def test_a_limit_is_waited_out_and_the_tools_result_is_told_to_the_model(
    make_system: MakeSystem, make_aimock: MakeAiMock
) -> None:
    script = [
        refuses(429, "Slow down.", RETRY_AFTER, userMessage="On start.", sequenceIndex=0),
        calls("get_issue", {}, userMessage="On start.", hasToolResult=False),
        says("Read it.", toolCallId="call_1", toolResultContains="It breaks"),
    ]
    with make_aimock(*script) as model, make_system(**model.environment) as system:
        system.start("worker")
        system.start("scheduler")
        system.start_web()
        system.one_task()

        [execution_id] = system.open_issue(REPO)
        waiting = wait_for(
            lambda: (
                found
                if (found := system.execution(execution_id))["status"] in {"retrying", "failed"}
                else None
            ),
            what="the first try to be refused",
        )
        done = system.finished(execution_id)

        assert (waiting["status"], waiting["tries"]) == ("retrying", 1)
        assert "429" in waiting["error"]
        assert "Slow down." in waiting["error"]
        assert (done["status"], done["answer"], done["error"]) == ("succeeded", "Read it.", None)
        [comment] = system.github.comments(REPO, 7)
        assert comment.body.startswith("Read it.\n\n<!-- aether:")
        assert model.statuses() == [429, 200, 200]
        refused, asked, told = model.journal()
        waited = (asked["timestamp"] - refused["timestamp"]) / 1000
        assert RETRY_AFTER <= waited < RETRY_AFTER + 8
        assert [one["role"] for one in asked["body"]["messages"]] == ["system", "user"]
        assert [one["role"] for one in told["body"]["messages"][2:]] == ["assistant", "tool"]
        assert told["body"]["messages"][3]["tool_call_id"] == "call_1"
        offered = {one["function"]["name"] for one in asked["body"]["tools"]}
        assert {"add_comment", "get_issue", "add_labels"} <= offered
        assert 'status="429"' in model.metrics()
        assert AIMOCK_KEY not in system.log.read_text()


def test_what_no_fixture_fits_is_refused_and_nothing_is_posted(
    make_system: MakeSystem, make_aimock: MakeAiMock
) -> None:
    script = [says("Never.", userMessage="of something else")]
    with (
        make_aimock(*script) as model,
        make_system(**model.environment, MAX_TRIES="1") as system,
    ):
        system.start("worker")
        system.start("scheduler")
        system.start_web()
        system.one_task()

        [execution_id] = system.open_issue(REPO)
        done = system.finished(execution_id)

        assert done["status"] == "failed"
        assert "503" in done["error"]
        assert model.statuses() == [503]
        assert system.github.comments(REPO, 7) == []
