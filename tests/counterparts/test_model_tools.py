"""A real model that picks tools by itself: what it asks for is done, bounded, and told back to it.

What it says is its own; its calls are asserted as its greedy decoding makes them.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from aether.embedded.postgres import Postgres
from aether.embedded.valkey import Valkey
from tests.conftest import make_database
from tests.counterparts import install, models
from tests.counterparts.conftest import or_skip
from tests.counterparts.models import ToolModel
from tests.counterparts.programs import Started
from tests.e2e.system import System, system

pytestmark = pytest.mark.counterparts

REPO = "acme/api"
ROUNDS = 3
LONGEST_SECONDS = 240.0  # of four replies, a second each where nothing else runs
TOOL = {
    "type": "function",
    "function": {
        "name": "close_issue",
        "description": "Close an issue.",
        "parameters": {"type": "object", "properties": {"issue": {"type": "integer"}}},
    },
}


@pytest.fixture(scope="module")
def model(started: Started, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToolModel]:
    """The model, once: it reads the tools that it is offered for seconds."""
    python = or_skip(install.tool_model)
    with models.tool_model(python, started, tmp_path_factory.mktemp("tool-model")) as made:
        yield made


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One run that has ended: its execution, its tool executions, and what the model was asked."""

    execution: dict[str, Any]
    tools: list[dict[str, Any]]
    calls: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Office:
    """Aether with one task, whose agent speaks with the model's words."""

    system: System
    model: ToolModel
    is_streamed: bool

    @property
    def log(self) -> Path:
        """What its processes print."""
        return self.system.log

    def run(self, number: int, text: str, *, tools: list[str], model: str = "needle3") -> Ran:
        """Open an issue with ``text`` and wait for the end of the run that it starts."""
        task = {"description": "Do what the issue asks for.", "tools": tools}
        self.system.call("PUT", "/api/tasks/triage", json=task)
        self.system.call("PUT", "/api/agents/pm_sarah", json={"model": model})
        before = len(self.model.calls())
        [execution_id] = self.system.open_issue(REPO, number, "A request", text)
        execution = self.system.finished(execution_id, seconds=LONGEST_SECONDS)
        ran = self.system.call("GET", f"/api/tool-executions?execution_id={execution_id}")
        return Ran(execution=execution, tools=ran[::-1], calls=self.model.calls()[before:])

    def writes(self, number: int) -> list[tuple[str, str]]:
        """What was written to an item, oldest first, as method and last part of the path."""
        path = f"/repos/{REPO}/issues/{number}"
        return [
            (one.method, one.path.removeprefix(path))
            for one in self.system.github.calls
            if one.method != "GET" and one.path.startswith(path)
        ]


@pytest.fixture(scope="module", params=[True, False], ids=["streamed", "whole"])
def office(
    request: pytest.FixtureRequest,
    model: ToolModel,
    postgres: Postgres,
    valkey: Valkey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Office]:
    """The same processes for every run of a way of asking: each brings an issue of its own."""
    name = f"tools_{request.param}".lower()
    told = {"LLM_STREAM": str(request.param), "LLM_MAX_TOOL_ROUNDS": str(ROUNDS), "MAX_TRIES": "1"}
    with system(
        asyncio.run(make_database(postgres, name)),
        valkey.url,
        tmp_path_factory.mktemp(name),
        **model.environment("needle3"),
        **told,
    ) as made:
        made.start("worker")
        made.start_web()
        made.one_task()
        yield Office(system=made, model=model, is_streamed=request.param)


def assert_told_and_counted(office: Office, ran: Ran) -> None:
    """Each request was taken, asked as configured, and is counted in the run's usage."""
    assert [one["status"] for one in ran.calls] == [200] * len(ran.calls)
    asked = [one["asked"].get("stream", False) for one in ran.calls]
    assert asked == [office.is_streamed] * len(ran.calls)
    spent = ran.execution["usage"]
    assert spent["llm_calls"] == len(ran.calls)
    assert spent["tool_calls"] == len(ran.tools)
    for name in ("prompt_tokens", "completion_tokens"):
        assert spent[name] == sum(one["usage"][name] for one in ran.calls) > 0


def test_the_model_comments_as_it_is_asked_to_and_that_is_the_one_answer(office: Office) -> None:
    text = "Add the comment 'Thanks, we are looking into it.' to issue 5"

    ran = office.run(5, text, tools=["add_comment", "close_issue"])

    assert (ran.execution["status"], ran.execution["error"]) == ("succeeded", None)
    [done] = ran.tools
    assert (done["tool"], done["status"], done["error"]) == ("add_comment", "succeeded", None)
    assert done["arguments"].pop("body") == "Thanks, we are looking into it."
    assert list(map(str, done["arguments"].values())) == ["5"]
    [comment] = office.system.github.comments(REPO, 5)
    assert comment.body.startswith("Thanks, we are looking into it.\n\n<!-- aether:")
    assert office.writes(5) == [("POST", "/comments")]
    assert office.system.github.issue(REPO, 5).state == "open"
    assert len(ran.calls) == 2
    assert ran.execution["answer"] == ran.calls[-1]["said"]["content"]
    assert_told_and_counted(office, ran)


