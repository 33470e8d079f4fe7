"""Tools that remember and recall, in the scopes that the task permits."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aether.config import Settings
from aether.memory.search import Visibility, search
from aether.memory.store import remember as store
from aether.tools.base import RefusedError, ToolContext
from aether.vocabulary import MemoryScope

DEFAULT_RECALLED: Final = 6


def visibility(context: ToolContext) -> Visibility:
    """What this run may see."""
    return Visibility(
        execution_id=context.execution_id,
        agent_id=context.agent_id,
        project_id=context.project_id,
        project_key=context.project_key,
        scopes=tuple(MemoryScope(one) for one in context.memory_scopes),
    )


async def remember(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Store a memory; the same key of this agent and project is replaced."""
    scope = MemoryScope(arguments.get("scope", MemoryScope.PROJECT))
    _permit(context.memory_scopes, scope)
    await store(
        context.settings,
        key=arguments["key"],
        content=arguments["content"],
        scope=scope,
        agent_id=context.agent_id,
        project_id=context.project_id,
        execution_id=context.execution_id,
        key_space=visibility(context).key_space,
        ttl_seconds=arguments.get("ttl_seconds"),
        replace=True,
    )
    return f"Remembered under {arguments['key']!r}."


async def recall(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Memories near the query, nearest first, as JSON."""
    return await recalled(context.settings, visibility(context), arguments)


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
    return json.dumps(
        [
            {"key": one.key, "content": one.content, "scope": one.scope, "by": one.agent_id}
            for one in found
        ],
        ensure_ascii=False,
    )


def _permit(permitted: Sequence[str], scope: MemoryScope) -> None:
    if scope not in permitted:
        allowed = ", ".join(permitted) or "none"
        raise RefusedError(f"scope: permitted are {allowed}, not {scope}")
