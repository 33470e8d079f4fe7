"""The audit log of an agent."""

from aether.db import rows
from aether.models import Agent, AuditEntry
from resolvers.fields import Page
from resolvers.rows import find, page, pages
from resolvers.windows import NewestFirst, Slice, Window, cut, slices


async def list_agent_audit(agent_id: str, wanted: Page) -> list[AuditEntry]:
    """What an agent did and what was done to it, newest first; outlives the agent.

    Raises:
        NotFoundError: there is no such agent and nothing was ever recorded of one.
    """
    of_agent = AuditEntry.filter(agent_id=agent_id)
    found = await page(of_agent.order_by("-id"), wanted)
    if not found:
        await _require(agent_id)
    return found


async def slice_agent_audit(agent_id: str, part: Window) -> Slice[AuditEntry]:
    """A window on ``list_agent_audit``.

    Raises:
        NotFoundError: there is no such agent and nothing was ever recorded of one.
    """
    found = await cut(NewestFirst(AuditEntry.filter(agent_id=agent_id)), part)
    if not found.rows:
        await _require(agent_id)
    return found


async def _require(agent_id: str) -> None:
    if not await AuditEntry.filter(agent_id=agent_id).exists():
        await find(Agent, "agent", agent_id)


async def audit_of(keys: list[tuple[str, int, int]]) -> list[list[AuditEntry]]:
    """Of each (agent's id, limit, offset) that page of its audit entries, newest first."""
    return await pages(AuditEntry, "agent_id", keys, newest_first=True)


async def audit_slices_of(keys: list[tuple[str, Window]]) -> list[Slice[AuditEntry]]:
    """Of each agent's audit entries, newest first, that window."""
    return await slices(AuditEntry, "agent_id", keys)


async def audit_counts_of(agent_ids: list[str]) -> list[int]:
    """How many audit entries each agent has, in the order of ``agent_ids``."""
    found = await rows(
        """SELECT agent_id, count(*) AS n FROM audit_entry
           WHERE agent_id = ANY($1::text[]) GROUP BY agent_id""",
        agent_ids,
    )
    counted = {one["agent_id"]: int(one["n"]) for one in found}
    return [counted.get(one, 0) for one in agent_ids]