def test_the_model_closes_the_issue_as_it_is_asked_to_and_answers_once(office: Office) -> None:
    ran = office.run(6, "close issue 6", tools=["add_comment", "close_issue"])

    assert (ran.execution["status"], ran.execution["error"]) == ("succeeded", None)
    [done] = ran.tools
    assert (done["tool"], done["status"], done["error"]) == ("close_issue", "succeeded", None)
    assert str(done["arguments"]["issue"]) == "6"
    assert office.system.github.issue(REPO, 6).state == "closed"
    [comment] = office.system.github.comments(REPO, 6)
    assert comment.body.startswith(f"{ran.execution['answer']}\n\n<!-- aether:")
    assert office.writes(6) == [("PATCH", ""), ("POST", "/comments")]
    assert len(ran.calls) == 2
    assert_told_and_counted(office, ran)


def test_the_model_closes_no_other_issue_than_the_one_at_hand(office: Office) -> None:
    office.system.github.add_issue(REPO, 12, "Another one", "It stays.")

    ran = office.run(7, "close issue 12", tools=["add_comment", "close_issue"])

    assert (ran.execution["status"], ran.execution["error"]) == ("succeeded", None)
    [refused] = ran.tools
    assert (refused["tool"], refused["status"]) == ("close_issue", "refused")
    assert refused["error"] == "issue: this run may act on 7 only, not on 12"
    for number in (7, 12):
        assert office.system.github.issue(REPO, number).state == "open"
    assert office.writes(12) == []
    assert office.writes(7) == [("POST", "/comments")]
    assert_told_and_counted(office, ran)


def test_a_model_that_calls_wrongly_is_told_each_time_and_changes_nothing(
    office: Office,
) -> None:
    tools = office.system.call("GET", "/api/tools")
    [update] = [one for one in tools if one["name"] == "update_issue"]
    one_thing = {**update["parameters"], "maxProperties": 1}  # a word that the library passes over
    office.system.call("PUT", f"/api/tools/{update['id']}", json={"parameters": one_thing})
    text = "The build fails on every machine."

    ran = office.run(20, text, tools=["get_issue", "update_issue"], model="needle3-unheld")

    assert (ran.execution["status"], ran.execution["error"]) == ("succeeded", None)
    rounds = len(ran.tools)  # it may give up before it has to
    assert {one["status"] for one in ran.tools} <= {"failed", "refused"}
    wrong = "has too many properties. The tool was not run."
    assert any(one["error"].endswith(wrong) for one in ran.tools)
    assert len(ran.calls) == rounds + 1
    offered = [bool(one["asked"].get("tools")) for one in ran.calls]
    assert offered == [True] * rounds + [rounds < ROUNDS]
    history = ran.calls[-1]["asked"]["messages"]
    assert [one["role"] for one in history] == ["system", "user"] + ["assistant", "tool"] * rounds
    for reply, result, done in zip(history[2::2], history[3::2], ran.tools, strict=True):
        [call] = reply["tool_calls"]
        assert call["function"]["name"] == done["tool"]
        assert result["tool_call_id"] == call["id"]
        assert result["content"] == done["result"]
        assert result["content"].endswith(done["error"])
    [comment] = office.system.github.comments(REPO, 20)
    assert comment.body.startswith(f"{ran.calls[-1]['said']['content']}\n\n<!-- aether:")
    assert office.writes(20) == [("POST", "/comments")]
    issue = office.system.github.issue(REPO, 20)
    assert (issue.title, issue.body, issue.state) == ("A request", text, "open")
    assert_told_and_counted(office, ran)


def ask(model: ToolModel, *messages: dict[str, Any]) -> httpx.Response:
    """One request past Aether."""
    body = {"model": "needle3", "messages": messages, "tools": [TOOL], "temperature": 0}
    return httpx.post(f"{model.url}/v1/chat/completions", json=body, timeout=LONGEST_SECONDS)


def test_the_model_says_the_same_each_time_and_nothing_of_it_calls_out(model: ToolModel) -> None:
    asked = {"role": "user", "content": "close issue 12"}

    said = [ask(model, asked).json()["choices"][0]["message"] for _ in range(3)]

    [call] = said[0]["tool_calls"]
    assert said == [said[0]] * 3
    assert (call["function"]["name"], call["function"]["arguments"]) == (
        "close_issue",
        '{"issue": 12}',
    )
    assert model.outgoing() == []
    assert [one.name for one in model.log.parent.iterdir()] == ["tool-model.log"]


def test_a_history_in_which_a_call_has_not_its_one_result_is_refused(model: ToolModel) -> None:
    asked = {"role": "user", "content": "close issue 12"}
    said = ask(model, asked).json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "Closed."}

    statuses = [
        ask(model, asked, said, *more).status_code
        for more in ([result], [], [result, result], [{**result, "tool_call_id": "call_other"}])
    ]

    assert statuses == [200, 400, 400, 400]
