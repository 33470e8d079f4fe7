"""Tests of connections: pages by cursors that stay good while rows come and go."""

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from graphql import parse

from aether.clock import now
from aether.db import rows, transaction
from schema.limits import MAX_COST, Measure
from tests.doors.calls import PM_SARAH, execution, insert
from tests.schema.both import Doors, both_doors, statements, whole_schema

PAGE: Final = "pageInfo { hasPreviousPage hasNextPage startCursor endCursor }"
CONNECTIONS: Final = (
    "deliveriesConnection",
    "taskExecutionsConnection",
    "toolExecutionsConnection",
    "memoriesConnection",
    "auditEntriesConnection",
    "watchdogEntriesConnection",
)
ROWS: Final = 7
EDGES: Final = [str(number) for number in range(ROWS, 0, -1)]  # newest first


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors(WATCHDOG_ENABLED="true") as ours:
        yield ours


async def add(name: str, number: int, **values: Any) -> int:
    """One more row of what a connection lists."""
    match name:
        case "deliveriesConnection":
            return await insert(
                "delivery", source="github", slug="github", delivery_key=str(number),
                change_key=str(number), event_name="issues", status="ignored", event="{}",
                payload="{}", title=str(number), **values,
            )  # fmt: skip
        case "taskExecutionsConnection":
            return await execution(answer=str(number), **values)
        case "toolExecutionsConnection":
            return await insert(
                "tool_execution", execution_id=1, run=1, round=number, call_id="c", tool="t",
                status="succeeded", result=str(number), **values,
            )  # fmt: skip
        case "memoriesConnection":
            return await insert(
                "memory", key=str(number), content="text", scope="project", **values
            )
        case "auditEntriesConnection":
            return await insert("audit_entry", action=str(number), agent_id="a", **values)
        case _:
            return await insert(
                "watchdog_entry", level="warn", component="web", message=str(number),
                message_hash=str(number), minute=now(),
            )  # fmt: skip


TABLES: Final = dict(
    zip(
        CONNECTIONS,
        ("delivery", "task_execution", "tool_execution", "memory", "audit_entry", "watchdog_entry"),
        strict=True,
    )
)
SHOWN: Final = dict(
    zip(CONNECTIONS, ("title", "answer", "result", "key", "action", "message"), strict=True)
)


async def fill(name: str) -> None:
    for number in range(1, ROWS + 1):
        await add(name, number)


async def delete(name: str, *shown: str) -> None:
    """Take rows away, as pruning does."""
    column = {"watchdogEntriesConnection": "message"}.get(name, SHOWN[name])
    async with transaction():
        await rows("SELECT set_config('aether.prune', 'on', true)")
        await rows(
            f"DELETE FROM {TABLES[name]} WHERE {column} = ANY($1::text[])",  # noqa: S608
            list(shown),
        )


async def ask(doors: Doors, name: str, arguments: str = "", **variables: Any) -> Any:
    """What a connection says: the numbers of its rows, and its pageInfo."""
    given = 'agentId: "a" ' * (name == "auditEntriesConnection") + arguments
    node = f"{{ n: {SHOWN[name]} }}"
    told = await doors.ask(
        ("query ($c: String) " if variables else "")
        + f"{{ it: {name}{f'({given})' if given else ''} "
        f"{{ edges {{ cursor node {node} }} nodes {node} {PAGE} }} }}",
        **variables,
    )
    it = told["it"]
    assert [one["node"] for one in it["edges"]] == it["nodes"]
    ends = [it["edges"][place]["cursor"] for place in (0, -1)] if it["edges"] else [None, None]
    assert [it["pageInfo"]["startCursor"], it["pageInfo"]["endCursor"]] == ends
    return (
        [one["n"] for one in it["nodes"]],
        it["pageInfo"]["hasPreviousPage"],
        it["pageInfo"]["hasNextPage"],
        it["edges"],
    )


