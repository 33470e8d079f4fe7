"""REST: poll sources. The reference, "Polling Sources"."""

from datetime import datetime
from typing import Any, Final

from aether.vocabulary import PollStatus, SourceName
from resolvers import polling
from resolvers.polling import NewPollSource, PollSourceChanges, PollSourceFilter
from rest_compat.op import Call, Op, int_id
from rest_compat.shapes import DELETED, Shape

POLL_SOURCE: Final = Shape(
    "PollSource",
    id=int,
    source=SourceName,
    project_id=("source_project_id", str),
    interval_minutes=int,
    enabled=bool,
    integration_id=int | None,
    status=PollStatus,
    last_polled_at=datetime | None,
    next_poll_at=datetime,
    failures=int,
    error=str | None,
    created_at=datetime,
    updated_at=datetime,
)
WANTED: Final = Shape("WantedPoll", poll_source_id=int, status=PollStatus)


async def list_poll_sources(call: Call) -> Any:
    return await polling.list_poll_sources(call.query)


async def get_poll_source(call: Call) -> Any:
    return await polling.get_poll_source(int_id(call, "id", polling.NOUN))


async def create_poll_source(call: Call) -> Any:
    return await polling.create_poll_source(call.body)


async def update_poll_source(call: Call) -> Any:
    return await polling.update_poll_source(int_id(call, "id", polling.NOUN), call.body)


async def delete_poll_source(call: Call) -> Any:
    row_id = int_id(call, "id", polling.NOUN)
    await polling.delete_poll_source(row_id)
    return {"deleted": row_id}


async def poll_now(call: Call) -> Any:
    return await polling.poll_now(int_id(call, "id", polling.NOUN))


_IGNORED: Final = ("status", "last_polled_at", "next_poll_at", "failures", "error")
_SENT: Final = {
    "source": "github",
    "project_id": "myorg/api-service",
    "interval_minutes": 5,
    "enabled": True,
}
_SHOWN: Final[dict[str, Any]] = {
    "id": 1,
    **_SENT,
    "integration_id": None,
    "status": "idle",
    "last_polled_at": "2026-02-18T10:00:00Z",
    "next_poll_at": "2026-02-18T10:05:00Z",
    "failures": 0,
    "error": None,
    "created_at": "2026-02-18T09:00:00Z",
    "updated_at": "2026-02-18T09:00:00Z",
}
_NEW: Final = _SHOWN | {"last_polled_at": None, "next_poll_at": "2026-02-18T09:00:00Z"}

OPS: Final = (
    Op(
        "GET",
        "/api/poll-sources",
        list_poll_sources,
        summary="List polling source configurations",
        tag="Polling Sources",
        query=PollSourceFilter,
        out=[POLL_SOURCE],
        answer=[_SHOWN],
    ),
    Op(
        "POST",
        "/api/poll-sources",
        create_poll_source,
        summary="Create a polling source",
        tag="Polling Sources",
        body=NewPollSource,
        out=POLL_SOURCE,
        status=201,
        errors=(409,),
        ignored=_IGNORED,
        example=_SENT,
        answer=_NEW,
    ),
    Op(
        "GET",
        "/api/poll-sources/{id}",
        get_poll_source,
        summary="Get a polling source",
        tag="Polling Sources",
        out=POLL_SOURCE,
        answer=_SHOWN,
    ),
    Op(
        "PUT",
        "/api/poll-sources/{id}",
        update_poll_source,
        summary="Update a polling source; with another project it begins anew, else it goes on",
        tag="Polling Sources",
        body=PollSourceChanges,
        out=POLL_SOURCE,
        errors=(409,),
        ignored=_IGNORED,
        example={"interval_minutes": 10},
        answer=_SHOWN | {"interval_minutes": 10},
    ),
    Op(
        "DELETE",
        "/api/poll-sources/{id}",
        delete_poll_source,
        summary="Delete a polling source",
        tag="Polling Sources",
        out=DELETED,
        answer={"deleted": 1},
    ),
    Op(
        "POST",
        "/api/poll-sources/{id}/poll",
        poll_now,
        summary="Poll now, bypassing the schedule",
        tag="Polling Sources",
        out=WANTED,
        errors=(409,),
        answer={"poll_source_id": 1, "status": "queued"},
    ),
)
