"""A scripted model on loopback, and settings that point at it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from aether.config import Settings
from aether.demo.model import ScriptedModel
from aether.demo.serving import serving
from aether.llm import chat

KEY = "sk-test-0003-secret"


def settings_of(**values: Any) -> Settings:
    """Settings with these values, as the environment would give them."""
    return Settings.model_validate(values)


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for what other threads do; TimeoutError when it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel(key=KEY)


@pytest.fixture
def model_url(model: ScriptedModel) -> Iterator[str]:
    with serving(model.app) as url:
        yield url


@pytest.fixture
async def settings(model_url: str) -> AsyncIterator[Settings]:
    yield settings_of(llm_base_url=f"{model_url}/v1", llm_api_key=KEY, llm_model="scripted")
    await chat.close()
