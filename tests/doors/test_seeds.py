"""Tests of the seeds: in any order, again, and several at once."""

import asyncio
from collections import Counter

import pytest

from aether.db import rows
from tests.doors.calls import PM_SARAH, Door, column, count

SEEDS = {
    "/api/agents/seed": ("agent", 5),
    "/api/agents/capabilities/seed": ("agent_capability", 22),
    "/api/tasks/seed": ("task_definition", 9),
    "/api/tasks/triggers/seed": ("trigger_task_mapping", 10),
    "/api/tasks/sources/seed": ("source_event_mapping", 66),
    "/api/webhook-mappings/seed": ("webhook_mapping", 5),
    "/api/tools/seed": ("tool_definition", 12),
}
LISTS = {
    "/api/agents": 5,
    "/api/tasks": 9,
    "/api/tasks/triggers": 10,
    "/api/tasks/sources": 66,
    "/api/webhook-mappings": 5,
    "/api/tools": 12,
    "/api/agents/ta_leo/capabilities": None,
}


@pytest.mark.parametrize("path", SEEDS)
async def test_a_seed_creates_what_is_missing_and_skips_it_the_next_time(
    door: Door, path: str
) -> None:
    table, size = SEEDS[path]

    assert await door.post(path, status=200) == {"created": size, "skipped": 0}
    assert await door.post(path, status=200) == {"created": 0, "skipped": size}

    assert await count(table) == size


async def test_seeds_may_come_in_any_order_and_everything_seeded_can_be_read(door: Door) -> None:
    for path in reversed(SEEDS):
        await door.post(path, status=200)

    for path, size in LISTS.items():
        listed = await door.get(path)
        assert size in {None, len(listed)}
    assert column(await door.get("/api/agents"), "id") == [
        "pm_sarah", "ta_leo", "qa_quinn", "hub_system", "dev_alex",
    ]  # fmt: skip
    assert column(await door.get("/api/tasks"), "id") == [
        "triage_initial_intent", "tech_discovery_review", "intent_interpretation",
        "technical_grooming", "dev_environment_setup", "feature_implementation",
        "code_quality_audit", "quality_verification", "customer_uat_sync",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/api/agents", "/api/tasks", "/api/webhook-mappings", "/api/tools"]
)
async def test_what_was_seeded_can_be_put_back_as_it_was_read(door: Door, path: str) -> None:
    await door.post(f"{path}/seed", status=200)

    for one in await door.get(path):
        assert await door.put(f"{path}/{one['id']}", one) == one

    assert [one["action"] for one in await rows("SELECT action FROM audit_entry")] == ["seeded"]


async def test_a_seed_leaves_what_is_there_as_it_is(door: Door) -> None:
    mine = await door.post("/api/agents", PM_SARAH)

    assert await door.post("/api/agents/seed", status=200) == {"created": 4, "skipped": 1}

    assert await door.get("/api/agents/pm_sarah") == mine


@pytest.mark.parametrize("path", SEEDS)
async def test_several_seeds_at_once_never_fail_and_create_each_row_once(
    door: Door, path: str
) -> None:
    answers = await asyncio.gather(*(door.client.post(path) for _ in range(6)))

    table, size = SEEDS[path]
    assert Counter(one.text for one in answers) == {
        f'{{"created":{size},"skipped":0}}': 1,
        f'{{"created":0,"skipped":{size}}}': 5,
    }
    assert await count(table) == size
