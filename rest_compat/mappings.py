"""REST: the three kinds of mappings. The reference, "Trigger-Task Mappings" and on."""

from datetime import datetime
from typing import Any, Final

from aether.vocabulary import Association, SourceName
from resolvers import mappings, seeding
from resolvers.mappings import (
    NewSourceMapping,
    NewTriggerMapping,
    NewWebhookMapping,
    SourceMappingFilter,
    TriggerMappingChanges,
    TriggerMappingFilter,
    WebhookMappingChanges,
    WebhookMappingFilter,
)
from rest_compat.op import Call, Op, int_id
from rest_compat.shapes import DELETED, SEEDED, Shape

TRIGGER_MAPPING: Final = Shape(
    "TriggerMapping",
    id=int,
    canonical_trigger=str,
    task_id=str,
    condition=str | None,
    min_association=Association | None,
    created_at=datetime,
)
SOURCE_MAPPING: Final = Shape(
    "SourceMapping",
    id=int,
    source=SourceName,
    event_name=str,
    action=str | None,
    canonical_trigger=str,
    created_at=datetime,
)
WEBHOOK_MAPPING: Final = Shape(
    "WebhookMapping",
    id=int,
    source=SourceName,
    event_type=str,
    jq_filter=str,
    canonical_trigger=str,
    name=str | None,
    slug=str | None,
    enabled=bool,
    extract=dict[str, str],
    created_at=datetime,
    updated_at=datetime,
)


async def list_trigger_mappings(call: Call) -> Any:
    return await mappings.list_trigger_mappings(call.query)


async def create_trigger_mapping(call: Call) -> Any:
    return await mappings.create_trigger_mapping(call.body)


async def update_trigger_mapping(call: Call) -> Any:
    return await mappings.update_trigger_mapping(int_id(call, "id", "mapping"), call.body)


async def delete_trigger_mapping(call: Call) -> Any:
    row_id = int_id(call, "id", "mapping")
    await mappings.delete_trigger_mapping(row_id)
    return {"deleted": row_id}


async def seed_trigger_mappings(_: Call) -> Any:
    return await seeding.seed("trigger_task_mappings")


async def list_source_mappings(call: Call) -> Any:
    return await mappings.list_source_mappings(call.query)


async def create_source_mapping(call: Call) -> Any:
    return await mappings.create_source_mapping(call.body)


async def delete_source_mapping(call: Call) -> Any:
    row_id = int_id(call, "id", "mapping")
    await mappings.delete_source_mapping(row_id)
    return {"deleted": row_id}


async def seed_source_mappings(_: Call) -> Any:
    return await seeding.seed("source_event_mappings")


async def list_webhook_mappings(call: Call) -> Any:
    return await mappings.list_webhook_mappings(call.query)


async def get_webhook_mapping(call: Call) -> Any:
    return await mappings.get_webhook_mapping(int_id(call, "id", "webhook mapping"))


async def create_webhook_mapping(call: Call) -> Any:
    return await mappings.create_webhook_mapping(call.body)


async def update_webhook_mapping(call: Call) -> Any:
    return await mappings.update_webhook_mapping(int_id(call, "id", "webhook mapping"), call.body)


async def delete_webhook_mapping(call: Call) -> Any:
    row_id = int_id(call, "id", "webhook mapping")
    await mappings.delete_webhook_mapping(row_id)
    return {"deleted": row_id}


async def seed_webhook_mappings(_: Call) -> Any:
    return await seeding.seed("webhook_mappings")


_TRIGGER_TAG: Final = "Trigger-Task Mappings"
_SOURCE_TAG: Final = "Source Event Mappings"
_WEBHOOK_TAG: Final = "Webhook Mappings"
_CREATED: Final = {"created_at": "2026-02-18T10:00:00Z"}
_TRIGGER: Final = {"canonical_trigger": "issue.created", "task_id": "pm_analyze"}
_TRIGGER_SHOWN: Final = {"id": 1} | _TRIGGER | {"condition": None, "min_association": None}
_SOURCE: Final = {
    "source": "github",
    "event_name": "issues",
    "action": "opened",
    "canonical_trigger": "issue.created",
}
_WEBHOOK: Final = {
    "source": "github",
    "event_type": "issues",
    "jq_filter": '.action == "opened"',
    "canonical_trigger": "issue.created",
}
_WEBHOOK_SHOWN: Final[dict[str, Any]] = {
    "id": 1,
    **_WEBHOOK,
    "name": None,
    "slug": None,
    "enabled": True,
    "extract": {},
    **_CREATED,
    "updated_at": "2026-02-18T10:00:00Z",
}

