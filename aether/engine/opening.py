"""What a run begins with: its memories, its first messages, and what follows for its end.

Shared by the run itself and by a simulation of it; nothing here writes.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aether.config import Settings
from aether.engine.assign import Assignment
from aether.engine.outsiders import why_held_back
from aether.errors import AetherError
from aether.events import SourceEvent, Subject
from aether.llm import prompts
from aether.llm.prompts import Message
from aether.memory.search import Recalled, Visibility, recall_for_run
from aether.models import TaskDefinition
from aether.redact import Mask
from aether.vocabulary import MemoryScope, ToolReach

RECALL_SECONDS: Final = 30.0
RECALL_FAILURES: Final = (AetherError, TimeoutError, ImportError)
"""What ``recall`` raises; a run goes on without memories then."""


def visibility(
    task: TaskDefinition,
    *,
    execution_id: int | None,
    agent_id: str | None,
    project_id: int | None,
    source: str,
    site: str,
    project_key: str,
) -> Visibility:
    """What a run of ``task`` may remember and recall; ``execution_id`` is None before it exists."""
    return Visibility(
        execution_id=execution_id,
        agent_id=agent_id,
        project_id=project_id,
        source=source,
        site=site,
        project_key=project_key,
        scopes=tuple(MemoryScope(one) for one in task.memory_scopes),
    )


async def recall(settings: Settings, event: SourceEvent, within: Visibility) -> list[Recalled]:
    """Memories near the event: its item's title and what was written just now.

    Raises:
        RECALL_FAILURES: the search failed, or took longer than ``RECALL_SECONDS``.
    """
    title = event.subject.title if event.subject else ""
    query = "\n".join(part for part in (title, event.text[:2_000]) if part)
    if not query.strip():
        return []
    async with asyncio.timeout(RECALL_SECONDS):
        return await recall_for_run(settings, query=query, visibility=within)


def messages(
    settings: Settings,
    assignment: Assignment,
    task: TaskDefinition,
    event: SourceEvent,
    *,
    extracted: Mapping[str, Any],
    memories: Sequence[Recalled],
) -> list[Message]:
    """The system prompt; then, delimited, what is remembered and what the platform sent.

    A secret of ours that stands in it does not go to the model.
    """
    nonce = secrets.token_hex(8)
    system = prompts.system_prompt(agent=assignment.agent, task=task)
    remembered = prompts.memories_message(memories, nonce=nonce)
    told = [] if remembered is None else [remembered]
    told.append(prompts.event_message(event, extracted, nonce=nonce))
    mask = Mask(settings)
    shown = [{**one, "content": mask.whole(one["content"])} for one in told]
    return [{"role": "system", "content": system}, *shown]


def most_rounds(settings: Settings, task: TaskDefinition) -> int:
    """How many rounds of tool calls a run of ``task`` has; with 0 it is offered no tools."""
    most = task.max_tool_rounds
    return settings.llm_max_tool_rounds if most is None else most


def reason(assignment: Assignment, task: TaskDefinition, event: SourceEvent) -> str:
    """Why this agent, and why its tools may not write, if they may not; for people."""
    held_back = why_held_back(event, task)
    return f"{assignment.reason}; {held_back}" if held_back else assignment.reason


def reach(task: TaskDefinition, event: SourceEvent) -> ToolReach:
    """What the run's tools may act on; for an outsider nothing but the item at hand."""
    return task.tool_reach if why_held_back(event, task) is None else ToolReach.ITEM


def answered_subject(event: SourceEvent) -> Subject | None:
    """The item that the answer becomes a comment on; None: it is recorded only."""
    subject = event.subject
    return subject if subject is not None and subject.can_be_answered else None
