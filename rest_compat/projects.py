"""REST: projects. The reference, "Projects"."""

from datetime import datetime
from typing import Any, Final

from aether.vocabulary import SourceName
from resolvers import projects
from resolvers.projects import NewProject, ProjectChanges, ProjectFilter
from rest_compat.op import Call, Op, int_id
from rest_compat.shapes import DELETED, Shape

PROJECT: Final = Shape(
    "Project",
    id=int,
    name=str,
    description=str | None,
    source=SourceName,
    source_project_id=str,
    max_tokens_per_day=int | None,
    max_tokens_per_month=int | None,
    max_cost_usd_per_day=float | None,
    max_cost_usd_per_month=float | None,
    max_concurrent_runs=int | None,
    enabled=bool,
    created_at=datetime,
    updated_at=datetime,
)


async def list_projects(call: Call) -> Any:
    return await projects.list_projects(call.query)


async def get_project(call: Call) -> Any:
    return await projects.get_project(int_id(call, "id", "project"))


async def create_project(call: Call) -> Any:
    return await projects.create_project(call.body)


async def update_project(call: Call) -> Any:
    return await projects.update_project(int_id(call, "id", "project"), call.body)


async def delete_project(call: Call) -> Any:
    row_id = int_id(call, "id", "project")
    await projects.delete_project(row_id)
    return {"deleted": row_id}


_PROJECT: Final = {
    "name": "My API Service",
    "description": "Backend API project",
    "source": "github",
    "source_project_id": "myorg/api-service",
}
_SHOWN: Final = {
    "id": 42,
    **_PROJECT,
    "max_tokens_per_day": None,
    "max_tokens_per_month": None,
    "max_cost_usd_per_day": None,
    "max_cost_usd_per_month": None,
    "max_concurrent_runs": None,
    "enabled": True,
    "created_at": "2026-02-18T10:00:00Z",
    "updated_at": "2026-02-18T10:00:00Z",
}

OPS: Final = (
    Op(
        "GET",
        "/api/projects",
        list_projects,
        summary="List all projects",
        tag="Projects",
        query=ProjectFilter,
        out=[PROJECT],
        answer=[_SHOWN],
    ),
    Op(
        "POST",
        "/api/projects",
        create_project,
        summary="Create a project",
        tag="Projects",
        body=NewProject,
        out=PROJECT,
        status=201,
        errors=(409,),
        example=_PROJECT,
        answer=_SHOWN,
    ),
    Op(
        "GET",
        "/api/projects/{id}",
        get_project,
        summary="Get a project",
        tag="Projects",
        out=PROJECT,
        answer=_SHOWN,
    ),
    Op(
        "PUT",
        "/api/projects/{id}",
        update_project,
        summary="Update a project; what is absent stays",
        tag="Projects",
        body=ProjectChanges,
        out=PROJECT,
        errors=(409,),
        example={"enabled": False},
        answer=_SHOWN | {"enabled": False},
    ),
    Op(
        "DELETE",
        "/api/projects/{id}",
        delete_project,
        summary="Delete a project with its integrations",
        tag="Projects",
        out=DELETED,
        answer={"deleted": 42},
    ),
)
