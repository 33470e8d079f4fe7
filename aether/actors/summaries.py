"""The actor that summarizes runs."""

from aether.engine.runtime import runtime
from aether.engine.summary import summarize


async def summarize_run(execution_id: int) -> None:
    """Summarize one execution's run; the claim inside makes a second delivery harmless."""
    await summarize(runtime(), execution_id)
