"""Stage 1, its first half: everything decided about an event before its transaction opens.

Reads only, so that a simulation may make the very plan that a delivery would.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from aether.engine.configuration import Configuration
from aether.engine.own_doing import why_ours
from aether.engine.route import Routing, Verdicts, programs_for, route, rules_for
from aether.engine.runtime import Runtime
from aether.engine.switched_off import OFF_PROJECT
from aether.engine.told import why_told
from aether.events import SourceEvent

LONGEST_KEY: Final = 400  # characters that a key's column holds


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be stored and started, under one version of the configuration.

    ``why_nothing``: a ping, our own doing, a disabled project; then ``routing`` starts nothing,
    whatever its gates say.
    """

    event: SourceEvent
    slug: str
    is_verified: bool
    version: int
    project_id: int | None
    routing: Routing
    verdicts: Verdicts
    extracted: Mapping[str, Any]
    why_nothing: str | None
    replay_of: int | None
    rates: Mapping[str, int]  # task to how often it may be started on one item within an hour
    cancel_on_close: frozenset[str]
    cancel_on_newer: frozenset[str]


async def make_plan(
    runtime: Runtime,
    event: SourceEvent,
    *,
    slug: str,
    is_verified: bool = True,
    replay_of: int | None = None,
) -> Plan:
    """Decide about ``event`` under the runtime's configuration; its keys become what columns hold.

    Raises:
        UnavailableError: no process can be started for its jq programs.
    """
    known = runtime.configuration
    project = known.project_of(event)
    routing, verdicts, extracted = await _routing(runtime, known, event)
    why = "a ping" if event.is_ping else await why_ours(event)
    if why is None and replay_of is None:
        why = await why_told(event)
    if why is None and project is not None and not project.enabled:
        why = OFF_PROJECT
    plan = Plan(
        event=_with_stored_keys(event),
        slug=slug,
        is_verified=is_verified,
        version=known.version,
        project_id=project.id if project else None,
        routing=routing,
        verdicts=verdicts,
        extracted=extracted,
        why_nothing=None,
        replay_of=replay_of,
        rates=known.rates,
        cancel_on_close=known.cancel_on_close,
        cancel_on_newer=known.cancel_on_newer,
    )
    return plan if why is None else starting_nothing(plan, why)


def starting_nothing(plan: Plan, why: str) -> Plan:
    """``plan``, had ``why`` been known."""
    routing = replace(plan.routing, starts=(), refused=(), reason=why)
    return replace(plan, why_nothing=why, routing=routing)


def item_keys(event: SourceEvent) -> tuple[str, str | None]:
    """The project's and the item's key as the rows of deliveries and executions hold them."""
    project = event.project_names[0] if event.project_names else ""
    return project[:400], (event.subject.key[:100] or None) if event.subject else None


def _with_stored_keys(event: SourceEvent) -> SourceEvent:
    """The event with its keys as columns hold them: two sites may give one key to two things."""
    return replace(
        event,
        delivery_key=_bounded(event.key_prefix + event.delivery_key),
        change_key=_bounded(event.key_prefix + event.change_key),
    )


def _bounded(key: str) -> str:
    """A key as its column holds it; a longer one, which ids of a strange size make, by its hash."""
    if len(key) <= LONGEST_KEY:
        return key
    return f"sha256:{hashlib.sha256(key.encode(errors='replace')).hexdigest()}"


async def _routing(
    runtime: Runtime, known: Configuration, event: SourceEvent
) -> tuple[Routing, Verdicts, Mapping[str, Any]]:
    """The routing, its verdicts, and what the matching rules extract; one visit to jq each."""
    programs = programs_for(known, event)
    if not programs:
        return route(known, event, {}), {}, {}
    summary = event.summary()
    verdicts = dict(
        zip(programs, await runtime.filters.evaluate(programs, event.payload, summary), strict=True)
    )
    wanted = {
        name: program
        for rule in rules_for(known, event)
        if verdicts.get(rule.jq_filter) is True
        for name, program in rule.extract.items()
    }
    extracted = await runtime.filters.extract(wanted, event.payload, summary) if wanted else {}
    return route(known, event, verdicts), verdicts, extracted
