"""Users' jq: what a program can see, what it cannot reach, and that it always comes to an end."""

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]
import pytest
import uvloop

from aether.engine import filters
from aether.engine.filters import CHILD, LONGEST_PROGRAM, FilterPool
from aether.errors import InvalidInputError, UnavailableError

PAYLOAD: Final[dict[str, Any]] = {
    "action": "opened",
    "issue": {"number": 7, "title": "café 😀 日本\u202ex", "labels": [{"name": "bug"}]},
}
EVENT: Final = {"source": "github", "event_name": "issues", "subject": {"kind": "issue"}}
ENDLESS: Final = (
    "def f: f; f",
    "[range(1e12)]",
    "[repeat(1)]",
    "last(repeat(1))",
    "until(false; .)",
    "reduce range(1e10) as $x (0; . + $x)",
)
BOMBS: Final = ('"a" * 1e9', "def f: 1 + f; f", "null | setpath([1e8]; 1)")


@pytest.fixture
async def pool() -> AsyncIterator[FilterPool]:
    pool = FilterPool()
    yield pool
    await pool.close()
    assert processes() == []


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the refusal of words away: what is behind it must hold by itself."""
    monkeypatch.setattr(filters, "refusal", lambda program: None)


def processes() -> list[psutil.Process]:
    """Our children, zombies too, that run jq."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended while we looked
            if child.status() == psutil.STATUS_ZOMBIE or str(CHILD) in child.cmdline():
                found.append(child)
    return found


async def verdict(pool: FilterPool, program: str, payload: Any = PAYLOAD) -> bool | None:
    [answer] = await pool.evaluate([program], payload, EVENT)
    return answer


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


async def test_a_program_decides_as_select_would(pool: FilterPool) -> None:
    expected: dict[str, bool | None] = {
        '.action == "opened"': True,
        '.action == "closed"': False,
        ".issue.labels": True,
        ".nothing": False,
        "0": True,
        '""': True,
        "empty": None,
        "halt": None,
        "halt_error": None,
        "input": None,
        "inputs": None,
        "error(null)": None,
        ".action.deeper": None,
        "this is no jq": None,
        "true, error": True,
        "false, true": False,
        ".issue.labels[].name": True,
        '.action == "opened" # at the end': True,
        'def is($x): .action == $x; is("opened")': True,
        '.issue.title == "café 😀 日本\u202ex"': True,
        '$event.source == "github" and $event.subject.kind == "issue"': True,
        '.action = "x" | .action == "x"': True,
        "debug | stderr | true": True,
    }

    answers = {program: await verdict(pool, program) for program in expected}

    assert answers == expected
    assert len(processes()) == 1


async def test_a_regular_expression_gives_up_by_itself(pool: FilterPool) -> None:
    assert await verdict(pool, '("a" * 40 + "b") | test("(a+)+$")') is None
    assert await verdict(pool, "true") is True


async def test_one_call_answers_all_rules_in_their_order(pool: FilterPool) -> None:
    programs = ["true", "syntax error here", "false", ".action", "import", "empty", "null"]

    answers = await pool.evaluate(programs, PAYLOAD, EVENT)

    assert answers == [True, None, False, True, None, None, False]
    assert await pool.evaluate([], PAYLOAD, EVENT) == []
    assert len(processes()) == 1


async def test_the_received_bytes_serve_as_payload(pool: FilterPool) -> None:
    body = json.dumps(PAYLOAD, ensure_ascii=False).encode()

    assert await verdict(pool, '.issue.title == "café 😀 日本\u202ex"', body) is True


async def test_nul_does_no_harm_and_half_a_character_fails(pool: FilterPool) -> None:
    programs = {"a": ".a", "length": ".a | length"}

    with_nul = await pool.extract(programs, rb'{"a":"x\u0000y"}', EVENT)
    with_half = await pool.extract(programs, rb'{"a":"\ud800"}', EVENT)

    assert with_nul == {"a": "xy", "length": 3}
    assert with_half == {"a": None, "length": None}


async def test_a_payload_that_is_no_json_makes_every_program_fail(pool: FilterPool) -> None:
    for body in (b"", b"{", b"\xff\xfe", b'{"a":"\xed\xa0\x80"}', b"[" * 20_000):
        assert await pool.evaluate([".", "true"], body, EVENT) == [None, None]

    assert await verdict(pool, "true") is True


