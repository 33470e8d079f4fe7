"""An aside whose jobs run in this process: for tests of what is asked, not of who does it."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from aether.aside import Aside
from aether.aside_child import JOBS, Job
from aether.aside_wire import error_frame, restored
from aether.config import Settings
from aether.errors import AetherError


class AsideHere(Aside):
    """What goes in and out passes through JSON, and errors through their frame, as over there."""

    def __init__(self, settings: Settings, jobs: Sequence[Job] = JOBS) -> None:
        super().__init__(settings)
        self._jobs = {job.name: job for job in jobs}
        self.asked: list[tuple[str, Any]] = []

    async def call(self, job: str, arguments: Mapping[str, Any]) -> Any:
        begun = self._jobs[job].run(self._settings, self._told(job, arguments))
        assert not isinstance(begun, AsyncGenerator)
        try:
            return _through_json(await begun)
        except AetherError as error:
            raise restored(_through_json(error_frame(error))) from None

    async def stream(self, job: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        begun = self._jobs[job].run(self._settings, self._told(job, arguments))
        assert isinstance(begun, AsyncGenerator)
        try:
            async for item in begun:
                yield _through_json(item)
        except AetherError as error:
            raise restored(_through_json(error_frame(error))) from None
        finally:
            await begun.aclose()

    def _told(self, job: str, arguments: Mapping[str, Any]) -> Any:
        told = _through_json(dict(arguments))
        self.asked.append((job, told))
        return told


def _through_json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))
