"""What models have cost: added up by day as it is spent, and read for limits."""

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, TypeVar

from aether.db import UNAVAILABLE, row, rows, transaction
from aether.vocabulary import LlmCallKind

T = TypeVar("T")

log = logging.getLogger(__name__)

Scope = Literal["agent", "project"]

ADD: Final = """
INSERT INTO usage_day AS so_far (day, agent_id, task_id, project_id, model, llm_calls,
  prompt_tokens, completion_tokens, cost_usd, unpriced_calls, estimated_calls)
VALUES ((now() AT TIME ZONE 'UTC')::date, $1, $2, $3, $4, 1, $5, $6, coalesce($7::numeric, 0),
  ($7::numeric IS NULL)::int, ($8::bool)::int)
ON CONFLICT (day, agent_id, task_id, project_id, model) DO UPDATE SET
  llm_calls = so_far.llm_calls + 1,
  prompt_tokens = so_far.prompt_tokens + excluded.prompt_tokens,
  completion_tokens = so_far.completion_tokens + excluded.completion_tokens,
  cost_usd = so_far.cost_usd + excluded.cost_usd,
  unpriced_calls = so_far.unpriced_calls + excluded.unpriced_calls,
  estimated_calls = so_far.estimated_calls + excluded.estimated_calls
"""

OF_EXECUTION: Final = """
UPDATE task_execution SET llm_calls = llm_calls + 1, prompt_tokens = prompt_tokens + $2,
  completion_tokens = completion_tokens + $3, cost_usd = cost_usd + coalesce($4::numeric, 0),
  unpriced_calls = unpriced_calls + ($4::numeric IS NULL)::int, model = coalesce($5, model)
WHERE id = $1 RETURNING agent_id, task_id, project_id
"""

CALL: Final = """
INSERT INTO llm_call (kind, agent_id, execution_id, run, model, tool_calls, prompt_tokens,
  completion_tokens, cost_usd, unpriced)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce($9::numeric, 0), $9::numeric IS NULL)
"""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one call of a model has used.

    ``cost_usd`` is None where nobody knows the price. ``is_estimated``: the tokens were counted
    by us, since the provider did not tell them.
    """

    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal | None
    is_estimated: bool = False


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Tokens read and written together, and US dollars."""

    tokens: int
    cost_usd: Decimal


async def add(
    usage: Usage, *, agent_id: str | None, task_id: str | None, project_id: int | None
) -> None:
    """Count one call of a model; takes part in an open transaction, which should end soon.

    ``task_id`` is None for a chat.
    """
    await rows(
        ADD, agent_id, task_id, project_id, usage.model, usage.prompt_tokens,
        usage.completion_tokens, usage.cost_usd, usage.is_estimated,
    )  # fmt: skip


async def add_to_execution(execution_id: int, usage: Usage, *, speaks: bool = False) -> str | None:
    """Count one call for an execution and its day; its agent. Takes part in an open transaction.

    ``speaks``: the call's model is from now on the one that the execution speaks through.
    """
    found = await row(
        OF_EXECUTION, execution_id, usage.prompt_tokens, usage.completion_tokens, usage.cost_usd,
        usage.model if speaks else None,
    )  # fmt: skip
    if found is None:
        return None
    await add(usage, **found)
    agent_id: str | None = found["agent_id"]
    return agent_id


async def add_call(
    usage: Usage,
    kind: LlmCallKind,
    *,
    agent_id: str | None,
    execution_id: int | None = None,
    run: int | None = None,
    tool_calls: int = 0,
) -> None:
    """Keep one call that no message of a run tells of; takes part in an open transaction."""
    await rows(
        CALL, kind, agent_id, execution_id, run, usage.model, tool_calls, usage.prompt_tokens,
        usage.completion_tokens, usage.cost_usd,
    )  # fmt: skip


async def add_broken_off(execution_id: int, run: int, usage: Usage) -> None:
    """Count a call of a run whose reply was not kept.

    Not fenced: it has been paid for, whoever holds the execution now.
    """
    async with transaction():
        agent_id = await add_to_execution(execution_id, usage)
        await add_call(
            usage, LlmCallKind.BROKEN_OFF, agent_id=agent_id, execution_id=execution_id, run=run
        )


async def surely(record: Coroutine[Any, Any, T], what: str = "usage") -> T | None:
    """Write down what was spent or done, also when the caller is cancelled meanwhile.

    It runs in a context of its own: a caller that was cut off may have left a transaction behind.
    What was paid for is not withheld because the database cannot be reached: that is logged, and
    None is given.
    """
    writing = asyncio.create_task(_written(record, what), context=Context())
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise


async def _written(record: Coroutine[Any, Any, T], what: str) -> T | None:
    try:
        return await record
    except UNAVAILABLE as error:
        log.warning("%s could not be stored: %r", what, error)
        return None


async def of_run(execution_id: int, run: int) -> Spent:
    """What one run has spent, calls that broke off included."""
    found = await row(
        """SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) AS tokens,
             coalesce(sum(cost_usd), 0) AS cost_usd
           FROM (
             SELECT prompt_tokens, completion_tokens, cost_usd FROM execution_message
             WHERE execution_id = $1 AND run = $2
             UNION ALL
             SELECT prompt_tokens, completion_tokens, cost_usd FROM llm_call
             WHERE execution_id = $1 AND run = $2) AS used""",
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
