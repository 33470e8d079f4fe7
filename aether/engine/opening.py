"""What a run begins with: its memories, its first messages, and what follows for its end.

Shared by the run itself and by a simulation of it; nothing here writes.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
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

    The embedding model is shown no secret of ours either.

    Raises:
        RECALL_FAILURES: the search failed, or took longer than ``RECALL_SECONDS``.
    """
    title = event.subject.title if event.subject else ""
    query = Mask(settings).whole("\n".join(part for part in (title, event.text) if part))
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

    A secret of ours that stands in it does not go to the model; it is taken out before anything is
    cut, or half of it would not be recognised.
    """
    mask = Mask(settings)
    nonce = secrets.token_hex(8)
    begun = [
        {"role": "system", "content": prompts.system_prompt(agent=assignment.agent, task=task)}
    ]
    remembered = prompts.memories_message(without_secrets(memories, mask), nonce=nonce)
    begun += [] if remembered is None else [remembered]
    told = _event_without_secrets(event, mask)
    begun.append(prompts.event_message(told, mask.within(dict(extracted)), nonce=nonce))
    return [{**one, "content": mask.whole(one["content"])} for one in begun]


def without_secrets(memories: Sequence[Recalled], mask: Mask) -> list[Recalled]:
    """Memories as a model may be shown them: people store them as they please."""
    return [
        replace(one, content=mask.whole(one.content), passage=mask.whole(one.passage))
        for one in memories
    ]


def _event_without_secrets(event: SourceEvent, mask: Mask) -> SourceEvent:
    subject = event.subject
    if subject is not None:
        title, body = mask.whole(subject.title), mask.whole(subject.body)
        subject = replace(subject, title=title, body=body)
    return replace(event, subject=subject, text=mask.whole(event.text))


def most_rounds(settings: Settings, task: TaskDefinition) -> int:
    """How many rounds of tool calls a run of ``task`` has; with 0 it is offered no tools."""
    most = task.max_tool_rounds
    return settings.llm_max_tool_rounds if most is None else most


def explained(assignment: Assignment, task: TaskDefinition, event: SourceEvent) -> Assignment:
    """With the reason why its tools may not write, if they may not, beside why it is this agent."""
    held_back = why_held_back(event, task)
    if held_back is None:
        return assignment
    return replace(assignment, reason=f"{assignment.reason}; {held_back}")


def reach(task: TaskDefinition, event: SourceEvent) -> ToolReach:
    """What the run's tools may act on; for an outsider nothing but the item at hand."""
    return task.tool_reach if why_held_back(event, task) is None else ToolReach.ITEM


def answered_subject(event: SourceEvent) -> Subject | None:
    """The item that the answer becomes a comment on; None: it is recorded only."""
    subject = event.subject
    return subject if subject is not None and subject.can_be_answered else None
