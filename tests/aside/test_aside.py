import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]
import pytest

from aether.aside import Aside
from aether.aside_wire import WINDOW, AsideFailedError
from aether.config import Settings
from aether.errors import (
    AetherError,
    ErrorCode,
    ForbiddenError,
    InvalidInputError,
    NotConfiguredError,
    NotFoundError,
    UnavailableError,
    UpstreamError,
)
from tests.aside import jobs

COMMAND: Final = (sys.executable, "-m", "tests.aside.jobs")
SETTINGS: Final = Settings.from_environment(
    {
        "LLM_API_KEY": "sk-key-of-the-aside-0001",
        "LLM_BASE_URL": "http://127.0.0.1:9/v1",
        "ALLOW_UNSIGNED": "jira",
        "OUTBOUND_ALLOW": "10.0.0.0/8,intra.test",
        "LLM_TIMEOUT_SECONDS": "12.5",
    }
)


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what another process does; TimeoutError when it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def is_running(pid: int | None) -> bool:
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_of(aside: Aside) -> int | None:
    """Its process; for mypy a new question each time."""
    return aside.pid


@pytest.fixture
async def aside() -> AsyncIterator[Aside]:
    made = Aside(SETTINGS, command=COMMAND, look_seconds=0.1, hang_seconds=3)
    yield made
    await made.close()


async def test_a_job_gives_its_result_and_the_child_stays(aside: Aside) -> None:
    value = {"text": "naïve 🙂 \ud83d", "numbers": [1, 2.5, None], "deep": {"a": True}}

    assert pid_of(aside) is None
    first = await aside.call("echo", {"value": value})
    pid = pid_of(aside)
    second = await aside.call("echo", {"value": "x" * 5_000_000})

    assert first == value
    assert second == "x" * 5_000_000
    assert pid is not None
    assert pid_of(aside) == pid