async def test_named_values_are_extracted_from_payload_and_event(pool: FilterPool) -> None:
    programs = {
        "title": ".issue.title",
        "labels": "[.issue.labels[].name]",
        "first": ".issue.number, 2, 3",
        "kind": "$event.subject.kind",
        "none": "empty",
        "null": "null",
        "broken": ".action.x.y",
        "refused": "env",
        "infinite": "infinite",
        "nan": "nan",
    }

    told = await pool.extract(programs, PAYLOAD, EVENT)

    assert told == {
        "title": "café 😀 日本\u202ex",
        "labels": ["bug"],
        "first": 7,
        "kind": "issue",
        "none": None,
        "null": None,
        "broken": None,
        "refused": None,
        "infinite": 1.7976931348623157e308,
        "nan": None,
    }


async def test_an_extracted_value_is_bounded_in_size_and_depth(pool: FilterPool) -> None:
    programs = {
        "large": '"a" * 2000000',
        "fits": '"a" * 900000 | length',
        "deep": "reduce range(5000) as $_ (null; [.])",
        "after": "1",
    }

    told = await pool.extract(programs, PAYLOAD, EVENT)

    assert told == {"large": None, "fits": 900_000, "deep": None, "after": 1}


@pytest.mark.parametrize("program", [*ENDLESS, *BOMBS])
async def test_no_program_runs_for_ever_or_takes_the_others_with_it(
    pool: FilterPool, program: str
) -> None:
    started = time.monotonic()
    answers = await pool.evaluate([program, '.action == "opened"', "false"], PAYLOAD, EVENT)
    took = time.monotonic() - started

    assert answers == [None, True, False]
    assert took < 30  # a limit: without one they would never end
    assert await verdict(pool, "true") is True


