"""What the watchdog keeps, counts, hides and never does: raise into who logs, or log of itself."""

import asyncio
import json
import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from aether import db
from aether.config import Settings
from aether.db import rows
from aether.watchdog import (
    LineFormatter,
    Watchdog,
    WatchdogHandler,
    configure_logging,
    logging_about,
    prune,
    store,
)

SECRET = "sk-SECRET-0123456789"
ON = Settings.from_environment({"WATCHDOG_ENABLED": "true"})
OFF = Settings.from_environment({})
log = logging.getLogger("aether.effects")


def redact(text: str) -> str:
    return text.replace(SECRET, "***")


async def _entries() -> list[dict[str, Any]]:
    found = await rows("SELECT * FROM watchdog_entry ORDER BY id")
    return [one | {"detail": json.loads(one["detail"])} for one in found]


@pytest.fixture
def handler() -> Iterator[WatchdogHandler]:
    one = WatchdogHandler("worker", redact)
    logging.getLogger().addHandler(one)
    yield one
    logging.getLogger().removeHandler(one)


@pytest.fixture
def settled_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts back what ``configure_logging`` changes in this process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
async def watchdog(database: str) -> AsyncIterator[Watchdog]:
    one = Watchdog(ON, component="worker", redact=redact)
    one.start()
    yield one
    await one.close()


# -- what is kept


async def test_warnings_and_errors_are_stored_and_information_is_not(watchdog: Watchdog) -> None:
    with logging_about(execution_id=7):
        log.info("working")
        log.warning("%s limits our requests", "api.github.test")
        log.error("execution %d failed", 7)
    await watchdog.close()

    warned, failed = await _entries()
    assert (warned["level"], warned["component"]) == ("warn", "worker")
    assert warned["message"] == "api.github.test limits our requests"
    assert warned["detail"] == {"logger": "aether.effects", "execution_id": 7}
    assert (failed["level"], failed["message"]) == ("error", "execution 7 failed")
    assert (warned["count"], failed["count"]) == (1, 1)


async def test_entries_are_stored_without_being_asked(watchdog: Watchdog) -> None:
    log.warning("by itself")

    async with asyncio.timeout(10):
        while not await _entries():  # noqa: ASYNC110 - the database has no event to wait for
            await asyncio.sleep(0.05)


async def test_repeats_are_counted_in_one_row_a_minute(
    database: str, handler: WatchdogHandler
) -> None:
    for minute, times in ((0, 3), (0, 2), (60, 1)):
        for _ in range(times):
            record = log.makeRecord(log.name, logging.WARNING, "", 0, "again", (), None)
            record.created = 1771408800.0 + minute
            handler.handle(record)
        await store(handler)

    assert [(one["message"], one["count"], one["minute"]) for one in await _entries()] == [
        ("again", 5, datetime(2026, 2, 18, 10, 0, tzinfo=UTC)),
        ("again", 1, datetime(2026, 2, 18, 10, 1, tzinfo=UTC)),
    ]


async def test_an_error_is_kept_with_where_it_happened_and_no_secret(watchdog: Watchdog) -> None:
    try:
        int(f"key={SECRET}")
    except ValueError:
        log.exception("it quotes %s", SECRET)
    await watchdog.close()

    [entry] = await _entries()
    assert entry["message"] == "it quotes ***"
    assert entry["detail"]["error"] == (
        "ValueError: invalid literal for int() with base 10: 'key=***'"
    )
    assert "test_watchdog.py" in entry["detail"]["at"][-1]
    assert SECRET not in json.dumps(entry, default=str)


async def test_other_peoples_warnings_are_not_ours_but_their_errors_are(
    watchdog: Watchdog,
) -> None:
    logging.getLogger("asyncio").warning("slow")
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    logging.getLogger("resolvers.agents").warning("ours too")
    await watchdog.close()

    kept = [one["message"] for one in await _entries()]
    assert kept == ["Task exception was never retrieved", "ours too"]


@pytest.mark.usefixtures("database")
async def test_what_no_database_stores_is_cleaned(handler: WatchdogHandler) -> None:
    with logging_about(slug="a\x00b"):
        log.warning("nul \x00 and half \ud800")

    assert await store(handler)

    [entry] = await _entries()
    assert entry["message"] == "nul  and half �"
    assert entry["detail"]["slug"] == "ab"


