"""Stage 2: from an event to canonical triggers to tasks; pure, given the filters' verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aether.engine.configuration import Configuration, Gate, Rule, SourceMapping
from aether.events import SourceEvent
from aether.vocabulary import Association

RANK: Final[Mapping[str, int]] = {name.value: place for place, name in enumerate(Association)}

Verdicts = Mapping[str, bool | None]
"""What each jq program said of this event; None: it failed or its time was over."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A task to start, and the trigger that named it first."""

    task_id: str
    canonical_trigger: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A task that was not started though its trigger was given, and why: for the audit log.

    A condition that is false, or a task that is switched off, refuses nobody.
    """

    task_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Gated:
    """A gate that was asked, and why it stays shut; None: it lets its task start."""

    gate: Gate
    canonical_trigger: str
    held: str | None
    refuses: bool = False  # whoever caused the event, or since it could not be asked


@dataclass(frozen=True, kw_only=True)
class Routing:
    """What an event means under one configuration."""

    canonical_triggers: tuple[str, ...] = ()
    gates: tuple[Gated, ...] = ()  # all that were asked, in their order
    starts: tuple[Start, ...] = ()
    refused: tuple[Refused, ...] = ()
    reason: str | None = None  # why nothing starts, or which gates held a task back


def source_mapping(configuration: Configuration, event: SourceEvent) -> SourceMapping | None:
    """The row of the first candidate that has one; an exact action beats a null one.

    Where the source's candidates end in *stop*, rows with a null action are not asked, but for a
    candidate that has no action itself.
    """
    known = configuration.source_mappings
    for candidate in event.candidates:
        exact = known.get((event.source, candidate.event_name, candidate.action))
        if exact is not None:
            return exact
    for candidate in () if event.stops else event.candidates:
        any_action = known.get((event.source, candidate.event_name, None))
        if any_action is not None:
            return any_action
    return None


def rules_for(configuration: Configuration, event: SourceEvent) -> tuple[Rule, ...]:
    """The webhook mappings of this source whose event type is one of the event's names."""
    names = dict.fromkeys((event.event_name, *(one.event_name for one in event.candidates)))
    return tuple(
        rule for name in names for rule in configuration.rules.get((event.source, name), ())
    )


def programs_for(configuration: Configuration, event: SourceEvent) -> tuple[str, ...]:
    """Every jq program that may decide about this event, each once."""
    rules = rules_for(configuration, event)
    triggers = {rule.canonical_trigger for rule in rules}
    mapped = source_mapping(configuration, event)
    if mapped is not None:
        triggers.add(mapped.canonical_trigger)
    conditions = (
        gate.condition
        for trigger in sorted(triggers)
        for gate in configuration.gates.get(trigger, ())
        if gate.condition is not None
    )
    return tuple(dict.fromkeys((*(rule.jq_filter for rule in rules), *conditions)))


def route(configuration: Configuration, event: SourceEvent, verdicts: Verdicts) -> Routing:
    """Triggers in the order they were found, and each task once, however many triggers name it."""
    mapped = source_mapping(configuration, event)
    added = (
        rule.canonical_trigger
        for rule in rules_for(configuration, event)
        if verdicts.get(rule.jq_filter) is True
    )
    triggers = tuple(dict.fromkeys((*((mapped.canonical_trigger,) if mapped else ()), *added)))
    if not triggers:
        return Routing(reason=f"no mapping knows {_words(event)}")
    gates = tuple(
        _asked(gate, trigger, event, verdicts)
        for trigger in triggers
        for gate in configuration.gates.get(trigger, ())
    )
    starts: dict[str, Start] = {}
    for one in gates:
        if one.held is None:
            start = Start(task_id=one.gate.task_id, canonical_trigger=one.canonical_trigger)
            starts.setdefault(one.gate.task_id, start)
    held = [one.held for one in gates if one.held is not None]
    if not gates:
        held.append(f"no task is mapped to {', '.join(triggers)}")
    return Routing(
        canonical_triggers=triggers,
        gates=gates,
        starts=tuple(starts.values()),
        refused=tuple(
            Refused(task_id=one.gate.task_id, reason=one.held)
            for one in gates
            if one.held is not None and one.refuses and one.gate.task_id not in starts
        ),
        reason="; ".join(held) or None,
    )


def _asked(gate: Gate, trigger: str, event: SourceEvent, verdicts: Verdicts) -> Gated:
    """Whether this gate opens; gates fail closed."""
    held, refuses = None, False
    if not gate.enabled:
        held = f"task {gate.task_id} is disabled"
    elif (why := _too_distant(gate, event)) is not None:
        held, refuses = f"task {gate.task_id} held back: {why}", True
    elif gate.condition is not None and verdicts.get(gate.condition) is None:
        held = f"task {gate.task_id} held back: its condition failed or took too long"
        refuses = True
    elif gate.condition is not None and not verdicts[gate.condition]:
        held = f"task {gate.task_id} held back: its condition is false"
    return Gated(gate=gate, canonical_trigger=trigger, held=held, refuses=refuses)


def _too_distant(gate: Gate, event: SourceEvent) -> str | None:
    if gate.min_association is None:
        return None
    association = event.actor.association if event.actor else None
    if RANK.get(association or "", len(RANK)) <= RANK.get(gate.min_association, -1):
        return None
    told = association or "not told"
    return f"its author's association is {told}, {gate.min_association} or closer is needed"


def _words(event: SourceEvent) -> str:
    return f"{event.event_name}/{event.action}" if event.action else event.event_name
