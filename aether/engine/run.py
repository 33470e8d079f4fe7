"""What one attempt at an execution works with."""

from dataclasses import dataclass

from aether.effects import Effects
from aether.engine import opening
from aether.engine.approvals import Asker
from aether.engine.assign import Assignment
from aether.engine.runtime import Runtime
from aether.events import SourceEvent
from aether.leases import Lease
from aether.memory.search import Visibility
from aether.models import Delivery, Project, TaskDefinition, TaskExecution
from aether.sources.base import Source
from aether.tools.base import ToolContext


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything one attempt works with."""

    runtime: Runtime
    lease: Lease
    execution: TaskExecution
    task: TaskDefinition
    delivery: Delivery
    event: SourceEvent
    source: Source
    assignment: Assignment
    project: Project | None
    effects: Effects | None

    @property
    def agent_id(self) -> str | None:
        """The agent that speaks, or None for the fallback prompt."""
        return self.assignment.agent.id if self.assignment.agent else None

    @property
    def visibility(self) -> Visibility:
        """What this run may remember and recall."""
        return opening.visibility(
            self.task,
            execution_id=self.execution.id,
            agent_id=self.agent_id,
            project_id=self.execution.project_id,
            source=self.execution.source,
            site=self.execution.site,
            project_key=self.execution.project_key,
        )

    @property
    def asker(self) -> Asker:
        """Who asks a person, where the task wants one."""
        minutes = self.task.approval_timeout_minutes
        return Asker(
            lease=self.lease,
            task=self.task,
            agent_id=self.agent_id,
            project_id=self.execution.project_id,
            minutes=minutes or self.runtime.settings.approval_timeout_minutes,
        )

    def tool_context(self, round_number: int, call_id: str) -> ToolContext:
        """What one tool call may touch; its key is the same when the run is resumed."""
        return ToolContext(
            settings=self.runtime.settings,
            source=self.source,
            subject=self.event.subject,
            effects=self.effects,
            execution_id=self.execution.id,
            call_key=f"{self.lease.run}:{round_number}:{call_id}"[:250],
            agent_id=self.agent_id,
            lease=self.lease,
            reach=opening.reach(self.task, self.event),
            visibility=self.visibility,
        )
