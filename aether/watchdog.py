"""Keeps warnings and errors of ours for a person to read; sets how a process logs."""

import asyncio
import contextvars
import hashlib
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from aether import clock
from aether.config import Settings
from aether.db import UNAVAILABLE, rows
from aether.rendering import clean
from aether.vocabulary import WatchdogLevel

log = logging.getLogger(__name__)

OURS: Final = ("aether", "schema", "resolvers", "rest_compat", "seeding")
MAX_PENDING: Final = 500  # different entries that wait to be stored; more are only counted
MAX_CHARACTERS: Final = 2000
MAX_FRAMES: Final = 8
STORE_EVERY_SECONDS: Final = 1.0
MOST_SECONDS_BETWEEN_TRIES: Final = 30.0
CLOSE_SECONDS: Final = 2.0
KEEP_DAYS: Final = 30
PRUNE_BATCH: Final = 10_000

Redact = Callable[[str], str]

_subject: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar("subject")
_is_storing: contextvars.ContextVar[bool] = contextvars.ContextVar("is_storing", default=False)


@contextmanager
def logging_about(**ids: object) -> Iterator[None]:
    """Each line logged inside the block carries ``ids``: ``logging_about(execution_id=7)``."""
    token = _subject.set({**_subject.get({}), **ids})
    try:
        yield
    finally:
        _subject.reset(token)


@dataclass(kw_only=True)
class _Entry:
    level: WatchdogLevel
    component: str
    message: str
    minute: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)
    count: int = 1

    @property
    def key(self) -> tuple[datetime, str, str, str]:
        return (self.minute, self.level.value, self.component, self.message)


class WatchdogHandler(logging.Handler):
    """Collects warnings of our loggers and errors of any; ``store`` writes what it collected.

    Repeats of one minute are counted where they wait, so that a storm of them costs nothing. At
    most 500 different entries wait; a line without its like among them is then only counted.
    """

    def __init__(self, component: str, redact: Redact = str) -> None:
        super().__init__(logging.WARNING)
        self.component = component[:100]
        self._redact = redact
        self._pending: dict[tuple[datetime, str, str, str], _Entry] = {}
        self._lost = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Ours from WARNING, others' from ERROR; nothing that storing itself gives rise to."""
        if _is_storing.get() or not super().filter(record):
            return False
        is_ours = record.name.partition(".")[0] in OURS
        return is_ours or record.levelno >= logging.ERROR

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record. Called under the handler's lock."""
        try:
            entry = self._entry(record)
        except Exception:  # noqa: BLE001 - a log call must not fail whatever it was given
            self._lost += 1
            return
        self._add(entry)

    def take(self) -> list[_Entry]:
        """What waits to be stored, which is then no longer here."""
        with self._locked():
            taken = list(self._pending.values())
            self._pending = {}
            if self._lost:
                text = f"{self._lost} more log lines were not kept: too many different ones"
                taken.append(
                    _Entry(
                        level=WatchdogLevel.WARN,
                        component=self.component,
                        message=text,
                        minute=_minute(time.time()),
                    )
                )
                self._lost = 0
        return taken

    def put_back(self, entries: list[_Entry]) -> None:
        """Return what could not be stored; within the bound, the newest first."""
        with self._locked():
            for entry in entries:
                self._add(entry)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _add(self, entry: _Entry) -> None:
        known = self._pending.get(entry.key)
        if known is not None:
            known.count += entry.count
        elif len(self._pending) < MAX_PENDING:
            self._pending[entry.key] = entry
        else:
            self._lost += entry.count

    def _entry(self, record: logging.LogRecord) -> _Entry:
        detail: dict[str, Any] = {"logger": record.name, **_subject_as_json()}
        if record.exc_info and record.exc_info[1] is not None:
            detail |= self._failure(record.exc_info[1])
        is_error = record.levelno >= logging.ERROR
        return _Entry(
            level=WatchdogLevel.ERROR if is_error else WatchdogLevel.WARN,
            component=self.component,
            message=self._text(_message(record)),
            minute=_minute(record.created),
            detail=detail,
        )

    def _failure(self, error: BaseException) -> dict[str, Any]:
        frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
        return {
            "error": self._text(f"{type(error).__name__}: {error}"),
            "at": [f"{_module_path(one.filename)}:{one.lineno} {one.name}" for one in frames],
        }

    def _text(self, text: str) -> str:
        text = clean(self._redact(text))
        return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + "…"