OPS: Final = (
    Op(
        "GET",
        "/api/tasks/triggers",
        list_trigger_mappings,
        summary="List all mappings of a trigger to a task",
        tag=_TRIGGER_TAG,
        query=TriggerMappingFilter,
        out=[TRIGGER_MAPPING],
        answer=[_TRIGGER_SHOWN | _CREATED],
    ),
    Op(
        "POST",
        "/api/tasks/triggers",
        create_trigger_mapping,
        summary="Make a trigger start a task",
        tag=_TRIGGER_TAG,
        body=NewTriggerMapping,
        out=TRIGGER_MAPPING,
        status=201,
        errors=(409,),
        example=_TRIGGER,
        answer=_TRIGGER_SHOWN | _CREATED,
    ),
    Op(
        "PUT",
        "/api/tasks/triggers/{id}",
        update_trigger_mapping,
        summary="Change a mapping of a trigger to a task: its gates, for one",
        tag=_TRIGGER_TAG,
        body=TriggerMappingChanges,
        out=TRIGGER_MAPPING,
        errors=(409,),
        example={"min_association": "COLLABORATOR"},
        answer=_TRIGGER_SHOWN | {"min_association": "COLLABORATOR"} | _CREATED,
    ),
    Op(
        "DELETE",
        "/api/tasks/triggers/{id}",
        delete_trigger_mapping,
        summary="Delete a mapping of a trigger to a task",
        tag=_TRIGGER_TAG,
        out=DELETED,
        answer={"deleted": 1},
    ),
    Op(
        "POST",
        "/api/tasks/triggers/seed",
        seed_trigger_mappings,
        summary="Create the default trigger mappings that are missing",
        tag=_TRIGGER_TAG,
        out=SEEDED,
        answer={"created": 10, "skipped": 0},
    ),
    Op(
        "GET",
        "/api/tasks/sources",
        list_source_mappings,
        summary="List all mappings of a source's event to a trigger",
        tag=_SOURCE_TAG,
        query=SourceMappingFilter,
        out=[SOURCE_MAPPING],
        answer=[{"id": 1} | _SOURCE | _CREATED],
    ),
    Op(
        "POST",
        "/api/tasks/sources",
        create_source_mapping,
        summary="Give a source's event a canonical trigger",
        tag=_SOURCE_TAG,
        body=NewSourceMapping,
        out=SOURCE_MAPPING,
        status=201,
        errors=(409,),
        example=_SOURCE,
        answer={"id": 1} | _SOURCE | _CREATED,
    ),
    Op(
        "DELETE",
        "/api/tasks/sources/{id}",
        delete_source_mapping,
        summary="Delete a mapping of a source's event",
        tag=_SOURCE_TAG,
        out=DELETED,
        answer={"deleted": 1},
    ),
    Op(
        "POST",
        "/api/tasks/sources/seed",
        seed_source_mappings,
        summary="Create the default source mappings that are missing",
        tag=_SOURCE_TAG,
        out=SEEDED,
        answer={"created": 66, "skipped": 0},
    ),
    Op(
        "GET",
        "/api/webhook-mappings",
        list_webhook_mappings,
        summary="List all webhook mappings",
        tag=_WEBHOOK_TAG,
        query=WebhookMappingFilter,
        out=[WEBHOOK_MAPPING],
        answer=[_WEBHOOK_SHOWN],
    ),
    Op(
        "POST",
        "/api/webhook-mappings",
        create_webhook_mapping,
        summary="Create a webhook mapping; its jq programs are compiled now",
        tag=_WEBHOOK_TAG,
        body=NewWebhookMapping,
        out=WEBHOOK_MAPPING,
        status=201,
        errors=(409,),
        example=_WEBHOOK,
        answer=_WEBHOOK_SHOWN,
    ),
    Op(
        "GET",
        "/api/webhook-mappings/{id}",
        get_webhook_mapping,
        summary="Get a webhook mapping",
        tag=_WEBHOOK_TAG,
        out=WEBHOOK_MAPPING,
        answer=_WEBHOOK_SHOWN,
    ),
    Op(
        "PUT",
        "/api/webhook-mappings/{id}",
        update_webhook_mapping,
        summary="Update a webhook mapping; what is absent stays",
        tag=_WEBHOOK_TAG,
        body=WebhookMappingChanges,
        out=WEBHOOK_MAPPING,
        errors=(409,),
        example={"enabled": False},
        answer=_WEBHOOK_SHOWN | {"enabled": False},
    ),
    Op(
        "DELETE",
        "/api/webhook-mappings/{id}",
        delete_webhook_mapping,
        summary="Delete a webhook mapping",
        tag=_WEBHOOK_TAG,
        out=DELETED,
        answer={"deleted": 1},
    ),
    Op(
        "POST",
        "/api/webhook-mappings/seed",
        seed_webhook_mappings,
        summary="Create the default webhook mappings that are missing",
        tag=_WEBHOOK_TAG,
        out=SEEDED,
        answer={"created": 5, "skipped": 0},
    ),
)
