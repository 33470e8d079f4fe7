"""Bounds of what may be spent and of how much runs at once: a warning, then a hard stop.

Asked before each call of a model. A call under way is not cut off, so that a bound may be passed
by one call of each run at work. A bound of cost stops every model whose price is not known: it
could not be kept.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from aether import audit, spending
from aether.clock import now
from aether.config import Settings
from aether.db import rows, transaction
from aether.errors import NotConfiguredError, RateLimitedError
from aether.leases import Lease, LetGoError
from aether.llm import prices
from aether.llm.chat import model_name
from aether.models import Agent, Project, TaskDefinition
from aether.spending import Spent, this_period
from aether.vocabulary import ExecutionStatus

log = logging.getLogger(__name__)

NEAR: Final = Decimal("0.8")  # of a bound; from there on it is warned about
WAITS: Final = "waits: "  # how the reason begins of an execution that waits for its turn
TURN_SECONDS: Final = 2.0  # until an execution that waits for its turn asks again
LONGEST_TURN_SECONDS: Final = 30.0  # the same, of one that has waited long: each time costs


class LimitReachedError(RateLimitedError):
    """A bound of what may be spent has been reached; the text names it."""


class NoTurnError(LetGoError):
    """As many runs as may be are under way; the execution is queued again."""


@dataclass(frozen=True, kw_only=True)
class _Limit:
    of: str  # agent pm_sarah, project 42, task triage
    name: str  # max_tokens_per_day
    bound: Decimal
    used: Decimal
    period: str

    @property
    def is_of_cost(self) -> bool:
        return "cost" in self.name

    @property
    def is_reached(self) -> bool:
        return self.used >= self.bound

    @property
    def is_near(self) -> bool:
        return self.used >= self.bound * NEAR

    def __str__(self) -> str:
        unit = "US dollars" if self.is_of_cost else "tokens"
        return f"{self.of} has used {self.used:,f} of {self.bound:,f} {unit} ({self.name})"


async def check(
    settings: Settings,
    models: Sequence[str | None],
    *,
    task: TaskDefinition | None,
    agent: Agent | None,
    project: Project | None,
    lease: Lease | None,
) -> list[str | None]:
    """See that one more call of a model is within every bound; warn once where it is near one.

    Costs nothing where no bound is set. ``task`` and ``lease`` are None for a chat.

    Returns:
        Those of ``models`` that may be asked, in order: under a bound of cost not those whose
        price is not known.

    Raises:
        LimitReachedError: a bound is reached; also told in the audit log, once a period.
        NotConfiguredError: there is a bound of cost, and no price of the first model; told in
            the audit log, too.
    """
    limits = await _limits(task, agent, project, lease)
    execution_id = lease.execution_id if lease else None
    agent_id = agent.id if agent else None
    for limit in limits:
        if limit.is_reached:
            if await _tell(limit, "reached", agent_id, execution_id):
                log.warning("a limit is reached: %s", limit)
            raise LimitReachedError(f"{limit}; nothing more is spent")
    of_cost = next((limit for limit in limits if limit.is_of_cost), None)
    unpriced = await _unpriced(settings, models) if of_cost else []
    if of_cost is not None and models[0] in unpriced:
        name = model_name(settings, models[0])
        await _tell(of_cost, "unpriced", agent_id, execution_id, model=name)
        raise NotConfiguredError(
            f"MODEL_PRICES: the price of the model {name!r} is not "
            f"known, so {of_cost.name} of {of_cost.of} cannot be kept; set it (0 if it costs "
            "nothing), or bound tokens instead of cost"
        )
    for limit in limits:
        if limit.is_near and await _tell(limit, "near", agent_id, execution_id):
            log.warning("near a limit: %s", limit)
    return [one for one in models if one not in unpriced]


async def _unpriced(settings: Settings, models: Sequence[str | None]) -> list[str | None]:
    """Those of ``models`` whose price is not known; each is warned about once a day."""
    names = {one: model_name(settings, one) for one in models}
    unknown = await prices.unpriced(settings, list(names.values()))
    for name in unknown:
        prices.warn(name)
    return [one for one, name in names.items() if name in unknown]


async def take_turn(lease: Lease, agent: Agent | None, project: Project | None) -> bool:
    """Whether this run may go on now; False: it is queued again, since enough are under way.

    Takes part in the fenced transaction that has written the execution's agent and the reason
    for it. One that has not begun loses its agent again; a begun run keeps it.
    """
    reason = await why_no_turn(lease.execution_id, agent, project)
    if reason is None:
        return True
    await rows(
        """WITH begun AS (
             SELECT EXISTS (SELECT 1 FROM execution_message
                            WHERE execution_id = $1 AND run = $4) AS it)
           UPDATE task_execution SET status = $3, lease_until = NULL,
             agent_id = CASE WHEN begun.it THEN agent_id END,
             started_at = CASE WHEN begun.it THEN started_at END
           FROM begun WHERE id = $1 AND lease_token = $2""",
        lease.execution_id, lease.token, ExecutionStatus.QUEUED, lease.run,
    )  # fmt: skip
    await wait_on(lease.execution_id, reason)
    return False


async def why_no_turn(
    execution_id: int, agent: Agent | None, project: Project | None
) -> str | None:
    """Why this run has to wait, as its ``agent_reason``; None: it has its turn.

    Takes part in the transaction that has written the reason for its agent; the locks make others
    wait who ask at the same time. Who has no reason was claimed and has yet to ask: it does not
    count, or a crowd that asks again and again would keep itself from ever getting on.
    """
    for scope, owner in (("agent", agent), ("project", project)):
        if owner is None or owner.max_concurrent_runs is None:
            continue
        await rows("SELECT pg_advisory_xact_lock(hashtextextended($1, 2))", f"{scope} {owner.pk}")
        [counted] = await rows(
            f"""SELECT count(*) AS n FROM task_execution
                WHERE {scope}_id = $1 AND id <> $2 AND status = 'running'
                  AND agent_reason IS NOT NULL AND lease_until > now()""",  # noqa: S608 # our own names
            owner.pk, execution_id,
        )  # fmt: skip
        if counted["n"] >= owner.max_concurrent_runs:
            return f"{WAITS}{scope} {owner.pk} has {counted['n']} runs at work"
    return None


async def wait_on(execution_id: int, reason: str) -> None:
    """Let a queued execution ask for its turn again after a while; nobody is told anew."""
    await rows(
        """UPDATE task_execution SET agent_reason = $2, enqueued_at = NULL,
             run_after = now() + least(make_interval(secs => $4),
               greatest(make_interval(secs => $3), (now() - created_at) / 10))
           WHERE id = $1 AND status = 'queued'""",
        execution_id, reason, TURN_SECONDS, LONGEST_TURN_SECONDS,
    )  # fmt: skip


async def _limits(
    task: TaskDefinition | None,
    agent: Agent | None,
    project: Project | None,
    lease: Lease | None,
) -> list[_Limit]:
    found: list[_Limit] = []
    if task is not None and lease is not None and _has(task, "max_tokens_per_run"):
        spent = await spending.of_run(lease.execution_id, lease.run)
        period = f"execution {lease.execution_id}, run {lease.run}"
        found += _bounds(f"this run of task {task.id}", task, "run", spent, period)
    if agent is not None and _has(agent, "max_tokens_per_day", "max_tokens_per_month"):
        found += _of_periods(f"agent {agent.id}", agent, *await this_period("agent", agent.id))
    if project is not None and _has(project, "max_tokens_per_day", "max_tokens_per_month"):
        spent_by = await this_period("project", project.id)
        found += _of_periods(f"project {project.id}", project, *spent_by)
    return found


def _has(owner: Agent | Project | TaskDefinition, *names: str) -> bool:
    """Whether any of these bounds, or that of cost beside it, is set."""
    return any(
        getattr(owner, name) is not None or getattr(owner, _cost_beside(name)) is not None
        for name in names
    )


def _cost_beside(name: str) -> str:
    return name.replace("tokens", "cost_usd")


def _of_periods(of: str, owner: Agent | Project, today: Spent, month: Spent) -> list[_Limit]:
    moment = now()
    return [
        *_bounds(of, owner, "day", today, f"{moment:%Y-%m-%d}"),
        *_bounds(of, owner, "month", month, f"{moment:%Y-%m}"),
    ]


def _bounds(
    of: str, owner: Agent | Project | TaskDefinition, each: str, spent: Spent, period: str
) -> Iterator[_Limit]:
    used = {
        f"max_tokens_per_{each}": Decimal(spent.tokens),
        f"max_cost_usd_per_{each}": spent.cost_usd,
    }
    for name, amount in used.items():
        bound = getattr(owner, name)
        if bound is not None:
            yield _Limit(
                of=of,
                name=name,
                bound=Decimal(str(bound)),
                used=amount,
                period=period,
            )


async def _tell(
    limit: _Limit, level: str, agent_id: str | None, execution_id: int | None, **more: str
) -> bool:
    """Write it to the audit log, once a period and bound; whether it was now."""
    async with transaction():
        first = await rows(
            """INSERT INTO limit_notice (of, "limit", period, level, created_at)
               VALUES ($1, $2, $3, $4, now()) ON CONFLICT DO NOTHING RETURNING id""",
            limit.of, limit.name, f"{limit.period}: {limit.bound:f}"[:64], level,
        )  # fmt: skip
        if first:
            await audit.record(
                f"limit.{level}",
                agent_id=agent_id,
                execution_id=execution_id,
                detail={
                    "of": limit.of,
                    "limit": limit.name,
                    "bound": float(limit.bound),
                    "used": float(limit.used),
                    "period": limit.period,
                    **more,
                },
            )
    return bool(first)
