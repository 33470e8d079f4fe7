"""Agents and their capabilities: list, read, create, change, delete."""

from typing import Annotated, Any, Final

from pydantic import Field

from aether import audit
from aether.db import row, rows, transaction
from aether.errors import NotFoundError
from aether.models import Agent, AgentCapability
from resolvers.fields import (
    ABSENT,
    Concurrent,
    Dollars,
    Flag,
    Input,
    Name,
    OptionalText,
    Role,
    Text,
    Tokens,
)
from resolvers.prices import warn_of_unpriced
from resolvers.rows import (
    LARGEST_ID,
    All,
    KeyId,
    Label,
    Names,
    absent,
    as_given,
    change,
    criteria,
    each,
    find,
    lock,
    page,
    pages,
    reachable,
    unique,
)

Rules = Annotated[list[Text], Field(max_length=200)]
"""Responsibilities or constraints, one text each."""
Models = Annotated[list[Name], Field(max_length=10)]


class NewAgent(Input):
    """An agent to create."""

    id: Annotated[KeyId, reachable("seed")]
    name: Name
    role: Role = Field(alias="role_id")
    description: OptionalText = None
    prompt: Text
    context: OptionalText = None
    identity: OptionalText = None
    responsibilities: Rules = []
    constraints: Rules = []
    communication_style: OptionalText = None
    model: Name | None = None
    fallback_models: Models = []
    tools: Names | None = None
    max_tokens_per_day: Tokens | None = None
    max_tokens_per_month: Tokens | None = None
    max_cost_usd_per_day: Dollars | None = None
    max_cost_usd_per_month: Dollars | None = None
    max_concurrent_runs: Concurrent | None = None
    enabled: Flag = True


class AgentChanges(Input):
    """What to change of an agent; what is absent stays."""

    name: Name = ABSENT
    role: Role = absent("role_id")
    description: OptionalText = ABSENT
    prompt: Text = ABSENT
    context: OptionalText = ABSENT
    identity: OptionalText = ABSENT
    responsibilities: Rules = ABSENT
    constraints: Rules = ABSENT
    communication_style: OptionalText = ABSENT
    model: Name | None = ABSENT
    fallback_models: Models = ABSENT
    tools: Names | None = ABSENT
    max_tokens_per_day: Tokens | None = ABSENT
    max_tokens_per_month: Tokens | None = ABSENT
    max_cost_usd_per_day: Dollars | None = ABSENT
    max_cost_usd_per_month: Dollars | None = ABSENT
    max_concurrent_runs: Concurrent | None = ABSENT
    enabled: Flag = ABSENT


class AgentFilter(All):
    """Which agents."""

    role: Role | None = Field(None, alias="role_id")
    enabled: Flag | None = None


class NewCapability(Input):
    """A label to declare."""

    capability: Label


async def list_agents(wanted: AgentFilter) -> list[Agent]:
    """Agents, oldest first."""
    query = Agent.filter(**criteria(wanted)).order_by("created_at", "id")
    return await page(query, wanted)


async def get_agent(id: str) -> Agent:
    """One agent, or NotFoundError."""
    return await find(Agent, "agent", id)


async def create_agent(new: NewAgent) -> Agent:
    """Create an agent.

    Raises:
        ConflictError: its id is taken.
    """
    with unique(f"agent {new.id!r} already exists"):
        async with transaction():
            agent = await Agent.create(**new.model_dump())
            await _record("agent.created", agent.id, after=as_given(agent, NewAgent))
    await warn_of_unpriced(agent)
    return agent


async def update_agent(id: str, changes: AgentChanges) -> Agent:
    """Change an agent, or NotFoundError; runs under way keep what they began with."""
    async with transaction():
        agent = await lock(Agent, "agent", id)
        changed = await change(agent, changes)
        if changed:
            await _record("agent.updated", id, **changed)
    await warn_of_unpriced(agent, changed.get("changed", ()))
    return agent


async def delete_agent(id: str) -> None:
    """Delete an agent with its capabilities, integrations and MCP servers, or NotFoundError.

    Its history keeps its id.
    """
    async with transaction():
        # First the lock: whoever adds to the agent holds its row until they commit.
        if await row("SELECT 1 FROM agent WHERE id = $1 FOR UPDATE", id) is None:
            raise NotFoundError("agent", id)
        before = as_given(await Agent.get(id=id), NewAgent)
        along = await row(BELONGS, id)
        await AgentCapability.filter(agent_id=id).delete()
        await rows(
            """DELETE FROM tool_definition WHERE mcp_server_id IN
                 (SELECT id FROM mcp_server WHERE agent_id = $1)""",
            id,
        )
        await Agent.filter(id=id).delete()  # cascades to integrations and MCP servers
        await _record("agent.deleted", id, before=before, along=along)


BELONGS: Final = """
SELECT
  ARRAY(SELECT capability FROM agent_capability WHERE agent_id = $1 ORDER BY id) AS capabilities,
  ARRAY(SELECT name FROM integration WHERE agent_id = $1 ORDER BY id) AS integrations,
  ARRAY(SELECT name FROM mcp_server WHERE agent_id = $1 ORDER BY id) AS mcp_servers
"""


async def list_capabilities(agent_id: str, wanted: All) -> list[AgentCapability]:
    """An agent's capabilities, oldest first, or NotFoundError."""
    found = await page(AgentCapability.filter(agent_id=agent_id).order_by("id"), wanted)
    if not found:
        await find(Agent, "agent", agent_id)
    return found


async def capabilities_of(keys: list[tuple[str, int, int]]) -> list[list[AgentCapability]]:
    """Of each (agent's id, limit, offset) that page of its capabilities, oldest first."""
    return await pages(AgentCapability, "agent_id", keys, newest_first=False)


async def agents_of(ids: list[str]) -> list[Agent | None]:
    """Agents in the order of ``ids``; None: no such one."""
    return await each(Agent, ids)


async def add_capability(agent_id: str, new: NewCapability) -> AgentCapability:
    """Declare a capability of an agent.

    Raises:
        NotFoundError: there is no such agent.
        ConflictError: it has this capability.
    """
    text = f"agent {agent_id!r} already has the capability {new.capability!r}"
    with unique(text):
        async with transaction():
            # The lock makes a deletion of the agent wait, so that nothing of it is left behind.
            if await row("SELECT 1 FROM agent WHERE id = $1 FOR KEY SHARE", agent_id) is None:
                raise NotFoundError("agent", agent_id)
            added = await AgentCapability.create(agent_id=agent_id, capability=new.capability)
            await _record("agent.capability_added", agent_id, capability=new.capability)
    return added


async def remove_capability(agent_id: str, capability_id: int) -> None:
    """Take a capability from an agent, or NotFoundError."""
    if not 0 < capability_id <= LARGEST_ID:
        raise NotFoundError("capability", capability_id)
    async with transaction():
        removed = await row(
            "DELETE FROM agent_capability WHERE id = $1 AND agent_id = $2 RETURNING capability",
            capability_id, agent_id,
        )  # fmt: skip
        if removed is None:
            raise NotFoundError("capability", capability_id)
        await _record("agent.capability_removed", agent_id, capability=removed["capability"])


async def _record(action: str, agent_id: str, **detail: Any) -> None:
    await audit.record(action, agent_id=agent_id, caller="api", detail=detail)
