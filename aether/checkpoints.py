"""Named points between two steps of a run, so that a test can kill the process at each of them.

The product does nothing at a checkpoint.
"""

from collections.abc import Callable


def _nothing(_name: str) -> None:
    """What happens at a checkpoint outside the tests."""


class _Hook:
    call: Callable[[str], None] = staticmethod(_nothing)


def reached(name: str) -> None:
    """Say that the run has come to ``name``."""
    _Hook.call(name)


def install(call: Callable[[str], None]) -> None:
    """Call ``call`` at every checkpoint of this process from now on."""
    _Hook.call = staticmethod(call)