@pytest.mark.parametrize("name", CONNECTIONS)
async def test_pages_by_cursors_are_the_whole_list_in_order_from_either_end(
    doors: Doors, name: str
) -> None:
    await fill(name)

    forwards: list[str] = []
    cursor = None
    for number in range(4):
        found, back, on, edges = await ask(doors, name, "first: 2, after: $c", c=cursor)
        assert (back, on) == (number > 0, number < 3)
        forwards += found
        cursor = edges[-1]["cursor"]
    backwards: list[str] = []
    cursor = None
    for number in range(4):
        found, back, on, edges = await ask(doors, name, "last: 2, before: $c", c=cursor)
        assert (back, on) == (number < 3, number > 0)
        backwards[:0] = found
        cursor = edges[0]["cursor"]

    assert forwards == backwards == EDGES
    assert (await ask(doors, name))[:3] == (EDGES, False, False)


@pytest.mark.parametrize("name", CONNECTIONS)
async def test_a_cursor_stays_good_whatever_is_inserted_and_deleted(
    doors: Doors, name: str
) -> None:
    await fill(name)
    edge = (await ask(doors, name, "first: 3"))[3][-1]
    assert edge["node"]["n"] == "5"

    await add(name, ROWS + 1)
    await delete(name, "5", "4")  # the cursor's own row, too
    after = await ask(doors, name, "first: 2, after: $c", c=edge["cursor"])
    before = await ask(doors, name, "last: 2, before: $c", c=edge["cursor"])

    assert after[:3] == (["3", "2"], True, True)
    assert before[:3] == (["7", "6"], True, True)


@pytest.mark.parametrize("name", CONNECTIONS)
async def test_two_cursors_are_both_kept_to(doors: Doors, name: str) -> None:
    await fill(name)
    edges = (await ask(doors, name))[3]
    pair = f'after: "{edges[1]["cursor"]}", before: "{edges[6]["cursor"]}"'
    turned = f'after: "{edges[6]["cursor"]}", before: "{edges[1]["cursor"]}"'

    assert (await ask(doors, name, pair))[:3] == (["5", "4", "3", "2"], True, True)
    assert (await ask(doors, name, f"{pair}, first: 3"))[:3] == (["5", "4", "3"], True, True)
    assert (await ask(doors, name, f"{pair}, last: 3"))[:3] == (["4", "3", "2"], True, True)
    assert (await ask(doors, name, turned))[0] == []
    alone = f'before: "{edges[6]["cursor"]}"'
    assert (await ask(doors, name, alone))[:3] == (EDGES[:6], False, True)


@pytest.mark.parametrize("name", CONNECTIONS)
async def test_what_ends_with_a_cursor_alone_is_the_page_next_to_it(
    doors: Doors, name: str
) -> None:
    for number in range(1, 53):
        await add(name, number)
    edge = (await ask(doors, name, "last: 1"))[3][0]

    found, back, on, _ = await ask(doors, name, "before: $c", c=edge["cursor"])

    assert found == [str(number) for number in range(51, 1, -1)]
    assert (back, on) == (True, True)


@pytest.mark.parametrize("name", CONNECTIONS)
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("first: 0", "first: must be at least 1"),
        ("first: -1", "first: must be at least 1"),
        ("first: 501", "first: must be at most 500"),
        ("last: 0", "last: must be at least 1"),
        ("last: 501", "last: must be at most 500"),
        ("first: 1, last: 1", "last: not together with first"),
        ('after: ""', "after: not a cursor of this list"),
        ('after: "MQ"', "after: not a cursor of this list"),
        ('after: "ä"', "after: not a cursor of this list"),
        ('before: "%%%"', "before: not a cursor of this list"),
    ],
)
async def test_an_argument_that_is_wrong_is_refused_by_its_name(
    doors: Doors, name: str, arguments: str, text: str
) -> None:
    given = 'agentId: "a", ' * (name == "auditEntriesConnection") + arguments

    with statements() as sent:
        told = await doors.refused_by_graphql(f"{{ {name}({given}) {{ nodes {{ __typename }} }} }}")

    assert told == (text, "INVALID_INPUT")
    assert sent == []


