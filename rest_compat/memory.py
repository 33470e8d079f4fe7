"""REST: memories. The reference, "Memory"."""

from datetime import datetime
from typing import Any, Final

from aether.vocabulary import MemoryScope
from resolvers import memory
from resolvers.memory import MemoryFilter, MemoryPlace, MemorySearch, NewMemory
from rest_compat.op import Call, Op
from rest_compat.shapes import Shape

MEMORY: Final = Shape(
    "Memory",
    key=str,
    content=str,
    scope=MemoryScope,
    agent_id=str | None,
    project_id=int | None,
    created_at=datetime,
    updated_at=datetime,
    expires_at=datetime | None,
    key_space=str,
    execution_id=int | None,
)
FOUND: Final = Shape(
    "FoundMemory",
    key=str,
    content=str,
    scope=MemoryScope,
    agent_id=str | None,
    project_id=int | None,
    similarity=float,
    created_at=datetime,
    updated_at=datetime,
    passage=str,
    key_space=str,
    execution_id=int | None,
)


async def search_memories(call: Call) -> Any:
    return await memory.search_memories(call.body)


async def list_memories(call: Call) -> Any:
    return await memory.list_memories(call.query)


async def get_memory(call: Call) -> Any:
    return await memory.get_memory(call.path["key"], call.query)


async def store_memory(call: Call) -> Any:
    return await memory.store_memory(call.body)


async def delete_memory(call: Call) -> Any:
    await memory.delete_memory(call.path["key"], call.query)


_SHOWN: Final[dict[str, Any]] = {
    "key": "auth-decision-feb-2026",
    "content": "Team decided to use JWT...",
    "scope": "project",
    "agent_id": "ta_leo",
    "project_id": 42,
    "created_at": "2026-02-18T10:00:00Z",
    "updated_at": "2026-02-18T10:00:00Z",
    "expires_at": None,
    "key_space": "",
    "execution_id": None,
}
_FOUND: Final = {name: _SHOWN[name] for name in FOUND.types if name in _SHOWN} | {
    "similarity": 0.92,
    "passage": "Team decided to use JWT...",
}
_STORED: Final = {
    "content": "Team decided to use JWT with 15-minute expiry and refresh tokens stored in "
    "HttpOnly cookies",
    "expires_at": "2026-02-18T11:00:00Z",
}

OPS: Final = (
    Op(
        "POST",
        "/api/memory/search",
        search_memories,
        summary="Search memories by meaning and by words, best first",
        tag="Memory",
        body=MemorySearch,
        out=[FOUND],
        errors=(502,),
        example={
            "query": "authentication implementation decisions",
            "project_id": 42,
            "agent_id": "ta_leo",
            "scope": "project",
            "limit": 10,
        },
        answer=[_FOUND],
    ),
    Op(
        "GET",
        "/api/memory",
        list_memories,
        summary="List memories, newest first",
        tag="Memory",
        query=MemoryFilter,
        out=[MEMORY],
        answer=[_SHOWN],
    ),
    Op(
        "POST",
        "/api/memory",
        store_memory,
        summary="Store a memory",
        tag="Memory",
        body=NewMemory,
        out=MEMORY,
        status=201,
        errors=(409,),
        example={
            "key": "auth-decision-feb-2026",
            "content": _STORED["content"],
            "agent_id": "ta_leo",
            "project_id": 42,
            "scope": "project",
            "ttl_seconds": 3600,
        },
        answer=_SHOWN | _STORED,
    ),
    Op(
        "GET",
        "/api/memory/{key:path}",
        get_memory,
        summary="Get a memory by its key",
        tag="Memory",
        query=MemoryPlace,
        out=MEMORY,
        answer=_SHOWN,
    ),
    Op(
        "DELETE",
        "/api/memory/{key:path}",
        delete_memory,
        summary="Delete a memory by its key",
        tag="Memory",
        query=MemoryPlace,
        status=204,
    ),
)
