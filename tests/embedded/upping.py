"""A program that is ``aether up`` with stand-ins for its parts."""

import logging
import sys

from aether.config import Settings
from aether.embedded.supervisor import run_up
from aether.errors import AetherError


def main() -> int:
    """Run until told to stop; errors as the command line tells them."""
    logging.basicConfig(level=logging.INFO)
    command = (sys.executable, "-m", "tests.embedded.stand_in")
    try:
        return run_up(Settings.from_environment(), seed="--seed" in sys.argv, command=command)
    except AetherError as error:
        sys.stderr.write(f"aether: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