@pytest.mark.parametrize(
    "made",
    ["delivery.1", "memory.1", "memory.1.2.3", "memory.1.99999999999999999999", "memory.-1.1",
     "memory.999999999999999999.1", "memory.01.1", "memory.1.1.", "memory.a.1", "memory"],
)  # fmt: skip
async def test_a_cursor_that_was_not_given_out_here_is_refused(doors: Doors, made: str) -> None:
    cursor = urlsafe_b64encode(made.encode()).decode().rstrip("=")

    told = await doors.refused_by_graphql(
        "query ($c: String) { memoriesConnection(after: $c) { nodes { key } } }", c=cursor
    )

    assert told == ("after: not a cursor of this list", "INVALID_INPUT")


async def test_the_same_filters_are_kept_to_as_in_the_list(doors: Doors) -> None:
    for number in range(1, 7):
        await add("deliveriesConnection", number, project_id=number % 2, reason=str(number))
    fitting = "source: GITHUB, status: IGNORED, projectId: 1"

    told = await doors.ask(
        f"{{ a: deliveries({fitting}) {{ title }} b: deliveriesConnection({fitting}, first: 2) "
        "{ totalCount nodes { title } pageInfo { hasNextPage } } }"
    )

    assert told == {
        "a": [{"title": "5"}, {"title": "3"}, {"title": "1"}],
        "b": {
            "totalCount": 3,
            "nodes": [{"title": "5"}, {"title": "3"}],
            "pageInfo": {"hasNextPage": True},
        },
    }
    filters = {
        "taskExecutionsConnection": 'taskId: "pm_analyze", agentId: "a", projectId: 1, '
        "deliveryId: 1, status: QUEUED",
        "toolExecutionsConnection": 'agentId: "a", executionId: 1, tool: "t", status: SUCCEEDED',
        "memoriesConnection": 'agentId: "a", projectId: 1, scope: PROJECT, keySpace: ""',
        "watchdogEntriesConnection": 'level: WARN, search: "7"',
    }
    values: dict[str, dict[str, Any]] = {
        "taskExecutionsConnection": {"agent_id": "a", "project_id": 1, "delivery_id": 1},
        "toolExecutionsConnection": {"agent_id": "a"},
        "memoriesConnection": {"agent_id": "a", "project_id": 1},
        "watchdogEntriesConnection": {},
    }
    for name, given in filters.items():
        await add(name, 7, **values[name])
        await add(name, 8)
        found, *_ = await ask(doors, name, given)
        assert found == ["7"], name


async def test_memories_that_were_created_at_once_keep_their_order(doors: Doors) -> None:
    for number in range(1, ROWS + 1):
        await add("memoriesConnection", number)
    await rows("UPDATE memory SET created_at = '2026-02-18T10:00:00.123456Z' WHERE key < '5'")
    await rows("UPDATE memory SET created_at = '2026-02-18T10:00:00.123457Z' WHERE key = '2'")
    expected = ["7", "6", "5", "2", "4", "3", "1"]

    found, cursor = [], None
    for _ in range(ROWS):
        page, _, on, edges = await ask(doors, "memoriesConnection", "first: 1, after: $c", c=cursor)
        found += page
        cursor = edges[0]["cursor"]

    assert found == expected
    assert on is False
    assert (await ask(doors, "memoriesConnection", "last: 6, before: $c", c=cursor))[0] == (
        expected[:6]
    )


async def test_expired_memories_are_in_no_page_and_no_count(doors: Doors) -> None:
    await fill("memoriesConnection")
    await rows("UPDATE memory SET expires_at = now() - interval '1 second' WHERE key = '6'")

    told = await doors.ask("{ memoriesConnection(first: 2) { totalCount nodes { key } } }")

    assert told["memoriesConnection"] == {
        "totalCount": 6,
        "nodes": [{"key": "7"}, {"key": "5"}],
    }


async def test_the_log_of_an_unknown_agent_is_not_found_and_of_a_deleted_one_is_there(
    doors: Doors,
) -> None:
    await add("auditEntriesConnection", 1)
    query = 'query { auditEntriesConnection(agentId: "%s", first: 1) { nodes { action } } }'

    assert await doors.refused_by_graphql(query % "nobody") == (
        "agent 'nobody' not found",
        "NOT_FOUND",
    )
    told = await doors.ask(query % "a")
    assert told == {"auditEntriesConnection": {"nodes": [{"action": "1"}]}}


