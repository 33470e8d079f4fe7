"""Tests of what the use cases of configuration do alike."""

import asyncio

import pytest

from aether.db import UniqueViolation, rows, transaction
from aether.errors import ConflictError, NotFoundError
from aether.models import Project
from aether.vocabulary import SourceName
from resolvers.fields import read
from resolvers.projects import ProjectChanges
from resolvers.rows import change, find, lock, unique


async def project(key: str = "a") -> Project:
    return await Project.create(name="N", source=SourceName.JIRA, source_project_id=key)


async def test_a_change_writes_what_differs_and_moves_updated_at(database: str) -> None:
    made = await project()

    async with transaction():
        row = await lock(Project, "project", made.id)
        changed = await change(row, read(ProjectChanges, {"name": "N", "source": "github"}))

    kept = await Project.get(id=made.id)
    assert changed == {
        "changed": ["source"],
        "before": {"source": SourceName.JIRA},
        "after": {"source": SourceName.GITHUB},
    }
    assert (kept.name, kept.source) == ("N", SourceName.GITHUB)
    assert kept.updated_at > made.updated_at


async def test_a_change_that_changes_nothing_writes_nothing(database: str) -> None:
    made = await project()

    async with transaction():
        row = await lock(Project, "project", made.id)
        assert await change(row, read(ProjectChanges, {"name": "N", "source": "jira"})) == {}

    assert (await Project.get(id=made.id)).updated_at == made.updated_at


async def test_two_changes_at_once_are_both_kept(database: str) -> None:
    made = await project()

    async def set_to(values: dict[str, object]) -> None:
        async with transaction():
            row = await lock(Project, "project", made.id)
            await asyncio.sleep(0)
            await change(row, read(ProjectChanges, values))

    await asyncio.gather(set_to({"name": "M"}), set_to({"enabled": False}))

    kept = await Project.get(id=made.id)
    assert (kept.name, kept.enabled) == ("M", False)


async def test_a_taken_key_is_a_conflict_in_our_words_and_by_its_constraint(database: str) -> None:
    await project()

    with pytest.raises(ConflictError, match=r"^taken$"), unique("taken", other="not this"):
        await project()
    with pytest.raises(ConflictError, match=r"^the pair$"), unique("taken", project="the pair"):
        await project()


async def test_another_constraint_than_a_unique_one_is_no_conflict(database: str) -> None:
    with pytest.raises(UniqueViolation, match="null value"), unique("taken"):
        await rows("INSERT INTO agent_capability (capability) VALUES ('x')")


@pytest.mark.parametrize("id", [0, -1, 1, 2**31 - 1, 2**31, 2**63])
async def test_an_id_that_nothing_has_is_not_found_however_large(database: str, id: int) -> None:
    with pytest.raises(NotFoundError, match=f"^project {id} not found$"):
        await find(Project, "project", id)
    async with transaction():
        with pytest.raises(NotFoundError, match=f"^project {id} not found$"):
            await lock(Project, "project", id)
