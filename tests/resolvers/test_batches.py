"""Tests of the look-ups by many keys: one value for each key, in the keys' order."""

import pytest

from resolvers.agents import capabilities_of
from resolvers.deliveries import deliveries_of
from resolvers.executions import executions_of_deliveries
from tests.doors.calls import execution, insert


async def test_capabilities_come_for_each_agent_in_order(database: str) -> None:
    for agent_id, capability in (("b", "two"), ("a", "one"), ("b", "one")):
        await insert("agent_capability", agent_id=agent_id, capability=capability)

    told = await capabilities_of([("b", 50, 0), ("nobody", 50, 0), ("a", 50, 0), ("b", 1, 1)])

    names = [[one.capability for one in each] for each in told]
    assert names == [["two", "one"], [], ["one"], ["one"]]
    assert await capabilities_of([]) == []


async def test_executions_come_for_each_delivery_in_order(database: str) -> None:
    first = await execution(delivery_id=5)
    other = await execution(delivery_id=6)
    second = await execution(delivery_id=5, task_id="other")

    told = await executions_of_deliveries([(6, 50, 0), (7, 50, 0), (5, 50, 0), (5, 1, 0)])

    assert [[one.id for one in each] for each in told] == [[other], [], [first, second], [first]]


@pytest.mark.usefixtures("at_work")
async def test_deliveries_come_in_order_and_without_their_payloads() -> None:
    made = [
        await insert(
            "delivery", source="github", slug="github", delivery_key=key, change_key=key,
            event_name="issues", status="ignored", event="{}", payload='{"large": 1}',
        )
        for key in "ab"
    ]  # fmt: skip

    told = await deliveries_of([made[1], 2**40, made[0]])

    assert [one and one.id for one in told] == [made[1], None, made[0]]
    assert not any(hasattr(one, "payload") for one in told if one)
