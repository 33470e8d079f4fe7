"""GraphQL: Memory, and the search for memories."""

from datetime import datetime
from typing import Annotated

import strawberry

from resolvers import memory
from schema import rows
from schema.arguments import chosen, described_like, number
from schema.connections import After, Before, Connection, First, Last, connection, window_of
from schema.enums import MemoryScope, MemorySearchMode
from schema.inputs import input_from_model
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset

MemoryKey = Annotated[str, strawberry.argument(description="The memory's key.")]
KeySpace = Annotated[
    str,
    strawberry.argument(description="Whose key: empty for people's; an agent's `keySpace`."),
]
OfAgent = Annotated[
    strawberry.ID | None, strawberry.argument(description="Only those of the agent with this id.")
]
OfProject = Annotated[
    strawberry.ID | None, strawberry.argument(description="Only those of the project with this id.")
]
OfScope = Annotated[
    MemoryScope | None, strawberry.argument(description="Only those of this scope.")
]
OfKeySpace = Annotated[str | None, strawberry.argument(description="Only those of this key space.")]


@strawberry.type(description="One thing remembered; once expired it does not exist.")
class Memory:
    key: str = strawberry.field(description="Its name, unique within its key space.")
    content: str = strawberry.field(description="What is remembered.")
    scope: MemoryScope = strawberry.field(description="Who may recall it.")
    agent_id: strawberry.ID | None = strawberry.field(
        description="The id of the agent that it belongs to; it need not exist."
    )
    project_id: strawberry.ID | None = strawberry.field(
        description="The id of the project that it belongs to; it need not exist."
    )
    created_at: datetime = strawberry.field(description="When it was stored.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")
    expires_at: datetime | None = strawberry.field(
        description="When it ceases to exist; null: never."
    )
    key_space: str = strawberry.field(
        description="Whose key it has: empty for people's, `agent:…` for what an agent stored."
    )
    execution_id: strawberry.ID | None = strawberry.field(
        description="The id of the task execution that stored it, if any."
    )


@strawberry.type(description="A memory that was found.")
class FoundMemory:
    key: str = strawberry.field(description="Its name, unique within its key space.")
    content: str = strawberry.field(description="What is remembered.")
    scope: MemoryScope = strawberry.field(description="Who may recall it.")
    agent_id: strawberry.ID | None = strawberry.field(
        description="The id of the agent that it belongs to; it need not exist."
    )
    project_id: strawberry.ID | None = strawberry.field(
        description="The id of the project that it belongs to; it need not exist."
    )
    similarity: float = strawberry.field(
        description="The cosine of its best passage to the query; 0 where none is embedded."
    )
    created_at: datetime = strawberry.field(description="When it was stored.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")
    passage: str = strawberry.field(description="The passage that is nearest to the query.")
    key_space: str = strawberry.field(
        description="Whose key it has: empty for people's, `agent:…` for what an agent stored."
    )
    execution_id: strawberry.ID | None = strawberry.field(
        description="The id of the task execution that stored it, if any."
    )


@described_like(
    Memory, ttl_seconds="After how many seconds it expires, 1 to 315360000; null: never."
)
@input_from_model(description="A memory to store among those of people.")
class MemoryInput(memory.NewMemory):
    pass


def _wanted(
    agent_id: strawberry.ID | None,
    project_id: strawberry.ID | None,
    scope: MemoryScope | None,
    key_space: str | None,
    **page: int,
) -> memory.MemoryFilter:
    return chosen(
        memory.MemoryFilter,
        agent_id=agent_id,
        project_id=number("projectId", project_id),
        scope=scope,
        key_space=key_space,
        **page,
    )


@strawberry.type
class Query:
    @strawberry.field(description="Memories, people's and agents', newest first.")
    async def memories(
        self,
        agent_id: OfAgent = None,
        project_id: OfProject = None,
        scope: OfScope = None,
        key_space: OfKeySpace = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[Memory] | None:
        wanted = _wanted(agent_id, project_id, scope, key_space, limit=limit, offset=offset)
        return rows.many(Memory, await memory.list_memories(wanted))

    @strawberry.field(description="Memories by cursors, people's and agents', newest first.")
    async def memories_connection(
        self,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        agent_id: OfAgent = None,
        project_id: OfProject = None,
        scope: OfScope = None,
        key_space: OfKeySpace = None,
    ) -> Connection[Memory] | None:
        wanted = _wanted(agent_id, project_id, scope, key_space)
        part = window_of("memory", first, after, last, before)
        return connection(Memory, "memory", await memory.slice_memories(wanted, part))

    @strawberry.field(description="One memory; null, with NOT_FOUND, if there is none.")
    async def memory(self, key: MemoryKey, key_space: KeySpace = "") -> Memory | None:
        place = chosen(memory.MemoryPlace, key_space=key_space)
        return rows.one(Memory, await memory.get_memory(key, place))

    @strawberry.field(
        description="Memories that fit a query, best first; the best 500 can be paged through."
    )
    async def memory_search(
        self,
        query: Annotated[
            str, strawberry.argument(description="What is looked for, in words of any language.")
        ],
        mode: Annotated[
            MemorySearchMode, strawberry.argument(description="By meaning, by words, or by both.")
        ] = MemorySearchMode.HYBRID,
        agent_id: OfAgent = None,
        project_id: OfProject = None,
        scope: OfScope = None,
        limit: Limit = 10,
        offset: Offset = 0,
    ) -> list[FoundMemory] | None:
        wanted = chosen(
            memory.MemorySearch,
            query=query,
            mode=mode,
            agent_id=agent_id,
            project_id=number("projectId", project_id),
            scope=scope,
            limit=limit,
            offset=offset,
        )
        return rows.many(FoundMemory, await memory.search_memories(wanted))


@strawberry.type
class Mutation:
    @strawberry.mutation(description="Store a memory; CONFLICT if its key is taken.")
    async def memory_store(
        self, input: Annotated[MemoryInput, strawberry.argument(description="The memory.")]
    ) -> Memory | None:
        return rows.one(Memory, await memory.store_memory(input))

    @strawberry.mutation(description="Delete a memory. Gives its key.")
    async def memory_delete(self, key: MemoryKey, key_space: KeySpace = "") -> str | None:
        await memory.delete_memory(key, chosen(memory.MemoryPlace, key_space=key_space))
        return key
