"""Stage 3: which agent works on an execution, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aether.db import row, rows
from aether.errors import NotConfiguredError
from aether.leases import Lease
from aether.models import Agent, AgentCapability, TaskDefinition
from aether.vocabulary import ExecutionStatus

MOST_NAMED: Final = 3  # of those who could have done it as well
DECIDED_BY: Final = ("the actor's role", "who has fewest running", "the order of ids")


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The agent, or None where the task's fallback prompt speaks; and the reason in words."""

    agent: Agent | None
    reason: str


async def assign(task: TaskDefinition, *, execution_id: int | None = None) -> Assignment:
    """The task's actor, else whoever has most of its required capabilities, else the fallback.

    ``execution_id`` is of the run that it is for, which does not count as running: an attempt
    before may have named an agent.

    Raises:
        NotConfiguredError: there is neither an agent nor a fallback prompt.
    """
    actor = await Agent.get_or_none(id=task.actor_id)
    usable = actor if actor is not None and actor.enabled else None
    needed = frozenset(task.required_capabilities)
    if not needed:
        if usable is not None:
            return Assignment(agent=usable, reason=f"{usable.id} is the task's actor")
        return _fallback(task, actor)
    owned = await _capabilities_of_enabled(needed)
    if usable is not None and needed <= owned.get(usable.id, frozenset()):
        reason = f"{usable.id} is the task's actor and has {', '.join(sorted(needed))}"
        return Assignment(agent=usable, reason=reason)
    best, how = await _most_capable(owned, actor, execution_id)
    if best is not None:
        has = ", ".join(sorted(owned[best.id]))
        told = [f"{best.id} has {len(owned[best.id])} of {len(needed)} required: {has}", *how]
        if best.id != task.actor_id:
            lacks = needed - owned.get(task.actor_id, frozenset())
            told.append(f"the task's actor {task.actor_id} {_why_not(usable, actor, lacks)}")
        return Assignment(agent=best, reason="; ".join(told))
    if usable is not None:
        missing = ", ".join(sorted(needed))
        return Assignment(
            agent=usable, reason=f"{usable.id} is the task's actor; nobody has {missing}"
        )
    return _fallback(task, actor)


def _why_not(usable: Agent | None, actor: Agent | None, lacks: frozenset[str]) -> str:
    return _absent(actor) if usable is None else f"lacks {', '.join(sorted(lacks))}"


def _absent(actor: Agent | None) -> str:
    return "is disabled" if actor is not None else "does not exist"


async def resume(lease: Lease, agent_id: str | None) -> Assignment:
    """The agent that began the run, whoever would be chosen now: the prompt is in its words.

    ``agent_id`` is None where the fallback prompt began it. The reason is the one told then.

    Raises:
        NotConfiguredError: the agent was deleted or disabled since.
    """
    agent = await Agent.get_or_none(id=agent_id) if agent_id is not None else None
    if agent_id is not None and (agent is None or not agent.enabled):
        why = "is disabled" if agent is not None else "was deleted"
        raise NotConfiguredError(
            f"agent {agent_id!r}, which began this run, {why}; a restart begins anew"
        )
    begun = await row(
        """SELECT detail->>'agent_reason' AS reason FROM audit_entry
           WHERE execution_id = $1 AND action = 'task.started' AND (detail->>'run')::int = $2
           ORDER BY id LIMIT 1""",
        lease.execution_id, lease.run,
    )  # fmt: skip
    reason = begun["reason"] if begun else f"{agent_id or 'the fallback prompt'} began this run"
    return Assignment(agent=agent, reason=reason)


def _fallback(task: TaskDefinition, actor: Agent | None) -> Assignment:
    why = _absent(actor)
    if task.fallback_prompt:
        return Assignment(agent=None, reason=f"{task.actor_id} {why}: the fallback prompt speaks")
    raise NotConfiguredError(
        f"actor_id: agent {task.actor_id!r} of task {task.id!r} {why}, "
        "and the task has no actor_fallback"
    )


async def _capabilities_of_enabled(needed: frozenset[str]) -> dict[str, frozenset[str]]:
    """The needed capabilities that each enabled agent has, for those that have any."""
    found: dict[str, set[str]] = {}
    links = AgentCapability.filter(capability__in=sorted(needed))
    for agent_id, capability in await links.values_list("agent_id", "capability"):
        found.setdefault(str(agent_id), set()).add(str(capability))
    enabled = await Agent.filter(id__in=sorted(found), enabled=True).values_list("id", flat=True)
    return {str(agent_id): frozenset(found[str(agent_id)]) for agent_id in enabled}


async def _most_capable(
    owned: dict[str, frozenset[str]], actor: Agent | None, execution_id: int | None
) -> tuple[Agent | None, list[str]]:
    """Most capabilities; ties by the actor's role, then by fewest running, then by id.

    Also how a tie was decided, in words.
    """
    if not owned:
        return None, []
    most = max(map(len, owned.values()))
    tied = [agent_id for agent_id, has in owned.items() if len(has) == most]
    candidates = await Agent.filter(id__in=tied)
    running = await _running(tied, execution_id)
    role = actor.role if actor is not None else None

    def rank(one: Agent) -> tuple[bool, int, str]:
        return one.role != role, running.get(one.id, 0), one.id

    best, *others = sorted(candidates, key=rank)
    if not others:
        return best, []
    step = next(place for place in range(3) if rank(best)[place] != rank(others[0])[place])
    names = ", ".join(one.id for one in others[:MOST_NAMED])
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    return best, [f"so have {names}{more}: decided by {DECIDED_BY[step]}"]


async def _running(agent_ids: Sequence[str], execution_id: int | None) -> dict[str, int]:
    counted = await rows(
        """SELECT agent_id, count(*) AS n FROM task_execution
           WHERE agent_id = ANY($1::text[]) AND status = $2 AND id IS DISTINCT FROM $3::bigint
           GROUP BY agent_id""",
        list(agent_ids), ExecutionStatus.RUNNING, execution_id,
    )  # fmt: skip
    return {str(one["agent_id"]): int(one["n"]) for one in counted}