@pytest.mark.usefixtures("database")
async def test_switched_off_nothing_is_collected_or_stored() -> None:
    before = list(logging.getLogger().handlers)
    off = Watchdog(OFF, component="web")

    off.start()
    log.warning("not kept")
    await off.close()

    assert logging.getLogger().handlers == before
    assert await _entries() == []


# -- what it never does


async def test_a_storm_stays_within_bounds_and_says_how_much_was_lost(
    database: str, handler: WatchdogHandler
) -> None:
    for number in range(700):
        log.warning("different %d", number)
    log.warning("different %d", 0)
    await store(handler)

    stored = await _entries()
    assert len(stored) == 501
    assert stored[0]["count"] == 2
    assert stored[-1]["message"].startswith("200 more log lines were not kept")


async def test_while_the_database_is_away_entries_wait_and_nothing_is_logged(
    database: str, handler: WatchdogHandler, caplog: pytest.LogCaptureFixture
) -> None:
    await db.close_pool()
    await db.open_pool("postgresql://postgres@127.0.0.1:1/none")
    log.warning("kept for later")
    caplog.clear()

    stored = [await store(handler) for _ in range(3)]
    await db.close_pool()
    await db.open_pool(database)
    stored.append(await store(handler))

    assert stored == [False, False, False, True]
    assert caplog.messages == []
    assert [(one["message"], one["count"]) for one in await _entries()] == [("kept for later", 1)]


def test_a_log_call_never_fails(handler: WatchdogHandler) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("odd")

    for text, argument in (("%s", Odd()), ("%d", "x")):
        handler.handle(log.makeRecord(log.name, logging.ERROR, "", 0, text, (argument,), None))

    kept = [one.message for one in handler.take()]
    assert kept == ["%s (its arguments cannot be shown)", "%d (its arguments cannot be shown)"]


def test_logging_from_many_threads_counts_each_line(handler: WatchdogHandler) -> None:
    def storm() -> None:
        for _ in range(200):
            log.warning("storm")

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert [(one.message, one.count) for one in handler.take()] == [("storm", 800)]


# -- how a process logs


def test_a_line_is_one_line_in_utc_without_secrets() -> None:
    record = log.makeRecord(log.name, logging.WARNING, "", 0, "for\nged %s 🔑", (SECRET,), None)
    record.created = 1771408800.9

    with logging_about(delivery_id=3):
        line = LineFormatter("web", redact).format(record)

    assert line == (
        "2026-02-18T10:00:00Z web WARNING aether.effects: for\\nged *** 🔑 [delivery_id=3]"
    )


@pytest.mark.usefixtures("settled_logging")
def test_logging_is_set_once_however_often_it_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    others = list(logging.getLogger().handlers)

    configure_logging("web")
    configure_logging("worker", redact=redact)
    log.warning("with %s", SECRET)
    logging.getLogger("httpx").info("GET https://a.test/?key=%s", SECRET)

    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(" worker WARNING aether.effects: with ***")
    assert [one for one in logging.getLogger().handlers if one in others] == others


@pytest.mark.usefixtures("settled_logging")
def test_what_nobody_catches_is_logged_without_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("worker", redact=redact)

    def fail() -> None:
        raise RuntimeError(SECRET)

    thread = threading.Thread(target=fail, name="run-7")
    thread.start()
    thread.join()
    try:
        fail()
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)

    told = capsys.readouterr().err
    assert "ERROR aether.watchdog: nobody caught this in run-7\nTraceback" in told
    assert "CRITICAL aether.watchdog: nobody caught this\nTraceback" in told
    assert told.count("RuntimeError: ***") == 2
    assert SECRET not in told


# -- how long it is kept


@pytest.mark.usefixtures("database")
async def test_entries_older_than_thirty_days_are_pruned(handler: WatchdogHandler) -> None:
    for text in ("old", "young"):
        log.warning(text)
    await store(handler)
    await rows(
        "UPDATE watchdog_entry SET created_at = now() - CASE message WHEN 'old'"
        " THEN interval '30 days 1 minute' ELSE interval '29 days 23 hours' END"
    )

    assert await prune() == 1
    assert [one["message"] for one in await _entries()] == ["young"]
