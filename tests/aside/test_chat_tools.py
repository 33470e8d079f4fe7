"""A chat whose agent uses an MCP tool: done in the aside, where the SDK is loaded."""

import json
import subprocess
import sys

import pytest

from aether.demo.model import Reply, ScriptedModel, ToolCallScript, by_turn
from aether.demo.serving import serving
from tests.mcp.toolbox import Toolbox

KEY = "key-key-key-key-key-key-key-key-key-key"
SECRET = "a-key-of-the-server-0002"
SCRIPT = """
import asyncio, json, sys
import httpx
from aether.config import Settings
from aether.main import application

CHAT = {"use_tools": True, "messages": [{"role": "user", "content": "Is it known?"}]}

async def main(server):
    app = application(Settings.from_environment())
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:8000", timeout=90) as web,
    ):
        await web.post("/api/mcp-servers", json=server)
        await web.post("/api/mcp-servers/discover")
        answers = [
            await web.post("/api/llm/chat", json={**CHAT, "stream": stream})
            for stream in (False, True)
        ]
    return [answers[0].json(), answers[1].text]

told = asyncio.run(main(json.loads(sys.argv[1])))
loaded = [name for name in ("mcp", "mcp_types", "httpx2", "litellm") if name in sys.modules]
print(json.dumps([told, loaded]))
"""


@pytest.mark.slow
def test_a_web_process_chats_with_mcp_tools_and_never_loads_the_sdk(database_url: str) -> None:
    box = Toolbox(required={"x-key": SECRET})
    box.put_search()
    model = ScriptedModel()
    model.say(
        by_turn(
            [
                Reply.calls(ToolCallScript("mcp_docs_search", {"query": "Boom"})),
                Reply.text("It is."),
            ]
        )
    )
    with box.served(), serving(model.app) as model_url:
        server = {"name": "Docs", "url": box.url, "headers": {"X-Key": SECRET}}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(server)],
            env={
                "DATABASE_URL": database_url,
                "BROKER_URL": "redis://127.0.0.1:1",
                "ENCRYPTION_KEY": KEY,
                "OUTBOUND_ALLOW": "127.0.0.1",
                "LLM_BASE_URL": model_url,
                "LLM_API_KEY": model.key,
                "LLM_MODEL": model.models[0],
                "PYTHONPATH": ":".join(sys.path),
            },
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    (plain, streamed), loaded = json.loads(done.stdout.splitlines()[-1])
    assert plain["message"]["content"] == "It is."
    [call] = plain["tool_calls"]
    assert (call["tool"], call["status"]) == ("mcp_docs_search", "succeeded")
    assert 'event: tool\ndata: {"tool":"mcp_docs_search"}\n\nevent: tool_result\n' in streamed
    assert box.called == [("search", {"query": "Boom"})] * 2
    assert loaded == []
    assert SECRET not in done.stdout + done.stderr
    assert model.problems == []
