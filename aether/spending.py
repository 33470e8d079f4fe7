"""What models have cost: added up by day as it is spent, and read for limits."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from aether.db import row, rows

Scope = Literal["agent", "project"]

ADD: Final = """
INSERT INTO usage_day AS so_far (day, agent_id, task_id, project_id, model, llm_calls,
  prompt_tokens, completion_tokens, cost_usd)
VALUES ((now() AT TIME ZONE 'UTC')::date, $1, $2, $3, $4, 1, $5, $6, $7)
ON CONFLICT (day, agent_id, task_id, project_id, model) DO UPDATE SET
  llm_calls = so_far.llm_calls + 1,
  prompt_tokens = so_far.prompt_tokens + excluded.prompt_tokens,
  completion_tokens = so_far.completion_tokens + excluded.completion_tokens,
  cost_usd = so_far.cost_usd + excluded.cost_usd
"""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Tokens read and written together, and US dollars."""

    tokens: int
    cost_usd: Decimal


async def add(
    *,
    agent_id: str | None,
    task_id: str | None,
    project_id: int | None,
    model: str,
    prompt_tokens: int,
    completion_tokens: int,
    cost_usd: Decimal,
) -> None:
    """Count one call of a model; takes part in an open transaction, which should end soon.

    ``task_id`` is None for a chat.
    """
    await rows(
        ADD, agent_id, task_id, project_id, model, prompt_tokens, completion_tokens, cost_usd
    )


async def of_run(execution_id: int, run: int) -> Spent:
    """What one run has spent."""
    found = await row(
        """SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) AS tokens,
             coalesce(sum(cost_usd), 0) AS cost_usd
           FROM execution_message WHERE execution_id = $1 AND run = $2""",
        execution_id, run,
    )  # fmt: skip
    return _spent(found)


async def this_period(scope: Scope, id: str | int) -> tuple[Spent, Spent]:
    """What an agent or a project has spent today and this month, in UTC; chats count, too."""
    column = {"agent": "agent_id", "project": "project_id"}[scope]
    found = await rows(
        f"""SELECT coalesce(sum(prompt_tokens + completion_tokens)
                FILTER (WHERE day = today), 0) AS tokens,
              coalesce(sum(cost_usd) FILTER (WHERE day = today), 0) AS cost_usd,
              coalesce(sum(prompt_tokens + completion_tokens), 0) AS month_tokens,
              coalesce(sum(cost_usd), 0) AS month_cost_usd
            FROM usage_day, (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock
            WHERE {column} = $1 AND day >= date_trunc('month', today)""",  # noqa: S608 # our names
        id,
    )
    [one] = found
    month = Spent(tokens=int(one["month_tokens"]), cost_usd=one["month_cost_usd"])
    return _spent(one), month


def _spent(found: dict[str, object] | None) -> Spent:
    if found is None:
        return Spent(tokens=0, cost_usd=Decimal(0))
    return Spent(tokens=int(str(found["tokens"])), cost_usd=Decimal(str(found["cost_usd"])))
