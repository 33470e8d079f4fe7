"""REST: POST /api/deliveries/simulate, beyond the reference: what a webhook would do."""

from dataclasses import asdict
from typing import Any, Final

from pydantic import JsonValue
from typing_extensions import TypedDict

from aether.engine.simulate import (
    AnswerTarget,
    AskedGate,
    AskedRule,
    FoundTrigger,
    OpeningMessage,
    Prospect,
    SimulatedTask,
    StoredDelivery,
)
from aether.memory.search import Recalled
from aether.vocabulary import MemoryScope, SourceName
from resolvers import simulations
from resolvers.fields import JsonObject
from resolvers.simulations import NewSimulation, SimulatedSignature, SimulatedStatus, Simulation
from rest_compat.op import Call, Op
from rest_compat.shapes import Shape


class OfferedTool(TypedDict):
    """One tool that the model would be offered."""

    name: str
    description: str
    parameters: JsonObject


class RecalledMemory(TypedDict):
    """One memory that the run would be reminded of."""

    key: str
    key_space: str
    scope: MemoryScope
    agent_id: str | None
    content: str
    similarity: float


class WithheldTool(TypedDict):
    """A tool that there is, and why the model would not be offered it."""

    name: str
    reason: str


class ProspectiveTask(TypedDict):
    """One task that would start; ``error``: why it would fail before it asks a model."""

    task_id: str
    task_name: str
    canonical_trigger: str
    agent_id: str | None
    agent_reason: str | None
    model: str | None
    error: str | None
    messages: list[OpeningMessage]
    memories: list[RecalledMemory]
    memories_error: str | None
    tools: list[OfferedTool]
    withheld: list[WithheldTool]
    answer: AnswerTarget


class WireProspect(TypedDict):
    """What would come of a delivery that is let in."""

    status: SimulatedStatus
    reason: str | None
    project_id: int | None
    stored: StoredDelivery | None
    event: JsonObject
    rules: list[AskedRule]
    triggers: list[FoundTrigger]
    gates: list[AskedGate]
    extracted: dict[str, JsonValue]
    tasks: list[ProspectiveTask]


def _memory(one: Recalled) -> RecalledMemory:
    return {
        "key": one.key,
        "key_space": one.key_space,
        "scope": one.scope,
        "agent_id": one.agent_id,
        "content": one.content,
        "similarity": round(one.similarity, 4),
    }


def _task(one: SimulatedTask) -> dict[str, Any]:
    told = asdict(one)
    return {name: told[name] for name in ProspectiveTask.__annotations__} | {
        "memories": [_memory(memory) for memory in one.memories],
        "tools": [
            {name: getattr(tool, name) for name in OfferedTool.__annotations__}
            for tool in one.tools
        ],
    }


def _prospect(told: Simulation) -> dict[str, Any] | None:
    found: Prospect | None = told.prospect
    if found is None:
        return None
    return {
        "status": found.status,
        "reason": found.reason,
        "project_id": found.project_id,
        "stored": asdict(found.stored) if found.stored else None,
        "event": found.event.summary(),
        "rules": [asdict(one) for one in found.rules],
        "triggers": [asdict(one) for one in found.triggers],
        "gates": [asdict(one) for one in found.gates],
        "extracted": dict(found.extracted),
        "tasks": [_task(one) for one in found.tasks],
    }


SIMULATION: Final = Shape(
    "Simulation",
    slug=str,
    source=SourceName,
    status=SimulatedStatus,
    http_status=int,
    reason=str | None,
    signature=(lambda told: asdict(told.signature), SimulatedSignature),
    prospect=(_prospect, WireProspect | None),
)


async def simulate_delivery(call: Call) -> Any:
    return await simulations.simulate_delivery(call.body)


OPS: Final = (
    Op(
        "POST",
        "/api/deliveries/simulate",
        simulate_delivery,
        summary="Say what a webhook would do if it came now: proof, triggers, tasks, prompts. "
        "Nothing is stored, sent, or asked of a model",
        tag="Deliveries",
        body=NewSimulation,
        out=SIMULATION,
        errors=(404,),
        example={
            "slug": "github",
            "headers": {
                "X-GitHub-Event": "issues",
                "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
                "X-Hub-Signature-256": "sha256=64bdc979b177e061f7a9c9b6d0a8c4f5"
                "d1a6c0c0b0a0908070605040302010ff",
            },
            "body": '{"action": "opened", "issue": {"number": 7, "title": "Login fails"}, '
            '"repository": {"full_name": "myorg/api-service"}, "sender": {"login": "octocat"}}',
        },
        answer={
            "slug": "github",
            "source": "github",
            "status": "refused",
            "http_status": 401,
            "reason": "X-Hub-Signature-256 does not match the body under GITHUB_WEBHOOK_SECRET",
            "signature": {
                "verdict": "refused",
                "setting": "GITHUB_WEBHOOK_SECRET",
                "reason": "X-Hub-Signature-256 does not match the body under GITHUB_WEBHOOK_SECRET",
            },
            "prospect": {
                "status": "accepted",
                "reason": None,
                "project_id": None,
                "stored": None,
                "event": {"event_name": "issues", "action": "opened"},
                "rules": [],
                "triggers": [
                    {
                        "canonical_trigger": "issue.created",
                        "source_event_mapping_id": 1,
                        "webhook_mapping_ids": [],
                    }
                ],
                "gates": [
                    {
                        "trigger_task_mapping_id": 1,
                        "canonical_trigger": "issue.created",
                        "task_id": "pm_analyze",
                        "is_open": True,
                        "reason": None,
                        "condition": None,
                        "condition_verdict": None,
                        "min_association": None,
                        "association": "NONE",
                    }
                ],
                "extracted": {},
                "tasks": [
                    {
                        "task_id": "pm_analyze",
                        "task_name": "PM: Analyze Issue",
                        "canonical_trigger": "issue.created",
                        "agent_id": "pm_sarah",
                        "agent_reason": "pm_sarah is the task's actor; an outsider woke this run "
                        "(association NONE), and task pm_analyze does not let outsiders act",
                        "model": "gpt-4o",
                        "error": None,
                        "messages": [{"role": "system", "content": "You are Sarah."}],
                        "memories": [],
                        "memories_error": None,
                        "tools": [],
                        "withheld": [
                            {
                                "name": "add_labels",
                                "reason": "an outsider woke this run (association NONE), and task "
                                "pm_analyze does not let outsiders act",
                            }
                        ],
                        "answer": {
                            "place": "item",
                            "reason": None,
                            "project_key": "myorg/api-service",
                            "item_kind": "issue",
                            "item_key": "7",
                            "url": None,
                        },
                    }
                ],
            },
        },
    ),
)
