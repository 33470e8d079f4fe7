"""Tests of /api/agents: the reference's examples, refusals, races."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from aether.db import rows
from tests.doors.calls import (
    PM_SARAH,
    TA_LEO,
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

REST_OF_IT: dict[str, Any] = {
    "context": None,
    "identity": None,
    "responsibilities": [],
    "constraints": [],
    "communication_style": None,
    "model": None,
    "fallback_models": [],
    "tools": None,
    "max_tokens_per_day": None,
    "max_tokens_per_month": None,
    "max_cost_usd_per_day": None,
    "max_cost_usd_per_month": None,
    "max_concurrent_runs": None,
    "enabled": True,
}


async def test_the_references_agent_is_created_listed_and_read_with_its_keys_in_order(
    door: Door,
) -> None:
    created = await door.post("/api/agents", PM_SARAH)

    assert without(created) == PM_SARAH | REST_OF_IT
    assert list(created)[:6] == ["id", "name", "role_id", "description", "prompt", "created_at"]
    assert await door.get("/api/agents/pm_sarah") == created
    assert await door.get("/api/agents") == [created]
    assert await details("agent.created") == [{"after": PM_SARAH | {"enabled": True}}]
    [entry] = await rows("SELECT agent_id, caller FROM audit_entry")
    assert entry == {"agent_id": "pm_sarah", "caller": "api"}


async def test_every_field_of_an_agent_is_kept_as_sent(door: Door) -> None:
    sent = TA_LEO | {
        "description": "",
        "context": "  spaces stay \n",
        "identity": "calm",
        "responsibilities": ["look", "look"],
        "constraints": ["never push\\u0000"],
        "communication_style": "short",
        "model": "gpt-4o",
        "fallback_models": ["ollama/phi4", "gpt-4o-mini"],
        "tools": ["add_comment"],
        "max_tokens_per_day": 9_007_199_254_740_991,
        "max_tokens_per_month": 0,
        "max_cost_usd_per_day": 0.5,
        "max_cost_usd_per_month": 12,
        "max_concurrent_runs": 1,
        "enabled": False,
    }

    created = await door.post("/api/agents", sent)

    assert without(created) == sent


async def test_an_agent_can_be_put_back_as_it_was_read_and_nothing_is_recorded(door: Door) -> None:
    created = await door.post("/api/agents", PM_SARAH | {"tools": ["add_comment"]})

    put = await door.put("/api/agents/pm_sarah", created)

    assert put == created
    assert await actions() == ["agent.created"]


async def test_put_changes_what_is_sent_and_nothing_else(door: Door) -> None:
    created = await door.post("/api/agents", PM_SARAH)

    put = await door.put(
        "/api/agents/pm_sarah",
        {"prompt": "Updated system prompt...", "description": None, "role_id": "hub"},
    )

    changed = {"prompt": "Updated system prompt...", "description": None, "role_id": "hub"}
    assert without(put) == without(created) | changed
    assert await door.get("/api/agents/pm_sarah") == put
    assert await details("agent.updated") == [
        {
            "changed": ["description", "prompt", "role_id"],
            "before": {name: PM_SARAH[name] for name in ("description", "prompt", "role_id")},
            "after": changed,
        }
    ]


async def test_the_id_of_an_agent_never_changes(door: Door) -> None:
    await door.post("/api/agents", PM_SARAH)

    put = await door.put("/api/agents/pm_sarah", {"id": "qa_quinn", "name": "Sarah"})

    assert (put["id"], put["name"]) == ("pm_sarah", "Sarah")
    assert await count("agent") == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"id": None}, "id: must be text"),
        ({"id": "Sarah"}, "id: must be snake_case, such as pm_sarah"),
        ({"id": "seed"}, "id: must not be seed, which is a path of its own"),
        ({"id": "a" * 65}, "id: must have at most 64 characters"),
        ({"name": " "}, "name: must not be blank"),
        ({"role_id": "ceo"}, "role_id: one of pm, ta, qa, dev, hub"),
        ({"role": "pm"}, "role: unknown field"),
        ({"prompt": ""}, "prompt: must not be empty"),
        ({"prompt": "a\0b"}, "prompt: must not hold a NUL character"),
        ({"responsibilities": "one"}, "responsibilities: must be a list"),
        ({"constraints": [1]}, "constraints.0: must be text"),
        ({"tools": ["x" * 65]}, "tools.0: must have at most 64 characters"),
        ({"enabled": "yes"}, "enabled: must be true or false"),
        ({"max_tokens_per_day": -1}, "max_tokens_per_day: must be at least 0"),
        ({"max_cost_usd_per_day": -0.1}, "max_cost_usd_per_day: must be at least 0"),
        ({"max_concurrent_runs": 0}, "max_concurrent_runs: must be at least 1"),
        ({"fallback_models": [""]}, "fallback_models.0: must not be empty"),
    ],
)
async def test_an_agent_that_is_not_valid_is_refused_naming_the_field(
    door: Door, change: dict[str, Any], text: str
) -> None:
    assert await door.refused("POST", "/api/agents", PM_SARAH | change, 400) == text

    assert await counts("agent", "audit_entry") == [0, 0]


@pytest.mark.parametrize("field", ["id", "name", "role_id", "prompt"])
async def test_what_the_reference_requires_is_required(door: Door, field: str) -> None:
    body = {key: value for key, value in PM_SARAH.items() if key != field}

    assert await door.refused("POST", "/api/agents", body, 400) == f"{field}: required"
    assert await count("agent") == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": None}, "name: must be text"),
        ({"role_id": None}, "role_id: one of pm, ta, qa, dev, hub"),
        ({"prompt": ""}, "prompt: must not be empty"),
        ({"responsibilities": None}, "responsibilities: must be a list"),
        ({"nickname": "S"}, "nickname: unknown field"),
    ],
)
async def test_a_change_that_is_not_valid_changes_nothing(
    door: Door, change: dict[str, Any], text: str
) -> None:
    created = await door.post("/api/agents", PM_SARAH)

    refused = await door.refused("PUT", "/api/agents/pm_sarah", {"model": "x"} | change, 400)

    assert refused == text
    assert await door.get("/api/agents/pm_sarah") == created


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/agents/nobody", None),
        ("PUT", "/api/agents/nobody", {"name": "N"}),
        ("DELETE", "/api/agents/nobody", None),
        ("GET", "/api/agents/nobody/capabilities", None),
        ("POST", "/api/agents/nobody/capabilities", {"capability": "x"}),
        ("GET", "/api/agents/nobody/audit", None),
    ],
)
async def test_an_agent_that_is_not_there_is_a_404(
    door: Door, method: str, path: str, body: Any
) -> None:
    assert await door.refused(method, path, body, 404) == "agent 'nobody' not found"
    assert await counts("agent", "agent_capability", "audit_entry") == [0, 0, 0]


async def test_of_thirty_who_create_one_agent_at_once_one_succeeds_and_none_fails(
    door: Door,
) -> None:
    answers = await asyncio.gather(
        *(
            door.client.post("/api/agents", json=PM_SARAH | {"name": f"Sarah {number}"})
            for number in range(30)
        )
    )

    assert Counter(one.status_code for one in answers) == {201: 1, 409: 29}
    [winner] = [one.json() for one in answers if one.status_code == 201]
    assert {one.text for one in answers if one.status_code == 409} == {
        """{"error":"agent 'pm_sarah' already exists"}"""
    }
    assert await door.get("/api/agents") == [winner]
    assert await actions() == ["agent.created"]


async def test_a_deleted_agent_takes_its_configuration_along_and_leaves_its_history(
    door: Door,
) -> None:
    for agent in (PM_SARAH, TA_LEO):
        await door.post("/api/agents", agent)
        await door.post(f"/api/agents/{agent['id']}/capabilities", {"capability": "review"})
        server = await insert(
            "mcp_server", name=agent["id"], slug=agent["id"], url="http://m", transport="sse",
            enabled=True,
            agent_id=agent["id"], **moments(),
        )  # fmt: skip
        await insert(
            "integration", source="github", name=agent["id"], credentials_encrypted="x",
            webhook="{}", enabled=True, agent_id=agent["id"], **moments(),
        )  # fmt: skip
        await insert(
            "tool_definition", name=f"mcp_{agent['id']}", description="", effect="reads",
            parameters="{}", mcp_server_id=server, enabled=True, **moments(),
        )  # fmt: skip

    assert await door.delete("/api/agents/pm_sarah") == {"deleted": "pm_sarah"}

    assert column(await door.get("/api/agents"), "id") == ["ta_leo"]
    tables = ("agent_capability", "mcp_server", "integration", "tool_definition")
    assert await counts(*tables) == [1, 1, 1, 1]
    kept = await door.get("/api/agents/pm_sarah/audit")
    assert column(kept, "action") == ["agent.deleted", "agent.capability_added", "agent.created"]
    assert {one["agent_id"] for one in kept} == {"pm_sarah"}
    await door.delete("/api/agents/pm_sarah", 404)


async def test_no_capability_is_left_behind_when_an_agent_is_deleted_meanwhile(door: Door) -> None:
    await door.post("/api/agents", PM_SARAH)

    await asyncio.gather(
        *(
            door.client.post("/api/agents/pm_sarah/capabilities", json={"capability": f"c{number}"})
            for number in range(10)
        ),
        door.client.delete("/api/agents/pm_sarah"),
        *(
            door.client.post("/api/agents/pm_sarah/capabilities", json={"capability": f"d{number}"})
            for number in range(10)
        ),
    )

    assert await counts("agent", "agent_capability") == [0, 0]


async def test_agents_are_listed_oldest_first_all_or_a_page_or_by_role(door: Door) -> None:
    for number in range(55):
        role = "qa" if number % 2 else "dev"
        await door.post("/api/agents", TA_LEO | {"id": f"agent_{54 - number}", "role_id": role})

    listed = await door.get("/api/agents")

    assert column(listed, "id") == [f"agent_{number}" for number in range(54, -1, -1)]
    assert await door.get("/api/agents?limit=2&offset=1") == listed[1:3]
    assert await door.get("/api/agents?role_id=qa") == listed[1::2]
    assert await door.get("/api/agents?enabled=false") == []


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("limit=0", "limit: must be at least 1"),
        ("limit=501", "limit: must be at most 500"),
        ("limit=many", "limit: must be a whole number"),
        ("offset=-1", "offset: must be at least 0"),
        ("role_id=boss", "role_id: one of pm, ta, qa, dev, hub"),
        ("color=red", "color: unknown parameter"),
    ],
)
async def test_a_query_that_is_not_valid_is_refused_naming_the_parameter(
    door: Door, query: str, text: str
) -> None:
    assert await door.refused("GET", f"/api/agents?{query}", None, 400) == text


async def test_the_references_capability_is_added_listed_and_removed(door: Door) -> None:
    await door.post("/api/agents", TA_LEO)

    added = await door.post("/api/agents/ta_leo/capabilities", {"capability": "code_review"})

    assert without(added, "id") == {"agent_id": "ta_leo", "capability": "code_review"}
    assert await door.get("/api/agents/ta_leo/capabilities") == [added]
    path = f"/api/agents/ta_leo/capabilities/{added['id']}"
    assert await door.delete(path) == {"deleted": added["id"]}
    assert await door.get("/api/agents/ta_leo/capabilities") == []
    assert await door.refused("DELETE", path, None, 404) == f"capability {added['id']} not found"
    assert await details("agent.capability_removed") == [{"capability": "code_review"}]


async def test_a_capability_is_declared_once(door: Door) -> None:
    await door.post("/api/agents", TA_LEO)
    await door.post("/api/agents/ta_leo/capabilities", {"capability": "security"})

    text = await door.refused(
        "POST", "/api/agents/ta_leo/capabilities", {"capability": "security"}, 409
    )

    assert text == "agent 'ta_leo' already has the capability 'security'"
    assert await count("agent_capability") == 1


@pytest.mark.parametrize("id", ["x", "0", "-1", "2147483648", "9" * 19, "9" * 30])
async def test_a_capability_id_that_cannot_be_is_a_404(door: Door, id: str) -> None:
    await door.post("/api/agents", TA_LEO)

    await door.delete(f"/api/agents/ta_leo/capabilities/{id}", 404)


async def test_a_capability_of_another_agent_is_not_removed(door: Door) -> None:
    await door.post("/api/agents", TA_LEO)
    await door.post("/api/agents", PM_SARAH)
    added = await door.post("/api/agents/ta_leo/capabilities", {"capability": "security"})

    await door.delete(f"/api/agents/pm_sarah/capabilities/{added['id']}", 404)

    assert await count("agent_capability") == 1


async def test_the_audit_log_is_newest_first_and_in_pages(door: Door) -> None:
    await door.post("/api/agents", TA_LEO)
    for number in range(3):
        await insert(
            "audit_entry", action="task.started", agent_id="ta_leo", execution_id=2**40 + number,
            detail='{"n": 1}',
        )  # fmt: skip
    await insert("audit_entry", action="task.started", agent_id="pm_sarah")

    told = await door.get("/api/agents/ta_leo/audit?limit=50")

    assert column(told, "execution_id") == [2**40 + 2, 2**40 + 1, 2**40, None]
    assert without(told[0], "id") == {
        "agent_id": "ta_leo",
        "action": "task.started",
        "execution_id": 2**40 + 2,
        "delivery_id": None,
        "caller": None,
        "origin": None,
        "detail": {"n": 1},
    }
    assert list(told[0]) == [
        "id", "agent_id", "action", "execution_id", "delivery_id", "caller", "origin", "detail",
        "created_at",
    ]  # fmt: skip
    assert await door.get("/api/agents/ta_leo/audit?limit=2&offset=1") == told[1:3]
    assert await door.get("/api/agents/ta_leo/audit?offset=99") == []