async def test_several_endless_programs_share_one_budget(
    pool: FilterPool, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    answers = await pool.evaluate([*ENDLESS * 5, "true"], PAYLOAD, EVENT)
    took = time.monotonic() - started

    assert answers[:-1] == [None] * 30
    assert took < 30  # a limit: without one they would never end
    assert 1 <= len(caplog.messages) <= 8
    assert caplog.messages[0] == ("jq: a program was ended, over its time or memory: 'def f: f; f'")


async def test_a_budget_that_is_used_up_leaves_the_rest_unanswered(pool: FilterPool) -> None:
    answers = await pool.evaluate(["true"], PAYLOAD, EVENT, budget_seconds=0.001)

    assert answers == [None]
    assert processes() == []


@pytest.mark.usefixtures("unguarded")
async def test_the_environment_and_files_cannot_be_reached(
    pool: FilterPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AETHER_TEST_SECRET", "hunter2")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".jq").write_text("def leaked: 42;")
    (tmp_path / "creds.json").write_text('{"token": "hunter2"}')
    imports = f'import "creds" as $c {{search: "{tmp_path}"}}; $c'

    told = await pool.extract(
        {
            "environment": "env | del(.LC_CTYPE)",
            "variable": "$ENV.AETHER_TEST_SECRET",
            "imported": imports,
            "included": f'include "creds" {{search: "{tmp_path}"}}; 1',
            "home": "leaked",
            "file": "input_filename",
            "searched": "get_search_list",
            "meta": '"creds" | modulemeta',
        },
        PAYLOAD,
        EVENT,
    )

    assert told == {
        "environment": {},
        "variable": None,
        "imported": None,
        "included": None,
        "home": None,
        "file": None,
        "searched": [],
        "meta": None,
    }
    with pytest.raises(InvalidInputError, match=r"^jq_filter: is not a program that jq can read$"):
        await pool.check(imports)


async def test_a_child_has_no_environment_and_can_open_nothing(pool: FilterPool) -> None:
    await pool.start()

    for child in processes():
        assert set(child.environ()) <= {"LC_CTYPE"}
        assert child.rlimit(psutil.RLIMIT_NOFILE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_AS) == (256 * 2**20, 256 * 2**20)
        assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert child.num_fds() == 3


async def test_a_program_that_cannot_be_saved_is_refused_by_name(pool: FilterPool) -> None:
    word = "the word {} is not allowed, also not inside a string"
    unreadable = "is not a program that jq can read"
    expected = {
        "": "is empty",
        " \n": "is empty",
        "." * (LONGEST_PROGRAM + 1): "is longer than 4096 characters",
        ".a\0.b": "holds a NUL or half a character",
        '"\ud800"': "holds a NUL or half a character",
        "env.HOME": word.format("env"),
        "$ENV": word.format("$ENV"),
        r'"\(env)"': word.format("env"),
        '# "\nenv\n# "': word.format("env"),
        'import "a" as $a; .': word.format("import"),
        'include "a"; .': word.format("include"),
        "modulemeta": word.format("modulemeta"),
        "input_filename": word.format("input_filename"),
        "get_search_list": word.format("get_search_list"),
        ".a ==": unreadable,
        "$nothing": unreadable,
        ".a) | (.b": unreadable,
        "module {}; .": unreadable,
        "def f: f; f": "does not end, or needs too much memory",
        '"a" * 1e9': "does not end, or needs too much memory",
    }

    told = {}
    for program in expected:
        with pytest.raises(InvalidInputError) as caught:
            await pool.check(program)
        told[program] = str(caught.value).removeprefix("jq_filter: ")

    assert told == expected


async def test_a_refusal_names_the_field_that_was_told(pool: FilterPool) -> None:
    with pytest.raises(InvalidInputError, match=r"^condition: is not a program that jq can read$"):
        await pool.check("?", field="condition")


async def test_a_program_that_only_fails_on_some_payloads_can_be_saved(pool: FilterPool) -> None:
    for program in (
        ".",
        '.action == "opened"',
        ".issue.labels[] | .name # of a payload that is not null",
        "$event.source",
        "error",
        "empty",
        ".env, .import, $event.include, .environment, ._env",
        "def important: true; important",
        "." + " " * (LONGEST_PROGRAM - 1),
        'select(.label.name | test("^p[0-9]$"))',
    ):
        await pool.check(program)

    assert len(processes()) == 1


async def test_two_hundred_callers_at_once_get_their_own_answers(pool: FilterPool) -> None:
    async def ask(number: int) -> list[bool | None]:
        payload = {"number": number}
        return await pool.evaluate([f".number == {number}", ".number == -1"], payload, EVENT)

    answers = await asyncio.gather(*(ask(number) for number in range(200)))

    assert answers == [[True, False]] * 200
    assert len(processes()) == 2


async def test_endless_programs_do_not_disturb_those_who_ask_at_the_same_time(
    pool: FilterPool,
) -> None:
    def ask(program: str) -> Awaitable[list[bool | None]]:
        return pool.evaluate([program], PAYLOAD, EVENT, budget_seconds=0.1)

    answers = await asyncio.gather(*(ask(one) for one in ["true", "def f: f; f", "false"] * 4))

    assert answers == [[True], [None], [False]] * 4


async def test_a_cancelled_call_leaves_no_answer_for_the_next(pool: FilterPool) -> None:
    await pool.start()
    for delay in (0, 0.0005, 0.002, 0.01):
        calls = [
            asyncio.create_task(pool.evaluate(["true"] * 50, {"n": n}, EVENT)) for n in range(6)
        ]
        await asyncio.sleep(delay)
        for call in calls[::2]:
            call.cancel()

        answers = await asyncio.gather(*calls, return_exceptions=True)

        assert answers[1::2] == [[True] * 50] * 3
        assert await pool.evaluate(["false", "empty"], PAYLOAD, EVENT) == [False, None]


async def test_a_call_cancelled_while_its_child_starts_leaves_a_usable_pool(
    pool: FilterPool,
) -> None:
    call = asyncio.create_task(verdict(pool, "true"))
    await until(lambda: len(processes()) == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await verdict(pool, "true") is True


async def test_a_cancelled_endless_program_frees_its_child(pool: FilterPool) -> None:
    await pool.start()
    before = {child.pid for child in processes()}
    call = asyncio.create_task(
        pool.evaluate(["def f: f; f"], PAYLOAD, EVENT, budget_seconds=60),
    )
    await asyncio.sleep(0.02)

    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    await until(lambda: len({child.pid for child in processes()} & before) == 1)
    assert await asyncio.gather(*(verdict(pool, "true") for _ in range(4))) == [True] * 4


async def test_a_child_that_somebody_killed_is_replaced_and_no_program_blamed(
    pool: FilterPool, caplog: pytest.LogCaptureFixture
) -> None:
    await pool.start()
    killed = processes()
    for child in killed:
        child.kill()

    answers = await asyncio.gather(*(verdict(pool, "true") for _ in range(4)))

    assert answers == [True] * 4
    assert {child.pid for child in processes()}.isdisjoint(child.pid for child in killed)
    assert caplog.messages == []


async def test_a_child_that_hangs_is_killed_and_no_program_pays_for_it(
    pool: FilterPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "GRACE_SECONDS", 0.5)
    await pool.start()
    hanging = processes()
    for child in hanging:
        child.suspend()

    answers = await asyncio.gather(*(verdict(pool, "true") for _ in range(3)))

    assert answers == [True] * 3
    assert set(processes()).isdisjoint(hanging)


async def test_a_child_that_never_reads_is_not_waited_for_without_end(
    pool: FilterPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deaf = tmp_path / "jq_child.py"
    deaf.write_text("import os, time\nos.write(1, bytes(4))\ntime.sleep(60)\n")
    monkeypatch.setattr(filters, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(filters, "CHILD", deaf)

    with pytest.raises(UnavailableError, match="its process keeps ending before it reads"):
        await verdict(pool, "true")


async def test_a_pool_that_is_closed_refuses_and_leaves_no_process() -> None:
    pool = FilterPool()
    waiting = [asyncio.create_task(verdict(pool, "true")) for _ in range(8)]
    await asyncio.sleep(0)
    await pool.close()

    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert {str(answer) for answer in answers} <= {"True", "jq: the filters are shut down"}
    with pytest.raises(UnavailableError, match="the filters are shut down"):
        await verdict(pool, "true")
    with pytest.raises(UnavailableError, match="the filters are shut down"):
        await pool.start()
    await pool.close()
    assert processes() == []


async def test_a_child_that_cannot_start_is_said_so_and_tried_again(
    pool: FilterPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "CHILD", Path("/nowhere/jq_child.py"))
    for _ in range(2):
        with pytest.raises(UnavailableError, match="its process does not start"):
            await verdict(pool, "true")

    monkeypatch.setattr(filters, "CHILD", CHILD)

    assert await verdict(pool, "true") is True


async def test_no_descriptor_is_left_behind() -> None:
    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    async def use() -> None:
        pool = FilterPool()
        await pool.evaluate(["true", "def f: f; f", '"a" * 1e9'], PAYLOAD, EVENT)
        await pool.close()

    await use()
    before = count()
    for _ in range(3):
        await use()

    assert count() == before


def test_a_pool_belongs_to_one_loop() -> None:
    pool = FilterPool()

    async def use() -> None:
        assert await verdict(pool, "true") is True
        await pool.close()

    async def misuse() -> None:
        pool._is_closed = False
        await verdict(pool, "true")

    asyncio.run(use())
    with pytest.raises(RuntimeError, match="belongs to one event loop"):
        asyncio.run(misuse())


def test_the_pool_works_on_the_servers_loop() -> None:
    async def use() -> list[bool | None]:
        pool = FilterPool()
        answers = await pool.evaluate(["def f: f; f", "true"], PAYLOAD, EVENT)
        cancelled = asyncio.create_task(verdict(pool, "def f: f; f"))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        answers += await asyncio.gather(*(verdict(pool, "false") for _ in range(20)))
        await pool.close()
        return answers

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(use())

    assert answers == [None, True, *[False] * 20]
    assert processes() == []


def test_a_child_ends_with_its_parent() -> None:
    script = (
        "import asyncio, os\n"
        "from aether.engine.filters import FilterPool\n"
        "async def main():\n"
        "    pool = FilterPool(children=1)\n"
        "    await pool.start()\n"
        "    print(pool._children[0]._starting.result().pid, flush=True)\n"
        "    await pool.evaluate(['def f: f; f'], {}, {}, budget_seconds=60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)

    gone, alive = psutil.wait_procs([child], timeout=10)

    assert (gone, alive) == ([child], [])


def test_importing_the_filters_does_not_import_jq() -> None:
    script = "import sys, aether.engine.filters; sys.exit('jq' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
