"""The demo's story holds together: the issue, the two agents, and anybody else."""

import json
from typing import Any

import httpx
import pytest

from aether.demo import scenario
from aether.demo.github import Addresses, is_signed
from aether.demo.serving import serving

ADD_LABELS = {"labels": {"type": "array", "items": {"type": "string"}}}
TOOLS: dict[str, dict[str, Any]] = {
    "add_comment": {"body": {"type": "string"}},
    "get_issue": {},
    "list_comments": {"limit": {"type": "integer"}},
    "add_labels": ADD_LABELS,
    "remember": {name: {"type": "string"} for name in ("key", "content", "scope")},
    "recall": {"query": {"type": "string"}},
}


def tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": TOOLS[name]}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def play(
    system: str, user: str = f"<event>{scenario.ISSUE_TITLE}</event>", tools: tuple[str, ...] = ()
) -> tuple[list[list[dict[str, Any]]], str]:
    """Run one agent against the demo's model: the rounds of its calls, and its answer."""
    model = scenario.demo_model("sk-demo")
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": system},
        {"role": "user", "content": user},
    ]
    more = {"tools": [tool(name) for name in tools]} if tools else {}
    rounds: list[list[dict[str, Any]]] = []
    with serving(model.app) as url:
        while len(rounds) <= 5:
            answer = httpx.post(
                f"{url}/v1/chat/completions",
                headers={"Authorization": "Bearer sk-demo"},
                json={"model": "scripted", "messages": messages, **more},
            )
            message = answer.json()["choices"][0]["message"]
            calls = message.get("tool_calls", [])
            if not calls:
                return rounds, message["content"]
            rounds.append([call["function"] for call in calls])
            results = [
                {"role": "tool", "tool_call_id": one["id"], "content": "ok"} for one in calls
            ]
            messages += [message, *results]
    raise AssertionError("more than five rounds")


def names(rounds: list[list[dict[str, Any]]]) -> list[list[str]]:
    return [[call["name"] for call in calls] for calls in rounds]


def test_sarah_reads_labels_and_triages() -> None:
    rounds, answer = play("You are Sarah, an experienced product manager.", tools=tuple(TOOLS))

    assert names(rounds) == [["get_issue", "list_comments"], ["add_labels"]]
    assert json.loads(rounds[1][0]["arguments"]) == {"labels": list(scenario.LABELS)}
    assert answer == scenario.TRIAGE


def test_leo_recalls_remembers_and_analyses() -> None:
    rounds, answer = play("You are Leo (TA). Hand over to Sarah when done.", tools=tuple(TOOLS))

    assert names(rounds) == [["recall", "list_comments"], ["remember"]]
    remembered = json.loads(rounds[1][0]["arguments"])
    assert remembered["key"] == scenario.MEMORY_KEY
    assert remembered["scope"] == "project"
    assert answer == scenario.ANALYSIS


@pytest.mark.parametrize(
    ("tools", "rounds"), [((), []), (("add_labels",), [["add_labels"]]), (("recall",), [])]
)
def test_tools_that_are_not_on_offer_are_not_called(
    tools: tuple[str, ...], rounds: list[list[str]]
) -> None:
    called, answer = play("You are Sarah.", tools=tools)

    assert names(called) == rounds
    assert answer == scenario.TRIAGE


@pytest.mark.parametrize(
    ("system", "user"),
    [
        ("You are Quinn, who checks quality.", scenario.ISSUE_TITLE),
        ("You are Sarah.", "Another issue altogether"),
    ],
)
def test_anybody_else_and_any_other_issue_gets_the_plain_answer(system: str, user: str) -> None:
    rounds, answer = play(system, user, tools=tuple(TOOLS))

    assert rounds == []
    assert answer == scenario.GENERIC


def test_the_opening_delivery_is_signed_and_about_the_issue_that_github_holds() -> None:
    github = scenario.demo_github("ghs_demo")
    with serving(github.app) as url:
        headers, body = scenario.opening_delivery(
            github, "secret", delivery_id="guid", addresses=Addresses(url, url)
        )
        payload = json.loads(body)
        held = httpx.get(
            payload["issue"]["url"], headers={"Authorization": "Bearer ghs_demo"}
        ).json()

    assert is_signed(headers, body, "secret")
    assert headers["X-GitHub-Event"] == "issues"
    assert headers["X-GitHub-Delivery"] == "guid"
    assert payload["issue"] == held
    assert payload["sender"]["login"] == scenario.ISSUE_AUTHOR
    assert held["body"] == scenario.ISSUE_BODY


def test_the_texts_fit_what_github_takes() -> None:
    for text in (scenario.TRIAGE, scenario.ANALYSIS, scenario.GENERIC, scenario.ISSUE_BODY):
        assert 0 < len(text) < 65_536
        assert max(len(line) for line in text.splitlines()) < 400
    assert len(scenario.ISSUE_TITLE) <= 256
    assert all(len(label) <= 50 for label in scenario.LABELS)
