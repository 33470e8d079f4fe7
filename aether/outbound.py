"""When a host may be asked: its rate limits, held for the whole process, and a budget of writes.

GitHub: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aether.errors import UpstreamError
from aether.http_answers import Limit

log = logging.getLogger(__name__)

UNTOLD_SECONDS: Final = 60.0  # GitHub: "wait for at least one minute", longer each time
MOST_UNTOLD_SECONDS: Final = 900.0
MOST_SECONDS: Final = 7200.0  # no budget that we know of is longer; a false header ends too
WRITES_A_MINUTE: Final = 80  # GitHub: "no more than 80 content-generating requests per minute"
# https://docs.gitlab.com/user/gitlab_com/#rate-limits-on-gitlabcom : notes on issues and requests
GITLAB_COM_WRITES_A_MINUTE: Final = 60
WINDOW_SECONDS: Final = 60.0


def writes_a_minute(host: str) -> int | None:
    """What github.com and gitlab.com allow; other hosts set none that is known, or tell it."""
    if host == "gitlab.com":
        return GITLAB_COM_WRITES_A_MINUTE
    is_github = host in {"api.github.com", "github.com"} or host.endswith(".ghe.com")
    return WRITES_A_MINUTE if is_github else None


class Turn:
    """Leave to send one request. ``is_probe``: it goes alone, to see whether the limit is over."""

    def __init__(self, gate: "HostGate", *, is_probe: bool) -> None:
        self._gate = gate
        self.is_probe = is_probe

    def answered(self, limit: Limit | None) -> None:
        """Tell the gate what came of it."""
        self._gate.answered(self, limit)


class HostGate:
    """Whether one host may be asked, for everybody in this process.

    While the host limits us nobody asks before the time it named; then one request goes at a
    time until one is served. Belongs to one event loop; its checks and changes have no await
    between them.
    """

    def __init__(
        self,
        host: str,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        budget: int | None = None,
    ) -> None:
        """``budget`` is the most writes a minute; None sets no bound."""
        self._host = host
        self._monotonic = monotonic
        self._sleep = sleep
        self._one_at_a_time = asyncio.Lock()
        self._is_limited = False
        self._opens_at = 0.0
        self._strikes = 0  # limits met in a row
        self._budget = budget
        self._writes: deque[float] = deque(maxlen=budget)

    @asynccontextmanager
    async def turn(self, patience: float, *, is_write: bool) -> AsyncIterator[Turn]:
        """Wait for leave to send, for ``patience`` seconds at most; send inside the block.

        Raises:
            UpstreamError: it would take longer; says for how long, and nothing was sent.
        """
        deadline = self._monotonic() + patience
        if self._is_limited:
            self._refuse_beyond(deadline, self._opens_at)
        if is_write:
            await self._spend(deadline)
        if self._is_limited:
            async with self._one_at_a_time:
                if self._is_limited:
                    await self._wait_until_open(deadline)
                    yield Turn(self, is_probe=True)
                    return
        yield Turn(self, is_probe=False)

    def answered(self, turn: Turn, limit: Limit | None) -> None:
        """Close the gate for ``limit``, or open it when a probe was served."""
        if limit is None:
            if turn.is_probe:
                self._is_limited = False
                self._strikes = 0
            return
        if turn.is_probe or not self._is_limited:
            self._strikes += 1  # a wave of requests that were on their way together counts once
        seconds = min(self._seconds(limit), MOST_SECONDS)
        self._opens_at = max(self._opens_at, self._monotonic() + seconds)
        self._is_limited = True
        log.warning("%s limits our requests; the next goes in %.0f s", self._host, seconds)

    def opens_in(self) -> float:
        """Seconds until the host may be asked again; 0 for now."""
        return max(self._opens_at - self._monotonic(), 0.0) if self._is_limited else 0.0

    def _seconds(self, limit: Limit) -> float:
        if limit.seconds is None:
            return min(UNTOLD_SECONDS * 2.0 ** min(self._strikes - 1, 10), MOST_UNTOLD_SECONDS)
        if limit.is_exact:
            return max(limit.seconds, 1.0)
        # A reset that has passed by our clock: the clocks disagree. Do not knock every second.
        return max(limit.seconds, min(2.0 ** min(self._strikes - 1, 10), UNTOLD_SECONDS))

    async def _wait_until_open(self, deadline: float) -> None:
        while self._opens_at > self._monotonic():
            self._refuse_beyond(deadline, self._opens_at)
            await self._sleep(self._opens_at - self._monotonic())

    def _refuse_beyond(self, deadline: float, moment: float) -> None:
        seconds = moment - self._monotonic()
        if moment > deadline and seconds > 0:
            raise UpstreamError(
                f"{self._host} must not be asked for another {seconds:.0f} s: its rate limit",
                retryable=True,
                retry_after=seconds,
            )

    async def _spend(self, deadline: float) -> None:
        """Take a place among the writes of a minute; waits only when they are used up."""
        if self._budget is None:
            return
        now = self._monotonic()
        is_full = len(self._writes) == self._budget
        slot = max(now, self._writes[0] + WINDOW_SECONDS) if is_full else now
        self._refuse_beyond(deadline, slot)
        self._writes.append(slot)
        if slot > now:
            await self._sleep(slot - now)