class LineFormatter(logging.Formatter):
    """``2026-02-18T10:00:00Z worker WARNING aether.effects: text [execution_id=7]``.

    A line end inside the text is written as ``\\n``, so that nobody can forge a line; a traceback
    follows below. Secrets are taken out of both.
    """

    def __init__(self, component: str, redact: Redact) -> None:
        super().__init__()
        self._component = component
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The text of one record."""
        moment = clock.to_wire(datetime.fromtimestamp(record.created, UTC))
        about = " ".join(f"{name}={value}" for name, value in _subject.get({}).items())
        text = f"{moment} {self._component} {record.levelname} {record.name}: {_message(record)}"
        text = _one_line(f"{text} [{about}]" if about else text)
        if record.exc_info and record.exc_info[1] is not None:
            text += "\n" + self.formatException(record.exc_info)
        return self._redact(text)


def configure_logging(component: str, *, redact: Redact = str, level: int = logging.INFO) -> None:
    """Log to standard error, one line a record, for ``web``, ``worker`` or ``scheduler``.

    What nobody catches is logged too. Called again it replaces what it set before, nothing else.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler.formatter, LineFormatter):
            root.removeHandler(handler)
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(LineFormatter(component, redact))
    root.addHandler(stream)
    root.setLevel(level)
    # the first two log whole addresses, queries included; the others tell what we tell ourselves
    for chatty in ("httpx", "httpcore", "dramatiq", "tortoise", "LiteLLM", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # a traceback at each lost server; whoever needed a connection says so in one line
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


class Watchdog:
    """Collects and stores one process's warnings and errors, when WATCHDOG_ENABLED says so.

    ``start`` belongs to the event loop whose database pool is open; ``close`` comes before that
    pool's end. Both do nothing when it is off.
    """

    def __init__(self, settings: Settings, *, component: str, redact: Redact = str) -> None:
        self._handler = WatchdogHandler(component, redact) if settings.watchdog_enabled else None
        self._storing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Collect from now on, and store once a second."""
        if self._handler is not None and self._storing is None:
            logging.getLogger().addHandler(self._handler)
            self._storing = asyncio.create_task(_store_for_ever(self._handler))

    async def close(self) -> None:
        """Store what is left, for two seconds at most, and collect no more."""
        if self._handler is None or self._storing is None:
            return
        logging.getLogger().removeHandler(self._handler)
        self._storing.cancel()
        await asyncio.wait([self._storing])
        self._storing = None
        with suppress(TimeoutError):
            await asyncio.wait_for(store(self._handler), CLOSE_SECONDS)


async def _store_for_ever(handler: WatchdogHandler) -> None:
    pause = STORE_EVERY_SECONDS
    while True:
        await asyncio.sleep(pause)
        is_stored = await store(handler)
        pause = STORE_EVERY_SECONDS if is_stored else min(pause * 2, MOST_SECONDS_BETWEEN_TRIES)


async def store(handler: WatchdogHandler) -> bool:
    """Write what ``handler`` has collected; False when the database did not take it."""
    entries = handler.take()
    if not entries:
        return True
    token = _is_storing.set(True)
    try:
        await _insert(entries)
    except UNAVAILABLE:
        handler.put_back(entries)
        return False
    except asyncio.CancelledError:
        handler.put_back(entries)
        raise
    except Exception as error:  # noqa: BLE001 - a watchdog that dies of what it reports is none
        sys.stderr.write(f"watchdog: {len(entries)} entries lost: {type(error).__name__}\n")
    finally:
        _is_storing.reset(token)
    return True


async def prune(days: int = KEEP_DAYS) -> int:
    """Delete entries older than ``days``, in batches; how many there were."""
    deleted = 0
    while True:
        gone = await rows(
            "DELETE FROM watchdog_entry WHERE id IN (SELECT id FROM watchdog_entry"
            " WHERE created_at < now() - make_interval(days => $1::int) LIMIT $2::int)"
            " RETURNING id",
            days,
            PRUNE_BATCH,
        )
        deleted += len(gone)
        if len(gone) < PRUNE_BATCH:
            return deleted


async def _insert(entries: list[_Entry]) -> None:
    merged = {entry.key: entry for entry in entries}  # one statement may touch a row only once
    values = [
        {
            "minute": entry.minute.isoformat(),
            "level": entry.level.value,
            "component": entry.component,
            "message": entry.message,
            "hash": hashlib.sha256(entry.message.encode()).hexdigest(),
            "count": entry.count,
            "detail": entry.detail,
        }
        for entry in merged.values()
    ]
    await rows(
        "INSERT INTO watchdog_entry"
        " (minute, level, component, message, message_hash, count, detail)"
        " SELECT minute, level, component, message, hash, count, detail"
        " FROM jsonb_to_recordset($1::text::jsonb) AS told(minute timestamptz, level text,"
        " component text, message text, hash text, count int, detail jsonb)"
        " ON CONFLICT (minute, level, component, message_hash)"
        " DO UPDATE SET count = watchdog_entry.count + excluded.count",
        json.dumps(values, ensure_ascii=False),
    )


def _subject_as_json() -> dict[str, int | str]:
    about = _subject.get({})
    return {name: one if isinstance(one, int) else clean(str(one)) for name, one in about.items()}


def _message(record: logging.LogRecord) -> str:
    """The record's text; a log call whose arguments do not fit its text is still told."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - the arguments' own __str__ may raise anything
        return f"{record.msg} (its arguments cannot be shown)"


def _minute(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(second=0, microsecond=0)


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _module_path(filename: str) -> str:
    """``aether/http.py``: without where this machine keeps it."""
    parts = filename.replace("\\", "/").split("/")
    roots = [index for index, part in enumerate(parts) if part in {*OURS, "site-packages"}]
    return "/".join(parts[roots[-1] :]) if roots else parts[-1]


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("nobody caught this", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is None or issubclass(told.exc_type, SystemExit):
        return
    name = told.thread.name if told.thread is not None else "a thread"
    log.error(
        "nobody caught this in %s",
        name,
        exc_info=(told.exc_type, told.exc_value, told.exc_traceback),
    )
