"""The actor that embeds memories anew."""

import logging

from aether.engine.runtime import runtime
from aether.errors import AetherError
from aether.memory.reembed import reembed

log = logging.getLogger(__name__)


async def embed_memories(_: int) -> None:
    """Embed what waits for the present embedder.

    The queue may deliver this many times at once: one worker does it. What fails is asked for
    again by the scheduler.
    """
    try:
        await reembed(runtime().settings)
    except AetherError as error:
        log.warning("memories wait to be embedded: %s", error)
