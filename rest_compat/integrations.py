"""REST: integrations and the test of the environment's. The reference, "Dynamic Integrations"."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from aether.errors import NotFoundError
from aether.vocabulary import SourceName
from resolvers import integrations, platforms
from resolvers.integrations import IntegrationChanges, IntegrationFilter, NewIntegration
from resolvers.webhook_proofs import Webhook
from rest_compat.op import Call, Op, int_id
from rest_compat.shapes import DELETED, Shape


def _webhook(row: integrations.ShownIntegration) -> dict[str, Any] | None:
    return asdict(row.webhook) if row.webhook is not None else None


INTEGRATION: Final = Shape(
    "Integration",
    id=int,
    source=SourceName,
    name=str,
    credentials=dict[str, str],
    agent_id=str | None,
    project_id=int | None,
    slug=str | None,
    base_url=str | None,
    webhook=(_webhook, Webhook | None),
    enabled=bool,
    error=str | None,
    created_at=datetime,
    updated_at=datetime,
)
TESTED: Final = Shape("IntegrationTest", status=str, source=SourceName)


async def list_integrations(call: Call) -> Any:
    return await integrations.list_integrations(call.query)


async def create_integration(call: Call) -> Any:
    return await integrations.create_integration(call.body)


async def update_integration(call: Call) -> Any:
    return await integrations.update_integration(int_id(call, "id", "integration"), call.body)


async def delete_integration(call: Call) -> Any:
    integration_id = int_id(call, "id", "integration")
    await integrations.delete_integration(integration_id)
    return {"deleted": integration_id}


async def check_integration(call: Call) -> Any:
    told = call.path["source"]
    if told not in set(SourceName):
        raise NotFoundError("source", told)
    return await platforms.check_integration(SourceName(told))


_SENT: Final = {
    "source": "github",
    "name": "Project A GitHub Integration",
    "credentials": {"token": "ghp_..."},
}
_SHOWN: Final[dict[str, Any]] = {
    "id": 1,
    "source": "github",
    "name": "Project A GitHub Integration",
    "credentials": {"token": "••••1234"},
    "agent_id": None,
    "project_id": None,
    "slug": None,
    "base_url": None,
    "webhook": None,
    "enabled": True,
    "error": None,
    "created_at": "2026-02-18T10:00:00Z",
    "updated_at": "2026-02-18T10:00:00Z",
}

OPS: Final = (
    Op(
        "GET",
        "/api/integrations",
        list_integrations,
        summary="List integrations; masks stand for their secrets",
        tag="Dynamic Integrations",
        query=IntegrationFilter,
        out=[INTEGRATION],
        answer=[_SHOWN],
    ),
    Op(
        "POST",
        "/api/integrations",
        create_integration,
        summary="Store credentials, encrypted with ENCRYPTION_KEY",
        tag="Dynamic Integrations",
        body=NewIntegration,
        out=INTEGRATION,
        status=201,
        errors=(409,),
        ignored=("error",),
        example=_SENT,
        answer=_SHOWN,
    ),
    Op(
        "PUT",
        "/api/integrations/{id}",
        update_integration,
        summary="Update an integration; credentials merge key by key, masks change nothing",
        tag="Dynamic Integrations",
        body=IntegrationChanges,
        out=INTEGRATION,
        errors=(409,),
        ignored=("error",),
        example={"credentials": {"token": "ghp_..."}},
        answer=_SHOWN,
    ),
    Op(
        "DELETE",
        "/api/integrations/{id}",
        delete_integration,
        summary="Delete an integration with its secrets",
        tag="Dynamic Integrations",
        out=DELETED,
        answer={"deleted": 1},
    ),
    Op(
        "GET",
        "/api/integrations/{source}/test",
        check_integration,
        summary="Ask a platform who we are, with the environment's credential",
        tag="Dynamic Integrations",
        out=TESTED,
        errors=(502,),
        answer={"status": "ok", "source": "github"},
    ),
)
