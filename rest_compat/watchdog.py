"""REST: the watchdog log. The reference, "Monitoring & Logs"."""

from datetime import datetime
from typing import Any, Final

from aether.vocabulary import WatchdogLevel
from resolvers import watchdog
from resolvers.fields import JsonObject
from resolvers.watchdog import WatchdogFilter
from rest_compat.op import Call, Op
from rest_compat.shapes import Shape

WATCHDOG_ENTRY: Final = Shape(
    "WatchdogEntry",
    id=int,
    level=WatchdogLevel,
    component=str,
    message=str,
    detail=JsonObject,
    count=int,
    created_at=datetime,
)


async def list_watchdog_entries(call: Call) -> Any:
    return await watchdog.list_watchdog_entries(call.query)


OPS: Final = (
    Op(
        "GET",
        "/api/watchdog",
        list_watchdog_entries,
        summary="Warnings and errors of ours, newest first; 404 while WATCHDOG_ENABLED is off",
        tag="Monitoring & Logs",
        query=WatchdogFilter,
        out=[WATCHDOG_ENTRY],
        errors=(404,),
        answer=[
            {
                "id": 3,
                "level": "error",
                "component": "worker",
                "message": "execution 7 failed: GET /repos/myorg/api-service: answered 502",
                "detail": {"logger": "aether.engine.execute", "execution_id": 7},
                "count": 1,
                "created_at": "2026-02-18T10:00:00Z",
            }
        ],
    ),
)
