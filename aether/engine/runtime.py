"""What a process holds besides its database pool; the composition roots install it once."""

from dataclasses import dataclass, field

from aether.config import Settings
from aether.credentials import Credentials
from aether.engine.configuration import Configuration
from aether.engine.filters import FilterPool
from aether.live.hub import Hub
from aether.queue import Queue


@dataclass(kw_only=True)
class Runtime:
    """Settings and the long-lived objects that use cases and engine stages share."""

    settings: Settings
    queue: Queue
    filters: FilterPool
    credentials: Credentials
    configuration: Configuration = field(default_factory=Configuration)
    live: Hub | None = None  # the web process's


class _Holder:
    current: Runtime | None = None


def install(runtime: Runtime | None) -> None:
    """Make ``runtime`` this process's own; None takes it away."""
    _Holder.current = runtime


def runtime() -> Runtime:
    """This process's runtime.

    Raises:
        RuntimeError: no composition root has installed one; a bug.
    """
    if _Holder.current is None:
        raise RuntimeError("no runtime is installed")
    return _Holder.current
