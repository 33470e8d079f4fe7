# ruff: noqa: F401, F811 # fixtures of a neighbour
"""Chats cost money like runs do: counted, bounded, and given to other models where one fails."""

from typing import Any

from aether.demo.model import Reply, ScriptedModel
from aether.models import AuditEntry
from tests.doors.calls import TA_LEO, actions, count
from tests.doors.test_llm_chat import LLM_CHAT, doors, events_of, model, model_url, said
from tests.schema.both import Doors

LIMITED: Any = {**TA_LEO, "max_tokens_per_day": 100}


async def test_a_chat_is_counted_in_the_day_and_told_by_the_report(
    doors: Doors, model: ScriptedModel
) -> None:
    await doors.post("/api/agents", TA_LEO)
    model.say(Reply.text("No.").using(60, 4))

    await doors.post("/api/llm/chat", said(agent_id="ta_leo", project_id=7), 200)

    report = await doors.get("/api/usage/report?by=project")
    assert [(one["project_id"], one["llm_calls"], one["total_tokens"]) for one in report] == [
        (7, 1, 64)
    ]
    assert await count("usage_day") == 1


async def test_an_agent_that_has_spent_its_day_is_asked_nothing_more(
    doors: Doors, model: ScriptedModel
) -> None:
    await doors.post("/api/agents", LIMITED)
    model.say(Reply.text("No.").using(99, 2))
    await doors.post("/api/llm/chat", said(agent_id="ta_leo"), 200)

    why = await doors.refused("POST", "/api/llm/chat", said(agent_id="ta_leo"), 429)
    events = await events_of(doors, said(agent_id="ta_leo"))
    asked = {"agentId": "ta_leo", "messages": [{"role": "USER", "content": "x"}]}
    graphql = await doors.refused_by_graphql(LLM_CHAT, input=asked)

    said_why = "agent ta_leo has used 101 of 100 tokens (max_tokens_per_day); nothing more is spent"
    assert why == said_why
    assert events == [("error", {"error": said_why})]
    assert graphql == (said_why, "RATE_LIMITED")
    assert len(model.requests) == 1
    assert (await actions()).count("limit.reached") == 1
    refused = await AuditEntry.filter(action="llm.refused").order_by("id")
    assert [(one.agent_id, one.caller, one.origin, one.detail) for one in refused] == [
        ("ta_leo", "api", origin, {"project_id": None, "error": said_why})
        for origin in ("rest 127.0.0.1", "rest 127.0.0.1", "graphql 127.0.0.1")
    ]


async def test_a_project_s_bound_holds_for_chats_too_and_is_warned_about(
    doors: Doors, model: ScriptedModel
) -> None:
    project = await doors.post(
        "/api/projects",
        {"name": "API", "source": "github", "source_project_id": "acme/api",
         "max_tokens_per_day": 100},
    )  # fmt: skip
    model.say(Reply.text("No.").using(80, 5))
    body = said(project_id=project["id"])

    await doors.post("/api/llm/chat", body, 200)
    await doors.post("/api/llm/chat", body, 200)
    await doors.refused("POST", "/api/llm/chat", body, 429)

    told = await AuditEntry.filter(action__startswith="limit.").order_by("id")
    assert [one.action for one in told] == ["limit.near", "limit.reached"]
    assert len(model.requests) == 2


async def test_where_the_agent_s_model_fails_its_fallback_answers_and_the_stream_says_so(
    doors: Doors, model: ScriptedModel
) -> None:
    await doors.post("/api/agents", {**TA_LEO, "model": "scripted", "fallback_models": ["other"]})
    model.models = ("scripted", "other")  # type: ignore[assignment]
    model.say([Reply.breaking("Half of a", 2), Reply.text("The whole answer.")])

    events = await events_of(doors, said(agent_id="ta_leo"))

    names = [name for name, _ in events]
    assert "again" in names
    after = events[names.index("again") + 1 :]
    assert "".join(one["text"] for name, one in after if name == "text") == "The whole answer."
    assert after[-1][1]["message"]["content"] == "The whole answer."
    assert [one["model"] for one in model.requests] == ["scripted", "other"]


async def test_a_model_that_the_caller_names_is_asked_alone(
    doors: Doors, model: ScriptedModel
) -> None:
    await doors.post("/api/agents", {**TA_LEO, "fallback_models": ["other"]})
    model.say([Reply.error(500), Reply.text("Not me.")])

    await doors.refused("POST", "/api/llm/chat", said(agent_id="ta_leo", model="scripted"), 502)

    assert len(model.requests) == 1
