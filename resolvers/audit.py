"""The audit log of an agent."""

from aether.models import Agent, AuditEntry
from resolvers.fields import Page
from resolvers.rows import find, page, pages


async def list_agent_audit(agent_id: str, wanted: Page) -> list[AuditEntry]:
    """What an agent did and what was done to it, newest first; outlives the agent.

    Raises:
        NotFoundError: there is no such agent and nothing was ever recorded of one.
    """
    of_agent = AuditEntry.filter(agent_id=agent_id)
    found = await page(of_agent.order_by("-id"), wanted)
    if not found and not await of_agent.exists():
        await find(Agent, "agent", agent_id)
    return found


async def audit_of(keys: list[tuple[str, int, int]]) -> list[list[AuditEntry]]:
    """Of each (agent's id, limit, offset) that page of its audit entries, newest first."""
    return await pages(AuditEntry, "agent_id", keys, newest_first=True)
