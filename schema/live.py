"""GraphQL: what can be followed as it happens; deliveries, task executions, the watchdog log."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Final

import strawberry

from aether.live.events import KEEP_HOURS
from resolvers import live
from schema import rows
from schema.approvals import Approval
from schema.arguments import chosen, number
from schema.deliveries import Delivery
from schema.enums import ApprovalStatus, DeliveryStatus, ExecutionStatus, SourceName, WatchdogLevel
from schema.executions import TaskExecution
from schema.watchdog import WatchdogEntry

AFTER: Final = (
    "The `cursor` of the last event that you had, of any subscription here: what has happened "
    f"since comes first, nothing is missed and nothing comes twice. Kept for {KEEP_HOURS} hours; "
    "INVALID_INPUT if it is older, of another database, or no cursor. Left out: from now on."
)
CURSOR: Final = "What to come back with as `after`, to be told what follows this event."

After = Annotated[str | None, strawberry.argument(description=AFTER)]


@strawberry.type(description="A delivery was stored, or one that had started nothing was routed.")
class DeliveryEvent:
    cursor: str = strawberry.field(description=CURSOR)
    delivery: Delivery = strawberry.field(description="The delivery.")


@strawberry.type(
    description="A task execution was started, or its status, run, tries or agent has changed, or "
    "it is to be cancelled."
)
class TaskExecutionChange:
    cursor: str = strawberry.field(description=CURSOR)
    status: ExecutionStatus = strawberry.field(description="Where it stood at that moment.")
    run: int = strawberry.field(description="Which run it was in, from 1.")
    tries: int = strawberry.field(description="How often that run had failed.")
    agent_id: strawberry.ID | None = strawberry.field(
        description="The id of its agent; null: not begun, or the fallback prompt spoke."
    )
    execution: TaskExecution = strawberry.field(
        description="It as it is by now: what has changed since is in it already."
    )


@strawberry.type(
    description="A person was asked about a tool call or an answer, or what they were asked is "
    "decided, expired or withdrawn."
)
class ApprovalChange:
    cursor: str = strawberry.field(description=CURSOR)
    status: ApprovalStatus = strawberry.field(description="Where it stood at that moment.")
    approval: Approval = strawberry.field(description="It as it is by now.")


@strawberry.type(
    description="A warning or error was stored. Repeats within its minute are counted in it and "
    "not told again."
)
class WatchdogEvent:
    cursor: str = strawberry.field(description=CURSOR)
    entry: WatchdogEntry = strawberry.field(description="The entry.")


@strawberry.type
class Query:
    @strawberry.field(
        description="A cursor of now, for a subscription's `after`: take it, read the present "
        "state, then subscribe with it, and nothing is missed in between."
    )
    async def live_cursor(self) -> str | None:
        return await live.present_cursor()


@strawberry.type
class Subscription:
    @strawberry.subscription(description="Deliveries as they come in, whoever received them.")
    async def delivery_received(
        self,
        source: Annotated[
            SourceName | None, strawberry.argument(description="Only those from this platform.")
        ] = None,
        status: Annotated[
            DeliveryStatus | None,
            strawberry.argument(description="Only those that this became of."),
        ] = None,
        project_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of our project with this id."),
        ] = None,
        canonical_trigger: Annotated[
            str | None,
            strawberry.argument(description="Only those of this trigger: `issue.created`."),
        ] = None,
        after: After = None,
    ) -> AsyncIterator[DeliveryEvent | None]:
        wanted = chosen(
            live.DeliveryInterest,
            source=source,
            status=status,
            project_id=number("projectId", project_id),
            canonical_trigger=canonical_trigger,
        )
        async with aclosing(live.follow_deliveries(wanted, after)) as events:
            async for event in events:
                yield rows.one(DeliveryEvent, event)

    @strawberry.subscription(
        description="What waits for a person, as it is asked for and decided, whoever decides."
    )
    async def approval_changed(
        self,
        status: Annotated[
            ApprovalStatus | None,
            strawberry.argument(description="Only as they come to stand so: `PENDING`."),
        ] = None,
        execution_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the task execution with this id."),
        ] = None,
        task_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the task with this id."),
        ] = None,
        agent_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the agent with this id."),
        ] = None,
        project_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of our project with this id."),
        ] = None,
        after: After = None,
    ) -> AsyncIterator[ApprovalChange | None]:
        wanted = chosen(
            live.ApprovalInterest,
            status=status,
            execution_id=number("executionId", execution_id),
            task_id=task_id,
            agent_id=agent_id,
            project_id=number("projectId", project_id),
        )
        async with aclosing(live.follow_approvals(wanted, after)) as events:
            async for event in events:
                yield rows.one(ApprovalChange, event)

    @strawberry.subscription(
        description="Task executions as they are started and change, whichever process does it."
    )
    async def task_execution_changed(
        self,
        id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only the task execution with this id."),
        ] = None,
        task_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the task with this id."),
        ] = None,
        agent_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(
                description="Only those of the agent with this id; one gets its agent when it is "
                "first begun."
            ),
        ] = None,
        project_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of our project with this id."),
        ] = None,
        status: Annotated[
            ExecutionStatus | None,
            strawberry.argument(description="Only changes to this status, and within it."),
        ] = None,
        after: After = None,
    ) -> AsyncIterator[TaskExecutionChange | None]:
        wanted = chosen(
            live.ExecutionInterest,
            id=number("id", id),
            task_id=task_id,
            agent_id=agent_id,
            project_id=number("projectId", project_id),
            status=status,
        )
        async with aclosing(live.follow_executions(wanted, after)) as events:
            async for event in events:
                yield rows.one(TaskExecutionChange, event)

    @strawberry.subscription(
        description="The watchdog log as it is written; NOT_FOUND while WATCHDOG_ENABLED is off."
    )
    async def watchdog_entry(
        self,
        level: Annotated[
            WatchdogLevel | None, strawberry.argument(description="Only those of this level.")
        ] = None,
        component: Annotated[
            str | None,
            strawberry.argument(description="Only those of this process: `web`, `worker`."),
        ] = None,
        after: After = None,
    ) -> AsyncIterator[WatchdogEvent | None]:
        wanted = chosen(live.WatchdogInterest, level=level, component=component)
        async with aclosing(live.follow_watchdog(wanted, after)) as events:
            async for event in events:
                yield rows.one(WatchdogEvent, event)
