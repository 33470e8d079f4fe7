"""Tests of /api/projects."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.doors.calls import (
    Door,
    actions,
    column,
    count,
    counts,
    details,
    insert,
    moments,
    without,
)

API_SERVICE = {
    "name": "My API Service",
    "description": "Backend API project",
    "source": "github",
    "source_project_id": "myorg/api-service",
}

NO_LIMITS = {
    "max_tokens_per_day": None,
    "max_tokens_per_month": None,
    "max_cost_usd_per_day": None,
    "max_cost_usd_per_month": None,
    "max_concurrent_runs": None,
}


async def test_the_references_project_is_created_listed_and_read(door: Door) -> None:
    created = await door.post("/api/projects", API_SERVICE)

    assert without(created, "id") == API_SERVICE | NO_LIMITS | {"enabled": True}
    assert await door.get(f"/api/projects/{created['id']}") == created
    assert await door.get("/api/projects") == [created]
    assert await details("project.created") == [
        {"project_id": created["id"], "after": API_SERVICE | {"enabled": True}}
    ]


async def test_put_changes_what_is_sent_and_what_was_read_can_be_put_back(door: Door) -> None:
    created = await door.post("/api/projects", API_SERVICE)
    path = f"/api/projects/{created['id']}"

    assert await door.put(path, created) == created
    put = await door.put(path, {"enabled": False, "description": None})

    assert without(put) == without(created) | {"enabled": False, "description": None}
    assert await actions() == ["project.created", "project.updated"]
    assert await details("project.updated") == [
        {
            "project_id": created["id"],
            "changed": ["description", "enabled"],
            "before": {"description": API_SERVICE["description"], "enabled": True},
            "after": {"description": None, "enabled": False},
        }
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": ""}, "name: must not be empty"),
        ({"source": "bitbucket"}, "source: one of github, gitlab, jira, plane"),
        ({"source_project_id": "  "}, "source_project_id: must not be empty"),
        ({"source_project_id": 7}, "source_project_id: must be text"),
        ({"source_project_id": "x" * 401}, "source_project_id: must have at most 400 characters"),
        ({"key": "PROJ"}, "key: unknown field"),
    ],
)
async def test_a_project_that_is_not_valid_is_refused(
    door: Door, change: dict[str, Any], text: str
) -> None:
    assert await door.refused("POST", "/api/projects", API_SERVICE | change, 400) == text
    assert await counts("project", "audit_entry") == [0, 0]


async def test_of_ten_who_create_one_project_at_once_one_succeeds(door: Door) -> None:
    answers = await asyncio.gather(
        *(door.client.post("/api/projects", json=API_SERVICE) for _ in range(10))
    )

    assert Counter(one.status_code for one in answers) == {201: 1, 409: 9}
    [text] = {one.json()["error"] for one in answers if one.status_code == 409}
    assert text == "project 'myorg/api-service' of github already exists"
    assert await count("project") == 1


async def test_a_change_into_another_projects_place_is_a_409_and_changes_nothing(
    door: Door,
) -> None:
    await door.post("/api/projects", API_SERVICE)
    other = await door.post("/api/projects", API_SERVICE | {"source": "gitlab"})
    path = f"/api/projects/{other['id']}"

    text = await door.refused("PUT", path, {"name": "N", "source": "github"}, 409)

    assert text == "another project already has this source and source_project_id"
    assert await door.get(path) == other
    assert await actions() == ["project.created"] * 2


async def test_a_deleted_project_takes_its_integrations_along(door: Door) -> None:
    made = [
        await door.post("/api/projects", API_SERVICE | {"source_project_id": key}) for key in "ab"
    ]
    for project in made:
        await insert(
            "integration", source="github", name=project["source_project_id"],
            credentials_encrypted="x", webhook="{}", enabled=True, project_id=project["id"],
            **moments(),
        )  # fmt: skip

    gone = made[0]["id"]
    assert await door.delete(f"/api/projects/{gone}") == {"deleted": gone}

    assert await door.get("/api/projects") == [made[1]]
    assert await count("integration") == 1
    assert await details("project.deleted") == [
        {
            "project_id": gone,
            "before": API_SERVICE | {"source_project_id": "a", "enabled": True},
            "along": {"integrations": ["a"]},
        }
    ]
    text = await door.refused("DELETE", f"/api/projects/{gone}", None, 404)
    assert text == f"project {gone} not found"


@pytest.mark.parametrize("id", ["abc", "0", "007", "-1", "1.0", "2147483648", "9" * 40])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_project_id_that_cannot_be_is_a_404(door: Door, method: str, id: str) -> None:
    body: Any = {} if method == "PUT" else None

    text = await door.refused(method, f"/api/projects/{id}", body, 404)

    assert text.startswith("project ")
    assert text.endswith(" not found")


async def test_projects_are_listed_oldest_first_and_by_source(door: Door) -> None:
    for number, source in enumerate(["github", "jira", "github"]):
        sent = API_SERVICE | {"source": source, "source_project_id": f"P{number}"}
        await door.post("/api/projects", sent)

    listed = await door.get("/api/projects")

    assert column(listed, "source_project_id") == ["P0", "P1", "P2"]
    assert await door.get("/api/projects?source=github&limit=1&offset=1") == [listed[2]]
