"""A database of the first release is brought to the newest migration with all that is in it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tortoise import Tortoise
from tortoise.migrations.api import migrate as apply_migrations

from aether import db
from aether.embedded.postgres import Postgres
from aether.models import Agent, Memory, Project, TaskDefinition, ToolDefinition, UsageDay
from aether.vocabulary import AnswerMode

FIRST_RELEASE = "aether.0002_postgres"

ROWS = (
    """INSERT INTO agent (id, name, role, prompt, responsibilities, constraints, enabled,
         created_at, updated_at)
       VALUES ('pm_sarah', 'Sarah', 'pm', 'You are Sarah.', '[]', '[]', true, now(), now())""",
    """INSERT INTO project (name, source, source_project_id, enabled, created_at, updated_at)
       VALUES ('API', 'github', 'acme/api', true, now(), now())""",
    """INSERT INTO task_definition (id, name, description, actor_id, required_capabilities,
         tool_reach, memory_scopes, enabled, created_at, updated_at)
       VALUES ('pm_analyze', 'Analyze', 'Analyze it.', 'pm_sarah', '[]', 'item', '["task"]', true,
         now(), now())""",
    """INSERT INTO tool_definition (name, description, effect, parameters, enabled, created_at,
         updated_at)
       VALUES ('add_comment', 'Comment.', 'writes', '{}', true, now(), now())""",
    """INSERT INTO poll_source (source, source_project_id, interval_minutes, enabled, cursor,
         next_poll_at, lease_token, failures, created_at, updated_at)
       VALUES ('github', 'acme/api', 5, true, '{}', now(), 0, 0, now(), now())""",
    """INSERT INTO mcp_server (name, url, transport, enabled, created_at, updated_at)
       VALUES ('Tools', 'http://tools:8080', 'streamable_http', true, now(), now())""",
    """INSERT INTO delivery (source, slug, delivery_key, change_key, event_name, status, event,
         payload)
       VALUES ('github', 'github', 'd1', 'c1', 'issues', 'routed', '{}', '{}')""",
    """INSERT INTO task_execution (delivery_id, task_id, canonical_trigger, source)
       VALUES (1, 'pm_analyze', 'issue.created', 'github')""",
    """INSERT INTO execution_message (execution_id, run, position, message, model, prompt_tokens,
         completion_tokens, cost_usd, created_at)
       VALUES (1, 1, 1, '{}', 'gpt-4o', 100, 20, 0.5, '2026-02-18T23:59:59Z'),
         (1, 1, 2, '{}', 'gpt-4o', 10, 2, 0.25, '2026-02-18T00:00:00Z')""",
    """INSERT INTO audit_entry (action) VALUES ('task.queued')""",
    """INSERT INTO memory (key, content, scope) VALUES ('k', 'c', 'project')""",
    """INSERT INTO memory (key_space, key, content, scope, execution_id, project_id)
       VALUES ('agent:pm_sarah:acme/new', 'of a run', 'c', 'project', 1, NULL),
         ('agent:pm_sarah:acme/new:1', 'of a task', 'c', 'task', 1, NULL),
         ('agent:pm_sarah:acme/api', 'of a project', 'c', 'project', 99, 1),
         ('agent:pm_sarah:acme/old', 'of nobody', 'c', 'project', 99, NULL),
         ('agent:' || repeat('a', 64) || ':1', 'of a hash', 'c', 'task', 1, NULL),
         ('agent:pm_sarah:' || repeat('a', 150), 'too long', 'c', 'project', 1, NULL)""",
)


@pytest.fixture
async def first_release(postgres: Postgres) -> AsyncIterator[str]:
    """A database as the first release left it, with a row in each table that people fill."""
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    await connection.execute("CREATE DATABASE first_release")
    await connection.close()
    url = postgres.dsn("first_release")
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE EXTENSION vector")
    try:
        await apply_migrations(config=db.tortoise_config(url, pool=2), target=FIRST_RELEASE)
    finally:
        await Tortoise.close_connections()
    for statement in ROWS:
        await connection.execute(statement)
    await connection.close()
    yield url
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    await connection.execute("DROP DATABASE first_release WITH (FORCE)")
    await connection.close()


@pytest.mark.slow
async def test_a_database_of_the_first_release_is_upgraded_with_its_rows(
    first_release: str,
) -> None:
    await db.migrate(first_release)

    await db.require_migrations(first_release)
    async with db.pool(first_release, size=2):
        agent = await Agent.get(id="pm_sarah")
        task = await TaskDefinition.get(id="pm_analyze")
        project = await Project.get(source_project_id="acme/api")
        tool = await ToolDefinition.get(name="add_comment")
        used = await UsageDay.get()
        spaces = {one.key: one.key_space for one in await Memory.all()}
    assert (agent.fallback_models, agent.max_tokens_per_day) == ([], None)
    assert (task.answer_mode, task.approve_tools) == (AnswerMode.ADD, [])
    assert (task.approve_answer, task.outsiders_may_act) == (False, False)
    assert (project.max_concurrent_runs, tool.requires_approval) == (None, False)
    assert (str(used.day), used.agent_id, used.task_id) == ("2026-02-18", None, "pm_analyze")
    assert (used.llm_calls, used.prompt_tokens, used.completion_tokens) == (2, 110, 22)
    assert float(used.cost_usd) == 0.75
    assert spaces == {
        "k": "",
        "of a run": "agent:pm_sarah:github:acme/new",
        "of a task": "agent:pm_sarah:github:acme/new:1",
        "of a project": "agent:pm_sarah:github:acme/api",
        "of nobody": "agent:pm_sarah:acme/old",
        "of a hash": f"agent:{'a' * 64}:1",
        "too long": f"agent:pm_sarah:{'a' * 150}",
    }
