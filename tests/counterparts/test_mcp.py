"""MCP servers that others wrote: their tools are discovered, and an agent uses them."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from aether.demo.model import Reply, ToolCallScript, by_turn
from aether.reach import Reach
from aether.tools.mcp import McpEndpoint, ToolFailedError, call_tool, list_tools
from aether.tools.mcp_definitions import definition
from aether.vocabulary import McpTransport
from tests.counterparts.conftest import MakeSystem
from tests.counterparts.mcp_servers import MYWORLD_TOKEN, World
from tests.counterparts.programs import Program

pytestmark = pytest.mark.counterparts

LOOPBACK = Reach(("127.0.0.1",))
REPO = "acme/api"
ADD_COMMENT = "mcp_our_jira_jira_add_comment"

MakeEverything = Callable[[str], AbstractContextManager[Program]]
MakeMyworld = Callable[[], AbstractContextManager[World]]


@pytest.mark.parametrize("transport", ["streamable_http", "sse"])
async def test_the_protocols_own_example_is_listed_and_called(
    make_everything: MakeEverything, transport: str
) -> None:
    with make_everything(transport) as server:
        at = McpEndpoint(name="Everything", url=server.url, transport=McpTransport(transport))
        told = await list_tools(at, LOOPBACK)
        made = {one["name"]: definition(one) for one in told.tools}
        said = {
            name: await call_tool(at, LOOPBACK, name, arguments)
            for name, arguments in (
                ("echo", {"message": "hä"}),
                ("get-sum", {"a": 1, "b": 2}),
                ("get-structured-content", {"location": "New York"}),
                ("get-tiny-image", {}),
                ("get-resource-links", {"count": 2}),
                ("trigger-long-running-operation", {"duration": 1, "steps": 2}),
            )
        }
        with pytest.raises(ToolFailedError) as unknown:
            await call_tool(at, LOOPBACK, "nothing", {})

    assert len(made) == 13
    assert made["echo"]["effect"] == "reads"
    assert made["toggle-simulated-logging"]["effect"] == "writes"
    assert said["echo"] == "Echo: hä"
    assert said["get-sum"] == "The sum of 1 and 2 is 3."
    assert json.loads(said["get-structured-content"])["humidity"] == 82
    assert '[image, "image/png", ' in said["get-tiny-image"]
    assert said["get-resource-links"].count("[link to the resource ") == 2
    assert "completed" in said["trigger-long-running-operation"]
    assert "Tool nothing not found" in str(unknown.value)


def test_an_agent_comments_in_jira_once_though_the_answer_to_its_call_is_lost(
    make_system: MakeSystem, make_myworld: MakeMyworld
) -> None:
    fault = {"tool": "jira_add_comment", "kind": "timeout_after_commit", "on_call": 1}
    with (
        make_myworld() as world,
        make_system(
            OUTBOUND_ALLOW="127.0.0.1", ENCRYPTION_KEY="key-key-key-key-key-key-key-key-key-key"
        ) as system,
    ):
        world.make(fault)
        system.start("worker")
        system.start("scheduler")
        system.start_web()
        system.one_task()
        server = system.call("POST", "/api/mcp-servers", json={
            "name": "Our Jira", "url": world.mcp_url, "agent_id": "pm_sarah",
            "headers": {"Authorization": f"Bearer {MYWORLD_TOKEN}"},
        })  # fmt: skip
        told = httpx.post(
            f"{system.url}/api/mcp-servers/discover", json={"server_id": server["id"]}, timeout=60
        ).json()
        comment = {"issue_key": "OPS-1", "body": "Seen on GitHub, too."}
        replies: list[Any] = [
            Reply.calls(ToolCallScript("mcp_our_jira_jira_search", {"jql": "project = OPS"})),
            Reply.calls(ToolCallScript(ADD_COMMENT, comment)),
            Reply.text("I have told Jira."),
        ]
        system.model.say(by_turn(replies))

        [execution_id] = system.open_issue(REPO)
        done = system.finished(execution_id, seconds=120)
        ran = system.call("GET", f"/api/tool-executions?execution_id={execution_id}")
        calls = [one["tool"] for one in world.calls()]

    assert (told["discovered"], told["errors"]) == (22, [])
    assert (done["status"], done["answer"]) == ("succeeded", "I have told Jira.")
    assert calls == ["jira_search", "jira_add_comment"]
    by_tool = {one["tool"]: one for one in ran}
    assert "OPS-1" in by_tool["mcp_our_jira_jira_search"]["result"]
    assert by_tool[ADD_COMMENT]["status"] == "failed"
    assert MYWORLD_TOKEN not in json.dumps(ran) + system.log.read_text()
