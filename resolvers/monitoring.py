"""Whether we are well: what /health says."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from aether.clock import now
from aether.db import UNAVAILABLE, rows
from aether.errors import UnavailableError


@dataclass(frozen=True, kw_only=True)
class Health:
    """``status`` is ok; when it is not, UnavailableError is raised instead."""

    status: str
    timestamp: datetime


async def health() -> Health:
    """Ask the database; a queue out of reach is no illness, the sweep makes it good.

    Raises:
        UnavailableError: the database does not answer within 3 seconds.
    """
    try:
        async with asyncio.timeout(3):
            await rows("SELECT 1 AS one")
    except UNAVAILABLE as error:
        raise UnavailableError("the database is out of reach") from error
    return Health(status="ok", timestamp=now())
