"""The queue as everyone but the actors knows it: a Job's name and an id, sent after commit.

A message is a hint. It may be lost or doubled; the row it names decides, and the sweep
(aether/engine/sweep.py) sends again what was lost.
"""

import asyncio
import logging
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import BrokerError, ConnectionFailed
from pydantic import SecretStr
from redis.exceptions import RedisError

from aether.errors import NotConfiguredError

log = logging.getLogger(__name__)

NAMESPACE: Final = "aether"
HEARTBEAT_MS: Final = 20_000  # longer than any stall of a process, or its messages run twice
ALWAYS: Final = 1_000_000  # of a million commands: a dead worker's messages come back soon


class Job(StrEnum):
    """Each actor's name; it is also the name of its queue."""

    RUN_TASK_EXECUTION = "run_task_execution"
    POLL_SOURCE = "poll_source"
    SUMMARIZE_RUN = "summarize_run"
    EMBED_MEMORIES = "embed_memories"  # its id says nothing


def build_broker(
    url: SecretStr, *, middleware: Sequence[dramatiq.Middleware] = ()
) -> dramatiq.Broker:
    """The broker that BROKER_URL names: redis://, rediss://, unix:// or amqp://.

    Raises:
        NotConfiguredError: another scheme, or no address; names BROKER_URL.
    """
    text = url.get_secret_value()
    try:
        scheme = urlsplit(text).scheme
        _ = urlsplit(text).port
    except ValueError:
        raise NotConfiguredError(
            "BROKER_URL: cannot be read (a / ? # or @ in the password is written %2F %3F %23 %40)"
        ) from None
    broker: dramatiq.Broker
    if scheme in {"redis", "rediss", "unix"}:
        broker = RedisBroker(  # type: ignore[no-untyped-call] # Dramatiq's own gap
            url=text,
            namespace=NAMESPACE,
            middleware=list(middleware),
            maintenance_chance=ALWAYS,
            heartbeat_timeout=HEARTBEAT_MS,
            socket_connect_timeout=3,
            socket_timeout=10,
        )
    elif scheme in {"amqp", "amqps"}:
        from dramatiq.brokers.rabbitmq import RabbitmqBroker

        broker = RabbitmqBroker(url=text, middleware=list(middleware), confirm_delivery=True)
    else:
        raise NotConfiguredError(
            "BROKER_URL: must start with redis://, rediss://, unix:// or amqp://"
        )
    return broker


class Queue:
    """Sends hints; one per process. Closing waits for those under way."""

    def __init__(self, broker: dramatiq.Broker) -> None:
        self._broker = broker
        self._sending: set[asyncio.Task[None]] = set()

    def hint(self, job: Job, ids: Sequence[int]) -> None:
        """Send one message an id, in the background: call it after the commit, never before.

        Nothing is raised: a hint that is lost is sent again by the sweep.
        """
        if not ids:
            return
        task = asyncio.create_task(self._send_quietly(job, list(ids)))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def send(self, job: Job, ids: Sequence[int]) -> None:
        """Send one message an id and wait until the broker has them.

        Raises:
            BrokerError, OSError: the broker is out of reach; some may have been sent.
        """
        try:
            await asyncio.to_thread(self._enqueue, job, list(ids))
        except RedisError as error:  # Dramatiq lets the driver's own through here
            raise ConnectionFailed(  # type: ignore[no-untyped-call] # Dramatiq's own gap
                f"the queue failed ({type(error).__name__})"
            ) from error

    async def close(self) -> None:
        """Wait for hints under way, two seconds at most, and close the broker."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=2)
        await asyncio.to_thread(self._broker.close)

    async def _send_quietly(self, job: Job, ids: list[int]) -> None:
        try:
            await self.send(job, ids)
        except (BrokerError, OSError) as error:
            log.warning(
                "the queue is out of reach (%s); the sweep will send %s %s again",
                type(error).__name__, job, ids,
            )  # fmt: skip
        except Exception:  # the end of a background task; drivers have errors of their own
            log.exception("the queue refused a hint; the sweep will send %s %s again", job, ids)

    def _enqueue(self, job: Job, ids: list[int]) -> None:
        self._broker.declare_queue(job)
        for one in ids:
            self._broker.enqueue(message(job, one))


def message(job: Job, id: int) -> dramatiq.Message[Any]:
    """The message for one actor: its name and an id, nothing else."""
    return dramatiq.Message(
        queue_name=job.value, actor_name=job.value, args=(id,), kwargs={}, options={}
    )
