"""What would become of an event that came now, by the functions that decide it when it does.

Nothing is stored, hinted or sent, and no model is asked. The database refuses a write in what is
looked up here beyond the plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from aether.db import reading
from aether.engine import configuration, opening
from aether.engine.assign import Assignment, assign
from aether.engine.bounds import BOTS_HAD_THEIR_SHARE, is_bot_bound_reached, within_rates
from aether.engine.known_secrets import learn_stored
from aether.engine.offering import Offer, Toolbox, Withheld, offers
from aether.engine.plan import Plan, item_keys, make_plan
from aether.engine.receive import executions_of, find_stored, is_routed_anew, triggers_of
from aether.engine.route import Start, rules_for, source_mapping
from aether.engine.runtime import Runtime
from aether.errors import AetherError
from aether.events import SourceEvent
from aether.llm.chat import model_name
from aether.memory.search import Recalled
from aether.models import TaskDefinition


class JqVerdict(StrEnum):
    """What a jq program said of an event."""

    TRUE = "true"
    FALSE = "false"
    FAILED = "failed"  #: It gave nothing, failed, or took too long.


class AnswerPlace(StrEnum):
    """Where a run's closing text goes."""

    ITEM = "item"  #: A comment on the item.
    RECORD = "record"  #: Aether's own record, and nowhere else.


@dataclass(frozen=True, kw_only=True)
class StoredDelivery:
    """The delivery that an event would be told to repeat."""

    delivery_id: int
    by: str  # delivery_key or change_key
    status: str
    reason: str | None
    canonical_triggers: list[str]
    executions: list[int]
    is_routed_anew: bool


@dataclass(frozen=True, kw_only=True)
class AskedRule:
    """A webhook mapping of the event's names, and what its filter said."""

    webhook_mapping_id: int
    jq_filter: str
    canonical_trigger: str
    verdict: JqVerdict


@dataclass(frozen=True, kw_only=True)
class FoundTrigger:
    """A canonical trigger, and the rows that gave it."""

    canonical_trigger: str
    source_event_mapping_id: int | None
    webhook_mapping_ids: list[int]


@dataclass(frozen=True, kw_only=True)
class AskedGate:
    """A trigger-task mapping; ``reason`` says why it holds its task back."""

    trigger_task_mapping_id: int
    canonical_trigger: str
    task_id: str
    is_open: bool
    reason: str | None
    condition: str | None
    condition_verdict: JqVerdict | None
    min_association: str | None
    association: str | None


