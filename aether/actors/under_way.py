"""What this process has under way, and whether it is to end."""

import asyncio
import threading
from typing import Any, Final

UNDER_WAY: Final[set[asyncio.Task[Any]]] = set()
"""Runs and polls; a worker that is asked to stop cancels them, and they give back."""

STOPPING: Final = threading.Event()
"""Set once this process is to end: what is still handed out is left to another one."""


def remember() -> None:
    """Count the current task among those under way, until it ends."""
    task = asyncio.current_task()
    if task is not None:
        UNDER_WAY.add(task)
        task.add_done_callback(UNDER_WAY.discard)
