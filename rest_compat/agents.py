"""REST: agents and their capabilities. The reference, "Agents"."""

from datetime import datetime
from typing import Any, Final

from aether.vocabulary import AgentRole
from resolvers import agents, seeding
from resolvers.agents import AgentChanges, AgentFilter, NewAgent, NewCapability
from resolvers.rows import All
from rest_compat.op import Call, Op, int_id
from rest_compat.shapes import DELETED, DELETED_BY_NAME, SEEDED, Shape

AGENT: Final = Shape(
    "Agent",
    id=str,
    name=str,
    role_id=("role", AgentRole),
    description=str | None,
    prompt=str,
    created_at=datetime,
    context=str | None,
    identity=str | None,
    responsibilities=list[str],
    constraints=list[str],
    communication_style=str | None,
    model=str | None,
    fallback_models=list[str],
    tools=list[str] | None,
    max_tokens_per_day=int | None,
    max_tokens_per_month=int | None,
    max_cost_usd_per_day=float | None,
    max_cost_usd_per_month=float | None,
    max_concurrent_runs=int | None,
    enabled=bool,
    updated_at=datetime,
)
CAPABILITY: Final = Shape("Capability", id=int, agent_id=str, capability=str, created_at=datetime)


async def list_agents(call: Call) -> Any:
    return await agents.list_agents(call.query)


async def get_agent(call: Call) -> Any:
    return await agents.get_agent(call.path["id"])


async def create_agent(call: Call) -> Any:
    return await agents.create_agent(call.body)


async def update_agent(call: Call) -> Any:
    return await agents.update_agent(call.path["id"], call.body)


async def delete_agent(call: Call) -> Any:
    await agents.delete_agent(call.path["id"])
    return {"deleted": call.path["id"]}


async def seed_agents(_: Call) -> Any:
    return await seeding.seed("agents")


async def list_capabilities(call: Call) -> Any:
    return await agents.list_capabilities(call.path["id"], call.query)


async def add_capability(call: Call) -> Any:
    return await agents.add_capability(call.path["id"], call.body)


async def remove_capability(call: Call) -> Any:
    capability_id = int_id(call, "capability_id", "capability")
    await agents.remove_capability(call.path["id"], capability_id)
    return {"deleted": capability_id}


async def seed_capabilities(_: Call) -> Any:
    return await seeding.seed("capabilities")


_AGENT: Final = {
    "id": "pm_sarah",
    "name": "Sarah (PM)",
    "role_id": "pm",
    "description": "Product Manager for requirements analysis",
    "prompt": "You are Sarah, an experienced Product Manager. Analyze issues...",
}
_SHOWN: Final[dict[str, Any]] = _AGENT | {
    "created_at": "2026-01-01T00:00:00Z",
    "context": None,
    "identity": None,
    "responsibilities": [],
    "constraints": [],
    "communication_style": None,
    "model": None,
    "fallback_models": [],
    "tools": None,
    "max_tokens_per_day": None,
    "max_tokens_per_month": None,
    "max_cost_usd_per_day": None,
    "max_cost_usd_per_month": None,
    "max_concurrent_runs": None,
    "enabled": True,
    "updated_at": "2026-01-01T00:00:00Z",
}
_CAPABILITY: Final = {
    "id": 1,
    "agent_id": "ta_leo",
    "capability": "code_review",
    "created_at": "2026-01-01T00:00:00Z",
}

OPS: Final = (
    Op(
        "GET",
        "/api/agents",
        list_agents,
        summary="List all agents",
        tag="Agents",
        query=AgentFilter,
        out=[AGENT],
        answer=[_SHOWN],
    ),
    Op(
        "POST",
        "/api/agents",
        create_agent,
        summary="Create an agent",
        tag="Agents",
        body=NewAgent,
        out=AGENT,
        status=201,
        errors=(409,),
        example=_AGENT,
        answer=_SHOWN,
    ),
    Op(
        "GET",
        "/api/agents/{id}",
        get_agent,
        summary="Get an agent",
        tag="Agents",
        out=AGENT,
        answer=_SHOWN,
    ),
    Op(
        "PUT",
        "/api/agents/{id}",
        update_agent,
        summary="Update an agent; what is absent stays",
        tag="Agents",
        body=AgentChanges,
        out=AGENT,
        example={"prompt": "Updated system prompt..."},
        answer=_SHOWN | {"prompt": "Updated system prompt..."},
    ),
    Op(
        "DELETE",
        "/api/agents/{id}",
        delete_agent,
        summary="Delete an agent with its capabilities, integrations and MCP servers",
        tag="Agents",
        out=DELETED_BY_NAME,
        answer={"deleted": "pm_sarah"},
    ),
    Op(
        "POST",
        "/api/agents/seed",
        seed_agents,
        summary="Create the default agents that are missing",
        tag="Agents",
        out=SEEDED,
        answer={"created": 5, "skipped": 0},
    ),
    Op(
        "GET",
        "/api/agents/{id}/capabilities",
        list_capabilities,
        summary="List an agent's capabilities",
        tag="Agent Capabilities",
        query=All,
        out=[CAPABILITY],
        answer=[_CAPABILITY],
    ),
    Op(
        "POST",
        "/api/agents/{id}/capabilities",
        add_capability,
        summary="Add a capability to an agent",
        tag="Agent Capabilities",
        body=NewCapability,
        out=CAPABILITY,
        status=201,
        errors=(409,),
        example={"capability": "code_review"},
        answer=_CAPABILITY,
    ),
    Op(
        "DELETE",
        "/api/agents/{id}/capabilities/{capability_id}",
        remove_capability,
        summary="Remove a capability from an agent",
        tag="Agent Capabilities",
        out=DELETED,
        answer={"deleted": 1},
    ),
    Op(
        "POST",
        "/api/agents/capabilities/seed",
        seed_capabilities,
        summary="Create the default capabilities that are missing",
        tag="Agent Capabilities",
        out=SEEDED,
        answer={"created": 22, "skipped": 0},
    ),
)
