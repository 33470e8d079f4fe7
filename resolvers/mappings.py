"""Mappings, from a source's words to a trigger and from a trigger to tasks."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints
from pydantic.types import Strict
from tortoise.models import Model

from aether import audit
from aether.db import row, transaction
from aether.engine.filters import LONGEST_PROGRAM
from aether.engine.runtime import runtime
from aether.errors import InvalidInputError
from aether.models import SourceEventMapping, TriggerTaskMapping, WebhookMapping
from aether.vocabulary import Association, SourceName
from resolvers.fields import ABSENT, Flag, Input, Name, Reference, Slug, Source
from resolvers.rows import (
    All,
    KeyRef,
    Label,
    as_given,
    change,
    criteria,
    find,
    lock,
    page,
    pages,
    unique,
)

TRIGGER: Final = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$"


def _trigger(value: str) -> str:
    if not re.fullmatch(TRIGGER[1:-1], value):
        raise ValueError("must be lower-case words joined by dots, such as issue.created")
    return value


def _of_its_own(value: str) -> str:
    if value in set(SourceName):
        raise ValueError(f"must not be {value}, which is the source's own")
    return value


CanonicalTrigger = Annotated[
    str,
    StringConstraints(max_length=100),
    AfterValidator(_trigger),
    Field(json_schema_extra={"pattern": TRIGGER}),
]
Program = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PROGRAM)]
"""A jq program over the payload (``.``) and the event (``$event``); compiled when it is saved."""
Extract = Annotated[dict[Label, Program], Field(max_length=50)]
"""Name to jq program; what each finds is offered to the prompt under its name."""
OwnSlug = Annotated[Slug, AfterValidator(_of_its_own)]
AtLeast = Annotated[Association, Strict(strict=False)]


class NewTriggerMapping(Input):
    """A trigger-task mapping to create."""

    canonical_trigger: CanonicalTrigger
    task_id: KeyRef
    condition: Program | None = None
    min_association: AtLeast | None = None


class TriggerMappingChanges(Input):
    """What to change of a trigger-task mapping, its gates above all; what is absent stays."""

    canonical_trigger: CanonicalTrigger = ABSENT
    task_id: KeyRef = ABSENT
    condition: Program | None = ABSENT
    min_association: AtLeast | None = ABSENT


class TriggerMappingFilter(All):
    """Which trigger-task mappings."""

    canonical_trigger: Reference | None = None
    task_id: Reference | None = None


class NewSourceMapping(Input):
    """A source event mapping to create; an absent action matches any."""

    source: Source
    event_name: Reference
    action: Reference | None = None
    canonical_trigger: CanonicalTrigger


class SourceMappingFilter(All):
    """Which source event mappings."""

    source: Source | None = None
    event_name: Reference | None = None
    canonical_trigger: Reference | None = None


class NewWebhookMapping(Input):
    """A webhook mapping to create."""

    source: Source
    event_type: Reference
    jq_filter: Program
    canonical_trigger: CanonicalTrigger
    name: Name | None = None
    slug: OwnSlug | None = None
    extract: Extract = {}
    enabled: Flag = True


class WebhookMappingChanges(Input):
    """What to change of a webhook mapping; what is absent stays."""

    source: Source = ABSENT
    event_type: Reference = ABSENT
    jq_filter: Program = ABSENT
    canonical_trigger: CanonicalTrigger = ABSENT
    name: Name | None = ABSENT
    slug: OwnSlug | None = ABSENT
    extract: Extract = ABSENT
    enabled: Flag = ABSENT


class WebhookMappingFilter(All):
    """Which webhook mappings."""

    source: Source | None = None
    enabled: Flag | None = None


async def list_trigger_mappings(wanted: TriggerMappingFilter) -> list[TriggerTaskMapping]:
    """Trigger-task mappings, oldest first; one whose task does not exist is inert."""
    return await page(TriggerTaskMapping.filter(**criteria(wanted)).order_by("id"), wanted)


async def trigger_mappings_of(keys: list[tuple[str, int, int]]) -> list[list[TriggerTaskMapping]]:
    """Of each (task's id, limit, offset) that page of its mappings, oldest first."""
    return await pages(TriggerTaskMapping, "task_id", keys, newest_first=False)


async def create_trigger_mapping(new: NewTriggerMapping) -> TriggerTaskMapping:
    """Make a trigger start a task.

    Raises:
        InvalidInputError: there is no such task, or jq cannot read the condition.
        ConflictError: the trigger starts this task already.
    """
    if new.condition is not None:
        await runtime().filters.check(new.condition, field="condition")
    text = f"mapping of {new.canonical_trigger!r} to task {new.task_id!r} already exists"
    with unique(text):
        async with transaction():
            await _check_task(new.task_id)
            mapping = await TriggerTaskMapping.create(**new.model_dump())
            await _record("created", "trigger", mapping.id, as_given(mapping, NewTriggerMapping))
    return mapping


async def update_trigger_mapping(id: int, changes: TriggerMappingChanges) -> TriggerTaskMapping:
    """Change what a trigger starts, or what may hold it back; counts for the next delivery.

    Raises:
        NotFoundError: there is no such mapping.
        InvalidInputError: there is no such task, or jq cannot read the condition.
        ConflictError: another mapping has this trigger start this task.
    """
    sent = changes.model_dump(exclude_unset=True)
    if sent.get("condition") is not None:
        await runtime().filters.check(sent["condition"], field="condition")
    with unique("another mapping already has this canonical_trigger and task_id"):
        async with transaction():
            if "task_id" in sent:  # first: whoever deletes a task holds its row before its mappings
                await _check_task(sent["task_id"])
            mapping = await lock(TriggerTaskMapping, "mapping", id)
            changed = await change(mapping, changes)
            if changed:
                await _record("updated", "trigger", id, changed)
    return mapping


async def delete_trigger_mapping(id: int) -> None:
    """Stop a trigger from starting a task, or NotFoundError."""
    await _delete(TriggerTaskMapping, "trigger", id, NewTriggerMapping)


async def list_source_mappings(wanted: SourceMappingFilter) -> list[SourceEventMapping]:
    """Source event mappings, oldest first."""
    return await page(SourceEventMapping.filter(**criteria(wanted)).order_by("id"), wanted)


async def create_source_mapping(new: NewSourceMapping) -> SourceEventMapping:
    """Give a source's event a canonical trigger.

    Raises:
        ConflictError: the event, with this action, has one.
    """
    action = f"action {new.action!r}" if new.action is not None else "any action"
    with unique(f"mapping of {new.source} {new.event_name!r}, {action}, already exists"):
        async with transaction():
            mapping = await SourceEventMapping.create(**new.model_dump())
            await _record("created", "source", mapping.id, as_given(mapping, NewSourceMapping))
    return mapping


async def delete_source_mapping(id: int) -> None:
    """Take an event's canonical trigger away, or NotFoundError."""
    await _delete(SourceEventMapping, "source", id, NewSourceMapping)


async def list_webhook_mappings(wanted: WebhookMappingFilter) -> list[WebhookMapping]:
    """Webhook mappings, oldest first."""
    return await page(WebhookMapping.filter(**criteria(wanted)).order_by("id"), wanted)


async def get_webhook_mapping(id: int) -> WebhookMapping:
    """One webhook mapping, or NotFoundError."""
    return await find(WebhookMapping, "webhook mapping", id)


async def create_webhook_mapping(new: NewWebhookMapping) -> WebhookMapping:
    """Add a jq rule.

    Raises:
        InvalidInputError: jq cannot read the filter or a program of ``extract``.
        ConflictError: the rule, or its slug, exists.
    """
    await _check_programs(new.jq_filter, new.extract)
    with unique(RULE_TAKEN, slug=f"slug {new.slug!r} is taken by another webhook mapping"):
        async with transaction():
            mapping = await WebhookMapping.create(**new.model_dump())
            await _record("created", "webhook", mapping.id, as_given(mapping, NewWebhookMapping))
    return mapping


async def update_webhook_mapping(id: int, changes: WebhookMappingChanges) -> WebhookMapping:
    """Change a jq rule.

    Raises:
        NotFoundError: there is no such rule.
        InvalidInputError: jq cannot read the filter or a program of ``extract``.
        ConflictError: another rule is the same, or has the slug.
    """
    sent = changes.model_dump(exclude_unset=True)
    await _check_programs(sent.get("jq_filter"), sent.get("extract", {}))
    with unique(RULE_TAKEN, slug=f"slug {changes.slug!r} is taken by another webhook mapping"):
        async with transaction():
            mapping = await lock(WebhookMapping, "webhook mapping", id)
            changed = await change(mapping, changes)
            if changed:
                await _record("updated", "webhook", id, changed)
    return mapping


async def delete_webhook_mapping(id: int) -> None:
    """Take a jq rule away, or NotFoundError."""
    await _delete(WebhookMapping, "webhook", id, NewWebhookMapping)


RULE_TAKEN: Final = (
    "webhook mapping with this source, event_type, jq_filter and canonical_trigger already exists"
)


async def _check_task(task_id: str) -> None:
    """Hold the task until the transaction ends: its deletion waits, so that no mapping is left."""
    task = await row("SELECT 1 FROM task_definition WHERE id = $1 FOR KEY SHARE", task_id)
    if task is None:
        raise InvalidInputError("task_id", f"task {task_id!r} does not exist")


async def _check_programs(jq_filter: str | None, extract: Mapping[str, str]) -> None:
    filters = runtime().filters
    if jq_filter is not None:
        await filters.check(jq_filter)
    for name, program in extract.items():
        await filters.check(program, field=f"extract.{name}")


async def _delete(table: type[Model], kind: str, id: int, new: type[Input]) -> None:
    noun = "webhook mapping" if kind == "webhook" else "mapping"
    async with transaction():
        gone: Model = await lock(table, noun, id)
        await gone.delete()
        await _record("deleted", kind, id, as_given(gone, new))


async def _record(what: str, kind: str, mapping_id: int, detail: Mapping[str, Any]) -> None:
    await audit.record(
        f"mapping.{what}",
        caller="api",
        detail={"kind": kind, "mapping_id": mapping_id, **detail},
    )
