"""What each agent has used: tasks, calls, tokens, cost."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from aether.db import rows
from resolvers.fields import Input, Moment, Reference


@dataclass(frozen=True, kw_only=True)
class Usage:
    """One agent's share, runs and chats; ``agent_id`` is None where no agent spoke."""

    agent_id: str | None
    tasks: int
    tasks_completed: int
    tasks_failed: int
    llm_calls: int
    tool_calls: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Decimal
    unpriced_calls: int


class UsageFilter(Input):
    """What to count: executions and chats created from ``since`` on and before ``until``."""

    since: Moment | None = None
    until: Moment | None = None
    agent_id: Reference | None = None


# A run's calls are counted by when it was created, those that broke off with it; a chat's by when
# it was made.
# Sums of bigint are numeric, so they do not end at 64 bits. An execution that waits for its first
# worker, or for its turn, has no agent yet, and counts for none.
_SUMS: Final = """
SELECT agent_id, count(status) AS tasks,
  count(*) FILTER (WHERE status = 'succeeded') AS tasks_completed,
  count(*) FILTER (WHERE status = 'failed') AS tasks_failed,
  sum(llm_calls) AS llm_calls, sum(tool_calls) AS tool_calls,
  sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
  sum(prompt_tokens::numeric + completion_tokens) AS total_tokens, sum(cost_usd) AS cost_usd,
  sum(unpriced_calls) AS unpriced_calls
FROM (
  SELECT agent_id, status, llm_calls, tool_calls, prompt_tokens, completion_tokens, cost_usd,
    unpriced_calls, created_at
  FROM task_execution
  WHERE NOT (status = 'queued' AND agent_id IS NULL AND llm_calls = 0)
  UNION ALL
  SELECT agent_id, NULL, 1, tool_calls, prompt_tokens, completion_tokens, cost_usd, unpriced::int,
    created_at
  FROM llm_call WHERE execution_id IS NULL
) AS used
WHERE ($1::timestamptz IS NULL OR created_at >= $1)
  AND ($2::timestamptz IS NULL OR created_at < $2)
  AND ($3::text IS NULL OR agent_id = $3)
GROUP BY agent_id
ORDER BY agent_id NULLS LAST
"""


async def list_usage(wanted: UsageFilter) -> list[Usage]:
    """Each agent's usage, by its id; last what no agent used."""
    found = await rows(_SUMS, wanted.since, wanted.until, wanted.agent_id)
    return [
        Usage(
            agent_id=one["agent_id"],
            tasks=one["tasks"],
            tasks_completed=one["tasks_completed"],
            tasks_failed=one["tasks_failed"],
            llm_calls=int(one["llm_calls"]),
            tool_calls=int(one["tool_calls"]),
            prompt_tokens=int(one["prompt_tokens"]),
            completion_tokens=int(one["completion_tokens"]),
            total_tokens=int(one["total_tokens"]),
            cost_usd=one["cost_usd"],
            unpriced_calls=int(one["unpriced_calls"]),
        )
        for one in found
    ]
