"""Settings for the embedded encoder, and short ways to store."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aether.config import Settings
from aether.memory import store
from aether.models import Memory
from aether.vocabulary import MemoryScope

Remember = Callable[..., Awaitable[Memory]]


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate({})


@pytest.fixture
def remember(database: str, settings: Settings) -> Remember:
    async def remember(key: str, content: str, **changes: Any) -> Memory:
        values: dict[str, Any] = {"scope": MemoryScope.PROJECT, **changes}
        return await store.remember(settings, key=key, content=content, **values)

    return remember
