"""An aside with jobs of the tests': ``python -m tests.aside.jobs``."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Final

from aether.aside_child import Job, main
from aether.config import Settings
from aether.errors import (
    InvalidInputError,
    NotConfiguredError,
    NotFoundError,
    UpstreamError,
)
from aether.tools.base import RefusedError

Arguments = Mapping[str, Any]

ERRORS: Final = {
    "upstream": UpstreamError("slow down", status=429, retryable=True, retry_after=7.5),
    "final": UpstreamError("no", retryable=False, may_have_happened=True),
    "input": InvalidInputError("model", "is not known"),
    "settings": NotConfiguredError("LLM_MODEL: not set"),
    "missing": NotFoundError("agent", "ta_leo"),
    "refused": RefusedError("not this one"),
    "database": ConnectionRefusedError("port 5432"),
    "bug": RuntimeError("sk-not-to-be-told"),
}


async def echo(_: Settings, arguments: Arguments) -> Any:
    await asyncio.sleep(arguments.get("seconds", 0))
    return arguments["value"]


async def fail(_: Settings, arguments: Arguments) -> Any:
    raise ERRORS[arguments["kind"]]


async def not_json(_: Settings, __: Arguments) -> Any:
    return object()


async def tell(settings: Settings, _: Arguments) -> Any:
    """What this process knows of itself."""
    secret = settings.llm_api_key.get_secret_value() if settings.llm_api_key else ""
    command = await asyncio.to_thread(Path("/proc/self/cmdline").read_text)
    logging.getLogger("aether.tests").warning("the key is %s", secret)
    return {
        "pid": os.getpid(),
        "settings": settings.model_dump(mode="json"),
        "secret": secret,
        "variable": os.environ.get("ASIDE_TEST"),
        "command": command,
        "stdin": sys.stdin.read(),
    }


async def write_when_cancelled(_: Settings, arguments: Arguments) -> Any:
    await asyncio.to_thread(Path(arguments["begun"]).touch)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.to_thread(Path(arguments["cancelled"]).touch)
        raise


async def count(_: Settings, arguments: Arguments) -> AsyncGenerator[Any, None]:
    """Numbers up to ``upto``; how far it came is written down when it ends."""
    number = 0
    try:
        while number < arguments["upto"]:
            yield number
            number += 1
        if arguments.get("fails"):
            raise ERRORS["upstream"]
    finally:
        if "note" in arguments:
            await asyncio.to_thread(Path(arguments["note"]).write_text, str(number))


async def die(_: Settings, __: Arguments) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


async def hang(_: Settings, arguments: Arguments) -> Any:
    if "begun" in arguments:
        await asyncio.to_thread(Path(arguments["begun"]).touch)
    time.sleep(1_000)  # the loop itself, as some C code would  # noqa: ASYNC251


JOBS: Final = (
    Job("echo", echo),
    Job("fail", fail),
    Job("not_json", not_json),
    Job("tell", tell),
    Job("wait", write_when_cancelled),
    Job("count", count),
    Job("die", die),
    Job("hang", hang),
)

if __name__ == "__main__":
    sys.exit(main(JOBS))
