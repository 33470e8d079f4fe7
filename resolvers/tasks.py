"""Task definitions: list, read, create, change, delete."""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field
from pydantic.types import Strict

from aether import audit
from aether.db import row, transaction
from aether.errors import NotFoundError
from aether.models import TaskDefinition, TriggerTaskMapping
from aether.tools import TOOLS
from aether.vocabulary import AnswerMode, MemoryScope, ToolReach
from resolvers.fields import (
    ABSENT,
    INTEGRAL,
    Dollars,
    Flag,
    Input,
    Name,
    OptionalText,
    Scope,
    Text,
    Tokens,
)
from resolvers.prices import warn_of_unpriced
from resolvers.rows import (
    All,
    KeyId,
    KeyRef,
    Label,
    Names,
    absent,
    as_given,
    change,
    criteria,
    each,
    find,
    lock,
    page,
    reachable,
    unique,
)

TaskId = Annotated[KeyId, reachable("triggers", "sources", "seed")]
"""The reference has paths of these names: ``/api/tasks/triggers``."""
Reach = Annotated[ToolReach, Strict(strict=False)]
Scopes = Annotated[list[Scope], Field(max_length=len(MemoryScope))]
Rounds = Annotated[int, Strict(), Field(ge=0, le=100), INTEGRAL]
Seconds = Annotated[int, Strict(), Field(ge=1, le=86_400), INTEGRAL]
Minutes = Annotated[int, Strict(), Field(ge=1, le=525_600), INTEGRAL]
"""Up to a year."""
Runs = Annotated[int, Strict(), Field(ge=1, le=100_000), INTEGRAL]
ASKED_ABOUT: Final = rf"^(\*|mcp_.*|{'|'.join(sorted(TOOLS))})$"


def _asked_about(value: str) -> str:
    if not re.fullmatch(ASKED_ABOUT[1:-1], value):
        raise ValueError("must be '*', a built-in tool such as close_issue, or begin with mcp_")
    return value


Asked = Annotated[
    list[
        Annotated[
            Label,
            AfterValidator(_asked_about),
            Field(json_schema_extra={"pattern": ASKED_ABOUT}),
        ]
    ],
    Field(max_length=200),
]
"""Tools whose calls a person sees first. A name that is none would leave what was meant unasked."""
Answering = Annotated[AnswerMode, Strict(strict=False)]


class NewTask(Input):
    """A task definition to create."""

    id: TaskId
    name: Name
    description: Text
    actor_id: KeyRef
    fallback_prompt: OptionalText = Field(None, alias="actor_fallback")
    required_capabilities: Names = []
    tools: Names | None = None
    tool_reach: Reach = ToolReach.ITEM
    memory_scopes: Scopes = [MemoryScope.TASK, MemoryScope.PROJECT]
    max_tool_rounds: Rounds | None = None
    timeout_seconds: Seconds | None = None
    answer_mode: Answering = AnswerMode.ADD
    approve_answer: Flag = False
    approve_tools: Asked = []
    approval_timeout_minutes: Minutes | None = None
    cancel_on_close: Flag = False
    cancel_on_newer: Flag = False
    outsiders_may_act: Flag = False
    summarize: Flag = False
    max_tokens_per_run: Tokens | None = None
    max_cost_usd_per_run: Dollars | None = None
    max_runs_per_item_hour: Runs | None = None
    enabled: Flag = True


class TaskChanges(Input):
    """What to change of a task definition; what is absent stays."""

    name: Name = ABSENT
    description: Text = ABSENT
    actor_id: KeyRef = ABSENT
    fallback_prompt: OptionalText = absent("actor_fallback")
    required_capabilities: Names = ABSENT
    tools: Names | None = ABSENT
    tool_reach: Reach = ABSENT
    memory_scopes: Scopes = ABSENT
    max_tool_rounds: Rounds | None = ABSENT
    timeout_seconds: Seconds | None = ABSENT
    answer_mode: Answering = ABSENT
    approve_answer: Flag = ABSENT
    approve_tools: Asked = ABSENT
    approval_timeout_minutes: Minutes | None = ABSENT
    cancel_on_close: Flag = ABSENT
    cancel_on_newer: Flag = ABSENT
    outsiders_may_act: Flag = ABSENT
    summarize: Flag = ABSENT
    max_tokens_per_run: Tokens | None = ABSENT
    max_cost_usd_per_run: Dollars | None = ABSENT
    max_runs_per_item_hour: Runs | None = ABSENT
    enabled: Flag = ABSENT


class TaskFilter(All):
    """Which task definitions."""

    actor_id: KeyRef | None = None
    enabled: Flag | None = None


async def list_tasks(wanted: TaskFilter) -> list[TaskDefinition]:
    """Task definitions, oldest first."""
    query = TaskDefinition.filter(**criteria(wanted)).order_by("created_at", "id")
    return await page(query, wanted)


async def get_task(id: str) -> TaskDefinition:
    """One task definition, or NotFoundError."""
    return await find(TaskDefinition, "task", id)


async def tasks_of(ids: list[str]) -> list[TaskDefinition | None]:
    """Task definitions in the order of ``ids``; None: no such one."""
    return await each(TaskDefinition, ids)


async def create_task(new: NewTask) -> TaskDefinition:
    """Create a task definition; its actor need not exist.

    Raises:
        ConflictError: its id is taken.
    """
    with unique(f"task {new.id!r} already exists"):
        async with transaction():
            task = await TaskDefinition.create(**new.model_dump())
            await _record("task.created", task.id, after=as_given(task, NewTask))
    await warn_of_unpriced(task)
    return task


async def update_task(id: str, changes: TaskChanges) -> TaskDefinition:
    """Change a task definition, or NotFoundError; runs under way keep what they began with."""
    async with transaction():
        task = await lock(TaskDefinition, "task", id)
        changed = await change(task, changes)
        if changed:
            await _record("task.updated", id, **changed)
    await warn_of_unpriced(task, changed.get("changed", ()))
    return task


async def delete_task(id: str) -> None:
    """Delete a task definition with its trigger mappings, or NotFoundError.

    Its executions stay; one that has not begun fails and says why.
    """
    async with transaction():
        # First the lock: whoever maps a trigger to the task holds its row until they commit. The
        # rows go after it, mappings first: who deletes takes the configuration's version last.
        if await row("SELECT 1 FROM task_definition WHERE id = $1 FOR UPDATE", id) is None:
            raise NotFoundError("task", id)
        before = as_given(await TaskDefinition.get(id=id), NewTask)
        mappings = await TriggerTaskMapping.filter(task_id=id).delete()
        await TaskDefinition.filter(id=id).delete()
        await _record("task.deleted", id, before=before, trigger_mappings=mappings)


async def _record(action: str, task_id: str, **detail: Any) -> None:
    await audit.record(action, caller="api", detail={"task_id": task_id, **detail})
