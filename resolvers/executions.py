"""Task executions: list, read with the exact prompt, restart, cancel."""

from typing import Annotated, Final

from pydantic.types import Strict

from aether.db import rows
from aether.engine import restart as stage
from aether.engine.restart import Restarted
from aether.engine.runtime import runtime
from aether.errors import AetherError, InvalidInputError, NotFoundError
from aether.models import ExecutionMessage, TaskExecution
from aether.vocabulary import ExecutionStatus
from resolvers.fields import Page, Positive, Reference, RowId
from resolvers.rows import LARGEST_LOG_ID, TOGETHER_BYTES, criteria, each, find, page, pages
from resolvers.windows import NewestFirst, Slice, Window, cut

Status = Annotated[ExecutionStatus, Strict(strict=False)]


class ExecutionFilter(Page):
    """Which task executions."""

    task_id: Reference | None = None
    agent_id: Reference | None = None
    project_id: Positive | None = None
    delivery_id: RowId | None = None
    status: Status | None = None


async def list_executions(wanted: ExecutionFilter) -> list[TaskExecution]:
    """Task executions, newest first."""
    return await page(TaskExecution.filter(**criteria(wanted)).order_by("-id"), wanted)


async def slice_executions(wanted: ExecutionFilter, part: Window) -> Slice[TaskExecution]:
    """A window on ``list_executions``; the filter's ``limit`` and ``offset`` do not count."""
    return await cut(NewestFirst(TaskExecution.filter(**criteria(wanted))), part)


async def get_execution(id: int) -> TaskExecution:
    """One task execution, or NotFoundError."""
    return await find(TaskExecution, "task execution", id, largest=LARGEST_LOG_ID)


async def list_messages(execution: TaskExecution) -> list[ExecutionMessage]:
    """What the model was sent and said in the execution's current run, in order."""
    return await ExecutionMessage.filter(execution_id=execution.id, run=execution.run).order_by(
        "position"
    )


_MESSAGES: Final = """
WITH sized AS (
  SELECT place, sum(octet_length(message::text)) AS size, array_agg(message_id) AS ids
  FROM (SELECT place, one.id AS message_id, one.message
        FROM unnest($1::bigint[], $2::int[]) WITH ORDINALITY AS wanted(execution_id, run, place)
        JOIN execution_message AS one USING (execution_id, run)) AS found
  GROUP BY place)
SELECT place, ids, coalesce(sum(size) OVER (
  ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) < $3 AS fits
FROM sized
"""


async def messages_of(
    keys: list[tuple[int, int]],
) -> list[list[ExecutionMessage] | AetherError]:
    """Of each (execution's id, run) what ``list_messages`` gives, in the order of ``keys``.

    An InvalidInputError stands where those before it hold more than ``TOGETHER_BYTES``.
    """
    if not keys:
        return []
    sized = await rows(_MESSAGES, *map(list, zip(*keys, strict=True)), TOGETHER_BYTES)
    wanted = [message_id for one in sized if one["fits"] for message_id in one["ids"]]
    found: dict[tuple[int, int], list[ExecutionMessage]] = {key: [] for key in keys}
    for message in await ExecutionMessage.filter(id__in=wanted).order_by("position"):
        found[message.execution_id, message.run].append(message)
    told: list[list[ExecutionMessage] | AetherError] = [found[key] for key in keys]
    for one in sized:
        if not one["fits"]:
            told[one["place"] - 1] = InvalidInputError(
                "messages", "too much at once; ask for fewer executions"
            )
    return told


async def executions_of(ids: list[int]) -> list[TaskExecution | None]:
    """Task executions in the order of ``ids``; None: no such one."""
    return await each(TaskExecution, ids)


async def ids_of_delivery(delivery_id: int) -> list[int]:
    """The ids of a delivery's executions, in order."""
    found = await rows(
        "SELECT id FROM task_execution WHERE delivery_id = $1 ORDER BY id", delivery_id
    )
    return [one["id"] for one in found]


async def executions_of_deliveries(keys: list[tuple[int, int, int]]) -> list[list[TaskExecution]]:
    """Of each (delivery's id, limit, offset) that page of its executions, oldest first."""
    return await pages(TaskExecution, "delivery_id", keys, newest_first=False)


async def restart_execution(id: int) -> Restarted:
    """Begin the next run of a failed execution.

    Raises:
        NotFoundError: no execution has this id.
        ConflictError: it is not failed, or its task or project is disabled.
    """
    if not 0 < id <= LARGEST_LOG_ID:
        raise NotFoundError("task execution", id)
    return await stage.restart(runtime(), id)


async def restart_task(id: str) -> Restarted:
    """Restart the execution that ``id`` is the id of, or the newest failed one of the task ``id``.

    Raises:
        NotFoundError: there is no such execution, or the task has never been executed.
        ConflictError: it is not failed, or none of the task's executions is.
    """
    if id.isascii() and id.isdigit():  # no task's id begins with a digit
        if len(id) > len(str(LARGEST_LOG_ID)) or id.startswith("0"):
            raise NotFoundError("task execution", id)
        return await restart_execution(int(id))
    return await restart_newest_failed(id)


async def restart_newest_failed(task_id: str) -> Restarted:
    """Restart the newest failed execution of a task.

    Raises:
        NotFoundError: the task has never been executed.
        ConflictError: none of its executions is failed.
    """
    return await stage.restart_newest_failed(runtime(), task_id)


async def cancel_execution(id: int) -> ExecutionStatus:
    """Cancel an execution; the status it has now, ``running`` until its worker has stopped.

    Raises:
        NotFoundError: no execution has this id.
        ConflictError: it has ended already.
    """
    if not 0 < id <= LARGEST_LOG_ID:
        raise NotFoundError("task execution", id)
    return await stage.cancel(id)
