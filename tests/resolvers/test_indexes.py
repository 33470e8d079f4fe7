# ruff: noqa: S608 # the tests' own words
"""Tests that each list that grows, with each choice of its filters, is read by an index."""

import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from aether.db import rows
from resolvers import audit, deliveries, executions, memory, tools, watchdog
from resolvers.fields import Page
from resolvers.windows import Window
from tests.filling import fill_table
from tests.plans import kept, looked_at, read_whole

ROWS: Final = 20_000
DEEP: Final = ROWS // 2
AGENT: Final = "'agent_' || n % 7"

FILLED: Final = {
    "delivery": f"""INSERT INTO delivery (source, slug, delivery_key, change_key, event_name,
          status, event, payload, project_id)
        SELECT (ARRAY['github', 'github', 'gitlab', 'jira'])[1 + n % 4], 'x', n::text, n::text,
          'issues', CASE WHEN n % 20 = 0 THEN 'routed' ELSE 'ignored' END, '{{}}', '{{}}', n % 90
        FROM generate_series(1, {ROWS}) AS n""",
    "task_execution": f"""INSERT INTO task_execution (delivery_id, task_id, canonical_trigger,
          source, status, agent_id, project_id)
        SELECT n / 2, 'task_' || n % 11 || '_' || n % 2, 'issue.created', 'github',
          CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END, {AGENT}, n % 90
        FROM generate_series(1, {ROWS}) AS n""",
    "tool_execution": f"""INSERT INTO tool_execution (execution_id, run, round, call_id, tool,
          status, agent_id)
        SELECT n / 5, 1, n % 5, n::text, 'tool_' || n % 11,
          CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END, {AGENT}
        FROM generate_series(1, {ROWS}) AS n""",
    "audit_entry": f"""INSERT INTO audit_entry (action, agent_id, execution_id, delivery_id,
          caller, created_at)
        SELECT 'task.' || n % 9, {AGENT}, n / 9, CASE WHEN n % 5 = 0 THEN n / 10 END,
          CASE WHEN n % 40 = 0 THEN 'api' END, now() - n * interval '1 minute'
        FROM generate_series({ROWS}, 1, -1) AS n""",
    "memory": f"""INSERT INTO memory (key, content, scope, agent_id, project_id, key_space,
          created_at)
        SELECT n::text, 'text', (ARRAY['task', 'agent', 'project', 'project'])[1 + n % 4],
          {AGENT}, n % 90, CASE WHEN n % 10 = 0 THEN '' ELSE 'agent:' || n % 13 END,
          now() - n * interval '1 minute'
        FROM generate_series(1, {ROWS}) AS n""",
    "watchdog_entry": f"""INSERT INTO watchdog_entry (level, component, message, message_hash,
          minute)
        SELECT CASE WHEN n % 50 = 0 THEN 'error' ELSE 'warn' END,
          CASE WHEN n % 70 = 0 THEN 'scheduler' ELSE 'web' END,
          'thing ' || n || ' is odd', n::text, now()
        FROM generate_series(1, {ROWS}) AS n""",
}

Listed = Callable[[Any], Awaitable[Any]]
Sliced = Callable[[Any, Window], Awaitable[Any]]


async def _audit(wanted: Page, part: Window) -> Any:
    return await audit.slice_agent_audit("agent_3", part)


LISTS: Final[dict[str, tuple[type[Page], Listed, Sliced, dict[str, Any]]]] = {
    "delivery": (
        deliveries.DeliveryFilter, deliveries.list_deliveries, deliveries.slice_deliveries,
        {"source": "gitlab", "status": "routed", "project_id": 7},
    ),
    "task_execution": (
        executions.ExecutionFilter, executions.list_executions, executions.slice_executions,
        {"task_id": "task_3_1", "agent_id": "agent_3", "project_id": 7, "delivery_id": 77,
         "status": "failed"},
    ),
    "tool_execution": (
        tools.ToolExecutionFilter, tools.list_tool_executions, tools.slice_tool_executions,
        {"agent_id": "agent_3", "execution_id": 77, "tool": "tool_3", "status": "failed"},
    ),
    "audit_entry": (
        Page, lambda wanted: audit.list_agent_audit("agent_3", wanted), _audit, {},
    ),
    "audit_entry, whole": (
        audit.AuditFilter, audit.list_audit, audit.slice_audit,
        {"agent_id": "agent_3", "execution_id": 77, "delivery_id": 77, "caller": "api",
         "action": "task.3", "since": datetime(2026, 2, 18, tzinfo=UTC),
         "until": datetime(2126, 2, 18, tzinfo=UTC)},
    ),
    "memory": (
        memory.MemoryFilter, memory.list_memories, memory.slice_memories,
        {"agent_id": "agent_3", "project_id": 7, "scope": "project", "key_space": ""},
    ),
    "watchdog_entry": (
        watchdog.WatchdogFilter, watchdog.list_watchdog_entries, watchdog.slice_watchdog_entries,
        {"level": "error", "component": "scheduler", "search": "777"},
    ),
}  # fmt: skip
"""By table, and which list of it: the filter, the list, the connection, a value of each filter."""


