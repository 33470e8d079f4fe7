"""Projects: list, read, create, change, delete."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from aether import audit
from aether.db import row, rows, transaction
from aether.errors import NotFoundError
from aether.models import Project
from resolvers.fields import (
    ABSENT,
    Concurrent,
    Dollars,
    Flag,
    Input,
    Name,
    OptionalText,
    Source,
    Tokens,
)
from resolvers.prices import warn_of_unpriced
from resolvers.rows import (
    LARGEST_ID,
    All,
    as_given,
    change,
    criteria,
    each,
    find,
    lock,
    page,
    unique,
)

SourceProjectId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=400, strip_whitespace=True),
    Field(json_schema_extra={"pattern": r"\S"}),
]
"""What the source calls a repository or a board: ``myorg/api-service``, ``PROJ``."""


class NewProject(Input):
    """A project to create."""

    name: Name
    description: OptionalText = None
    source: Source
    source_project_id: SourceProjectId
    max_tokens_per_day: Tokens | None = None
    max_tokens_per_month: Tokens | None = None
    max_cost_usd_per_day: Dollars | None = None
    max_cost_usd_per_month: Dollars | None = None
    max_concurrent_runs: Concurrent | None = None
    enabled: Flag = True


class ProjectChanges(Input):
    """What to change of a project; what is absent stays."""

    name: Name = ABSENT
    description: OptionalText = ABSENT
    source: Source = ABSENT
    source_project_id: SourceProjectId = ABSENT
    max_tokens_per_day: Tokens | None = ABSENT
    max_tokens_per_month: Tokens | None = ABSENT
    max_cost_usd_per_day: Dollars | None = ABSENT
    max_cost_usd_per_month: Dollars | None = ABSENT
    max_concurrent_runs: Concurrent | None = ABSENT
    enabled: Flag = ABSENT


class ProjectFilter(All):
    """Which projects."""

    source: Source | None = None
    enabled: Flag | None = None


async def list_projects(wanted: ProjectFilter) -> list[Project]:
    """Projects, oldest first."""
    return await page(Project.filter(**criteria(wanted)).order_by("id"), wanted)


async def get_project(id: int) -> Project:
    """One project, or NotFoundError."""
    return await find(Project, "project", id)


async def projects_of(ids: list[int]) -> list[Project | None]:
    """Projects in the order of ``ids``; None: no such one."""
    return await each(Project, ids)


async def create_project(new: NewProject) -> Project:
    """Create a project.

    Raises:
        ConflictError: the source's project has a row.
    """
    with unique(_taken(new.source, new.source_project_id)):
        async with transaction():
            project = await Project.create(**new.model_dump())
            await _record("project.created", project.id, after=as_given(project, NewProject))
    await warn_of_unpriced(project)
    return project


async def update_project(id: int, changes: ProjectChanges) -> Project:
    """Change a project.

    Raises:
        NotFoundError: there is no such project.
        ConflictError: another row has that source's project.
    """
    with unique("another project already has this source and source_project_id"):
        async with transaction():
            project = await lock(Project, "project", id)
            changed = await change(project, changes)
            if changed:
                await _record("project.updated", id, **changed)
    await warn_of_unpriced(project, changed.get("changed", ()))
    return project


async def delete_project(id: int) -> None:
    """Delete a project with its integrations, or NotFoundError. Its history keeps its id."""
    if not 0 < id <= LARGEST_ID:
        raise NotFoundError("project", id)
    async with transaction():
        # First the lock: whoever adds an integration to the project holds its row.
        if await row("SELECT 1 FROM project WHERE id = $1 FOR UPDATE", id) is None:
            raise NotFoundError("project", id)
        before = as_given(await Project.get(id=id), NewProject)
        gone = await rows("SELECT name FROM integration WHERE project_id = $1 ORDER BY id", id)
        await Project.filter(id=id).delete()  # cascades to integrations
        along = {"integrations": [one["name"] for one in gone]}
        await _record("project.deleted", id, before=before, along=along)


def _taken(source: str, source_project_id: str) -> str:
    return f"project {source_project_id!r} of {source} already exists"


async def _record(action: str, project_id: int, **detail: Any) -> None:
    await audit.record(action, caller="api", detail={"project_id": project_id, **detail})
