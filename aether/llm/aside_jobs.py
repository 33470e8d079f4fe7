"""What the aside does for the web process: remote embeddings, and what LiteLLM knows of prices."""

from collections.abc import Mapping
from typing import Any

from aether.config import Settings
from aether.llm import prices
from aether.llm.embed import Vector, embedder


async def describe_embedder(settings: Settings, _: Mapping[str, Any]) -> dict[str, Any]:
    """The embedder's ``name`` and ``dimension``; asks the model where it is not known yet."""
    using = await embedder(settings)
    return {"name": using.name, "dimension": using.dimension}


async def embed_texts(settings: Settings, arguments: Mapping[str, Any]) -> list[Vector]:
    """A vector for each of ``texts``."""
    return await (await embedder(settings)).embed(arguments["texts"])


async def unpriced_models(settings: Settings, arguments: Mapping[str, Any]) -> list[str]:
    """Those of ``models`` whose price is not known."""
    return await prices.unpriced(settings, arguments["models"])
