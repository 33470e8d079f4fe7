"""A run's summary, kept as a memory of its project where the task wants one.

Made after the run has ended, so that it can neither delay nor fail an answer. The execution's row
says that it is wanted; the sweep sends its hint again.
"""

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aether import audit, spending
from aether.db import row, rows, transaction
from aether.engine import limits
from aether.engine.known_secrets import learn_stored
from aether.engine.opening import visibility
from aether.engine.outsiders import why_held_back
from aether.engine.runtime import Runtime
from aether.errors import AetherError, UpstreamError
from aether.events import SourceEvent
from aether.llm import ask as asking
from aether.llm import prompts
from aether.memory.store import remember
from aether.models import Agent, Project, TaskDefinition, TaskExecution
from aether.rendering import is_blank
from aether.spending import Usage
from aether.vocabulary import MemoryScope

log = logging.getLogger(__name__)

MOST_TRIES: Final = 3
PATIENCE_SECONDS: Final = 600.0  # a hint older than this was lost, or its summary failed

CLAIM: Final = """
UPDATE task_execution SET summary_tries = summary_tries + 1,
  run_after = now() + make_interval(secs => $3)
WHERE id = $1 AND status = 'succeeded' AND summary_tries < $2
  AND (run_after IS NULL OR run_after <= now()) RETURNING id
"""
"""``run_after`` is until when it is being summarized, so that a doubled hint costs nothing."""

WANTED: Final = """
UPDATE task_execution SET enqueued_at = now()
WHERE summary_tries < $1 AND status = 'succeeded'
  AND coalesce(enqueued_at, finished_at) < now() - make_interval(secs => $2)
RETURNING id
"""


def why_not(event: SourceEvent, task: TaskDefinition) -> str | None:
    """Why a run of ``task`` that ``event`` woke leaves no summary; None: it may.

    A summary speaks in later runs, for whoever reads their answers: like ``remember``, it is not
    for what a stranger said, nor for what is kept from others.
    """
    if (held_back := why_held_back(event, task)) is not None:
        return held_back
    hidden = event.subject.visibility if event.subject else None
    return f"it is about what is {hidden}" if hidden else None


async def wanted() -> list[int]:
    """Executions whose summary is wanted and whose hint must be lost; they count as sent now."""
    found = await rows(WANTED, MOST_TRIES, PATIENCE_SECONDS)
    return [int(one["id"]) for one in found]


async def summarize(runtime: Runtime, execution_id: int) -> None:
    """Summarize one run and remember it; nothing where that is done, or somebody else does it.

    A failure is logged, and tried again later, three times at most.
    """
    if await row(CLAIM, execution_id, MOST_TRIES, PATIENCE_SECONDS) is None:
        return
    execution = await TaskExecution.get(id=execution_id)
    task = await TaskDefinition.get_or_none(id=execution.task_id)
    try:
        if task is not None and execution.project_id is not None:
            await _summarize(runtime, execution, task)
    except AetherError as error:
        log.warning("execution %s is not summarized: %s", execution_id, error)
        await rows("UPDATE task_execution SET run_after = NULL WHERE id = $1", execution_id)
        return
    await rows(
        "UPDATE task_execution SET summary_tries = NULL, run_after = NULL WHERE id = $1",
        execution_id,
    )


async def _summarize(runtime: Runtime, execution: TaskExecution, task: TaskDefinition) -> None:
    settings = runtime.settings
    await learn_stored(settings)
    agent = await Agent.get_or_none(id=execution.agent_id) if execution.agent_id else None
    project = await Project.get_or_none(id=execution.project_id)
    if project is None:
        return
    models = asking.models(
        settings, agent.model if agent else None, agent.fallback_models if agent else ()
    )

    async def check() -> list[str | None]:
        return await limits.check(
            settings, models, task=None, agent=agent, project=project, lease=None
        )

    reply = await asking.ask(
        settings,
        models=await check(),
        messages=prompts.summary_messages(
            await _said(execution), execution.answer or "", nonce=secrets.token_hex(8)
        ),
        tools=None,
        timeout=settings.llm_timeout_seconds,
        before_next=check,
    )
    await _count(execution, reply.usage)
    if reply.text is None or is_blank(reply.text):
        raise UpstreamError("the model gave no summary")
    within = visibility(
        task,
        execution_id=execution.id,
        agent_id=execution.agent_id,
        project_id=execution.project_id,
        source=execution.source,
        site=execution.site,
        project_key=execution.project_key,
    )
    of_site = f"{execution.site}-" if execution.site else ""
    item = f"{execution.item_kind}-{execution.item_key}"
    key = f"summary-{execution.source}-{of_site}{item}-{task.id}"
    await remember(
        settings,
        key=key[:200],
        content=reply.text,
        scope=MemoryScope.PROJECT,
        agent_id=execution.agent_id,
        project_id=execution.project_id,
        execution_id=execution.id,
        key_space=within.key_space,
        replace=True,
    )
    await audit.record(
        "memory.summarized",
        agent_id=execution.agent_id,
        execution_id=execution.id,
        detail={"key": key[:200], "task_id": task.id},
    )


async def _said(execution: TaskExecution) -> Sequence[Mapping[str, Any]]:
    stored = await rows(
        """SELECT message FROM execution_message WHERE execution_id = $1 AND run = $2
             AND position > 0 ORDER BY position""",
        execution.id, execution.run,
    )  # fmt: skip
    return [json.loads(one["message"]) for one in stored]


async def _count(execution: TaskExecution, usage: Usage) -> None:
    async with transaction():
        await spending.add_to_execution(execution.id, usage)
