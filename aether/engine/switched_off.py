"""What is switched off begins no run: asked when one begins or restarts, not while it goes on."""

from typing import Final

from aether.db import row
from aether.errors import SwitchedOffError

OFF_PROJECT: Final = "its project is disabled"


async def why_off(execution_id: int) -> str | None:
    """Which of the execution's task and project is disabled; None: it may begin."""
    found = await row(
        """SELECT execution.task_id, task.enabled AS of_task, project.enabled AS of_project
           FROM task_execution AS execution
           LEFT JOIN task_definition AS task ON task.id = execution.task_id
           LEFT JOIN project ON project.id = execution.project_id
           WHERE execution.id = $1""",
        execution_id,
    )
    if found is None:
        return None
    if found["of_task"] is False:
        return f"task {found['task_id']} is disabled"
    return OFF_PROJECT if found["of_project"] is False else None


async def check(execution_id: int) -> None:
    """Raise SwitchedOffError where an execution that has not begun may not."""
    why = await why_off(execution_id)
    if why is not None:
        raise SwitchedOffError(why)
