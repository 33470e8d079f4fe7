"""Stage 4: one task execution, from the claim to its end.

Claim, agent, prompt, the loop of model and tools, the one answer. Every step is stored before
the next one, and every write is fenced by the lease, so that a crash anywhere resumes and a
worker that lost its lease changes nothing.
"""

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from aether import audit
from aether.checkpoints import reached
from aether.db import UNAVAILABLE, rows, transaction
from aether.effects import ANSWER, Effects
from aether.engine import conversation as conversations
from aether.engine import limits, opening, rounds, settle, summary, switched_off, turns
from aether.engine.assign import assign, resume
from aether.engine.complete import completed
from aether.engine.known_secrets import learn_stored
from aether.engine.run import Run
from aether.engine.runtime import Runtime
from aether.errors import (
    AetherError,
    CancelledRunError,
    LeaseLostError,
    NotFoundError,
    SwitchedOffError,
    UnavailableError,
    UpstreamError,
)
from aether.events import event_from_summary
from aether.leases import Lease, LetGoError, fence, give_back
from aether.memory.search import Recalled
from aether.models import Delivery, Project, TaskDefinition, TaskExecution
from aether.queue import Job
from aether.sources import get as get_source
from aether.vocabulary import AnswerMode, EffectStatus

log = logging.getLogger(__name__)


async def execute(runtime: Runtime, execution_id: int) -> None:
    """Work on one execution until it ends, fails, must wait, or is somebody else's.

    May be called many times for one id, by many workers: the claim lets one of them through.
    A failure is written to the execution, not raised.
    """
    settings = runtime.settings
    outside = contextvars.copy_context()
    lease = await turns.claimed(settings, execution_id)
    if lease is None:
        return
    reached("claimed")
    try:
        async with _heartbeat(lease):
            if lease.tries >= settings.max_tries:
                await settle.fail_crashed(lease)
                return
            await _attempt(runtime, lease)
    except LetGoError as told:
        log.info("execution %s %s", execution_id, told)
    except LeaseLostError:
        log.info("execution %s is somebody else's now", execution_id)
    except CancelledRunError as error:
        why = str(error) if isinstance(error, SwitchedOffError) else None
        await _settled(settle.cancel(lease, why=why), outside)
    except asyncio.CancelledError:
        await _settled(give_back(lease), outside)
        raise
    except AetherError as error:
        await _settled(settle.failure(lease, settings, error), outside)
    except UNAVAILABLE as error:
        log.warning("execution %s: the database or a connection failed (%r)", execution_id, error)
        failed = UnavailableError(f"the database or a connection failed ({type(error).__name__})")
        await _settled(settle.failure(lease, settings, failed), outside)
    except Exception as error:  # the worker's door: a bug is recorded, and tried again
        log.exception("execution %s failed", execution_id)
        await _settled(settle.failure(lease, settings, settle.internal(error)), outside)


async def _settled(end: Coroutine[Any, Any, None], outside: contextvars.Context) -> None:
    """Write the end of an attempt, also while the worker is stopped.

    It runs in the context from before the attempt: one that was cut off while its transaction
    opened or closed has left that transaction behind, and would write into it.
    """
    writing = asyncio.create_task(_written(end), context=outside)
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise


async def _written(end: Coroutine[Any, Any, None]) -> None:
    try:
        await end
    except UNAVAILABLE as error:
        log.warning("the end of an attempt could not be written (%r); its lease will end", error)


@asynccontextmanager
async def _heartbeat(lease: Lease) -> AsyncIterator[None]:
    """Renew the lease every third of it; end the block when it is lost or cancelled."""
    owner = asyncio.current_task()
    ended: list[AetherError] = []

    async def beat() -> None:
        while True:
            await asyncio.sleep(lease.seconds / 3)
            try:
                async with transaction():
                    await fence(lease)
            except (LeaseLostError, CancelledRunError) as error:
                ended.append(error)
                if owner is not None:
                    owner.cancel()
                return
            except UNAVAILABLE:
                log.warning("execution %s: could not renew its lease", lease.execution_id)
            except Exception:  # without a heartbeat the run would be done twice
                log.exception("execution %s: could not renew its lease", lease.execution_id)

    beating = asyncio.create_task(beat())
    try:
        yield
    except asyncio.CancelledError:
        if ended and owner is not None:
            owner.uncancel()
            raise ended[0] from None
        raise
    finally:
        beating.cancel()


