"""The discovery of MCP tools in a web process: asked in its aside, where the SDK is loaded."""

import json
import subprocess
import sys

import pytest

from tests.mcp.toolbox import Toolbox

KEY = "key-key-key-key-key-key-key-key-key-key"
SECRET = "a-key-of-the-server-0001"
SCRIPT = """
import asyncio, json, sys
import httpx
from aether.config import Settings
from aether.main import application

async def main(servers):
    app = application(Settings.from_environment())
    transport = httpx.ASGITransport(app)
    told = []
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:8000", timeout=60) as web,
    ):
        for server in servers:
            made = (await web.post("/api/mcp-servers", json=server)).json()
            answer = await web.post("/api/mcp-servers/discover", json={"server_id": made["id"]})
            told.append([answer.status_code, answer.json()])
    return told

told = asyncio.run(main(json.loads(sys.argv[1])))
loaded = [name for name in ("mcp", "mcp_types", "httpx2", "litellm") if name in sys.modules]
print(json.dumps([told, loaded]))
"""


@pytest.mark.slow
def test_a_web_process_discovers_tools_and_never_loads_the_sdk(database_url: str) -> None:
    box = Toolbox(required={"x-key": SECRET})
    box.put_search()
    with box.served():
        servers = [
            {"name": "Docs", "url": box.url, "headers": {"X-Key": SECRET}},
            {"name": "Locked", "url": box.url, "headers": {"X-Key": "a wrong key of ours"}},
        ]
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(servers)],
            env={
                "DATABASE_URL": database_url,
                "BROKER_URL": "redis://127.0.0.1:1",
                "ENCRYPTION_KEY": KEY,
                "OUTBOUND_ALLOW": "127.0.0.1",
                "PYTHONPATH": ":".join(sys.path),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    told, loaded = json.loads(done.stdout.splitlines()[-1])
    assert told == [
        [200, {"discovered": 1, "tools": ["mcp_docs_search"], "errors": []}],
        [502, {"error": 'MCP server "Locked": refuses us (401); see its headers'}],
    ]
    assert loaded == []
    assert SECRET not in done.stdout + done.stderr
