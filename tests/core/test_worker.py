"""What the worker asks of its queue."""

from pydantic import SecretStr

from aether.actors.executions import declare
from aether.queue import Job, build_broker


def test_each_job_has_a_queue_and_none_has_one_of_delayed_messages() -> None:
    broker = build_broker(SecretStr("redis://127.0.0.1:1"))

    declare(broker)

    assert broker.get_declared_queues() == {job.value for job in Job}
    assert broker.get_declared_delay_queues() == set()