async def _attempt(runtime: Runtime, lease: Lease) -> None:
    run = await _prepare(runtime, lease)
    limit = float(run.task.timeout_seconds or runtime.settings.run_timeout_seconds)
    try:
        async with asyncio.timeout(limit) as bound:
            talk = await conversations.load(lease, run.agent_id)
            if not talk.messages:
                await talk.begin(
                    opening.messages(
                        runtime.settings,
                        run.assignment,
                        run.task,
                        run.event,
                        extracted=run.delivery.extracted,
                        memories=await _recalled(run),
                    )
                )
            text: str | None = None
            while text is None:
                text = await rounds.approved(run, talk, await rounds.converse(run, talk))
            await _finish(run, text)
    except TimeoutError as error:
        if not bound.expired():
            raise  # somebody else's: the database's, for one
        raise UpstreamError(
            f"the run took longer than {limit:g} seconds (RUN_TIMEOUT_SECONDS, or the task's "
            "timeout_seconds)",
            retryable=False,
        ) from error


async def _prepare(runtime: Runtime, lease: Lease) -> Run:
    await learn_stored(runtime.settings)
    execution = await TaskExecution.get(id=lease.execution_id)
    task = await TaskDefinition.get_or_none(id=execution.task_id)
    delivery = await Delivery.get_or_none(id=execution.delivery_id)
    if task is None:
        raise NotFoundError("task", execution.task_id)
    source = get_source(execution.source)
    if delivery is None or source is None:
        raise NotFoundError("delivery", execution.delivery_id)
    has_begun = await conversations.has_begun(lease)
    if not has_begun:
        await switched_off.check(lease.execution_id)
    told = event_from_summary(delivery.event, delivery.payload)
    event = await completed(runtime, lease, source, told, delivery_id=delivery.id)
    if event is not told:
        execution = await TaskExecution.get(id=lease.execution_id)  # its project is known now
    if has_begun:
        assignment = await resume(lease, execution.agent_id)
    else:
        given = await turns.chosen(execution) or await assign(task, execution_id=lease.execution_id)
        assignment = opening.explained(given, task, event)
    agent_id = assignment.agent.id if assignment.agent else None
    effects = None
    subject = opening.answered_subject(event)
    if subject is not None:
        effects = Effects(
            runtime.settings, runtime.credentials, source, subject, lease,
            agent_id=agent_id, project_id=execution.project_id, site=event.site,
            one_comment_of=task.id if task.answer_mode is AnswerMode.UPDATE else None,
        )  # fmt: skip
    project = await Project.get_or_none(id=execution.project_id) if execution.project_id else None
    async with transaction():
        await fence(lease)
        await rows(
            "UPDATE task_execution SET agent_id = $2, agent_reason = $3 WHERE id = $1",
            lease.execution_id, agent_id, assignment.reason,
        )  # fmt: skip
        has_turn = await limits.take_turn(lease, assignment.agent, project)
        if has_turn:
            await audit.record(
                "task.started",
                agent_id=agent_id,
                execution_id=lease.execution_id,
                delivery_id=delivery.id,
                detail={
                    "task_id": task.id,
                    "run": lease.run,
                    "try": lease.tries + 1,
                    "agent_reason": assignment.reason,
                },
            )
    if not has_turn:
        raise limits.NoTurnError("waits for its turn")
    return Run(
        runtime=runtime,
        lease=lease,
        execution=execution,
        task=task,
        delivery=delivery,
        event=event,
        source=source,
        assignment=assignment,
        project=project,
        effects=effects,
    )


async def _recalled(run: Run) -> list[Recalled]:
    """Memories near the event; a run goes on without them when the search fails."""
    try:
        return await opening.recall(run.runtime.settings, run.event, run.visibility)
    except opening.RECALL_FAILURES as error:
        log.warning("execution %s runs without memories: %s", run.execution.id, error)
        return []


async def _finish(run: Run, text: str) -> None:
    """Post the answer, unless the agent has spoken by itself; then mark the execution done."""
    url = None
    posted = "recorded"
    if run.effects is not None:
        if await run.effects.has_spoken():
            posted = "spoken"
            url = await _spoken_url(run.lease)
        else:
            outcome = await run.effects.say(ANSWER, text)
            url = outcome.url
            posted = "posted" if outcome.status is EffectStatus.SENT else "not sent"
    detail = {"task_id": run.task.id, "answer": posted, "url": url}
    summarize = run.task.summarize
    if summarize and (why_not := summary.why_not(run.event, run.task)) is not None:
        summarize = False
        detail["no_summary"] = why_not
    async with transaction():
        await fence(run.lease)
        await settle.succeed(run.lease, text=text, url=url, summarize=summarize)
        await audit.record(
            "task.completed",
            agent_id=run.agent_id,
            execution_id=run.lease.execution_id,
            detail=detail,
        )
    reached("marked done")
    if summarize:
        run.runtime.queue.hint(Job.SUMMARIZE_RUN, [run.lease.execution_id])


async def _spoken_url(lease: Lease) -> str | None:
    found = await rows(
        "SELECT url FROM effect WHERE execution_id = $1 AND key = $2", lease.execution_id, ANSWER
    )
    return found[0]["url"] if found else None
