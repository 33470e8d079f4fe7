"""Usage by whatever is asked: agent, task, project, model, day."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic.types import Strict

from aether.db import rows
from resolvers.fields import Input, Limit, Moment, Offset, Positive, Reference


class UsageBy(StrEnum):
    """What usage is told apart by."""

    AGENT = "agent"
    TASK = "task"
    PROJECT = "project"
    MODEL = "model"
    DAY = "day"


COLUMNS: Final[dict[UsageBy, str]] = {
    UsageBy.AGENT: "agent_id",
    UsageBy.TASK: "task_id",
    UsageBy.PROJECT: "project_id",
    UsageBy.MODEL: "model",
    UsageBy.DAY: "day",
}


def _listed(value: Any) -> Any:
    """A query's ``agent,day`` as a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return value


_ONE: Final = f"({'|'.join(UsageBy)})"

By = Annotated[
    list[Annotated[UsageBy, Strict(strict=False)]],
    Field(min_length=1, max_length=len(UsageBy)),
    BeforeValidator(_listed),
    WithJsonSchema({"type": "string", "pattern": f"^{_ONE}(,{_ONE}){{0,4}}$"}),
]
"""At REST one text, ``agent,day``; at GraphQL a list."""


class UsageReportFilter(Input):
    """What to add up: the days from ``since`` on and before ``until``, in UTC, by ``by``."""

    by: By = Field(default_factory=lambda: [UsageBy.DAY])
    since: Moment | None = None
    until: Moment | None = None
    agent_id: Reference | None = None
    task_id: Reference | None = None
    project_id: Positive | None = None
    model: Reference | None = None
    limit: Limit = 50
    offset: Offset = 0


@dataclass(frozen=True, kw_only=True)
class UsageRow:
    """One sum. What it is not told apart by is None, as is what no agent, task or project had."""

    day: str | None = None  # 2026-02-18
    agent_id: str | None = None
    task_id: str | None = None
    project_id: int | None = None
    model: str | None = None
    llm_calls: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Decimal
    unpriced_calls: int
    estimated_calls: int


async def usage_report(wanted: UsageReportFilter) -> list[UsageRow]:
    """Sums of what models were asked for; newest day first, then the most expensive."""
    columns = [COLUMNS[one] for one in dict.fromkeys(wanted.by)]
    names = ", ".join(columns)
    order = "day DESC, cost_usd DESC" if "day" in columns else "cost_usd DESC"
    found = await rows(
        f"""SELECT {names}, sum(llm_calls)::bigint AS llm_calls,
              sum(prompt_tokens)::bigint AS prompt_tokens,
              sum(completion_tokens)::bigint AS completion_tokens,
              sum(prompt_tokens + completion_tokens)::bigint AS total_tokens,
              sum(cost_usd) AS cost_usd,
              sum(unpriced_calls)::bigint AS unpriced_calls,
              sum(estimated_calls)::bigint AS estimated_calls
            FROM usage_day
            WHERE ($1::timestamptz IS NULL OR day >= ($1::timestamptz AT TIME ZONE 'UTC')::date)
              AND ($2::timestamptz IS NULL OR day < ($2::timestamptz AT TIME ZONE 'UTC'))
              AND ($3::text IS NULL OR agent_id = $3) AND ($4::text IS NULL OR task_id = $4)
              AND ($5::int IS NULL OR project_id = $5) AND ($6::text IS NULL OR model = $6)
            GROUP BY {names} ORDER BY {order}, {names} LIMIT $7 OFFSET $8""",  # noqa: S608 # ours
        wanted.since, wanted.until, wanted.agent_id, wanted.task_id, wanted.project_id,
        wanted.model, wanted.limit, wanted.offset,
    )  # fmt: skip
    for one in found:
        if "day" in one:
            one["day"] = one["day"].isoformat()
    return [UsageRow(**one) for one in found]
