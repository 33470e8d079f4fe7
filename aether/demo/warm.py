"""``aether worker`` for the demo: loads the model's library and the embedder while all else starts.

They take four seconds to load, which a worker otherwise does at its first run.
"""

import asyncio
import sys
from typing import Final

from aether.config import Settings
from aether.embedded.processes import wait_until
from aether.embedded.services import with_running_services
from aether.errors import UnavailableError
from aether.llm import embed, provider

SERVICES_SECONDS: Final = 120.0


def main() -> int:
    """Load, wait for the services of AETHER_HOME, then work until SIGTERM or SIGINT.

    Raises:
        UnavailableError: the services did not start in time.
    """
    settings = Settings.from_environment()
    provider.litellm()
    asyncio.run(embed.embedder(settings))
    from aether import worker

    def are_up() -> bool:
        return with_running_services(settings).database_url is not None

    if not wait_until(are_up, SERVICES_SECONDS):
        raise UnavailableError(f"no services run on {settings.aether_home}")
    return worker.run(with_running_services(settings))


if __name__ == "__main__":
    sys.exit(main())
