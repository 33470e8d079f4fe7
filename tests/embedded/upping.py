"""A program that is ``aether up`` with stand-ins for its parts."""

import logging
import signal
import sys

from aether.config import Settings
from aether.embedded.supervisor import run_up
from aether.errors import AetherError


def main() -> int:
    """Run until told to stop; errors as the command line tells them."""
    logging.basicConfig(level=logging.INFO)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the suite may have been started by nohup
    command = (sys.executable, "-m", "tests.embedded.stand_in")
    try:
        return run_up(Settings.from_environment(), seed="--seed" in sys.argv, command=command)
    except AetherError as error:
        sys.stderr.write(f"aether: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
