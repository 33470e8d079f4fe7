# ruff: noqa: F401, F811 # fixtures of a neighbour
"""What a chat's tools have told, at both doors: its calls, what it withholds, their record."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest

from aether import aside
from aether.demo.model import Reply, ScriptedModel, ToolCallScript
from aether.llm import chat, streaming
from tests.aside.here import AsideHere
from tests.doors.calls import TA_LEO, count, details
from tests.doors.test_llm_chat import KEY, LLM_CHAT, events_of, model, model_url, said
from tests.mcp.toolbox import Toolbox
from tests.schema.both import Doors, both_doors

CALLS: Final = """toolCalls { toolExecutionId tool arguments status error durationMs }
  withheld { name reason }"""
WITH_CALLS: Final = f"""mutation ($input: LlmChatInput!) {{ llmChat(input: $input) {{
  content {CALLS} }} }}"""
STREAM: Final = """subscription ($input: LlmChatInput!) { llmChatStream(input: $input) {
  text tool toolResult { toolExecutionId tool status } again answer { content } } }"""
EXECUTIONS: Final = """{ toolExecutions(agentId: "ta_leo") {
  id tool executionId execution { id } run round agent { name } } }"""
WHY: Final = "it writes, and a chat only reads"


@pytest.fixture
def box() -> Iterator[Toolbox]:
    made = Toolbox()
    made.put_search()
    made.put_publish()
    with made.served():
        yield made


@pytest.fixture
async def doors(database: str, model_url: str, box: Toolbox) -> AsyncIterator[Doors]:
    """Both doors, with Leo and an MCP server of his own."""
    streaming.forget()
    async with both_doors(
        LLM_BASE_URL=model_url, LLM_API_KEY=KEY, LLM_MODEL="scripted", OUTBOUND_ALLOW="127.0.0.1"
    ) as made:
        aside.install(AsideHere(made.runtime.settings))
        await made.post("/api/agents", TA_LEO)
        server = {"name": "Docs", "url": box.url, "agent_id": "ta_leo"}
        await made.post("/api/mcp-servers", server)
        await made.post("/api/mcp-servers/discover", {}, 200)
        yield made
        aside.install(None)
    await chat.close()


def looking() -> list[Reply]:
    """A reply that calls a tool that reads and one that writes, and the answer."""
    return [
        Reply.calls(
            ToolCallScript("mcp_docs_search", {"query": "JWT"}, id="c1"),
            ToolCallScript("mcp_docs_publish", {"text": "x"}, id="c2"),
            content="I look.",
        ).using(10, 5),
        Reply.text("It is known.").using(30, 1),
    ]


ASKED: Final = said(agent_id="ta_leo", use_tools=True)
VARIABLES: Final = {
    "agentId": "ta_leo", "useTools": True, "messages": [{"role": "USER", "content": "Known?"}],
}  # fmt: skip


def call(id: int, name: str, arguments: Any, error: str | None, took: Any) -> dict[str, Any]:
    return {
        "tool_execution_id": id,
        "tool": name,
        "arguments": arguments,
        "status": "refused" if error else "succeeded",
        "error": error,
        "duration_ms": took,
    }


async def test_the_answer_tells_which_tools_were_called_and_which_are_withheld(
    doors: Doors, model: ScriptedModel, box: Toolbox
) -> None:
    model.say(looking() * 2)

    told = await doors.post("/api/llm/chat", ASKED, 200)
    graphql = (await doors.ask(WITH_CALLS, input=VARIABLES))["llmChat"]

    refused = f"mcp_docs_publish is withheld from this chat: {WHY}"
    took = [one["duration_ms"] for one in told["tool_calls"]]
    assert told["message"]["content"] == graphql["content"] == "It is known."
    assert told["tool_calls"] == [
        call(1, "mcp_docs_search", {"query": "JWT"}, None, took[0]),
        call(2, "mcp_docs_publish", '{"text": "x"}', refused, took[1]),
    ]
    assert told["withheld"] == graphql["withheld"] == [{"name": "mcp_docs_publish", "reason": WHY}]
    assert [(one["toolExecutionId"], one["tool"], one["arguments"], one["status"], one["error"])
            for one in graphql["toolCalls"]] == [
        ("3", "mcp_docs_search", {"query": "JWT"}, "SUCCEEDED", None),
        ("4", "mcp_docs_publish", '{"text": "x"}', "REFUSED", refused),
    ]  # fmt: skip
    assert box.called == [("search", {"query": "JWT"})] * 2
    assert "found: JWT" in model.requests[1]["messages"][-2]["content"]


async def test_a_stream_tells_each_call_as_it_begins_and_ends(
    doors: Doors, model: ScriptedModel
) -> None:
    model.say(looking())

    events = await events_of(doors, ASKED)

    names = [name for name, _ in events]
    [*_, done] = [data for name, data in events if name == "done"]
    first, second = done["tool_calls"]
    assert [one for one in events if one[0].startswith("tool")] == [
        ("tool", {"tool": "mcp_docs_search"}),
        ("tool", {"tool": "mcp_docs_publish"}),
        ("tool_result", first),
        ("tool_result", second),
    ]
    assert names.index("text") < names.index("tool")
    assert "".join(data["text"] for name, data in events if name == "text") == "I look.It is known."


async def test_a_subscription_tells_each_call_as_it_begins_and_ends(
    doors: Doors, model: ScriptedModel
) -> None:
    model.say(looking())

    answer = await doors.client.post(
        "/graphql",
        json={"query": STREAM, "variables": {"input": VARIABLES}},
        headers={"accept": "text/event-stream"},
    )

    lines = [one.removeprefix("data: ") for one in answer.text.split("\n") if one[:7] == "data: {"]
    events = [json.loads(one)["data"]["llmChatStream"] for one in lines]
    assert all(sum(value is not None for value in one.values()) == 1 for one in events)
    assert [one["tool"] or one["toolResult"] for one in events
            if one["tool"] or one["toolResult"]] == [
        "mcp_docs_search",
        "mcp_docs_publish",
        {"toolExecutionId": "1", "tool": "mcp_docs_search", "status": "SUCCEEDED"},
        {"toolExecutionId": "2", "tool": "mcp_docs_publish", "status": "REFUSED"},
    ]  # fmt: skip
    assert events[-1]["answer"] == {"content": "It is known."}


async def test_calls_of_a_chat_stand_in_the_history_the_audit_and_the_usage_of_its_agent(
    doors: Doors, model: ScriptedModel
) -> None:
    model.say(looking())

    told = await doors.post("/api/llm/chat", ASKED, 200)

    listed = await doors.get("/api/tool-executions?agent_id=ta_leo")
    assert [(one["id"], one["tool"], one["execution_id"]) for one in listed] == [
        (2, "mcp_docs_publish", None), (1, "mcp_docs_search", None),
    ]  # fmt: skip
    assert [one["result"] for one in listed] == [
        f"Refused: mcp_docs_publish is withheld from this chat: {WHY}", "found: JWT",
    ]  # fmt: skip
    assert {(one["prompt_tokens"], one["completion_tokens"]) for one in listed} == {(10, 5)}
    assert (await doors.ask(EXECUTIONS))["toolExecutions"][1] == {
        "id": "1", "tool": "mcp_docs_search", "executionId": None, "execution": None, "run": 1,
        "round": 1, "agent": {"name": "Leo"},
    }  # fmt: skip
    entries = [
        one
        for one in await doors.get("/api/audit")
        if one["action"].startswith(("tool.c", "tool.r"))
    ]
    assert [(one["action"], one["agent_id"], one["caller"], one["execution_id"])
            for one in entries] == [
        ("tool.refused", "ta_leo", "api", None), ("tool.called", "ta_leo", "api", None),
    ]  # fmt: skip
    assert {one["origin"] for one in entries} == {
        one["origin"] for one in await doors.get("/api/audit") if one["action"] == "llm.chat"
    }
    [usage] = await doors.get("/api/usage?agent_id=ta_leo")
    assert (usage["llm_calls"], usage["tool_calls"], usage["total_tokens"]) == (2, 2, 46)
    assert told["usage"]["total_tokens"] == 46


async def test_calls_are_not_asked_for_of_who_does_not_want_tools(
    doors: Doors, model: ScriptedModel, box: Toolbox
) -> None:
    told = await doors.post("/api/llm/chat", said(agent_id="ta_leo"), 200)

    assert (told["tool_calls"], told["withheld"]) == ([], [])
    assert "tools" not in model.requests[0]
    assert box.called == []
    assert await count("tool_execution") == 0
