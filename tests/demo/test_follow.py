"""An agent's work is told once each, in its order, however the looks at it fall."""

from typing import Any

import pytest

from aether.demo.follow import News, Progress, arguments_text, is_over

USAGE = {"llm_calls": 2, "total_tokens": 1234}


def execution(status: str, *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    told = [{"message": one, "prompt_tokens": 1000, "completion_tokens": 7} for one in messages]
    shown: dict[str, Any] = {
        "task_id": "triage",
        "agent_reason": "the task's actor",
        "error": None,
        "usage": USAGE,
    }
    return {**shown, "status": status, "answer_url": None, "messages": told, **more}


def call(*names: str) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": one, "function": {"name": one}} for one in names],
    }


RESULT = {"role": "tool", "content": "…"}
SYSTEM = {"role": "system", "content": "You are Sarah."}
ANSWER = {"role": "assistant", "content": "Done."}


def tool(id: int, name: str, **more: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"arguments": {}, "result": "ok", "error": None, "status": "succeeded"}
    return {"id": id, "tool": name, "duration_ms": 12, **shown, **more}


def test_a_whole_run_seen_in_one_look_is_told_in_its_order() -> None:
    messages = (SYSTEM, call("get_issue", "recall"), RESULT, RESULT, ANSWER)
    seen = execution("succeeded", *messages, answer_url="http://x")

    news = list(Progress().news(seen, [tool(2, "recall"), tool(1, "get_issue")]))

    assert news == [
        News(what="model", text="asks for get_issue, recall", took="1,000 + 7 tokens"),
        News(what="tool", text="get_issue() → ok", took="12 ms"),
        News(what="tool", text="recall() → ok", took="12 ms"),
        News(what="model", text="answers with 5 characters", took="1,000 + 7 tokens"),
        News(what="succeeded", text="comment posted", took="2 calls, 1,234 tokens"),
    ]


def test_what_was_told_is_not_told_again() -> None:
    progress = Progress()
    looks = [
        (execution("queued"), []),
        (execution("queued"), []),
        (execution("running", SYSTEM, agent_reason=None), []),
        (execution("running", SYSTEM), []),
        (execution("running", SYSTEM, call("recall")), []),
        (execution("running", SYSTEM, call("recall"), RESULT), [tool(1, "recall")]),
        (execution("running", SYSTEM, call("recall"), RESULT), [tool(1, "recall")]),
    ]

    told = [one.what for seen, tools in looks for one in progress.news(seen, tools)]

    assert told == ["queued", "running", "model", "tool"]


def test_a_failed_tool_and_a_failed_run_say_why() -> None:
    refused = tool(1, "close_issue", status="refused", error="not offered", arguments={"a": 1})
    seen = execution("failed", call("close_issue"), RESULT, error="the model is out of reach")

    news = list(Progress().news(seen, [refused]))

    assert news[1].text == "close_issue(a=1) → refused: not offered"
    assert news[2] == News(
        what="failed", text="the model is out of reach", took="2 calls, 1,234 tokens"
    )


@pytest.mark.parametrize(
    ("status", "over"),
    [("queued", False), ("running", False), ("retrying", False), ("waiting_approval", False),
     ("succeeded", True), ("failed", True), ("cancelled", True)],
)  # fmt: skip
def test_which_states_are_an_end(status: str, over: bool) -> None:
    assert is_over({"status": status}) is over


def test_arguments_as_a_person_would_write_them() -> None:
    assert arguments_text({"labels": ["bug"], "limit": 20}) == 'labels=["bug"], limit=20'
    assert arguments_text("{broken") == '"{broken"'
    assert len(arguments_text({"body": "x" * 500})) == 110
