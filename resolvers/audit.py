"""The audit log: of an agent, and whole."""

from tortoise.queryset import QuerySet

from aether.db import rows
from aether.models import Agent, AuditEntry
from resolvers.fields import Moment, Page, Reference, RowId
from resolvers.rows import criteria, find, page, pages
from resolvers.windows import NewestCreatedFirst, NewestFirst, Slice, Window, cut, slices


class AuditFilter(Page):
    """Which entries of the whole log: written from ``since`` on and before ``until``.

    ``caller``: ``api`` for what people and programs did, whatever the agents did besides.
    """

    agent_id: Reference | None = None
    execution_id: RowId | None = None
    delivery_id: RowId | None = None
    caller: Reference | None = None
    action: Reference | None = None
    since: Moment | None = None
    until: Moment | None = None


async def list_audit(wanted: AuditFilter) -> list[AuditEntry]:
    """Everything that was recorded, newest first; what belongs to no agent, too."""
    return await page(_chosen(wanted).order_by("-created_at", "-id"), wanted)


async def slice_audit(wanted: AuditFilter, part: Window) -> Slice[AuditEntry]:
    """A window on ``list_audit``.

    In the order of time, as ``until`` asks: in that of ids all that came later would be walked.
    """
    return await cut(NewestCreatedFirst(_chosen(wanted)), part)


def _chosen(wanted: AuditFilter) -> QuerySet[AuditEntry]:
    told = criteria(wanted)
    for name, column in (("since", "created_at__gte"), ("until", "created_at__lt")):
        if name in told:
            told[column] = told.pop(name)
    return AuditEntry.filter(**told)


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
