"""REST: /health. The reference, "Health"."""

from datetime import datetime
from typing import Any, Final

from resolvers import monitoring
from rest_compat.op import Anything, Call, Op
from rest_compat.shapes import Shape

HEALTH: Final = Shape("Health", status=str, timestamp=datetime)


async def health(_: Call) -> Any:
    return await monitoring.health()


OPS: Final = (
    Op(
        method="GET",
        path="/health",
        handler=health,
        summary="Health status of the backend",
        tag="Health",
        query=Anything,  # probes add parameters to defeat caches
        out=HEALTH,
        answer={"status": "ok", "timestamp": "2026-02-18T10:00:00Z"},
        extra={"security": []},
    ),
)
