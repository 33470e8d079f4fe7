"""The actor that polls the platforms."""

from aether.actors import under_way
from aether.engine import poll
from aether.engine.runtime import runtime


async def poll_source(poll_source_id: int) -> None:
    """One turn of a poll; nothing where none is wanted, or another worker has it."""
    if under_way.STOPPING.is_set():
        await poll.give_way(poll_source_id)
        return
    under_way.remember()
    await poll.poll_source(runtime(), poll_source_id)
