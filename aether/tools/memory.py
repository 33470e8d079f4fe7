"""Tools that remember and recall, in the scopes that the task permits."""

import json
from collections.abc import Mapping
from typing import Any, Final

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
    _permit(context, scope)
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
    scope = arguments.get("scope")
    if scope is not None:
        _permit(context, MemoryScope(scope))
    found = await search(
        context.settings,
        query=arguments["query"],
        visibility=visibility(context),
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


def _permit(context: ToolContext, scope: MemoryScope) -> None:
    if scope not in context.memory_scopes:
        allowed = ", ".join(context.memory_scopes) or "none"
        raise RefusedError(f"scope: this task permits {allowed}, not {scope}")