async def test_each_agent_has_its_own_pages_in_a_list(doors: Doors) -> None:
    for agent_id in ("agent_a", "agent_b"):
        await doors.post("/api/agents", PM_SARAH | {"id": agent_id})
        for number in range(1, 4):
            await insert("audit_entry", action=f"{agent_id} {number}", agent_id=agent_id)
    part = "edges { cursor } nodes { action } totalCount " + PAGE

    with statements() as sent:
        told = await doors.ask(
            f"{{ agents {{ a: auditConnection(first: 2) {{ {part} }} "
            f"b: auditConnection(last: 2) {{ {part} }} }} }}"
        )

    assert len(sent) == 5  # agents, each end, the entries, the counts
    for agent_id, one in zip(("agent_a", "agent_b"), told["agents"], strict=True):
        first, last = one["a"], one["b"]
        assert first["nodes"] == [{"action": f"{agent_id} {number}"} for number in (3, 2)]
        assert last["nodes"][1] == {"action": "agent.created"}
        assert last["nodes"][0] == {"action": f"{agent_id} 1"}
        assert first["totalCount"] == last["totalCount"] == 4
        ends = [(told["hasPreviousPage"], told["hasNextPage"])
                for told in (first["pageInfo"], last["pageInfo"])]  # fmt: skip
        assert ends == [(False, True), (True, False)]
        middle = await doors.ask(
            "query ($id: ID!, $a: String, $b: String) { agent(id: $id) { "
            f"auditConnection(after: $a, before: $b) {{ {part} }} }} }}",
            id=agent_id, a=first["edges"][0]["cursor"], b=last["edges"][1]["cursor"],
        )  # fmt: skip
        shown = middle["agent"]["auditConnection"]
        assert [one["action"] for one in shown["nodes"]] == [f"{agent_id} 2", f"{agent_id} 1"]
        assert (shown["pageInfo"]["hasPreviousPage"], shown["pageInfo"]["hasNextPage"]) == (
            True,
            True,
        )


async def test_the_rest_of_an_agent_is_told_where_its_page_is_refused(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH)

    answer = await doors.graphql(
        '{ agents { id auditConnection(after: "x") { nodes { id } } } }', {}
    )

    assert answer["data"] == {"agents": [{"id": "pm_sarah", "auditConnection": None}]}
    assert [one["message"] for one in answer["errors"]] == ["after: not a cursor of this list"]


# --- statements ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "most"),
    [
        ("{ deliveriesConnection { nodes { id } pageInfo { hasNextPage hasPreviousPage } } }", 1),
        ("{ deliveriesConnection { nodes { project { id } executions { id } } } }", 4),
        ("{ taskExecutionsConnection { edges { node { agent { id } task { id } } } } }", 3),
        ("{ taskExecutionsConnection { totalCount nodes { agent { id } task { id } } } }", 4),
        ("{ toolExecutionsConnection { nodes { agent { id } execution { id } } } }", 3),
        ('{ auditEntriesConnection(agentId: "a") { nodes { agent { id } execution { id } } } }', 3),
        ("{ memoriesConnection { totalCount nodes { key } } }", 2),
        ("{ watchdogEntriesConnection { totalCount nodes { id } } }", 3),
    ],
)  # fmt: skip
async def test_fifty_with_their_relations_take_at_most_four_statements(
    doors: Doors, query: str, most: int
) -> None:
    await doors.post("/api/agents", PM_SARAH | {"id": "a"})
    for number in range(1, 52):
        started = {"agent_id": "a"}
        delivery = await add("deliveriesConnection", number, project_id=number)
        await add("taskExecutionsConnection", number, delivery_id=delivery, **started)
        await add("toolExecutionsConnection", number, **started)
        await add("memoriesConnection", number)
        await add("auditEntriesConnection", number, execution_id=number)
        await add("watchdogEntriesConnection", number)

    with statements() as sent:
        [told] = (await doors.ask(query)).values()

    assert len(told.get("nodes") or told["edges"]) == 50
    assert len(sent) == most, sent


