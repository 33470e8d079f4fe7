"""REST: POST /webhook/{slug}, and the deliveries. The reference, "Webhooks"."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aether.models import Delivery
from aether.vocabulary import DeliveryStatus, SourceName
from resolvers import deliveries, executions
from resolvers.deliveries import DeliveryFilter
from resolvers.fields import JsonObject
from rest_compat.op import Anything, Call, Op, int_id
from rest_compat.shapes import Shape, WireField
from rest_compat.wire import body_of

MAX_DELIVERY_BYTES: Final = 26_214_400
"""25 MiB, a little over the largest delivery GitHub sends (25 MB):
https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap"""

RECEIPT: Final = Shape(
    "Receipt",
    status=str,
    delivery_id=int,
    canonical_trigger=str | None,
    canonical_triggers=list[str],
    executions=list[int],
)
_FIELDS: Final[dict[str, WireField]] = {
    "id": int,
    "source": SourceName,
    "slug": str,
    "event_name": str,
    "action": str | None,
    "status": DeliveryStatus,
    "reason": str | None,
    "canonical_triggers": list[str],
    "project_id": int | None,
    "project_key": str,
    "item_kind": str | None,
    "item_key": str | None,
    "title": str,
    "actor": str | None,
    "actor_is_bot": bool,
    "is_verified": bool,
    "delivery_key": str,
    "change_key": str,
    "replay_of": int | None,
    "received_at": datetime,
}
DELIVERY: Final = Shape("Delivery", **_FIELDS)
_LARGE: Final[dict[str, WireField]] = {
    "event": JsonObject,
    "extracted": JsonObject,
    "payload": JsonObject,
}
DELIVERY_DETAIL: Final = Shape(
    "DeliveryDetail",
    **{key: (f"delivery.{key}", kind) for key, kind in _FIELDS.items()},
    executions=list[int],
    **{key: (f"delivery.{key}", kind) for key, kind in _LARGE.items()},
)
REPLAYED: Final = Shape("Replayed", delivery_id=int, executions=list[int])


@dataclass(frozen=True, kw_only=True)
class _Detail:
    delivery: Delivery
    executions: list[int]


async def receive_delivery(call: Call) -> Any:
    """Hand the bytes on as they came: signatures are computed over them."""
    async with body_of(call.request, MAX_DELIVERY_BYTES) as body:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in call.request.scope["headers"]
        }
        return await deliveries.receive_delivery(call.path["slug"], headers, body)


async def list_deliveries(call: Call) -> Any:
    return await deliveries.list_deliveries(call.query)


async def get_delivery(call: Call) -> Any:
    found = await deliveries.get_delivery(int_id(call, "id", "delivery"))
    return _Detail(delivery=found, executions=await executions.ids_of_delivery(found.id))


async def replay_delivery(call: Call) -> Any:
    return await deliveries.replay_delivery(int_id(call, "id", "delivery"))


_SHOWN: Final = {
    "id": 1,
    "source": "github",
    "slug": "github",
    "event_name": "issues",
    "action": "opened",
    "status": "routed",
    "reason": None,
    "canonical_triggers": ["issue.created"],
    "project_id": 42,
    "project_key": "myorg/api-service",
    "item_kind": "issue",
    "item_key": "7",
    "title": "Login fails after the update",
    "actor": "octocat",
    "actor_is_bot": False,
    "is_verified": True,
    "delivery_key": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "change_key": "issue.created:7",
    "replay_of": None,
    "received_at": "2026-02-18T10:00:00Z",
}

OPS: Final = (
    Op(
        "GET",
        "/api/deliveries",
        list_deliveries,
        summary="List deliveries, newest first, without their payloads",
        tag="Deliveries",
        query=DeliveryFilter,
        out=[DELIVERY],
        answer=[_SHOWN],
    ),
    Op(
        "GET",
        "/api/deliveries/{id}",
        get_delivery,
        summary="Get a delivery with its payload",
        tag="Deliveries",
        out=DELIVERY_DETAIL,
        answer=_SHOWN
        | {
            "executions": [1, 2],
            "event": {"event_name": "issues", "action": "opened"},
            "extracted": {},
            "payload": {"action": "opened"},
        },
    ),
    Op(
        "POST",
        "/api/deliveries/{id}/replay",
        replay_delivery,
        summary="Route a stored delivery once more, as a new one that names it",
        tag="Deliveries",
        out=REPLAYED,
        answer={"delivery_id": 2, "executions": [3, 4]},
    ),
    Op(
        method="POST",
        path="/webhook/{slug}",
        handler=receive_delivery,
        summary="Receive a webhook delivery",
        tag="Webhooks",
        query=Anything,  # an address in a tracker's settings may carry parameters of its own
        out=RECEIPT,
        errors=(404, 413),
        answer={
            "status": "accepted",
            "delivery_id": 1,
            "canonical_trigger": "issue.created",
            "canonical_triggers": ["issue.created"],
            "executions": [1, 2],
        },
        extra={
            "security": [],
            "description": "Proven by the platform's signature, computed over the body's bytes.",
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": {}},
                    "application/x-www-form-urlencoded": {
                        "schema": {
                            "type": "object",
                            "required": ["payload"],
                            "properties": {"payload": {"type": "string"}},
                        }
                    },
                },
            },
        },
    ),
)
