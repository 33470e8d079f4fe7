"""A worker that kills itself at one checkpoint: ``python -m tests.e2e.killing_worker``.

``KILL_AT`` names the checkpoint. With ``KILL_ONCE`` (a file) it dies at the first time only.
"""

import os
import signal
import sys
from pathlib import Path

from aether import checkpoints, worker
from aether.config import Settings


def die_at(name: str) -> None:
    """Die as by ``kill -9`` when the run comes to the named checkpoint."""
    if name != os.environ["KILL_AT"]:
        return
    once = os.environ.get("KILL_ONCE")
    if once:
        if Path(once).exists():
            return
        Path(once).touch()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    checkpoints.install(die_at)
    sys.exit(worker.run(Settings.from_environment()))
