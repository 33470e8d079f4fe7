"""Tests of /api/tasks/triggers, /api/tasks/sources and /api/webhook-mappings."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.doors.calls import (
    PM_ANALYZE,
    Door,
    actions,
    column,
    count,
    counts,
    details,
    issue_opened,
    without,
)

TRIGGER = {"canonical_trigger": "issue.created", "task_id": "pm_analyze"}
SOURCE = {
    "source": "github",
    "event_name": "issues",
    "action": "opened",
    "canonical_trigger": "issue.created",
}
RULE = {
    "source": "github",
    "event_type": "issues",
    "jq_filter": '.action == "opened"',
    "canonical_trigger": "issue.created",
}
RULE_TAKEN = (
    "webhook mapping with this source, event_type, jq_filter and canonical_trigger already exists"
)


async def test_the_references_trigger_mapping_is_created_listed_and_deleted(door: Door) -> None:
    await door.post("/api/tasks", PM_ANALYZE)

    created = await door.post("/api/tasks/triggers", TRIGGER)

    assert without(created, "id") == TRIGGER | {"condition": None, "min_association": None}
    assert await door.get("/api/tasks/triggers") == [created]
    told = {"kind": "trigger", "mapping_id": created["id"], **TRIGGER}
    assert await details("mapping.created") == [told]
    path = f"/api/tasks/triggers/{created['id']}"
    assert await door.delete(path) == {"deleted": created["id"]}
    assert await details("mapping.deleted") == [told]
    assert await door.refused("DELETE", path, None, 404) == f"mapping {created['id']} not found"


async def test_a_trigger_mapping_carries_its_gates(door: Door) -> None:
    await door.post("/api/tasks", PM_ANALYZE)
    gates = {"condition": "$event.actor.is_bot | not", "min_association": "MEMBER"}

    created = await door.post("/api/tasks/triggers", TRIGGER | gates)

    assert without(created, "id") == TRIGGER | gates


async def test_the_gates_of_a_trigger_mapping_are_changed_and_it_can_be_put_back(
    door: Door,
) -> None:
    await door.post("/api/tasks", PM_ANALYZE)
    created = await door.post("/api/tasks/triggers", TRIGGER | {"condition": "true"})
    path = f"/api/tasks/triggers/{created['id']}"

    assert await door.put(path, created) == created
    put = await door.put(path, {"min_association": "COLLABORATOR", "condition": None})

    assert put == created | {"min_association": "COLLABORATOR", "condition": None}
    assert await door.get("/api/tasks/triggers") == [put]
    assert await details("mapping.updated") == [
        {
            "kind": "trigger",
            "mapping_id": created["id"],
            "changed": ["condition", "min_association"],
            "before": {"condition": "true", "min_association": None},
            "after": {"condition": None, "min_association": "COLLABORATOR"},
        }
    ]


async def test_a_changed_gate_counts_for_the_very_next_delivery(door: Door) -> None:
    await door.post("/api/tasks", PM_ANALYZE)
    await door.post("/api/tasks/sources", SOURCE)
    created = await door.post("/api/tasks/triggers", TRIGGER)
    open_ = await door.deliver(issue_opened(7))
    await door.put(f"/api/tasks/triggers/{created['id']}", {"min_association": "MEMBER"})

    held = await door.deliver(issue_opened(8))
    member = await door.deliver(issue_opened(9, association="MEMBER"))

    assert [one["status"] for one in (open_, held, member)] == ["accepted", "ignored", "accepted"]
    told = await door.get(f"/api/deliveries/{held['delivery_id']}")
    assert told["reason"] == (
        "task pm_analyze held back: its author's association is NONE, MEMBER or closer is needed"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"task_id": "nothing"}, "task_id: task 'nothing' does not exist"),
        ({"condition": ".a |"}, "condition: is not a program that jq can read"),
        ({"min_association": "FRIEND"}, "min_association: one of OWNER, MEMBER, COLLABORATOR, "
         "CONTRIBUTOR, FIRST_TIME_CONTRIBUTOR, FIRST_TIMER, NONE"),
        ({"canonical_trigger": None}, "canonical_trigger: must be text"),
        ({"gate": 1}, "gate: unknown field"),
    ],
)  # fmt: skip
async def test_a_change_of_a_trigger_mapping_that_is_not_valid_is_refused(
    door: Door, change: dict[str, Any], text: str
) -> None:
    await door.post("/api/tasks", PM_ANALYZE)
    created = await door.post("/api/tasks/triggers", TRIGGER)
    path = f"/api/tasks/triggers/{created['id']}"

    assert await door.refused("PUT", path, change, 400) == text

    assert await door.get("/api/tasks/triggers") == [created]
    assert await details("mapping.updated") == []
    text = await door.refused("PUT", "/api/tasks/triggers/77", {}, 404)
    assert text == "mapping 77 not found"


async def test_a_trigger_mapping_cannot_become_one_that_there_is(door: Door) -> None:
    for task in ("pm_analyze", "other"):
        await door.post("/api/tasks", PM_ANALYZE | {"id": task})
        created = await door.post("/api/tasks/triggers", TRIGGER | {"task_id": task})

    text = await door.refused(
        "PUT", f"/api/tasks/triggers/{created['id']}", {"task_id": "pm_analyze"}, 409
    )

    assert text == "another mapping already has this canonical_trigger and task_id"
    assert column(await door.get("/api/tasks/triggers"), "task_id") == ["pm_analyze", "other"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"task_id": "nothing"}, "task_id: task 'nothing' does not exist"),
        ({"condition": ".a |"}, "condition: is not a program that jq can read"),
        ({"condition": "env"}, "condition: the word env is not allowed, also not inside a string"),
        (
            {"min_association": "FRIEND"},
            "min_association: one of OWNER, MEMBER, COLLABORATOR, CONTRIBUTOR, "
            "FIRST_TIME_CONTRIBUTOR, FIRST_TIMER, NONE",
        ),
        ({"canonical_trigger": None}, "canonical_trigger: must be text"),
    ],
)
async def test_a_trigger_mapping_that_is_not_valid_is_refused(
    door: Door, change: dict[str, Any], text: str
) -> None:
    await door.post("/api/tasks", PM_ANALYZE)

    assert await door.refused("POST", "/api/tasks/triggers", TRIGGER | change, 400) == text

    assert await count("trigger_task_mapping") == 0
    assert await actions() == ["task.created"]


@pytest.mark.parametrize(
    "trigger", ["issue", "Issue.created", "issue.", ".created", "issue created", "issue.created\n"]
)
async def test_a_canonical_trigger_is_words_joined_by_dots(door: Door, trigger: str) -> None:
    sent = SOURCE | {"canonical_trigger": trigger}

    text = await door.refused("POST", "/api/tasks/sources", sent, 400)

    expected = "must be lower-case words joined by dots, such as issue.created"
    assert text == f"canonical_trigger: {expected}"
    assert await count("source_event_mapping") == 0


async def test_one_trigger_starts_one_task_once_and_many_tasks(door: Door) -> None:
    for task in ("pm_analyze", "other"):
        await door.post("/api/tasks", PM_ANALYZE | {"id": task})
        await door.post("/api/tasks/triggers", TRIGGER | {"task_id": task})

    text = await door.refused("POST", "/api/tasks/triggers", TRIGGER, 409)

    assert text == "mapping of 'issue.created' to task 'pm_analyze' already exists"
    listed = await door.get("/api/tasks/triggers?canonical_trigger=issue.created")
    assert column(listed, "task_id") == ["pm_analyze", "other"]
    assert await door.get("/api/tasks/triggers?task_id=other") == listed[1:]


async def test_the_references_source_mapping_is_created_listed_and_deleted(door: Door) -> None:
    created = await door.post("/api/tasks/sources", SOURCE)

    assert without(created, "id") == SOURCE
    assert list(created)[:5] == ["id", *SOURCE]
    assert await door.get("/api/tasks/sources") == [created]
    path = f"/api/tasks/sources/{created['id']}"
    assert await door.delete(path) == {"deleted": created["id"]}
    assert await actions() == ["mapping.created", "mapping.deleted"]
    await door.delete(path, 404)


async def test_a_null_action_is_a_value_that_is_taken_once(door: Door) -> None:
    await door.post("/api/tasks/sources", SOURCE)
    await door.post("/api/tasks/sources", SOURCE | {"action": None})

    answers = await asyncio.gather(
        *(door.client.post("/api/tasks/sources", json=SOURCE | {"action": None}) for _ in range(8)),
        *(door.client.post("/api/tasks/sources", json=SOURCE) for _ in range(8)),
    )

    assert Counter(one.json()["error"] for one in answers) == {
        "mapping of github 'issues', any action, already exists": 8,
        "mapping of github 'issues', action 'opened', already exists": 8,
    }
    assert {one.status_code for one in answers} == {409}
    assert await count("source_event_mapping") == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"source": "svn"}, "source: one of github, gitlab, jira, plane"),
        ({"event_name": ""}, "event_name: must not be empty"),
        ({"action": ""}, "action: must not be empty"),
        ({"action": "x" * 201}, "action: must have at most 200 characters"),
        ({"filter": "x"}, "filter: unknown field"),
    ],
)
async def test_a_source_mapping_that_is_not_valid_is_refused(
    door: Door, change: dict[str, Any], text: str
) -> None:
    assert await door.refused("POST", "/api/tasks/sources", SOURCE | change, 400) == text
    assert await counts("source_event_mapping", "audit_entry") == [0, 0]


async def test_all_source_mappings_are_listed_however_many(door: Door) -> None:
    await door.post("/api/tasks/sources/seed", status=200)

    listed = await door.get("/api/tasks/sources")

    assert len(listed) == 66
    assert column(listed, "id") == sorted(column(listed, "id"))
    assert {one["source"] for one in await door.get("/api/tasks/sources?source=jira")} == {"jira"}


async def test_the_references_webhook_mapping_is_created_read_and_deleted(door: Door) -> None:
    created = await door.post("/api/webhook-mappings", RULE)

    rest: Any = {"name": None, "slug": None, "enabled": True, "extract": {}}
    assert without(created, "id") == RULE | rest
    assert list(created)[:5] == ["id", *RULE]
    assert await door.get("/api/webhook-mappings") == [created]
    path = f"/api/webhook-mappings/{created['id']}"
    assert await door.get(path) == created
    assert await door.delete(path) == {"deleted": created["id"]}
    assert await details("mapping.deleted") == [
        {"kind": "webhook", "mapping_id": created["id"], **RULE, "enabled": True}
    ]
    text = await door.refused("GET", path, None, 404)
    assert text == f"webhook mapping {created['id']} not found"


async def test_a_webhook_mapping_is_changed_and_can_be_put_back(door: Door) -> None:
    sent = RULE | {
        "name": "Grooming",
        "slug": "my-hook",
        "enabled": False,
        "extract": {"label": ".label.name"},
    }
    created = await door.post("/api/webhook-mappings", sent)
    path = f"/api/webhook-mappings/{created['id']}"

    assert without(created, "id") == sent
    assert await door.put(path, created) == created
    put = await door.put(path, {"enabled": True, "slug": None, "jq_filter": "true"})

    changed = {"enabled": True, "slug": None, "jq_filter": "true"}
    assert without(put) == without(created) | changed
    assert await details("mapping.updated") == [
        {
            "kind": "webhook",
            "mapping_id": created["id"],
            "changed": ["enabled", "jq_filter", "slug"],
            "before": {"enabled": False, "jq_filter": RULE["jq_filter"], "slug": "my-hook"},
            "after": changed,
        }
    ]


REFUSED = [
    ({"jq_filter": ""}, "jq_filter: must not be empty"),
    ({"jq_filter": " "}, "jq_filter: is empty"),
    ({"jq_filter": ".a ="}, "jq_filter: is not a program that jq can read"),
    ({"jq_filter": "$nope"}, "jq_filter: is not a program that jq can read"),
    ({"jq_filter": "x" * 4097}, "jq_filter: must have at most 4096 characters"),
    ({"jq_filter": "input_filename"}, "jq_filter: the word input_filename is not allowed, "
     "also not inside a string"),
    ({"extract": {"who": ".a |"}}, "extract.who: is not a program that jq can read"),
    ({"extract": {"who": 1}}, "extract.who: must be text"),
    ({"extract": []}, "extract: must be an object"),
    ({"slug": "github"}, "slug: must not be github, which is the source's own"),
    ({"slug": "A b"}, "slug: must be lower-case letters, digits, '-' and '_', such as my-hook"),
    ({"canonical_trigger": "x"},
     "canonical_trigger: must be lower-case words joined by dots, such as issue.created"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "text"), REFUSED)
async def test_a_webhook_mapping_that_is_not_valid_is_refused_on_create_and_on_change(
    door: Door, change: dict[str, Any], text: str
) -> None:
    assert await door.refused("POST", "/api/webhook-mappings", RULE | change, 400) == text
    assert await counts("webhook_mapping", "audit_entry") == [0, 0]
    created = await door.post("/api/webhook-mappings", RULE)
    path = f"/api/webhook-mappings/{created['id']}"

    assert await door.refused("PUT", path, {"name": "N"} | change, 400) == text

    assert await door.get(path) == created


async def test_a_filter_that_does_not_end_is_refused_within_seconds(door: Door) -> None:
    sent = RULE | {"jq_filter": "def f: f; f"}

    text = await door.refused("POST", "/api/webhook-mappings", sent, 400)

    assert text == "jq_filter: does not end, or needs too much memory"
    assert await count("webhook_mapping") == 0


async def test_a_rule_and_its_slug_are_taken_once(door: Door) -> None:
    first = await door.post("/api/webhook-mappings", RULE | {"slug": "mine"})
    other = await door.post("/api/webhook-mappings", RULE | {"jq_filter": "true"})
    path = f"/api/webhook-mappings/{other['id']}"
    slug_taken = "slug 'mine' is taken by another webhook mapping"

    assert await door.refused("POST", "/api/webhook-mappings", RULE, 409) == RULE_TAKEN
    sent = RULE | {"slug": "mine", "jq_filter": "false"}
    assert await door.refused("POST", "/api/webhook-mappings", sent, 409) == slug_taken
    assert await door.refused("PUT", path, {"slug": "mine"}, 409) == slug_taken
    change = {"jq_filter": RULE["jq_filter"]}
    assert await door.refused("PUT", path, change, 409) == RULE_TAKEN

    assert await door.get("/api/webhook-mappings") == [first, other]


@pytest.mark.parametrize("path", ["tasks/triggers", "tasks/sources", "webhook-mappings"])
@pytest.mark.parametrize("id", ["abc", "0", "2147483648", "9" * 30])
async def test_a_mapping_id_that_cannot_be_is_a_404(door: Door, path: str, id: str) -> None:
    await door.delete(f"/api/{path}/{id}", 404)
