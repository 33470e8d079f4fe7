"""Tests of GET /api/usage."""

from datetime import UTC, datetime

import pytest

from tests.doors.calls import Door, column, execution

FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


async def test_usage_is_told_for_each_agent_and_numbers_do_not_end_at_64_bits(door: Door) -> None:
    most = 2**63 - 1
    for status in ("succeeded", "failed", "running"):
        await execution(
            agent_id="ta_leo", status=status, llm_calls=2, tool_calls=1, prompt_tokens=most,
            completion_tokens=most, cost_usd="0.00380000",
        )  # fmt: skip
    await execution(agent_id="pm_sarah", status="succeeded", prompt_tokens=1)

    answer = await door.client.get("/api/usage")

    assert answer.text == (
        '[{"agent_id":"pm_sarah","tasks":1,"tasks_completed":1,"tasks_failed":0,"llm_calls":0,'
        '"tool_calls":0,"prompt_tokens":1,"completion_tokens":0,"total_tokens":1,"cost_usd":0.0,'
        '"unpriced_calls":0},'
        '{"agent_id":"ta_leo","tasks":3,"tasks_completed":1,"tasks_failed":1,"llm_calls":6,'
        f'"tool_calls":3,"prompt_tokens":{3 * most},"completion_tokens":{3 * most},'
        f'"total_tokens":{6 * most},"cost_usd":0.0114,"unpriced_calls":0}}]'
    )


async def test_what_no_agent_did_is_told_under_null_and_what_waits_for_an_agent_is_not(
    door: Door,
) -> None:
    await execution(status="succeeded", agent_reason="the fallback prompt speaks", llm_calls=1)
    await execution(status="failed")
    await execution(status="queued")
    await execution(status="queued", agent_reason="waits: agent ta_leo has 1 runs at work")
    await execution(status="queued", agent_id="ta_leo")

    told = await door.get("/api/usage")

    assert column(told, "agent_id") == ["ta_leo", None]
    assert column(told, "tasks") == [1, 2]
    assert column(told, "tasks_failed") == [0, 1]
    assert column(told, "llm_calls") == [0, 1]


@pytest.mark.parametrize(
    ("query", "tasks"),
    [
        ("", {"pm_sarah": 1, "ta_leo": 2}),
        ("since=2026-02-01T00:00:00Z", {"pm_sarah": 1, "ta_leo": 2}),
        ("since=2026-02-01T00:00:01Z", {"ta_leo": 1}),
        ("since=2026-02-01T01:00:00%2B01:00&until=2026-03-01T00:00:00Z",
         {"pm_sarah": 1, "ta_leo": 1}),
        ("agent_id=ta_leo", {"ta_leo": 2}),
        ("agent_id=nobody", {}),
        ("until=2026-01-01T00:00:00Z", {}),
    ],
)  # fmt: skip
async def test_usage_is_filtered_by_time_and_agent(
    door: Door, query: str, tasks: dict[str, int]
) -> None:
    await execution(agent_id="ta_leo", created_at=FEBRUARY)
    await execution(agent_id="pm_sarah", created_at=FEBRUARY)
    await execution(agent_id="ta_leo", created_at=MARCH)

    told = await door.get(f"/api/usage?{query}")

    assert dict(zip(column(told, "agent_id"), column(told, "tasks"), strict=True)) == tasks


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("since=yesterday", "since: must be a time such as 2026-02-18T10:00:00Z"),
        ("until=2026-02-18T10:00:00",
         "until: must say its offset, such as 2026-02-18T10:00:00Z"),
        ("limit=5", "limit: unknown parameter"),
    ],
)  # fmt: skip
async def test_a_filter_that_is_not_valid_is_refused(door: Door, query: str, text: str) -> None:
    assert await door.refused("GET", f"/api/usage?{query}", None, 400) == text


async def test_nobody_has_used_anything_yet(door: Door) -> None:
    assert await door.get("/api/usage") == []
