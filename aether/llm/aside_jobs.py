"""What the aside does for the web process: remote embeddings."""

from collections.abc import Mapping
from typing import Any

from aether.config import Settings
from aether.llm.embed import Vector, embedder


async def describe_embedder(settings: Settings, _: Mapping[str, Any]) -> dict[str, Any]:
    """The embedder's ``name`` and ``dimension``; asks the model where it is not known yet."""
    using = await embedder(settings)
    return {"name": using.name, "dimension": using.dimension}


async def embed_texts(settings: Settings, arguments: Mapping[str, Any]) -> list[Vector]:
    """A vector for each of ``texts``."""
    return await (await embedder(settings)).embed(arguments["texts"])
