"""A program that stands in for ``aether web`` and the other parts under the supervisor.

STAND_IN_NOTES is the folder where it notes each start as ``PART.PID``. STAND_IN_FLAPPING names a
part that ends at once, STAND_IN_STUBBORN one that ignores SIGTERM, STAND_IN_LEAVING one that
starts a process of its own and does not end it.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Be the part named last on the command line."""
    part = sys.argv[-1]
    given = {name: os.environ.get(name) for name in ("DATABASE_URL", "BROKER_URL", "PGHOST")}
    note = Path(os.environ["STAND_IN_NOTES"]) / f"{part}.{os.getpid()}"
    unfinished = note.with_name(f".{note.name}")
    if os.environ.get("STAND_IN_LEAVING") == part:
        left = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        given["left"] = str(left.pid)
    unfinished.write_text(json.dumps(given), encoding="utf-8")
    unfinished.rename(note)
    if part in ("migrate", "seed"):
        return int(os.environ.get("STAND_IN_MIGRATE_CODE", "0"))
    if os.environ.get("STAND_IN_FLAPPING") == part:
        return 3
    if os.environ.get("STAND_IN_STUBBORN") == part:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