async def test_it_has_its_parents_settings_and_environment_and_no_secret_in_sight(
    aside: Aside, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASIDE_TEST", "of the parent")

    told = await aside.call("tell", {})
    await aside.close()

    assert told["settings"] == SETTINGS.model_dump(mode="json")
    assert told["secret"] == "sk-key-of-the-aside-0001"
    assert told["variable"] == "of the parent"
    assert told["pid"] != os.getpid()
    assert told["stdin"] == ""
    assert "sk-key" not in told["command"]
    said = capfd.readouterr().err
    assert "aside WARNING aether.tests: the key is ***" in said
    assert "sk-key" not in said


async def test_many_calls_run_at_once_in_one_child(aside: Aside) -> None:
    await aside.call("echo", {"value": 0})

    async with asyncio.timeout(20):  # one after the other they would take 100 seconds
        found = await asyncio.gather(
            *(aside.call("echo", {"value": n, "seconds": 1}) for n in range(100))
        )

    assert found == list(range(100))


async def test_the_first_callers_share_one_start(aside: Aside) -> None:
    told = await asyncio.gather(*(aside.call("tell", {}) for _ in range(8)))

    assert {one["pid"] for one in told} == {pid_of(aside)}


async def test_errors_of_ours_cross_whole(aside: Aside) -> None:
    crossing: tuple[tuple[str, type[AetherError], dict[str, Any]], ...] = (
        ("upstream", UpstreamError, {"retryable": True, "retry_after": 7.5, "status": 429}),
        ("final", UpstreamError, {"retryable": False, "may_have_happened": True}),
        ("input", InvalidInputError, {"field": "model", "retryable": False}),
        ("settings", NotConfiguredError, {"code": ErrorCode.NOT_CONFIGURED}),
        ("missing", NotFoundError, {"code": ErrorCode.NOT_FOUND}),
        ("database", UnavailableError, {"retryable": True}),
    )
    for kind, expected, kept in crossing:
        with pytest.raises(expected) as raised:
            await aside.call("fail", {"kind": kind})

        assert type(raised.value) is expected, kind
        if kind != "database":
            assert str(raised.value) == str(jobs.ERRORS[kind])
        assert {name: getattr(raised.value, name) for name in kept} == kept, kind


async def test_an_error_of_a_class_that_the_parent_may_not_know_keeps_its_code(
    aside: Aside,
) -> None:
    with pytest.raises(AetherError, match="not this one") as raised:
        await aside.call("fail", {"kind": "refused"})

    assert raised.value.code is ForbiddenError.code


async def test_a_bug_is_told_without_its_text_and_logged_with_its_trace(
    aside: Aside, capfd: pytest.CaptureFixture[str]
) -> None:
    for job, arguments in (("fail", {"kind": "bug"}), ("not_json", {}), ("nonesuch", {})):
        with pytest.raises(AsideFailedError) as raised:
            await aside.call(job, arguments)
        again = await aside.call("echo", {"value": 1})

        assert "sk-not" not in str(raised.value)
        assert again == 1
        said = capfd.readouterr().err
        assert f"the job {job} failed" in said
        assert "Traceback" in said
        assert "sk-not-to-be-told" not in said


async def test_a_stream_yields_in_order_and_ends(aside: Aside) -> None:
    found = [one async for one in aside.stream("count", {"upto": 1_000})]

    assert found == list(range(1_000))


async def test_a_stream_that_fails_yields_what_it_had(aside: Aside) -> None:
    found = []

    async def read() -> None:
        async for one in aside.stream("count", {"upto": 3, "fails": True}):
            found.append(one)  # noqa: PERF401 # what came before the error counts

    with pytest.raises(UpstreamError, match="slow down"):
        await read()

    assert found == [0, 1, 2]


async def test_a_slow_reader_holds_the_job_up(aside: Aside, tmp_path: Path) -> None:
    note = tmp_path / "note"
    async with contextlib.aclosing(
        aside.stream("count", {"upto": 1_000_000, "note": str(note)})
    ) as items:
        first = [await anext(items) for _ in range(10)]
        await aside.call("echo", {"value": 0, "seconds": 0.3})  # time for far more

    await until(note.exists)
    await until(lambda: note.read_text() != "")
    assert first == list(range(10))
    assert int(note.read_text()) <= 10 + 2 * WINDOW


async def test_a_closed_stream_ends_its_job(aside: Aside, tmp_path: Path) -> None:
    note = tmp_path / "note"

    async with contextlib.aclosing(
        aside.stream("count", {"upto": 10**9, "note": str(note)})
    ) as items:
        async for one in items:
            if one == 5:
                break

    await until(note.exists)
    assert await aside.call("echo", {"value": 1}) == 1


async def test_a_cancelled_call_cancels_its_job_and_nothing_else(
    aside: Aside, tmp_path: Path
) -> None:
    begun, cancelled = tmp_path / "begun", tmp_path / "cancelled"
    calling = asyncio.create_task(
        aside.call("wait", {"begun": str(begun), "cancelled": str(cancelled)})
    )
    other = asyncio.create_task(aside.call("echo", {"value": "other", "seconds": 0.5}))
    await until(begun.exists)

    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling

    await until(cancelled.exists)
    assert await other == "other"


@pytest.mark.slow
@pytest.mark.parametrize("job", ["die", "hang"])
async def test_a_child_that_dies_or_hangs_is_replaced_and_its_calls_may_be_tried_again(
    aside: Aside, job: str
) -> None:
    await aside.call("echo", {"value": 0})
    first = pid_of(aside)
    assert first is not None
    other = asyncio.create_task(aside.call("echo", {"value": 0, "seconds": 60}))
    await asyncio.sleep(0)

    for calling in (aside.call(job, {}), other):
        with pytest.raises(UnavailableError, match="try again") as raised:
            await calling
        assert raised.value.retryable is True
        assert raised.value.retry_after == 1

    assert await aside.call("echo", {"value": "alive"}) == "alive"
    assert pid_of(aside) != first
    await until(lambda: not is_running(first))


@pytest.mark.slow
async def test_a_child_that_is_killed_from_outside_is_replaced(aside: Aside) -> None:
    await aside.call("echo", {"value": 0})
    pid = pid_of(aside)
    assert pid is not None
    streaming = aside.stream("count", {"upto": 10**9})
    await anext(streaming)

    os.kill(pid, signal.SIGKILL)
    with pytest.raises(UnavailableError):
        await _read_out(streaming)

    assert await aside.call("echo", {"value": "alive"}) == "alive"


async def _read_out(stream: AsyncIterator[Any]) -> None:
    async for _ in stream:
        pass


@pytest.mark.slow
async def test_an_idle_child_is_ended_and_another_started_when_needed() -> None:
    aside = Aside(SETTINGS, command=COMMAND, look_seconds=0.05, idle_seconds=0.3)
    await aside.call("echo", {"value": 0})
    first = pid_of(aside)
    assert first is not None

    await until(lambda: not is_running(first))
    assert pid_of(aside) is None
    again = await aside.call("echo", {"value": 1})
    second = pid_of(aside)
    await aside.close()

    assert again == 1
    assert second not in {None, first}
    assert not is_running(second)


async def test_a_child_with_a_long_call_is_not_idle() -> None:
    aside = Aside(SETTINGS, command=COMMAND, look_seconds=0.05, idle_seconds=0.2)

    found = await aside.call("echo", {"value": "done", "seconds": 1})
    await aside.close()

    assert found == "done"


async def test_closing_ends_the_child_and_refuses_further_calls(aside: Aside) -> None:
    await aside.call("echo", {"value": 0})
    pid = pid_of(aside)
    under_way = asyncio.create_task(aside.call("echo", {"value": 0, "seconds": 60}))
    await asyncio.sleep(0.1)

    await aside.close()

    assert pid is not None
    assert not is_running(pid)
    for calling in (under_way, aside.call("echo", {"value": 0})):
        with pytest.raises(UnavailableError):
            await calling


async def test_closing_while_it_starts_leaves_nothing_behind(aside: Aside) -> None:
    before = {one.pid for one in psutil.Process().children()}
    calling = asyncio.create_task(aside.call("echo", {"value": 0}))
    await until(lambda: {one.pid for one in psutil.Process().children()} != before)

    await aside.close()

    with pytest.raises(UnavailableError):
        await calling
    await until(lambda: {one.pid for one in psutil.Process().children()} == before)


async def test_a_caller_that_leaves_during_the_start_does_not_end_it(aside: Aside) -> None:
    leaving = asyncio.create_task(aside.call("echo", {"value": 0}))
    await asyncio.sleep(0)
    leaving.cancel()

    with pytest.raises(asyncio.CancelledError):
        await leaving

    assert await aside.call("echo", {"value": 1}) == 1


@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-c", "raise SystemExit(3)"),
        (sys.executable, "-c", "import os; os.write(0, b'hello, what is this?')"),
        ("/nonesuch/python",),
    ],
)
async def test_a_child_that_does_not_start_is_not_started_at_every_call(
    command: tuple[str, ...],
) -> None:
    aside = Aside(SETTINGS, command=command)

    told = []
    for _ in range(3):
        with pytest.raises(UnavailableError, match="does not start") as raised:
            await aside.call("echo", {"value": 0})
        told.append(raised.value.retry_after or 0)
    await aside.close()

    assert all(0 < seconds <= 1 for seconds in told)


async def test_more_calls_than_may_be_are_refused(
    aside: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aether.aside_process.MOST_CALLS", 3)
    await aside.call("echo", {"value": 0})
    waiting = [
        asyncio.create_task(aside.call("echo", {"value": n, "seconds": 0.5})) for n in range(3)
    ]
    await asyncio.sleep(0)

    with pytest.raises(UnavailableError, match="3 calls are under way"):
        await aside.call("echo", {"value": 0})

    assert await asyncio.gather(*waiting) == [0, 1, 2]


PARENT: Final = """
import asyncio, sys
from aether.aside import Aside
from tests.aside.test_aside import COMMAND, SETTINGS

async def main():
    aside = Aside(SETTINGS, command=COMMAND)
    await aside.call("echo", {"value": 0})
    print(aside.pid, flush=True)
    if sys.argv[1] == "hang":
        asyncio.create_task(aside.call("hang", {"begun": sys.argv[2]}))
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("state", ["idle", "hang"])
async def test_a_parent_that_is_killed_takes_its_child_along(state: str, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, state, begun, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    if state == "hang":
        await until(begun.exists)
    assert is_running(pid)

    parent.kill()
    await parent.wait()

    await until(lambda: not is_running(pid), 10)