@dataclass(frozen=True, kw_only=True)
class AnswerTarget:
    """Where the answer would go; ``reason`` says why nowhere but the record."""

    place: AnswerPlace
    reason: str | None = None
    project_key: str | None = None
    item_kind: str | None = None
    item_key: str | None = None
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class OpeningMessage:
    """One message that the model would be sent."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True)
class SimulatedTask:
    """A task that would start; ``error``: why its execution would fail before it asks a model."""

    task_id: str
    task_name: str
    canonical_trigger: str
    agent_id: str | None
    agent_reason: str | None
    model: str | None
    error: str | None
    memories: list[Recalled]
    memories_error: str | None
    messages: list[OpeningMessage]
    tools: list[Offer]
    withheld: list[Withheld]
    answer: AnswerTarget


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """What would become of an event; ``status`` as its sender would be told it."""

    event: SourceEvent
    status: str
    reason: str | None
    project_id: int | None
    stored: StoredDelivery | None
    rules: list[AskedRule]
    triggers: list[FoundTrigger]
    gates: list[AskedGate]
    extracted: Mapping[str, Any]
    tasks: list[SimulatedTask]


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """A task, who would do it, with which tools; or why nobody could."""

    start: Start
    task: TaskDefinition
    assignment: Assignment | None
    model: str | None
    error: str | None
    tools: Toolbox


async def simulate(
    runtime: Runtime, event: SourceEvent, *, slug: str, as_new: bool = False
) -> Prospect:
    """Say what ``receive`` would do with ``event``, and what the executions would begin with.

    Args:
        as_new: leave aside that it is stored already, as a replay does.

    Raises:
        UnavailableError: no process can be started for the jq programs.
    """
    await learn_stored(runtime.settings)  # as a worker does: else it would show another prompt
    known = await configuration.up_to_date(runtime.configuration)
    plan = await make_plan(replace(runtime, configuration=known), event, slug=slug)
    async with reading():
        stored = await _stored(plan)
        counted = None if as_new else stored
        if not as_new:
            plan = await within_rates(plan, lock=False)
        status, reason = await _outcome(plan, counted)
        starts = plan.routing.starts if status == "accepted" else ()
        chosen = [
            one
            for start in starts
            if (one := await _choose(runtime, plan.event, start)) is not None
        ]
    return Prospect(
        event=plan.event,
        status=status,
        reason=reason,
        project_id=plan.project_id,
        stored=stored,
        rules=_rules(known, plan),
        triggers=_triggers(known, plan),
        gates=_gates(plan),
        extracted=plan.extracted,
        tasks=await _prepared(runtime, plan, chosen),
    )


async def _stored(plan: Plan) -> StoredDelivery | None:
    found = await find_stored(plan, lock=False)
    if found is None:
        return None
    delivery_id = int(found["id"])
    return StoredDelivery(
        delivery_id=delivery_id,
        by="delivery_key" if found["is_same_key"] else "change_key",
        status=found["status"],
        reason=found["reason"],
        canonical_triggers=triggers_of(found),
        executions=await executions_of(delivery_id),
        is_routed_anew=is_routed_anew(plan, found),
    )


async def _outcome(plan: Plan, stored: StoredDelivery | None) -> tuple[str, str | None]:
    """What the sender would be told, and why nothing starts or which task is held back."""
    if stored is not None and not stored.is_routed_anew:
        return "duplicate", f"it is stored already, as delivery {stored.delivery_id}"
    if not plan.routing.starts:
        return "ignored", plan.routing.reason
    if await is_bot_bound_reached(plan, lock=False):
        return "ignored", BOTS_HAD_THEIR_SHARE
    return "accepted", plan.routing.reason


async def _choose(runtime: Runtime, event: SourceEvent, start: Start) -> _Chosen | None:
    task = await TaskDefinition.get_or_none(id=start.task_id)
    if task is None:
        return None  # deleted since the configuration was read
    try:
        assignment = await assign(task)
    except AetherError as error:
        return _Chosen(
            start=start, task=task, assignment=None, model=None, error=str(error), tools=Toolbox()
        )
    agent = assignment.agent
    model = problem = None
    try:
        model = model_name(runtime.settings, agent.model if agent else None)
    except AetherError as error:
        problem = str(error)
    toolbox = Toolbox()  # without a round nothing is offered
    if opening.most_rounds(runtime.settings, task):
        toolbox = await offers(agent, task, event)
    return _Chosen(
        start=start,
        task=task,
        assignment=assignment,
        model=model,
        error=problem,
        tools=toolbox,
    )


async def _prepared(runtime: Runtime, plan: Plan, chosen: list[_Chosen]) -> list[SimulatedTask]:
    """Each task with its memories; a search that fails once is not tried for the next task."""
    prepared: list[SimulatedTask] = []
    problem: str | None = None
    for one in chosen:
        memories: list[Recalled] = []
        if one.assignment is not None and problem is None:
            try:
                memories = await _recalled(runtime, plan, one.task, one.assignment)
            except opening.RECALL_FAILURES as error:
                problem = str(error) or "the search for memories took too long"
        prepared.append(_simulated(runtime, plan, one, memories, problem))
    return prepared


async def _recalled(
    runtime: Runtime, plan: Plan, task: TaskDefinition, assignment: Assignment
) -> list[Recalled]:
    within = opening.visibility(
        task,
        execution_id=None,
        agent_id=assignment.agent.id if assignment.agent else None,
        project_id=plan.project_id,
        source=plan.event.source,
        site=plan.event.site,
        project_key=item_keys(plan.event)[0],
    )
    return await opening.recall(runtime.settings, plan.event, within)


def _simulated(
    runtime: Runtime, plan: Plan, one: _Chosen, memories: list[Recalled], problem: str | None
) -> SimulatedTask:
    assignment = one.assignment
    messages: list[dict[str, Any]] = []
    if assignment is not None:
        messages = opening.messages(
            runtime.settings,
            assignment,
            one.task,
            plan.event,
            extracted=plan.extracted,
            memories=memories,
        )
    return SimulatedTask(
        task_id=one.task.id,
        task_name=one.task.name,
        canonical_trigger=one.start.canonical_trigger,
        agent_id=assignment.agent.id if assignment and assignment.agent else None,
        agent_reason=(
            opening.explained(assignment, one.task, plan.event).reason if assignment else None
        ),
        model=one.model,
        error=one.error,
        memories=memories,
        memories_error=problem if assignment is not None else None,
        messages=[OpeningMessage(**message) for message in messages],
        tools=list(one.tools.offered.values()),
        withheld=list(one.tools.withheld.values()),
        answer=_answer(runtime, plan.event),
    )


def _answer(runtime: Runtime, event: SourceEvent) -> AnswerTarget:
    subject = opening.answered_subject(event)
    if subject is None:
        why = "the event is about no item that can be commented on"
        return AnswerTarget(place=AnswerPlace.RECORD, reason=why)
    writes = runtime.settings.tracker_updates_enabled
    return AnswerTarget(
        place=AnswerPlace.ITEM if writes else AnswerPlace.RECORD,
        reason=None if writes else "TRACKER_UPDATES_ENABLED is false",
        project_key=subject.project,
        item_kind=subject.kind,
        item_key=subject.key,
        url=subject.url or None,
    )


def _verdict(plan: Plan, program: str) -> JqVerdict:
    said = plan.verdicts.get(program)
    if said is None:
        return JqVerdict.FAILED
    return JqVerdict.TRUE if said else JqVerdict.FALSE


def _rules(known: configuration.Configuration, plan: Plan) -> list[AskedRule]:
    return [
        AskedRule(
            webhook_mapping_id=rule.id,
            jq_filter=rule.jq_filter,
            canonical_trigger=rule.canonical_trigger,
            verdict=_verdict(plan, rule.jq_filter),
        )
        for rule in rules_for(known, plan.event)
    ]


def _triggers(known: configuration.Configuration, plan: Plan) -> list[FoundTrigger]:
    mapped = source_mapping(known, plan.event)
    given = [one for one in _rules(known, plan) if one.verdict is JqVerdict.TRUE]
    return [
        FoundTrigger(
            canonical_trigger=trigger,
            source_event_mapping_id=(
                mapped.id if mapped and mapped.canonical_trigger == trigger else None
            ),
            webhook_mapping_ids=[
                one.webhook_mapping_id for one in given if one.canonical_trigger == trigger
            ],
        )
        for trigger in plan.routing.canonical_triggers
    ]


def _gates(plan: Plan) -> list[AskedGate]:
    actor = plan.event.actor
    return [
        AskedGate(
            trigger_task_mapping_id=one.gate.id,
            canonical_trigger=one.canonical_trigger,
            task_id=one.gate.task_id,
            is_open=one.held is None,
            reason=one.held,
            condition=one.gate.condition,
            condition_verdict=(
                None if one.gate.condition is None else _verdict(plan, one.gate.condition)
            ),
            min_association=one.gate.min_association,
            association=actor.association if actor else None,
        )
        for one in plan.routing.gates
    ]
