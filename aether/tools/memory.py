"""Tools that remember and recall, in the scopes that the task permits."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aether.config import Settings
from aether.llm.prompts import MEMORY_LIMIT
from aether.memory.search import Recalled, Visibility, search
from aether.memory.store import remember as store
from aether.tools.base import RefusedError, ToolContext, as_json
from aether.vocabulary import MemoryScope

DEFAULT_RECALLED: Final = 6


async def remember(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Store a memory; the same key of this agent and project is replaced.

    Raises:
        RefusedError: the task does not permit the scope, or too many could recall it there.
    """
    scope = MemoryScope(arguments.get("scope", MemoryScope.PROJECT))
    seen = context.visibility
    _permit(seen.scopes, scope)
    if scope is MemoryScope.PROJECT and seen.project_id is None and not seen.project_key:
        raise RefusedError("scope: there is no project at hand")
    hidden = context.subject.visibility if context.subject else None
    if hidden and scope is not MemoryScope.TASK:  # it would be told where everybody reads
        raise RefusedError(f"scope: what is {hidden} may only be remembered for this run (task)")
    await store(
        context.settings,
        key=arguments["key"],
        content=arguments["content"],
        scope=scope,
        agent_id=context.agent_id,
        project_id=seen.project_id,
        execution_id=context.execution_id,
        key_space=seen.key_space,
        ttl_seconds=arguments.get("ttl_seconds"),
        replace=True,
    )
    return f"Remembered under {arguments['key']!r}."


async def recall(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Memories near the query, nearest first, as JSON."""
    return await recalled(context.settings, context.visibility, arguments)


async def recalled(settings: Settings, seen: Visibility, arguments: Mapping[str, Any]) -> str:
    """What ``recall`` gives to whoever may see that; needs no item and no run.

    Raises:
        RefusedError: the scope asked for is not among those.
    """
    scope = arguments.get("scope")
    if scope is not None:
        _permit(seen.scopes, MemoryScope(scope))
    found = await search(
        settings,
        query=arguments["query"],
        visibility=seen,
        scope=MemoryScope(scope) if scope else None,
        limit=int(arguments.get("limit", DEFAULT_RECALLED)),
    )
    return as_json([_told(one) for one in found])


def _told(memory: Recalled) -> dict[str, str | None]:
    """A memory for the model; of a long one what fits best, or it would be cut anywhere."""
    told = {
        "key": memory.key,
        "content": memory.content,
        "scope": memory.scope,
        "by": memory.agent_id,
        "on": f"{memory.updated_at:%Y-%m-%d}",
    }
    if len(memory.content) > MEMORY_LIMIT:
        told |= {"content": memory.passage, "part_of": f"{len(memory.content):,} characters"}
    return told


def _permit(permitted: Sequence[str], scope: MemoryScope) -> None:
    if scope not in permitted:
        allowed = ", ".join(permitted) or "none"
        raise RefusedError(f"scope: permitted are {allowed}, not {scope}")