async def test_what_lies_on_the_other_side_is_asked_for_only_where_it_is_selected(
    doors: Doors,
) -> None:
    await fill("deliveriesConnection")
    cursor = (await ask(doors, "deliveriesConnection", "first: 1"))[3][0]["cursor"]

    counts = []
    for fields in ("endCursor hasNextPage", "hasPreviousPage"):
        with statements() as sent:
            await doors.ask(
                f'{{ deliveriesConnection(after: "{cursor}") {{ pageInfo {{ {fields} }} }} }}'
            )
        counts.append(len(sent))

    assert counts == [1, 2]


# --- limits -------------------------------------------------------------------------------


def problems(query: str, **variables: Any) -> list[str]:
    """What the limits say, before anything runs."""
    return Measure(whole_schema()._schema, parse(query), variables).run()


NODES: Final = "nodes { id title slug source }"
OVER: Final = f"fields in the answer at worst; at most {MAX_COST} are allowed"


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ deliveriesConnection(first: 501) { nodes { id } } }", {}),
        ("query ($n: Int) { deliveriesConnection(first: $n) { nodes { id } } }", {"n": 501}),
        ("query ($n: Int = 501) { deliveriesConnection(first: $n) { nodes { id } } }", {}),
        ("{ ...f } fragment f on Query { deliveriesConnection(first: 501) { nodes { id } } }", {}),
        ("query ($n: Int) { agents { ...f } } "
         "fragment f on Agent { ... { auditConnection(first: $n) { nodes { id } } } }", {"n": 501}),
    ],
)  # fmt: skip
def test_a_page_is_bounded_wherever_it_stands(query: str, variables: dict[str, Any]) -> None:
    assert "first: must be at most 500" in problems(query, **variables)
    assert "last: must be at least 1" in problems(
        query.replace("first", "last").replace("501", "0"), **dict.fromkeys(variables, 0)
    )


@pytest.mark.parametrize("argument", ["first", "last"])
def test_a_page_counts_as_what_it_may_give(argument: str) -> None:
    inner = "query ($n: Int) { agents(limit: 40) { auditConnection(%s: $n) { %s } } }"

    def cost(fields: str, number: int | None) -> bool:
        return problems(inner % (argument, fields), n=number) == []

    assert cost("nodes { id }", 249)  # 40 x (1 + 249 x 2) + 1
    assert not cost("nodes { id }", 250)
    assert cost("edges { node { id } }", 166)
    assert not cost("edges { node { id } }", 167)
    assert cost("pageInfo { hasNextPage endCursor }", 498)  # counts once for each
    assert cost("nodes { id action createdAt } edges { cursor }", None)  # fifty
    assert not cost("nodes { id action createdAt } edges { cursor node { id action } }", 120)


def test_a_default_page_in_a_default_page_is_allowed_and_a_large_one_is_not() -> None:
    query = "{ agents { auditConnection { nodes { id action } } } }"

    assert problems(query) == []
    [told] = problems(query.replace("Connection", "Connection(first: 500)"))
    assert told.endswith(OVER)


# --- lists inside others ------------------------------------------------------------------


async def test_a_list_inside_another_is_bounded_and_can_be_paged_through(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH)
    for number in range(60):
        await insert("agent_capability", agent_id="pm_sarah", capability=f"c{number:02}")
    for number in range(60):
        await execution(delivery_id=1, task_id=f"task_{number:02}")
    await add("deliveriesConnection", 1)

    told = await doors.ask(
        """{ agents { capabilities { capability } rest: capabilities(limit: 90, offset: 50)
             { capability } }
             deliveries { executions { taskId } few: executions(limit: 2, offset: 58) { taskId } }
        }"""
    )

    [agent], [delivery] = told["agents"], told["deliveries"]
    assert [one["capability"] for one in agent["capabilities"]] == [f"c{n:02}" for n in range(50)]
    assert [one["capability"] for one in agent["rest"]] == [f"c{n:02}" for n in range(50, 60)]
    assert len(delivery["executions"]) == 50
    assert [one["taskId"] for one in delivery["few"]] == ["task_58", "task_59"]
    assert problems("{ agents(limit: 1) { capabilities(limit: 501) { id } } }") == [
        "limit: must be at most 500"
    ]