@pytest.mark.parametrize("table", LISTS)
async def test_every_choice_of_filters_is_read_by_an_index(at_work: None, table: str) -> None:
    model, listed, sliced, values = LISTS[table]
    name, _, is_whole = table.partition(", ")
    await fill_table(name, FILLED[name])
    await rows(f"VACUUM ANALYZE {name}")  # what is new waits beside an index of words
    [made] = await rows("SELECT (extract(epoch FROM now()) * 1000000)::bigint AS now")
    minutes = DEEP * 60_000_000
    is_by_creation = table == "memory" or is_whole
    deep = (made["now"] - minutes, DEEP) if is_by_creation else (DEEP,)
    parts = [
        Window(most=50),
        Window(most=50, after=deep),
        Window(most=50, before=deep, from_end=True),
    ]
    choices = [
        chosen for size in range(len(values) + 1) for chosen in itertools.combinations(values, size)
    ]

    with kept() as sent:
        for names in choices:
            wanted = model.model_validate({name: values[name] for name in names})
            await listed(wanted)
            for part in parts:
                found = await sliced(wanted, part)
                await found.has_previous()
                await found.has_next()

    assert len(sent) >= 4 * len(choices)
    whole = {
        statement: walked
        for statement, given in sent
        if (walked := await read_whole(statement, given))
    }
    assert whole == {}


@pytest.mark.parametrize("search", ["777", "odd 777", "absent"])
async def test_a_rare_word_is_looked_for_in_the_index_after_the_newest_entries(
    at_work: None, search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "NEAR", 100)
    await rows(FILLED["watchdog_entry"])
    await rows("VACUUM ANALYZE watchdog_entry")
    wanted = watchdog.WatchdogFilter(search=search)

    with kept() as sent:
        found = await watchdog.list_watchdog_entries(wanted)

    looked = [(await looked_at(*one))["watchdog_entry"] for one in sent]
    assert [one.id for one in found] == ([] if search == "absent" else [777])
    assert sum(looked) <= 100 + 2 * len(found)


async def test_a_common_word_is_found_among_the_newest_entries(at_work: None) -> None:
    await rows(FILLED["watchdog_entry"])
    await rows("ANALYZE watchdog_entry")
    wanted = watchdog.WatchdogFilter(search="thing odd", limit=50)

    with kept() as sent:
        found = await watchdog.list_watchdog_entries(wanted)

    looked = [(await looked_at(*one))["watchdog_entry"] for one in sent]
    assert [one.id for one in found] == list(range(ROWS, ROWS - 50, -1))
    assert looked == [50, 50]


@pytest.mark.parametrize(
    ("of", "step"), [({}, 1), ({"action": "task.3"}, 9), ({"agent_id": "agent_3"}, 7)]
)
async def test_what_was_recorded_until_then_is_read_from_there_on(
    at_work: None, of: dict[str, str], step: int
) -> None:
    await rows(FILLED["audit_entry"])
    await rows("ANALYZE audit_entry")
    [then] = await rows("SELECT created_at FROM audit_entry WHERE id = $1", DEEP)
    wanted = audit.AuditFilter.model_validate({**of, "until": then["created_at"], "limit": 5})

    with kept() as sent:
        found = await audit.list_audit(wanted)

    [looked] = [(await looked_at(*one))["audit_entry"] for one in sent]
    first = found[0].id
    assert DEEP - step <= first < DEEP
    assert [one.id for one in found] == list(range(first, first - 5 * step, -step))
    assert looked < 100
