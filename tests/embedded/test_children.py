"""When something that died is started again, and when no more."""

import pytest

from aether.embedded.children import Backoff
from aether.errors import UnavailableError


def test_the_delay_doubles_up_to_ten_seconds() -> None:
    backoff = Backoff("worker")

    delays = [backoff.died(30.0 * n, lived_seconds=1.0) - 30.0 * n for n in range(8)]

    assert delays == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0])


def test_a_minute_of_health_resets_the_delay() -> None:
    backoff = Backoff("worker")
    backoff.died(0.0, lived_seconds=1.0)
    backoff.died(1.0, lived_seconds=1.0)

    assert backoff.died(100.0, lived_seconds=60.0) == pytest.approx(100.2)


def test_the_fifth_death_within_a_minute_is_the_last() -> None:
    backoff = Backoff("worker")
    for moment in (0.0, 15.0, 30.0, 45.0):
        backoff.died(moment, lived_seconds=1.0)

    with pytest.raises(UnavailableError, match="worker ended 5 times within 60 s; giving up"):
        backoff.died(60.0, lived_seconds=1.0)
